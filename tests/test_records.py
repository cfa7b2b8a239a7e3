"""The committed records: whole, made by today's code, and all of them asked for."""

import json

import pytest

from focalbook.experiments import STUDIES, stale
from focalbook.records import RECORDS, path_of, sources_hash


@pytest.mark.parametrize("study", STUDIES)
def test_every_record_is_whole_and_made_by_todays_code(study):
    assert stale(study) == [], "make evidence makes these again"


def test_no_record_lies_about_that_no_study_asks_for():
    asked = {path_of(study, *run) for study, plan in STUDIES.items() for run in plan.runs()}
    assert {path for path in RECORDS.rglob("*") if path.is_file()} == asked


def test_the_measurement_of_the_loss_is_of_todays_code():
    measured = json.loads((RECORDS.parent / "measured" / "loss-speed.json").read_text("utf-8"))
    assert measured["sources"] == sources_hash(["losses"]), "make bench measures again (see CONTRIBUTING.md)"
