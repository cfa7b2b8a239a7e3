"""Verify the notebooks: run every cell, compare every output to the letter, and say so in a table and as JSON.

    python tools/verify.py             every notebook of the book
    python tools/verify.py 04          those whose name starts so, and their exercises

The table goes to the screen, the same as JSON to ``_build/verified.json``. What held is stamped in
``book/verified.json`` with the date, the device and the versions: the pages of the site show that. What did not hold
is shown as a difference, keeps its old stamp, and makes the exit status 1.
"""

import datetime
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy
import torch
from execute import SECONDS, chosen
from notebook_faults import exercise_faults, faults, read

from focalbook.files import cure, write

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
STAMPS, REPORT = BOOK / "verified.json", ROOT / "_build" / "verified.json"
ON_THE_CPU = dict(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
COLOR = re.compile(r"(?:\x1b|#x1B)\[\d*m")
NBVAL = [
    *("--nbval", "--nbval-current-env", f"--nbval-cell-timeout={SECONDS}", "-n", "2", "--dist", "loadfile"),
    *("-q", "--no-header", "--no-summary", "-p", "no:cacheprovider"),
]
SILENT = "Failed to interrupt kernel"  # what nbval says of a kernel that no longer answers


def fingerprint(path):
    """A hash of what verification holds a notebook to: the sources and outputs of its code cells."""
    held = [[cell["source"], cell["outputs"]] for cell in code_cells(path)]
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:16]


def number(path):
    """The chapter that a notebook is, or is of."""
    return path.stem.removeprefix("exercises-")[:2]


def code_cells(path):
    try:
        return [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]
    except ValueError:
        sys.exit(f"{path.name} is not a notebook: restore it, git checkout has it")


def count(path):
    """Code cells, outputs and pictures of a notebook."""
    cells = code_cells(path)
    outputs = [output for cell in cells for output in cell["outputs"]]
    pictures = sum(any(kind.startswith("image/") for kind in output.get("data", ())) for output in outputs)
    return dict(cells=len(cells), outputs=len(outputs), pictures=pictures)


def run(paths):
    """Run and compare; returns for each notebook its seconds and the differences, texts by cell."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "junit.xml")
        command = [sys.executable, "-m", "pytest", *NBVAL, f"--junitxml={report}", *map(str, paths)]
        environment = dict(os.environ, **ON_THE_CPU)
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
        if not report.exists():
            said = done.stdout.decode(errors="replace").strip().splitlines() or ["it was killed"]
            reason = next((line for line in said if "error: " in line and "usage: " not in line), said[-1])
            sys.exit(f"nothing was verified, pytest could not run: {reason}")
        cases = list(ElementTree.parse(report).iter("testcase"))
    found = {}
    for path in paths:
        mine = [case for case in cases if case.get("classname", "").endswith(path.name)]
        problems = [(case.get("name"), one) for case in mine for one in case if one.tag != "system-out"]
        bad = {name: COLOR.sub("", one.text or "it was never run") for name, one in problems}
        for name in [name for name, text in bad.items() if SILENT in text]:
            bad[name] += f"the kernel died or hangs: python3 tasks.py run {number(path)} says which"
        order = [cell["execution_count"] for cell in code_cells(path)]
        if order != list(range(1, len(mine) + 1)):  # a cell without outputs and count would pass unseen
            bad["the notebook"] = f"{len(mine)} cells were run, and those stored had been run in the order {order}"
        named = exercise_faults(read(path)) if path.stem.startswith("exercises-") else faults(read(path))
        if named:  # what nbval lets through
            bad["the file"] = "\n".join(named)
        found[path.stem] = sum(float(case.get("time")) for case in mine), bad
    return found


def main(prefixes):
    paths = chosen(BOOK, prefixes)
    if not paths:
        return 1
    setting = dict(
        date=datetime.date.today().isoformat(),
        device="CPU",
        python=platform.python_version(),
        torch=torch.__version__.split("+")[0],
        numpy=numpy.__version__,
    )
    stamped()  # says at once that they are broken, not after the run
    before, results = {path: fingerprint(path) for path in paths}, run(paths)
    stamps = stamped()
    print("{date}, {device}, Python {python}, torch {torch}, NumPy {numpy}".format(**setting))
    print(f"{'notebook':<28}{'cells':>6}{'outputs':>9}{'pictures':>10}{'seconds':>9}")
    rows = []
    for path, (seconds, bad) in zip(paths, results.values()):
        rows.append(dict(notebook=path.stem, **count(path), seconds=round(seconds, 1), differences=bad, **setting))
        numbers = "{cells:>6}{outputs:>9}{pictures:>10}{seconds:>9}".format(**rows[-1])
        print(f"{path.stem:<28}{numbers}   {'differs' if bad else 'holds'}")
        if not bad:
            stamps[path.stem] = dict(setting, content=before[path])
    for row in rows:
        for cell, difference in row["differences"].items():
            print(f"\n{row['notebook']}, {cell}\n{difference}")
    try:
        store(REPORT, rows)
        there = {path.stem for path in chosen(BOOK, ())}
        store(STAMPS, {name: stamps[name] for name in sorted(stamps) if name in there})
    except OSError as error:
        print(f"\nnot stored: {cure(error)}")
        return 1
    return int(any(row["differences"] for row in rows))


def stamped():
    """The stamps so far."""
    try:
        return json.loads(STAMPS.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        sys.exit(f"{STAMPS} is broken: delete it, then make verify writes it anew")


def store(path, content):
    write(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
