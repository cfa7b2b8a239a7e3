"""Re-execute the notebooks as other people would, and compare the bytes they store.

    python -m tools.matrix             every notebook of the book, in every setting
    python -m tools.matrix 01 04       those whose name starts so

Each setting has a copy of the project in a folder of its own, another user name and its own environment. A notebook
holds if executing it there stores the same bytes; otherwise the table names the code cell that differs, and the exit
status is 1. A setting that this machine cannot offer is skipped with a line that says why.
"""

import json
import locale
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from tasks import REQUIREMENTS, ROOT, python_of
from tools.notebooks import ENVIRONMENT

VENVS = ROOT / "_build" / "matrix"
PIP = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet")
PINNED = (*(name for name, *_ in REQUIREMENTS), "constraints.txt")
GPU = {key: value for key, value in os.environ.items() if key == "CUDA_VISIBLE_DEVICES"}


@dataclass(frozen=True)
class Setting:
    """One way to execute the book: what is set in the environment, and what it takes."""

    name: str
    environment: dict = field(default_factory=dict)
    cpu: str = "DEFAULT"
    python: str = ""
    cuda: bool = False


SETTINGS = (
    Setting("locale C", {"LC_ALL": "C", "LANG": "C"}),
    Setting("Turkish", {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"}),
    Setting("Kathmandu", {"TZ": "Asia/Kathmandu"}),
    # Passive: on busy cores, threads that spin while they wait take many times as long.
    Setting("2 threads", {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}),
    Setting("CPU default", {"ATEN_CPU_CAPABILITY": "default"}),
    Setting("CPU avx2", {"ATEN_CPU_CAPABILITY": "avx2"}, cpu="AVX2"),
    Setting("CPU avx512", {"ATEN_CPU_CAPABILITY": "avx512"}, cpu="AVX512"),
    Setting("Python 3.11", python="3.11"),
    Setting("Python 3.12", python="3.12"),
    Setting("Python 3.13", python="3.13"),
    Setting("GPU", {"CUDA_VISIBLE_DEVICES": "0"} | GPU, cuda=True),
)
ON_THE_CPU, ON_THE_GPU = b'device=\\"cpu\\"', b'device=\\"cuda\\"'  # as live chapters say it, in a notebook's file


class Skip(Exception):
    """What this machine lacks for a setting."""


def require(setting):
    """Raise ``Skip`` where this machine has not got what a setting takes."""
    before = locale.setlocale(locale.LC_ALL)
    name = setting.environment.get("LC_ALL", "C")
    try:
        locale.setlocale(locale.LC_ALL, name)
    except locale.Error:
        raise Skip(f"there is no locale {name} here") from None
    finally:
        locale.setlocale(locale.LC_ALL, before)
    levels = ("DEFAULT", "AVX2", "AVX512")
    has = torch.backends.cpu.get_cpu_capability()
    if setting.cpu != "DEFAULT" and (has not in levels or levels.index(has) < levels.index(setting.cpu)):
        raise Skip(f"this CPU has {has} at most")
    if setting.cuda and not torch.cuda.is_available():
        raise Skip("there is no GPU here")


def python_for(setting):
    """The Python that executes a setting: this one, or that of a virtual environment made for its version."""
    if not setting.python:
        return sys.executable
    folder = VENVS / setting.python
    python = python_of(folder)
    stamp, wanted = folder / "installed", "".join((ROOT / name).read_text("utf-8") for name in PINNED)
    if not (stamp.exists() and stamp.read_text("utf-8") == wanted):
        print(f"installing for Python {setting.python}: a few minutes, once", flush=True)
        steps = [[installed(setting.python), "-m", "venv", "--clear", folder]]
        steps += [[python, *PIP, *options, "-r", name] for name, *options in REQUIREMENTS]
        try:
            for step in steps:
                subprocess.run(step, cwd=ROOT, check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise Skip(f"the installation failed: {reason}") from None
        stamp.write_text(wanted, "utf-8")
    return str(python)


def installed(version):
    """The Python of this version on the path, or among pyenv's."""
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    for python in (shutil.which(f"python{version}"), *pyenv):
        if python and not subprocess.run([python, "-c", "import venv, ensurepip"], capture_output=True).returncode:
            return python
    raise Skip(f"there is no Python {version} here")


def copy(root, to):
    """Copy the project as git sees it: what it tracks, and what it would."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=root, capture_output=True, check=True
    )
    for name in listed.stdout.decode().split("\0"):
        if (root / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, to / name)


def check(root, setting, prefixes):
    """Execute the notebooks of a copy; returns how many, and a line for each that differs."""
    require(setting)
    python = python_for(setting)
    with tempfile.TemporaryDirectory(prefix="a book é ") as folder:
        project, home = Path(folder, "project"), Path(folder, "home")
        home.mkdir()
        copy(root, project)
        someone = {"HOME": str(home), "USERPROFILE": str(home), "USER": "zoë", "LOGNAME": "zoë", "USERNAME": "zoë"}
        environment = os.environ | ENVIRONMENT | someone | {"PYTHONPATH": str(project)} | setting.environment
        require_copy(python, project, environment)
        before = {path: path.read_bytes() for path in sorted(project.rglob("*.ipynb"))}
        if setting.cuda:
            for path, content in before.items():
                path.write_bytes(content.replace(ON_THE_CPU, ON_THE_GPU))
        command = [python, "-m", "tools.run", *prefixes]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, encoding="utf-8")
        executed = [line for line in done.stdout.splitlines() if ".ipynb: " in line]
        bad = [line for line in executed if not line.endswith((": unchanged", ": stored new outputs"))]
        for path, content in before.items():
            after = path.read_bytes().replace(ON_THE_GPU, ON_THE_CPU)
            if after != content:
                bad.append(f"{path.relative_to(project)}: {difference(content, after)}")
        if done.returncode and not bad:
            bad = [line for line in (done.stdout + done.stderr).splitlines() if line][-1:]
        return len(executed), bad


def require_copy(python, project, environment):
    """The module that a kernel imports is the copy's, though an installation points to the original.

    Also builds matplotlib's font cache for the new user: it would say so on stderr, in a notebook.
    """
    ask = "import focalbook, matplotlib.font_manager; print(focalbook.__file__)"
    command = [python, "-c", ask]
    done = subprocess.run(command, cwd=project / "book", env=environment, capture_output=True, encoding="utf-8")
    imported, wanted = Path(done.stdout.strip()), project / "focalbook" / "__init__.py"
    if done.returncode or imported.resolve() != wanted.resolve():
        sys.exit(f"the copy's focalbook is not the one that is imported: {done.stdout}{done.stderr}")


def difference(one, other):
    """Which code cell differs first between the bytes of two notebooks."""
    pair = ([cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"] for text in (one, other))
    for number, (old, new) in enumerate(zip(*pair), start=1):
        if old != new:
            return f"differs at code cell {number}"
    return "differs outside the code cells"


def main(prefixes, root=ROOT, settings=SETTINGS):
    print(f"{'setting':<22}{'notebooks':>9}{'seconds':>9}")
    good = True
    for setting in settings:
        start = time.monotonic()
        try:
            executed, bad = check(root, setting, prefixes)
        except Skip as reason:
            print(f"{setting.name:<22}{'':>18}   skipped: {reason}", flush=True)
            continue
        print(f"{setting.name:<22}{executed:>9}{time.monotonic() - start:>9.0f}   {'differs' if bad else 'holds'}")
        for line in bad:
            print(f"    {line}", flush=True)
        good &= not bad
    return int(not good)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
