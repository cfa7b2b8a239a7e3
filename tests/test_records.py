"""The committed records: whole, made by today's code, all of them asked for; a study has all of its records or none."""

import json

import pytest

from focalbook.experiments import runs, stale
from focalbook.records import RECORDS, path_of, sources_hash
from focalbook.studies import STUDIES


def folder_of(study):
    """Where the records of a study lie."""
    return path_of(study, "", 0, 0).parent


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_that_has_records_is_complete_whole_and_made_by_todays_code(study):
    if not folder_of(study).exists():
        pytest.skip(f"planned: {study} has no records yet")
    assert stale(study) == [], "make evidence makes these again"


def test_no_record_lies_about_that_no_study_asks_for():
    asked, unresolved = set(), set()
    for study in STUDIES:
        try:
            asked |= {path_of(study, *run) for run in runs(study)}
        except FileNotFoundError:  # it rests on a choice that is not made yet: what it asks for is not known
            unresolved.add(folder_of(study))
    found = {path for path in RECORDS.rglob("*") if path.is_file() and path.parent not in unresolved}
    assert found <= asked


def test_the_measurement_of_the_loss_is_of_todays_code():
    measured = json.loads((RECORDS.parent / "measured" / "loss-speed.json").read_text("utf-8"))
    assert measured["sources"] == sources_hash(["losses"]), "make bench measures again (see CONTRIBUTING.md)"
