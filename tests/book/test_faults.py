"""The book has no faults: no notebook, no page, no record, no stored picture, and no stamp that is out of date."""

import pytest

from tasks import ROOT
from tools import faults
from tools.faults import stamps
from tools.notebooks import chosen

NOTEBOOKS = chosen(ROOT / "book", ())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_no_faults(path):
    assert faults.of_notebook(ROOT, path) == []


def test_what_belongs_to_no_notebook_has_no_faults():
    assert len(NOTEBOOKS) > 20 and faults.of_book(ROOT) == []


def test_every_notebook_is_as_it_was_when_its_outputs_were_verified():
    assert list(stamps.faults(ROOT)) == []
