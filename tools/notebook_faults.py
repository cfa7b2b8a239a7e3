"""Name the faults of the notebooks' files in some seconds, without running a cell: before each commit.

    python -m tools.notebook_faults             every notebook of the book
    python -m tools.notebook_faults 04          those whose name starts so, and their exercises

What only an execution tells is left to ``make verify``.
"""

import json
import sys
from typing import Any

from tasks import ROOT
from tools.faults import notebooks, of_notebook
from tools.notebooks import chosen, left_as_it_runs, text_of


def faults(notebook: dict[str, Any]) -> list[str]:
    """What is wrong with a notebook, as JSON has it, whatever book it is of."""
    return [*notebooks.faults(notebook), *left_as_it_runs(json.dumps(notebook))]


def main(prefixes: list[str]) -> int:
    paths = chosen(ROOT / "book", prefixes)
    named = ((path, [*left_as_it_runs(text_of(path)), *of_notebook(ROOT, path)]) for path in paths)
    found = [f"{path.name}: {fault}" for path, faults_of_it in named for fault in faults_of_it]
    print(*found, sep="\n", end="\n" if found else "")
    return int(bool(found) or not paths)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
