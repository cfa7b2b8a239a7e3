"""The chapters have no faults (``notebook_faults``), and the contents name them all."""

from pathlib import Path

import pytest
from notebook_faults import contents_faults, exercise_faults, faults, frame_faults, link_faults, read, stored_faults

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
NOTEBOOKS, EXERCISES = sorted(BOOK.glob("*.ipynb")), sorted(BOOK.glob("exercises/*/*.ipynb"))
ALL = dict(argvalues=NOTEBOOKS + EXERCISES, ids=lambda path: path.stem)
NAMES = [path.stem for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_chapter_has_no_faults(path):
    assert faults(read(path)) == []


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_a_page_of_exercises_has_no_faults(path):
    assert exercise_faults(read(path)) == []


@pytest.mark.parametrize("path", **ALL)
def test_a_notebook_is_stored_as_make_run_writes_it(path):
    assert list(stored_faults(path)) == []


@pytest.mark.parametrize("path, following", zip(NOTEBOOKS, [*NAMES[1:], None]), ids=NAMES)
def test_a_chapter_has_its_frame(path, following):
    assert list(frame_faults(read(path), following)) == []


@pytest.mark.parametrize("path", **ALL)
def test_a_notebook_links_pages_that_are_there_and_threads_that_are_listed(path):
    assert list(link_faults(read(path), path.parent, BOOK)) == []


def test_the_contents_name_every_notebook_and_figure_names_are_unique():
    assert len(NOTEBOOKS) > 10
    assert list(contents_faults(ROOT)) == []
