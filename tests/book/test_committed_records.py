"""The committed records: small, and the cheapest of them made again."""

import json

import pytest

from focalbook.evidence import agrees
from focalbook.records import RECORDS


def test_the_records_are_small():
    assert sum(path.stat().st_size for path in RECORDS.rglob("*.json")) < 10e6


@pytest.mark.slow
def test_the_cheapest_record_is_made_again_and_agrees():
    records = [json.loads(path.read_text("utf-8")) for path in RECORDS.rglob("*.json")]
    cheapest = min((record for record in records if "diverged" not in record), key=lambda record: record["seconds"])
    assert agrees(cheapest["study"], cheapest["arm"], cheapest["settings"]["lr"], cheapest["seed"])
