"""make verify: what holds is stamped, and what does not is shown and keeps its old stamp."""

import errno
import json
from types import SimpleNamespace

import pytest

from tools import run, verify
from tools.faults import stamps
from tools.faults.stamps import STAMPS


@pytest.fixture
def root(notebook, monkeypatch):
    """A project of one notebook, whose outputs are stored, and whose file has no faults."""
    path = notebook("print(1 + 1)", "print(3)")
    (path.parent / "book").mkdir()
    path = path.rename(path.parent / "book" / path.name)
    assert run.run(path)[1]
    none = SimpleNamespace(of_notebook=lambda root, path: [], of_book=lambda root: [])
    monkeypatch.setattr(verify, "faults", none)
    return path.parent.parent


def change(root, old, new):
    path = root / "book" / "01-small.ipynb"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def report(root):
    (row,) = json.loads((root / verify.REPORT).read_text("utf-8"))
    return row


@pytest.mark.slow
def test_what_holds_is_stamped(root, capsys):
    assert verify.main([], root) == 0
    row = report(root)
    assert row["differences"] == {} and (row["cells"], row["outputs"], row["pictures"]) == (2, 2, 0)
    assert "holds" in capsys.readouterr().out
    assert list(stamps.faults(root)) == []


@pytest.mark.slow
def test_what_differs_is_shown_and_keeps_its_old_stamp(root, capsys):
    verify.main([], root)
    before = (root / STAMPS).read_bytes()
    change(root, '"2\\n"', '"5\\n"')
    capsys.readouterr()
    assert verify.main([], root) == 1
    said = capsys.readouterr().out
    assert list(report(root)["differences"]) == ["code cell 1"]
    assert "differs" in said and "stored:   '5\\n'" in said and "executed: '2\\n'" in said and "\x1b" not in said
    assert (root / STAMPS).read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "old, new, told",
    [
        ('"execution_count": 2', '"execution_count": null', "execution count"),
        ('"metadata": {},', '"metadata": {"collapsed": true},', "metadata that the book does not keep"),
        ('"nbformat": 4', '"nbformat":  4', "not laid out as make run stores it"),
    ],
    ids=["a cell that was never run", "what an editor leaves", "another layout"],
)
def test_what_nbval_lets_through_does_not_hold(root, capsys, old, new, told):
    change(root, old, new)
    assert verify.main([], root) == 1
    assert told in capsys.readouterr().out


@pytest.mark.slow
def test_faults_of_the_file_and_of_the_book_are_shown_and_fail(root, monkeypatch, capsys):
    monkeypatch.setattr(verify.faults, "of_notebook", lambda root, path: ["no title at the top"])
    assert verify.main(["01"], root) == 1
    assert "01-small, the file\nno title at the top" in capsys.readouterr().out
    monkeypatch.setattr(verify.faults, "of_notebook", lambda root, path: [])
    monkeypatch.setattr(verify.faults, "of_book", lambda root: ["a record is broken"])
    assert verify.main(["01"], root) == 0 and "broken" not in capsys.readouterr().out
    assert verify.main([], root) == 1 and "the book\na record is broken" in capsys.readouterr().out


@pytest.mark.parametrize(
    "number, why",
    [(errno.ENOSPC, "the disk is full: make room"), (errno.EROFS, "cannot be written: make its folder writable")],
)
def test_a_verification_that_cannot_be_stored_shows_its_table_and_keeps_the_stamps(
    root, monkeypatch, failing, capsys, number, why
):
    monkeypatch.setattr(verify, "verified", lambda root, path: {})
    assert verify.main([], root) == 0
    before = (root / STAMPS).read_bytes()
    capsys.readouterr()
    failing(number)
    assert verify.main([], root) == 1
    said = capsys.readouterr().out
    assert "holds" in said and why in said.splitlines()[-1]
    assert (root / STAMPS).read_bytes() == before and not list(root.rglob("*.part"))


def test_broken_stamps_are_named_before_anything_is_run(root, monkeypatch):
    (root / STAMPS).write_text("{", "utf-8")
    monkeypatch.setattr(verify, "verified", lambda root, path: pytest.fail("the notebooks were run"))
    with pytest.raises(ValueError, match="verified.json is broken: delete it"):
        verify.main([], root)


@pytest.mark.slow
def test_a_kernel_that_dies_or_a_file_that_is_no_notebook_is_told_from_a_difference(root, capsys):
    change(root, "print(3)", "import os; os._exit(1)")
    assert verify.main([], root) == 1
    assert "the kernel died in code cell 2" in capsys.readouterr().out
    (root / "book" / "01-small.ipynb").write_text('{"cells": [', "utf-8")
    assert verify.main([], root) == 1
    assert "not a notebook" in capsys.readouterr().out


def test_a_name_that_no_notebook_has_is_said(root, capsys):
    assert verify.main(["99"], root) == 1
    assert "starts with 99" in capsys.readouterr().out


def test_a_stamp_that_is_of_another_file_or_of_none_is_named(root):
    assert list(stamps.faults(root)) == [
        "changed since its outputs were verified: 01-small: look at git diff, then make verify"
    ]
    (root / STAMPS).write_text('{"02-gone": {"content": "0"}}', "utf-8")
    assert "a stamp of no notebook: 02-gone" in list(stamps.faults(root))
