"""The committed records: whole, made by today's code, all of them asked for; and the cheapest one made again. And how
files are written and read: whole or not at all, and nothing that could run."""

import ast
import errno
import json
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from focalbook import experiments
from focalbook.experiments import agrees, load_study, runs, stale
from focalbook.records import RECORDS, cure, path_of, write
from focalbook.sources import sources_hash
from focalbook.studies import STUDIES


@pytest.mark.parametrize(
    "number, told",
    [
        (errno.ENOSPC, "the disk is full: make room and try again"),
        (errno.EROFS, "run.json cannot be written: make its folder writable, or work in a copy of the project"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_a_write_that_fails_leaves_the_file_before_alone_and_is_told_with_its_cure(tmp_path, monkeypatch, number, told):
    def fails(source, target):
        raise OSError(number, os.strerror(number), target)

    path = tmp_path / "run.json"
    write(path, "before")
    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError) as stopped:
        write(path, "after")
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
    assert told in cure(stopped.value) and "\n" not in cure(stopped.value)


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_has_all_its_records_whole_and_made_by_todays_code(study):
    assert stale(study) == [], "make evidence makes these again"


def test_no_record_lies_about_that_no_study_asks_for():
    asked = {path_of(study, *run) for study in STUDIES for run in runs(study)}
    # What a killed command leaves is named *.part, which git ignores.
    assert {path for path in RECORDS.rglob("*") if path.is_file() and path.suffix != ".part"} == asked


def test_the_records_are_small():
    assert sum(path.stat().st_size for path in RECORDS.rglob("*.json")) < 5e6


@pytest.mark.slow
def test_the_cheapest_record_is_made_again_and_agrees():
    records = [record for study in STUDIES for arm in load_study(study).values() for record in arm]
    cheapest = min((record for record in records if "diverged" not in record), key=lambda record: record["seconds"])
    assert agrees(cheapest["study"], cheapest["arm"], cheapest["settings"]["lr"], cheapest["seed"])


def test_the_measurement_of_the_loss_is_of_todays_code():
    measured = json.loads((RECORDS.parent / "measured" / "loss-speed.json").read_text("utf-8"))
    assert measured["sources"] == sources_hash(["losses"]), "make bench measures again (see CONTRIBUTING.md)"


# ---- files ----

ROOT = Path(experiments.__file__).parent.parent
WRITER = """
import os, sys, time
from pathlib import Path
from focalbook.records import write

path, letter, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if times == 0:
    os.replace = lambda *arguments: print("now", flush=True) or time.sleep(60)
for _ in range(times or 1):
    write(path, letter * 10**6)
"""


def writer(path, letter, times):
    """Another process that writes a million of one letter; with 0 times it waits before it is done."""
    return subprocess.Popen([sys.executable, "-c", WRITER, path, letter, str(times)], cwd=ROOT, stdout=subprocess.PIPE)


def test_a_file_is_written_whole_with_its_folder_and_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "file.json"
    write(path, "é\n")
    assert path.read_bytes() == b"\xc3\xa9\n" and list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="Windows renames over no file that another process reads")
def test_two_processes_that_write_the_same_file_never_mix(tmp_path):
    path = tmp_path / "file"
    write(path, "c" * 10**6)
    seen = set()
    with writer(path, "a", 100) as one, writer(path, "b", 100) as other:
        while one.poll() is None or other.poll() is None:
            text = path.read_text("utf-8")
            assert len(text) == 10**6 and len(set(text)) == 1
            seen.add(text[0])
    assert one.returncode == other.returncode == 0 and len(seen) > 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_killed_while_it_writes_leaves_the_file_before_and_nothing_that_git_sees(tmp_path):
    path = tmp_path / "file"
    write(path, "before")
    with writer(path, "a", 0) as process:
        assert process.stdout.readline() == b"now\n"
        process.kill()
    assert path.read_text("utf-8") == "before"
    assert [left.suffix for left in tmp_path.iterdir() if left != path] == [".part"]
    assert "*.part" in (ROOT / ".gitignore").read_text("utf-8").split()
    write(path, "after")
    assert path.read_text("utf-8") == "after"


@pytest.mark.parametrize(
    "error, why",
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full: make room"),
        (PermissionError(errno.EACCES, "Permission denied", "x.json"), "x.json cannot be written"),
        (BrokenProcessPool("a child was killed"), "a run was killed. Is there enough memory?"),
    ],
)
def test_making_records_stops_in_one_line_at_what_it_cannot_help(monkeypatch, capsys, error, why):
    def stop(studies):
        raise error

    monkeypatch.setattr(experiments, "_make_all", stop)
    assert experiments.main([]) == 1
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith("stopped, what was made stays: ") and why in said


def code():
    """What the module, the tools and the notebooks run: name -> syntax tree."""
    for path in (*ROOT.glob("focalbook/**/*.py"), *ROOT.glob("tools/*.py"), ROOT / "tasks.py"):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))
    for path in ROOT.glob("book/**/*.ipynb"):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        for cell in cells:
            if cell["cell_type"] == "code":
                yield path.relative_to(ROOT).as_posix(), ast.parse("".join(cell["source"]))


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


def test_checkpoints_are_loaded_as_weights_only_and_nothing_is_unpickled():
    loads = []
    for name, tree in code():
        assert not {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"} & set(imports(tree)), (
            name
        )
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "np.load", "numpy.load"):
                loads.append((name, {word.arg: ast.unparse(word.value) for word in node.keywords}))
            assert not (isinstance(node, ast.keyword) and node.arg == "allow_pickle"), name
    assert loads == [("focalbook/training.py", {"map_location": "'cpu'", "weights_only": "True"})]


def test_nothing_that_the_book_runs_asks_the_network():
    asking = {"urllib", "http", "requests", "httpx", "ftplib", "urllib3"}
    # tasks.py serves the site; nothing else knows the word.
    assert [name for name, tree in code() if asking & set(imports(tree))] == ["tasks.py"]


def test_no_notebook_calls_itself_trusted():
    for path in ROOT.glob("book/**/*.ipynb"):
        notebook = json.loads(path.read_text("utf-8"))
        for part in (notebook, *notebook["cells"]):
            assert "trusted" not in part["metadata"], path


def test_an_interrupt_ends_the_runs_under_way():
    with pytest.raises(KeyboardInterrupt):
        with experiments._workers() as pool:
            under_way = pool.submit(time.sleep, 3600)
            while not under_way.running():
                time.sleep(0.1)
            raise KeyboardInterrupt
    assert not multiprocessing.active_children()
