"""The tools: what is stored when notebooks are executed, and the measurement of the renderer."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import bench
import execute
import matplotlib.pyplot as plt
import matrix
import nbformat
import pytest
import renew
import throughput
import torch
import verify
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

from focalbook import plots
from focalbook.losses import sigmoid_focal_loss
from focalbook.scenes import SceneSettings
from focalbook.training import TrainSettings


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
        ("import os\nos._exit(1)", "the kernel died in code cell 1: is there enough memory?"),
        ("import time\ntime.sleep(30)", "code cell 1 took more than 3 s"),
    ],
    ids=["an error", "stderr", "a kernel that dies", "a cell that hangs"],
)
def test_a_notebook_that_fails_keeps_what_was_stored(notebook, monkeypatch, source, why):
    if "sleep" in source:
        monkeypatch.setattr(execute, "SECONDS", 3)
    path = notebook(source)
    before = path.read_text("utf-8")
    message, good = execute.execute(path)
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
    message, good = execute.execute(notebook("1"))
    assert not good and why in message and "\n" not in message


def test_a_file_that_is_no_notebook_is_named_with_its_cure(tmp_path):
    path = tmp_path / "01-half.ipynb"
    path.write_text('{"cells": [{"cell_ty', "utf-8")
    message, good = execute.execute(path)
    assert not good and "01-half.ipynb: not a notebook" in message and "git checkout" in message


def test_what_somebody_changed_while_a_notebook_ran_is_not_lost(notebook):
    path = notebook("with open('01-small.ipynb', 'a') as file:\n    written = file.write(' ')")
    message, good = execute.execute(path)
    assert not good and "was changed while it ran: run it again" in message
    assert path.read_text("utf-8").endswith("\n ")


FAULTS = [(errno.ENOSPC, "the disk is full: make room"), (errno.EROFS, "cannot be written: make its folder writable")]


@pytest.fixture
def failing(monkeypatch):
    """Makes every file that is written stop in the middle, with this error."""

    def fail(number):
        def write_text(self, text, *arguments, **options):
            with open(self, "w") as file:
                file.write(text[: len(text) // 2])
            raise OSError(number, os.strerror(number), str(self))

        monkeypatch.setattr(Path, "write_text", write_text)

    return fail


@pytest.mark.parametrize("number, why", FAULTS)
def test_outputs_that_cannot_be_written_leave_those_before(notebook, failing, number, why):
    path = notebook("print(1 + 1)")
    before = path.read_text("utf-8")
    failing(number)
    message, good = execute.execute(path)
    assert not good and why in message and "\n" not in message
    assert path.read_text("utf-8") == before and list(path.parent.iterdir()) == [path]


def test_a_command_that_is_killed_leaves_the_stored_notebook_as_it_was(notebook):
    path = notebook("open('started', 'w').close()\nimport time\ntime.sleep(60)")
    before, started = path.read_bytes(), path.parent / "started"
    code = "import pathlib, sys, execute; execute.BOOK = pathlib.Path(sys.argv[1]); execute.main([])"
    command = subprocess.Popen([sys.executable, "-c", code, path.parent], cwd=Path(execute.__file__).parent)
    while not started.exists():
        assert command.poll() is None
        time.sleep(0.1)
    command.kill()
    command.wait()
    assert path.read_bytes() == before and sorted(path.parent.iterdir()) == [path, started]


def test_a_name_that_no_notebook_has_is_said(capsys):
    assert execute.main(["99"]) == 1
    assert "starts with 99" in capsys.readouterr().out


@pytest.fixture
def verified(notebook, monkeypatch):
    """Stores a notebook's outputs and verifies it; returns the exit status and the stamps."""

    def call(change=lambda text: text):
        path = notebook("print(1 + 1)", "print(3)")
        monkeypatch.setattr(verify, "BOOK", path.parent)
        monkeypatch.setattr(verify, "STAMPS", path.parent / "verified.json")
        monkeypatch.setattr(verify, "REPORT", path.parent / "report" / "verified.json")
        execute.execute(path)
        path.write_text(change(path.read_text("utf-8")), "utf-8")
        status = verify.main([])
        return status, json.loads(verify.STAMPS.read_text("utf-8")), json.loads(verify.REPORT.read_text("utf-8"))[0]

    return call


@pytest.mark.slow
def test_what_holds_is_stamped(verified, capsys):
    status, stamps, report = verified()
    assert status == 0 and stamps["01-small"]["content"] and report["differences"] == {}
    assert (report["cells"], report["outputs"], report["pictures"]) == (2, 2, 0)
    assert "holds" in capsys.readouterr().out


@pytest.mark.slow
def test_what_differs_is_shown_and_keeps_its_old_stamp(verified, capsys):
    status, stamps, report = verified(lambda text: text.replace('"2\\n"', '"5\\n"'))
    said = capsys.readouterr().out
    assert status == 1 and stamps == {} and list(report["differences"]) == ["Cell 0"]
    assert "differs" in said and "5" in said and "\x1b" not in said


@pytest.mark.slow
def test_a_cell_that_was_never_run_does_not_hold(verified):
    def strip(text):
        content = json.loads(text)
        content["cells"][1].update(outputs=[], execution_count=None)
        return json.dumps(content)

    assert verified(strip)[0] == 1


@pytest.fixture
def holding(notebook, monkeypatch):
    """A folder of one notebook that holds, as far as verification is told; its path."""
    path = notebook("print(1)")
    monkeypatch.setattr(verify, "BOOK", path.parent)
    monkeypatch.setattr(verify, "STAMPS", path.parent / "verified.json")
    monkeypatch.setattr(verify, "REPORT", path.parent / "report" / "verified.json")
    monkeypatch.setattr(verify, "run", lambda paths: {path.stem: (1.0, {}) for path in paths})
    return path


@pytest.mark.parametrize("number, why", FAULTS)
def test_a_verification_that_cannot_be_stored_shows_its_table_and_keeps_the_stamps(
    holding, failing, capsys, number, why
):
    assert verify.main([]) == 0
    before = verify.STAMPS.read_bytes()
    capsys.readouterr()
    failing(number)
    assert verify.main([]) == 1
    said = capsys.readouterr().out
    assert "holds" in said and why in said.splitlines()[-1]
    assert verify.STAMPS.read_bytes() == before and not list(verify.BOOK.rglob("*.part"))


def test_broken_stamps_are_named_before_anything_is_run(holding, monkeypatch):
    verify.STAMPS.write_text("{", "utf-8")
    monkeypatch.setattr(verify, "run", lambda paths: pytest.fail("the notebooks were run"))
    with pytest.raises(SystemExit, match="verified.json is broken: delete it"):
        verify.main([])


def test_a_verification_that_cannot_start_says_why(notebook, monkeypatch):
    monkeypatch.setattr(verify, "NBVAL", ["--no-such-option"])
    with pytest.raises(SystemExit, match="nothing was verified, .*unrecognized arguments: --no-such-option"):
        verify.run([notebook("print(1)")])


@pytest.mark.slow
def test_a_kernel_that_dies_under_verification_is_told_from_a_difference(notebook, monkeypatch):
    monkeypatch.setattr(verify, "NBVAL", [*verify.NBVAL, "--nbval-cell-timeout=1"])
    path = notebook("import os\nos._exit(1)")
    ((_, bad),) = verify.run([path]).values()
    assert "the kernel died or hangs: python3 tasks.py run 01 says which" in bad["Cell 0"]


def test_the_stamps_are_of_todays_notebooks():
    """make verify renews them; what was changed since is not verified."""
    stamps = json.loads(verify.STAMPS.read_text("utf-8"))
    today = {path.stem: verify.fingerprint(path) for path in execute.chosen(verify.BOOK, ())}
    assert {name: stamp["content"] for name, stamp in stamps.items()} == today, "run make verify"


def test_the_renderer_and_the_training_step_are_measured(monkeypatch):
    monkeypatch.setattr(throughput, "SECONDS", 0.01)
    assert throughput.scenes_per_second(throughput.SETTINGS["default, 96 px"], "cpu", batch=2) > 0
    assert throughput.steps_per_second(throughput.SETTINGS["default, 96 px"], "cpu", batch=2) > 0
    tiny = TrainSettings(steps=2, batch=2, channels=8, scenes=SceneSettings(size=24, distractors=0))
    seconds, ap = throughput.seconds_and_ap(tiny, "cpu", scenes=4)
    assert seconds > 0 and 0 <= ap <= 1


def test_what_the_bench_compares_computes_the_same():
    x = torch.linspace(-6, 6, 50, dtype=torch.float64)
    t = (torch.arange(50) % 2).double()
    expected = sigmoid_focal_loss(x, t, reduction="sum")
    for name, loss in bench.variants().items():
        if not name.startswith("compiled") and name != "BCE with logits":
            torch.testing.assert_close(loss(x, t), expected, rtol=1e-10, atol=0)


def test_the_bench_measures_draws_and_prints(monkeypatch):
    every = bench.variants()
    few = {name: every[name] for name in (bench.BASE, "focalbook")}  # what is compiled takes minutes
    monkeypatch.setattr(bench, "variants", lambda: few)
    monkeypatch.setattr(bench, "SIZES", {"cpu": (1000,)})
    monkeypatch.setattr(bench, "SECONDS", 0)
    rows = bench.measure("cpu", "as usual")
    measured = {row["variant"]: row for row in rows}
    assert list(measured) == [bench.BASE, "focalbook", "limit"]
    assert measured[bench.BASE]["times"] == [1, 1, 1] and measured[bench.BASE]["kept"] == 24
    assert measured["focalbook"]["kept"] == 4 and measured["focalbook"]["peak"] >= 8
    assert all(row["milliseconds"] > 0 for row in rows)
    assert "1,000 logits" in bench.table(rows) and "focalbook" in bench.table(rows)
    figure = plt.figure()
    plots.show_speed(figure, rows)
    assert figure.axes[0].get_title() == "CPU, pages as usual"
    plt.close(figure)


@pytest.fixture
def project(tmp_path, notebook):
    """A project of one notebook, as git sees it, whose outputs are stored."""
    shutil.move(notebook("print(1)", "import os\nprint(os.environ['OMP_NUM_THREADS'])"), tmp_path / "stored.ipynb")
    root = tmp_path / "root"
    for folder in ("book", "tools", "focalbook"):
        (root / folder).mkdir(parents=True)
    shutil.copy(execute.__file__, root / "tools")
    for name in ("__init__.py", "records.py"):
        shutil.copy(Path(plots.__file__).parent / name, root / "focalbook")
    path = root / "book" / "01-small.ipynb"
    shutil.move(tmp_path / "stored.ipynb", path)
    assert execute.execute(path)[1]
    subprocess.run(["git", "init", "--quiet", root], check=True)
    return root


@pytest.mark.slow
def test_the_matrix_names_the_setting_and_the_cell_that_differs(project, capsys):
    settings = [matrix.Setting("as here"), matrix.Setting("2 threads", {"OMP_NUM_THREADS": "2"})]
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    assert matrix.main([], project, settings) == 1
    held, differing, where = capsys.readouterr().out.splitlines()[1:]
    assert re.fullmatch(r"as here +1 +\d+   holds", held) and re.fullmatch(r"2 threads +1 +\d+   differs", differing)
    assert where.strip() == f"{Path('book', '01-small.ipynb')}: differs at code cell 2"
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
    assert matrix.main(["01"], project, settings[:1]) == 0


@pytest.mark.slow
def test_the_matrix_says_which_cell_fails_in_a_setting(project, capsys):
    path = project / "book" / "01-small.ipynb"
    path.write_text(path.read_text("utf-8").replace("['OMP_NUM_THREADS']", "['NO_SUCH']"), "utf-8")
    assert matrix.main([], project, [matrix.Setting("as here")]) == 1
    assert "01-small.ipynb: not stored, code cell 2 fails" in capsys.readouterr().out


@pytest.mark.slow
def test_the_matrix_runs_live_cells_on_the_gpu_and_compares_the_rest(project, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    path = project / "book" / "01-small.ipynb"
    path.write_text(path.read_text("utf-8").replace("print(1)", r"x = dict(device=\"cpu\")\nprint(len(x))"), "utf-8")
    assert execute.execute(path)[1]
    settings = [matrix.Setting("GPU", cuda=True)]
    assert matrix.main([], project, settings) == 0
    path.write_text(path.read_text("utf-8").replace("len(x)", "len(x['device'])"), "utf-8")
    assert execute.execute(path)[1]
    assert matrix.main([], project, settings) == 1
    assert "differs at code cell 1" in capsys.readouterr().out


def test_the_matrix_executes_with_the_copys_module_or_not_at_all(project):
    shutil.rmtree(project / "focalbook")
    with pytest.raises(SystemExit, match="the copy's focalbook is not the one that is imported"):
        matrix.main([], project, [matrix.Setting("as here")])


@pytest.mark.parametrize(
    "setting, why",
    [
        (matrix.Setting("CPU avx512", cpu="AVX512"), "this CPU has AVX2 at most"),
        (matrix.Setting("Python 9.9", python="9.9"), "there is no Python 9.9 here"),
        (matrix.Setting("Klingon", {"LC_ALL": "tlh_QO.UTF-8"}), "there is no locale tlh_QO.UTF-8 here"),
        (matrix.Setting("GPU", cuda=True), "there is no GPU here"),
    ],
)
def test_the_matrix_skips_what_this_machine_cannot_offer(tmp_path, monkeypatch, capsys, setting, why):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert matrix.main([], tmp_path, [setting]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"skipped: {why}")


def test_the_matrix_has_every_setting_that_is_promised():
    named = {setting.python for setting in matrix.SETTINGS} | {
        setting.environment.get("ATEN_CPU_CAPABILITY") for setting in matrix.SETTINGS
    }
    assert named >= {"3.11", "3.12", "3.13", "default", "avx2", "avx512"}


def package(name, version, *needs):
    return {"metadata": {"name": name, "version": version, "requires_dist": list(needs)}}


INSTALLED = [
    package("focalbook", "0.1.0", "numpy>=1.26", "torch>=2.6"),
    package("numpy", "2.4.6"),
    package("torch", "2.13.0+cpu", "sympy>=1.13", "jinja2", "nvidia-nccl-cu12==2.27; platform_system == 'Linux'"),
    package("sympy", "1.14.0", "mpmath<1.4,>=1.1.0"),
    package("nvidia-nccl-cu12", "2.27.3"),
    package("mpmath", "1.3.0"),
    package("jupyter-book", "1.0.4.post1", "Jinja2", "PyYAML", 'sympy; extra == "testing"'),
    package("Jinja2", "3.1.6", "MarkupSafe>=2.0"),
    package("MarkupSafe", "3.0.4"),
    package("PyYAML", "6.0.3"),
    package("jupyterlab", "4.6.6"),
    package("arrow", "1.4.0"),  # by an extra, of nothing that is seen
    package("pip", "23.2.1"),
]
DIRECT = "# pins\n-c constraints.txt\n-e .\njupyter_book==1.0.4.post1\nnumpy==2.4.6  # exactly\ntorch==2.13.0\n"


def test_the_renewed_constraints_are_what_is_neither_pinned_nor_only_torchs():
    text = renew.constraints(INSTALLED, renew.pins(DIRECT))
    assert text.startswith(renew.HEADER)
    expected = "arrow==1.4.0 Jinja2==3.1.6 jupyterlab==4.6.6 MarkupSafe==3.0.4 PyYAML==6.0.3"
    assert text.removeprefix(renew.HEADER).split() == expected.split()


def test_the_constraints_of_today_have_the_header_and_the_order_of_renewed_ones():
    text = renew.CONSTRAINTS.read_text("utf-8")
    lines = text.removeprefix(renew.HEADER).splitlines()
    assert text.startswith(renew.HEADER) and lines == sorted(lines, key=str.lower)
    assert len(renew.pins(text)) == len(lines)


def test_what_changes_is_named_line_by_line():
    before, after = "# head\nPyYAML==6.0.2\nzipp==1\nsame==1\n", "pyyaml==6.0.3\nsame==1\narrow==1.4.0\n"
    assert list(renew.changes(before, after)) == ["arrow: new -> 1.4.0", "pyyaml: 6.0.2 -> 6.0.3", "zipp: 1 -> gone"]


@pytest.mark.parametrize("status", [0, 1])
def test_the_constraints_are_renewed_only_if_all_holds_with_them(tmp_path, monkeypatch, capsys, status):
    for name, content in (("REQUIREMENTS", DIRECT), ("CONSTRAINTS", "PyYAML==6.0.2\n")):
        monkeypatch.setattr(renew, name, tmp_path / name)
        (tmp_path / name).write_text(content, "utf-8")
    candidate = tmp_path / "constraints.txt"
    monkeypatch.setattr(renew, "FOLDER", tmp_path)
    monkeypatch.setattr(renew, "install", lambda: INSTALLED)
    monkeypatch.setattr(renew.subprocess, "call", lambda command, cwd: status)
    assert renew.main() == status
    said = capsys.readouterr().out
    assert "pyyaml: 6.0.2 -> 6.0.3" in said
    assert candidate.exists() == bool(status) == (str(candidate) in said)
    assert (renew.CONSTRAINTS.read_text("utf-8") == "PyYAML==6.0.2\n") == bool(status)
