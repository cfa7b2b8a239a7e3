"""Colab, as far as it can be had here: a Python that has torch and not the book, and the README's first cell."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import nbformat
import pytest
from jupyter_client import KernelManager
from nbclient import NotebookClient

from focalbook import experiments
from tasks import ROOT

NEXT = """import torch
from focalbook.losses import sigmoid_focal_loss

loss = sigmoid_focal_loss(torch.zeros(1), torch.ones(1), alpha=0.25, gamma=2.0, reduction="sum")
print(f"{loss.item():.4f}")"""
RECORDS = """from focalbook import experiments

print(len(experiments.load_study("verdict")))"""


@pytest.fixture
def address(tmp_path):
    """A repository with the files of the book as they are now, to clone without a network."""
    for name in ("focalbook", "book"):
        shutil.copytree(ROOT / name, tmp_path / "served" / name, ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-C", tmp_path / "served", "-c", "user.name=book", "-c", "user.email=book@localhost"]
    for command in (["init"], ["add", "."], ["-c", "commit.gpgsign=false", "commit", "-m", "the book"]):
        subprocess.run([*git, *command, "--quiet"] if command != ["add", "."] else [*git, *command], check=True)
    return tmp_path / "served"


@pytest.fixture
def colab(tmp_path):
    """Runs cells in one fresh kernel, in an empty folder; gives what each printed."""
    venv.create(tmp_path / "python", symlinks=True)
    (site,) = (tmp_path / "python").glob("lib/python*/site-packages")
    (site / "colab.pth").write_text(sysconfig.get_path("purelib"), "utf-8")  # whose own .pth files are not read
    (tmp_path / "content").mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*sources):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        kernel = KernelManager(kernel_name="python3")
        kernel.kernel_spec.argv[0] = str(tmp_path / "python" / "bin" / "python")
        resources = {"metadata": {"path": str(tmp_path / "content")}}
        NotebookClient(notebook, km=kernel, timeout=300, resources=resources).execute(cleanup_kc=True, env=environment)
        return ["".join(output.get("text", "") for output in cell.outputs) for cell in notebook.cells]

    return run


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Colab runs on Linux, and its cell is for a shell")
def test_after_the_cell_that_the_readme_gives_for_colab_the_next_ones_compute_a_loss_and_find_the_records(
    address, colab
):
    (line,) = re.findall(r"`(!git clone URL[^`]*)`", Path(ROOT, "README.md").read_text("utf-8").replace("\n", " "))
    before = "import importlib.util\nprint(importlib.util.find_spec('focalbook'))"
    there, _, loss, records = colab(before, line.replace("URL", str(address)), NEXT, RECORDS)
    assert there == "None\n"
    assert loss == "0.0433\n"  # 0.25 * 0.5**2 * ln 2
    assert records == f"{len(experiments.load_study('verdict'))}\n"
