"""make run: what is stored when notebooks are executed, and what keeps what was stored."""

import asyncio
import errno
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

from tasks import ROOT
from tools import notebooks, run

FAULTS = [(errno.ENOSPC, "the disk is full: make room"), (errno.EROFS, "cannot be written: make its folder writable")]


def test_outputs_are_stored_and_a_second_time_nothing_changes(notebook):
    path = notebook("print(1 + 1)", "print(2)\nprint(3)", collapsed=True, tags=["any"])
    assert run.run(path) == ("01-small.ipynb: stored new outputs", True)
    stored = path.read_text("utf-8")
    cells = nbformat.reads(stored, as_version=4).cells
    assert [cell.outputs[0].text for cell in cells] == ["2\n", "2\n3\n"]
    assert cells[0].metadata == {} and "execution" not in stored.replace("execution_count", "")
    assert run.run(path) == ("01-small.ipynb: unchanged", True)
    assert path.read_text("utf-8") == stored


@pytest.mark.parametrize(
    "source, why",
    [
        ("print(1)\n1 / 0", "ZeroDivisionError"),
        ("import sys\nprint('oops', file=sys.stderr)", "cell 1 writes to stderr"),
        ("import os\nos._exit(1)", "the kernel died in code cell 1: is there enough memory?"),
        ("import time\ntime.sleep(30)", "code cell 1 took more than 3 s"),
    ],
    ids=["an error", "stderr", "a kernel that dies", "a cell that hangs"],
)
def test_a_notebook_that_fails_keeps_what_was_stored(notebook, monkeypatch, source, why):
    if "sleep" in source:
        monkeypatch.setattr(notebooks, "SECONDS", 3)
    path = notebook(source)
    before = path.read_text("utf-8")
    message, good = run.run(path)
    assert not good and why in message
    assert path.read_text("utf-8") == before and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "spec, why",
    [
        (None, "the Python kernel is missing: make clean"),
        ([sys.executable, "-c", "1"], "the kernel died before its first cell"),
    ],
    ids=["no kernel", "a kernel that does not start"],
)
def test_a_kernel_that_is_missing_or_does_not_start_is_named_with_its_cure(notebook, monkeypatch, spec, why):
    true_spec = KernelSpecManager.get_kernel_spec

    def get_kernel_spec(self, name):
        if spec is None:
            raise NoSuchKernel(name)
        found = true_spec(self, name)
        found.argv = spec
        return found

    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", get_kernel_spec)
    message, good = run.run(notebook("1"))
    assert not good and why in message and "\n" not in message


def test_a_notebook_runs_also_where_a_loop_of_events_is_running(notebook):
    async def within():
        return run.run(notebook("print(1)"))

    with ThreadPoolExecutor(1) as own:  # the tests' own thread may have a loop already, the browser's
        assert own.submit(lambda: asyncio.run(within())).result() == ("01-small.ipynb: stored new outputs", True)


def test_a_file_that_is_no_notebook_is_named_with_its_cure(tmp_path):
    path = tmp_path / "01-half.ipynb"
    path.write_text('{"cells": [{"cell_ty', "utf-8")
    message, good = run.run(path)
    assert not good and "01-half.ipynb: not stored, not a notebook" in message and "git checkout" in message


def test_what_somebody_changed_while_a_notebook_ran_is_not_lost(notebook):
    path = notebook("with open('01-small.ipynb', 'a') as file:\n    written = file.write(' ')")
    message, good = run.run(path)
    assert not good and "was changed while it ran: run it again" in message
    assert path.read_text("utf-8").endswith("\n ")


@pytest.mark.parametrize("number, why", FAULTS)
def test_outputs_that_cannot_be_written_leave_those_before(notebook, failing, number, why):
    path = notebook("print(1 + 1)")
    before = path.read_text("utf-8")
    failing(number)
    message, good = run.run(path)
    assert not good and why in message and "\n" not in message
    assert path.read_text("utf-8") == before and list(path.parent.iterdir()) == [path]


def test_a_command_that_is_killed_leaves_the_stored_notebook_as_it_was(notebook):
    path = notebook("open('started', 'w').close()\nimport time\ntime.sleep(60)")
    before, started = path.read_bytes(), path.parent / "started"
    code = "import pathlib, sys; from tools import run; run.BOOK = pathlib.Path(sys.argv[1]); run.main([])"
    command = subprocess.Popen([sys.executable, "-c", code, path.parent], cwd=ROOT)
    while not started.exists():
        assert command.poll() is None
        time.sleep(0.1)
    command.kill()
    command.wait()
    assert path.read_bytes() == before and sorted(path.parent.iterdir()) == [path, started]


def test_a_name_that_no_notebook_has_is_said(capsys):
    assert run.main(["99"]) == 1
    assert "starts with 99" in capsys.readouterr().out
