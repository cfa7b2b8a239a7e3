"""make test-matrix: the notebooks executed elsewhere, and what differs there named."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from tasks import ROOT
from tools import matrix, run


@pytest.fixture
def project(tmp_path, notebook):
    """A project of one notebook, as git sees it, whose outputs are stored."""
    shutil.move(notebook("print(1)", "import os\nprint(os.environ['OMP_NUM_THREADS'])"), tmp_path / "stored.ipynb")
    root = tmp_path / "root"
    for name in (
        "tasks.py",
        "tools/__init__.py",
        "tools/run.py",
        "tools/notebooks.py",
        "focalbook/__init__.py",
        "focalbook/files.py",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    path = root / "book" / "01-small.ipynb"
    path.parent.mkdir()
    shutil.move(tmp_path / "stored.ipynb", path)
    assert run.run(path)[1]
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
    assert run.run(path)[1]
    settings = [matrix.Setting("GPU", cuda=True)]
    assert matrix.main([], project, settings) == 0
    path.write_text(path.read_text("utf-8").replace("len(x)", "len(x['device'])"), "utf-8")
    assert run.run(path)[1]
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
