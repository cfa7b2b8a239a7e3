"""The committed records: whole, made by today's code, all of them asked for; and the cheapest one made again."""

import json

import pytest

from focalbook.experiments import agrees, load_study, runs, stale
from focalbook.records import RECORDS, path_of, sources_hash
from focalbook.studies import STUDIES


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_has_all_its_records_whole_and_made_by_todays_code(study):
    assert stale(study) == [], "make evidence makes these again"


def test_no_record_lies_about_that_no_study_asks_for():
    asked = {path_of(study, *run) for study in STUDIES for run in runs(study)}
    assert {path for path in RECORDS.rglob("*") if path.is_file()} == asked


def test_the_records_are_small():
    assert sum(path.stat().st_size for path in RECORDS.rglob("*.json")) < 5e6


def test_the_cheapest_record_is_made_again_and_agrees():
    records = [record for study in STUDIES for arm in load_study(study).values() for record in arm]
    cheapest = min((record for record in records if "diverged" not in record), key=lambda record: record["seconds"])
    assert agrees(cheapest["study"], cheapest["arm"], cheapest["settings"]["lr"], cheapest["seed"])


def test_the_measurement_of_the_loss_is_of_todays_code():
    measured = json.loads((RECORDS.parent / "measured" / "loss-speed.json").read_text("utf-8"))
    assert measured["sources"] == sources_hash(["losses"]), "make bench measures again (see CONTRIBUTING.md)"
