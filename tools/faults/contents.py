"""Faults of the contents: notebooks that they do not name in their order, and figures without a name of their own."""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from tools.faults.notebooks import code_cells, markdown, read


def faults(root: Path) -> Iterator[str]:
    """What is wrong with the contents of the project in this folder."""
    paths = sorted((root / "book").glob("*.ipynb"))
    toc = yaml.safe_load((root / "_toc.yml").read_text("utf-8"))
    listed = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    listed = [name for name in listed if re.match(r"book/\d\d-", name)]
    there = [f"book/{path.stem}" for path in paths]
    yield from (f"in the contents, but there is no notebook {name}" for name in listed if name not in there)
    yield from (f"not in the contents: {name}" for name in there if name not in listed)
    if listed != there and sorted(listed) == sorted(there):
        yield "the contents name the notebooks in another order"
    notebooks = list(map(read, paths))
    cells = [cell["metadata"].get("mystnb", {}) for notebook in notebooks for cell in code_cells(notebook)]
    names = [settings["figure"]["name"] for settings in cells if "figure" in settings]
    yield from (f"two figures are called {name}" for name in sorted(set(names)) if names.count(name) > 1)
    prose = "\n".join(part for notebook in notebooks for part in markdown(notebook))
    referred = re.findall(r"\{numref\}`(?:[^`<]*<)?(fig-[\w-]+)", prose)
    yield from (f"no figure is called {name}" for name in sorted(set(referred) - set(names)))
