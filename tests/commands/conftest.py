"""A small notebook, and a disk that fails."""

import os
from pathlib import Path

import nbformat
import pytest


@pytest.fixture
def notebook(tmp_path):
    """Writes a notebook of these code cells and returns its path."""

    def write(*sources, **metadata):
        cells = [nbformat.v4.new_code_cell(source, id=f"cell-{n}") for n, source in enumerate(sources)]
        cells[0].metadata.update(metadata)
        path = tmp_path / "01-small.ipynb"
        path.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=cells)) + "\n", "utf-8")
        return path

    return write


@pytest.fixture
def failing(monkeypatch):
    """Makes every file that is written stop in the middle, with this error."""

    def fail(number):
        def write_bytes(self, content):
            with open(self, "wb") as file:
                file.write(content[: len(content) // 2])
            raise OSError(number, os.strerror(number), str(self))

        monkeypatch.setattr(Path, "write_bytes", write_bytes)

    return fail
