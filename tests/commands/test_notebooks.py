"""The one comparison: what an execution gives against what is stored, for make run, make verify and pytest --nbval."""

import json
import subprocess
import sys

import pytest

from tasks import ROOT
from tools import notebook_faults, run
from tools.notebooks import BOOK, as_executed, chosen, code_cells, differences, parsed, text_of


@pytest.mark.parametrize("path", chosen(BOOK, ()), ids=lambda path: path.stem)
def test_a_notebook_with_its_own_outputs_is_stored_as_it_is(path):
    stored = text_of(path)
    notebook = parsed(stored)
    assert differences(stored, as_executed(notebook, [cell.outputs for cell in code_cells(notebook)])) == {}


@pytest.fixture
def stored(notebook):
    """The path of a notebook whose outputs are stored."""
    path = notebook("print(1)", "2 + 3")
    assert run.run(path)[1]
    return path


def validated(path):
    """What ``pytest --nbval`` says of a notebook of the project."""
    options = ["-q", "--nbval", "--nbval-current-env", "-p", "no:cacheprovider", "-p", "tools.pytest_whole"]
    command = [sys.executable, "-m", "pytest", *options, "-c", "/dev/null", str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "old, new, told",
    [
        ('"print(1)"', '"print(1)"', ""),
        ('"execution_count": 1', '"execution_count": 7', "execution count"),
        ('"output_type": "execute_result"', '"output_type": "display_data"', "output_type"),
        ('"name": "stdout"', '"name":  "stdout"', "not laid out as make run stores it"),
        ('"display_name": "Python 3"', '"display_name": "Python 3 (ipykernel)"', "as an editor leaves it"),
    ],
    ids=["nothing", "a count", "a kind of output", "layout", "metadata"],
)
def test_what_nbval_lets_through_its_last_item_does_not(stored, old, new, told):
    text = stored.read_text("utf-8")
    assert old in text
    stored.write_text(text.replace(old, new, 1), "utf-8")
    done = validated(stored)
    assert (done.returncode == 0) == (not told), done.stdout
    assert told in done.stdout and ("1 failed, 2 passed" if told else "3 passed") in done.stdout


@pytest.mark.slow
def test_of_a_notebook_of_which_some_cells_are_left_out_the_whole_is_not_asked(stored):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--nbval", "--nbval-current-env", "-p", "tools.pytest_whole"]
        + ["-p", "no:cacheprovider", "-c", "/dev/null", f"{stored}::Cell 0"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )
    assert "1 passed" in done.stdout


def test_the_quick_look_before_a_commit_names_what_an_editor_left_and_finds_nothing_in_the_book(stored, capsys):
    assert notebook_faults.main(["04"]) == 0 and capsys.readouterr().out == ""
    assert notebook_faults.main(["99"]) == 1
    notebook = json.loads(stored.read_text("utf-8"))
    assert notebook_faults.faults(notebook) == []
    notebook["cells"][0]["metadata"]["scrolled"] = True
    notebook["metadata"]["language_info"]["version"] = "3.11.7"
    (said,) = notebook_faults.faults(notebook)
    assert "as an editor leaves it when it saves, in the notebook (language_info), cell 1 (scrolled): make run" in said
