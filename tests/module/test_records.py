"""Records: written whole, read with care, each in a place of its own."""

import json
import os
import shutil

import pytest
from small_studies import CHOICE, VERSIONS, crafted, edited, save_all

from focalbook import records
from focalbook.experiments import runs
from focalbook.records import load, path_of, save

pytestmark = pytest.mark.usefixtures("plans")


def test_what_is_saved_is_loaded():
    record = crafted(*CHOICE)
    save(record)
    assert load(*CHOICE) == record


def test_every_run_has_its_own_place(plans):
    save_all("choice")
    places = [path_of(study, *task) for study in plans for task in runs(study)]
    assert len(set(places)) == len(places) == 3 * 2 * 2 + 2 * 2 + 3
    assert not any(" " in str(place.relative_to(records.RECORDS)) for place in places)


def test_a_missing_record_is_named_with_its_cure():
    with pytest.raises(FileNotFoundError, match=r"focal-loss-alpha-0\.25-lr0\.01-seed7\.json: .* make evidence"):
        load("choice", "focal loss, alpha 0.25", 0.01, 7)


@pytest.mark.parametrize(
    "damage",
    [
        edited,
        lambda text: text.replace('"seed": 100', '"seed": 101'),
        lambda text: text.replace('"study": "choice",', ""),
        lambda text: text.replace('"checksum"', '"chequesum"'),
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: "{}",
        lambda text: "null",
    ],
    ids=["AP edited", "seed edited", "entry removed", "no checksum", "half", "empty", "list", "no entries", "null"],
)
def test_a_broken_or_edited_record_is_refused_by_name(damage):
    save(crafted(*CHOICE))
    path = path_of(*CHOICE)
    before = path.read_text("utf-8")
    assert damage(before) != before
    path.write_text(damage(before), "utf-8")
    with pytest.raises(ValueError, match=r"focal-loss-alpha-0\.25-lr0\.01-seed100\.json is broken or was edited"):
        load(*CHOICE)


def test_a_record_that_is_no_text_is_refused_by_name():
    path = path_of(*CHOICE)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"seed100\.json is broken"):
        load(*CHOICE)


@pytest.mark.parametrize(
    "other", [("choice", CHOICE[1], 0.01, 101), ("choice", CHOICE[1], 0.02, 100), ("choice", VERSIONS[2], 0.01, 100)]
)
def test_another_runs_record_in_a_runs_place_is_refused(other):
    save(crafted(*CHOICE))
    shutil.copy(path_of(*CHOICE), path_of(*other))
    with pytest.raises(ValueError, match=rf"{path_of(*other).name} is broken or was edited"):
        load(*other)


def test_another_layout_of_the_same_json_is_the_same_record():
    record = crafted(*CHOICE)
    save(record)
    path_of(*CHOICE).write_text(json.dumps(record, indent=7), "utf-8")
    assert load(*CHOICE) == record


def test_an_interruption_while_saving_leaves_the_record_before(monkeypatch):
    before = crafted(*CHOICE, ap=0.1)
    save(before)

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        save(crafted(*CHOICE, ap=0.9))
    assert load(*CHOICE) == before
