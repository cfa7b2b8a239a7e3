"""For ``pytest --nbval``: one more item a notebook, after its cells, that holds the whole file to what they gave.

nbval compares the outputs that it knows, cell by cell, and lets through counts, kinds, metadata, orders and pictures.
This item asks the one comparison of ``tools.notebooks``, with the outputs that nbval has just computed: so every run of
the tests proves that ``make run`` would store the same bytes.
"""

from collections.abc import Iterator
from itertools import groupby

import pytest
from nbval.plugin import IPyNbCell, IPyNbFile

from tools.notebooks import as_executed, code_cells, differences, parsed, text_of


class Differs(Exception):
    """What of a notebook is not as its execution gives it."""


class Whole(pytest.Item):
    """A notebook as ``make run`` would store it, with the outputs of the ``cells`` that nbval has run."""

    def __init__(self, cells: list[IPyNbCell], **options):
        super().__init__(**options)
        self.cells = cells

    def runtest(self) -> None:
        stored = text_of(self.path)
        found = differences(stored, as_executed(parsed(stored), [cell.test_outputs or [] for cell in self.cells]))
        if found:
            raise Differs("\n".join(f"{place}\n{difference}" for place, difference in found.items()))

    def repr_failure(self, excinfo, style=None):
        return str(excinfo.value) if isinstance(excinfo.value, Differs) else super().repr_failure(excinfo, style)

    def reportinfo(self):
        return self.path, 0, f"{self.path.name}: the whole file"


@pytest.hookimpl(wrapper=True)  # before any other hook, which may mark all of a file's items or move them
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Where all cells of a notebook are to be run, its whole follows them."""
    found = []
    for parent, group in groupby(items, key=lambda item: item.parent):
        found += (members := list(group))
        if isinstance(parent, IPyNbFile) and len(members) == len(code_cells(parent.nb)):
            found.append(Whole.from_parent(parent, name="the whole file", cells=members))
    items[:] = found
    yield
