"""Verify the notebooks: run every cell, compare every byte that is stored, and say so in a table and as JSON.

    python -m tools.verify             every notebook of the book, and what belongs to none
    python -m tools.verify 04          those whose name starts so, and their exercises

A notebook holds if executing it gives the stored bytes, and if its file has none of the faults that no execution tells.
The table goes to the screen, the same as JSON to ``_build/verified.json``. What held is stamped in
``book/verified.json`` with the date, the device and the versions: the pages of the site show that. What did not hold
is shown as a difference, keeps its old stamp, and makes the exit status 1.
"""

import datetime
import json
import os
import platform
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import torch

from focalbook.files import cure, write
from tasks import ROOT
from tools import faults
from tools.faults.stamps import STAMPS, fingerprint, stamped
from tools.notebooks import Failed, as_executed, chosen, code_cells, differences, outputs_of, parsed, text_of

REPORT = Path("_build", "verified.json")


def verified(root: Path, path: Path) -> dict[str, str]:
    """What does not hold of a notebook, by code cell and of "the file"; nothing where all of it does."""
    try:
        stored = text_of(path)
        notebook = parsed(stored)
        named = faults.of_notebook(root, path)
        found = differences(stored, as_executed(notebook, outputs_of(notebook, path.parent)))
    except Failed as reason:
        return {"the file": str(reason)}
    if named:
        found["the file"] = "\n".join([*named, *filter(None, [found.get("the file")])])
    return found


def count(path: Path) -> dict[str, int]:
    """Code cells, outputs and pictures of a notebook."""
    try:
        cells = code_cells(parsed(text_of(path)))
    except Failed:
        return dict(cells=0, outputs=0, pictures=0)
    outputs = [output for cell in cells for output in cell.outputs]
    pictures = sum(any(kind.startswith("image/") for kind in output.get("data", ())) for output in outputs)
    return dict(cells=len(cells), outputs=len(outputs), pictures=pictures)


def setting() -> dict[str, str]:
    """What the outputs are verified with."""
    versions = dict(python=platform.python_version(), torch=torch.__version__.split("+")[0], numpy=numpy.__version__)
    return dict(date=datetime.date.today().isoformat(), device="CPU", **versions)


def main(prefixes: list[str], root: Path = ROOT) -> int:
    paths = chosen(root / "book", prefixes)
    if not paths:
        return 1
    stamped(root)  # says at once that they are broken, not after the run
    made, rows = setting(), []
    print("{date}, {device}, Python {python}, torch {torch}, NumPy {numpy}".format(**made))
    print(f"{'notebook':<28}{'cells':>6}{'outputs':>9}{'pictures':>10}{'seconds':>9}")

    def row(path: Path) -> dict:
        start, before = time.monotonic(), fingerprint(path)
        bad = verified(root, path)
        seconds = round(time.monotonic() - start, 1)
        return dict(notebook=path.stem, **count(path), seconds=seconds, differences=bad, content=before, **made)

    with ThreadPoolExecutor(min(len(paths), os.cpu_count() or 1)) as pool:
        try:
            for found in pool.map(row, paths):
                numbers = "{notebook:<28}{cells:>6}{outputs:>9}{pictures:>10}{seconds:>9}".format(**found)
                print(numbers, "  differs" if found["differences"] else "  holds", flush=True)
                rows.append(found)
        except KeyboardInterrupt:
            os._exit(130)
    for found in rows:
        for place, difference in found["differences"].items():
            print(f"\n{found['notebook']}, {place}\n{difference}")
    whole = [] if prefixes else faults.of_book(root)
    print(*(f"\nthe book\n{fault}" for fault in whole), sep="\n", end="\n" if whole else "")
    return max(store(root, rows, made), int(bool(whole) or any(found["differences"] for found in rows)))


def store(root: Path, rows: list[dict], made: dict[str, str]) -> int:
    """Write the report, and the stamps of what held; returns the exit status."""
    stamps, there = stamped(root), {path.stem for path in chosen(root / "book", ())}
    stamps |= {row["notebook"]: dict(made, content=row["content"]) for row in rows if not row["differences"]}
    contents = {REPORT: rows, STAMPS: {name: stamps[name] for name in sorted(stamps) if name in there}}
    try:
        for path, content in contents.items():
            write(root / path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        print(f"\nnot stored: {cure(error)}")
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ValueError as error:
        sys.exit(str(error))
