"""The committed records: small, and the cheapest of them made again."""

import pytest

from focalbook.evidence import agrees
from focalbook.experiments import load_study
from focalbook.records import RECORDS
from focalbook.studies import STUDIES


def test_the_records_are_small():
    assert sum(path.stat().st_size for path in RECORDS.rglob("*.json")) < 5e6


@pytest.mark.slow
def test_the_cheapest_record_is_made_again_and_agrees():
    records = [record for study in STUDIES for arm in load_study(study).values() for record in arm]
    cheapest = min((record for record in records if "diverged" not in record), key=lambda record: record["seconds"])
    assert agrees(cheapest["study"], cheapest["arm"], cheapest["settings"]["lr"], cheapest["seed"])
