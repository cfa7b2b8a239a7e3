"""The tools: what is stored when notebooks are executed, and the measurement of the renderer."""

import sys
from pathlib import Path

import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

import execute  # noqa: E402
import throughput  # noqa: E402


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


def test_outputs_are_stored_and_a_second_time_nothing_changes(notebook):
    path = notebook("print(1 + 1)", "print(2)\nprint(3)", collapsed=True, tags=["any"])
    assert execute.execute(path) == ("01-small.ipynb: stored new outputs", True)
    stored = path.read_text("utf-8")
    cells = nbformat.reads(stored, as_version=4).cells
    assert [cell.outputs[0].text for cell in cells] == ["2\n", "2\n3\n"]
    assert cells[0].metadata == {} and "execution" not in stored.replace("execution_count", "")
    assert execute.execute(path) == ("01-small.ipynb: unchanged", True)
    assert path.read_text("utf-8") == stored


@pytest.mark.parametrize(
    "source, why",
    [
        ("print(1)\n1 / 0", "ZeroDivisionError"),
        ("import sys\nprint('oops', file=sys.stderr)", "cell 1 writes to stderr"),
        ("import os\nos._exit(1)", "not stored, a cell failed"),
    ],
    ids=["an error", "stderr", "a kernel that dies"],
)
def test_a_notebook_that_fails_keeps_what_was_stored(notebook, source, why):
    path = notebook(source)
    before = path.read_text("utf-8")
    message, good = execute.execute(path)
    assert not good and why in message
    assert path.read_text("utf-8") == before and list(path.parent.iterdir()) == [path]


def test_a_name_that_no_notebook_has_is_said(capsys):
    assert execute.main(["99"]) == 1
    assert "starts with 99" in capsys.readouterr().out


def test_the_renderer_is_measured(monkeypatch):
    monkeypatch.setattr(throughput, "SECONDS", 0.01)
    assert throughput.scenes_per_second(throughput.SETTINGS["default, 96 px"], "cpu", batch=2) > 0
