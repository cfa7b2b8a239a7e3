"""Whether a notebook, executed, gives the stored bytes: the one comparison behind make run, make verify and the tests.

``outputs_of`` executes the cells, ``as_executed`` writes the notebook with their outputs as ``make run`` stores it, and
``differences`` says where that is not what is stored. Nothing that changes from run to run is stored: no timings, no
versions, no order of stream pieces.
"""

import asyncio
import atexit
import copy
import itertools
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import NoSuchKernel, get_kernel_spec
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbformat import NotebookNode

from tasks import ROOT

BOOK = ROOT / "book"
SECONDS = 1200  # a cell that takes longer hangs
ENVIRONMENT = {"FOCALBOOK_QUIET": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
"""What a kernel finds set, unless it is set to something else already."""
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
KEYS = ("cell_type", "execution_count", "id", "metadata", "outputs", "source")
SOLUTION_TAGS = ["hide-input"]  # the only tags of the book: an exercise's solution is folded
LAYOUT = "not laid out as make run stores it: make run lays it out anew"
LONGEST = 300  # characters shown of a difference, which may be a whole figure


class Failed(Exception):
    """Why a notebook could not be executed, with its cure."""


def chosen(book: Path, prefixes: list[str] | tuple[str, ...]) -> list[Path]:
    """The chapters of a book and their exercises whose numbers start so, all without; says so if there are none."""
    paths = [*sorted(book.glob("*.ipynb")), *sorted(book.glob("exercises/*/*.ipynb"))]
    paths = [path for path in paths if path.stem.removeprefix("exercises-").startswith(tuple(prefixes) or "")]
    if not paths:
        print(f"no notebook in {book} starts with {' or '.join(prefixes)}")
    return paths


def text_of(path: Path) -> str:
    """The text of a notebook's file. Raises ``Failed`` for a file that is none."""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise Failed(f"not a notebook ({error}): restore it, git checkout has it") from None


def parsed(text: str) -> NotebookNode:
    """A notebook from its text. Raises ``Failed`` for a text that is none."""
    try:
        return nbformat.reads(text, as_version=4)
    except ValueError as error:
        raise Failed(f"not a notebook ({str(error)[:60]!r}): restore it, git checkout has it") from None


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs_of(notebook: NotebookNode, folder: Path) -> list[list[NotebookNode]]:
    """The outputs of each code cell, from executing all of them in a folder. Raises ``Failed``."""
    started: list[NotebookNode] = []
    client = NotebookClient(
        copy.deepcopy(notebook),
        kernel_name="python3",
        timeout=SECONDS,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
        on_cell_execute=lambda cell, cell_index: started.append(cell),
    )
    try:
        get_kernel_spec("python3")
        # A thread of its own: the caller's may have a loop that runs, as in a notebook or under a browser's driver.
        with ThreadPoolExecutor(1) as own:
            executed = own.submit(lambda: asyncio.run(client.async_execute(env=ENVIRONMENT | os.environ))).result()
    except NoSuchKernel:
        raise Failed("the Python kernel is missing: make clean, then the same command installs it again") from None
    except CellTimeoutError:
        raise Failed(f"code cell {len(started)} took more than {SECONDS} s: make it shorter") from None
    except CellExecutionError as error:
        raise Failed(f"code cell {len(started)} fails: mend it and run it again\n{error}") from None
    except RuntimeError as error:  # what jupyter_client and nbclient say of a kernel that died
        if not str(error).startswith("Kernel "):
            raise
        where = f"in code cell {len(started)}" if started else "before its first cell"
        atexit.unregister(client._cleanup_kernel)  # of one that never started it would complain
        raise Failed(f"the kernel died {where}: is there enough memory? run it again") from None
    outputs = [cell.outputs for cell in code_cells(executed)]
    for number, shown in enumerate(outputs, start=1):
        for output in shown:
            if output.get("name") == "stderr":
                raise Failed(f"code cell {number} writes to stderr: mend it and run it again\n{output.text}")
    return outputs


def as_executed(notebook: NotebookNode, outputs: list[list[NotebookNode]]) -> str:
    """The text that ``make run`` stores: the notebook with these outputs, without what an editor leaves in it."""
    notebook = copy.deepcopy(notebook)
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.cells = [NotebookNode({key: cell[key] for key in KEYS if key in cell}) for cell in notebook.cells]
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict(dict(_kept(cell.metadata)))
    for number, (cell, shown) in enumerate(zip(code_cells(notebook), outputs, strict=True), start=1):
        cell.execution_count, cell.outputs = number, copy.deepcopy(shown)
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number  # nbval's kernel counts none
    return nbformat.writes(notebook) + "\n"


def _kept(metadata: NotebookNode) -> Iterator[tuple[str, object]]:
    """Figures keep their captions, exercises what is a solution and what a check."""
    yield from ((key, metadata[key]) for key in ("mystnb", "nbgrader") if key in metadata)
    if metadata.get("nbgrader", {}).get("solution") and metadata.get("tags") == SOLUTION_TAGS:
        yield "tags", SOLUTION_TAGS


def differences(stored: str, executed: str) -> dict[str, str]:
    """Where the text of a notebook is not that of its execution: differences by code cell, and of "the file"; none if
    they are equal to the last byte. Raises ``Failed`` for a stored text that is no notebook."""
    if stored == executed:
        return {}
    found, old, new = {}, parsed(stored), parsed(executed)
    for number, cells in enumerate(zip(code_cells(old), code_cells(new), strict=True), start=1):
        before, after = (dict(_parts(cell)) for cell in cells)
        names = [name for name in before | after if before.get(name) != after.get(name)]
        if names:
            found[f"code cell {number}"] = "\n".join(_told(name, before.get(name), after.get(name)) for name in names)
    left = _left_by_an_editor(old, new)
    if left or not found:
        found["the file"] = left or LAYOUT
    return found


def left_as_it_runs(stored: str) -> list[str]:
    """What of a notebook's text no execution leaves so, whatever it gives: counts, metadata and, in a file, the layout.

    The layout is not asked for in a text that is no file's: one line, as ``json.dumps`` writes it.
    """
    notebook = parsed(stored)
    found = differences(stored, as_executed(notebook, [cell.outputs for cell in code_cells(notebook)]))
    return [f"{place}: {said}" for place, said in found.items() if "\n" in stored or said != LAYOUT]


def _parts(cell: NotebookNode) -> Iterator[tuple[str, str]]:
    """What there is to see of a code cell's execution, by name."""
    yield "execution count", str(cell.execution_count)
    for number, output in enumerate(cell.outputs, start=1):
        for key, value in (output | output.get("data", {})).items():
            if key != "data":
                yield f"output {number}, {key}", value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _told(name: str, stored: str | None, executed: str | None) -> str:
    """A difference in words: of a part that both have, the lines from the first to the last that differ, cut short."""
    if stored is None or executed is None:
        return f"{name}: {'not stored' if stored is None else 'stored, and no execution gives it'}"
    lines = [text.splitlines(keepends=True) for text in (stored, executed)]
    same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*lines)))
    old, new = (_cut("".join(part[same:])) for part in lines)
    return f"{name}, from line {same + 1}:\n  stored:   {old}\n  executed: {new}"


def _cut(text: str) -> str:
    return repr(text if len(text) < LONGEST else text[:LONGEST] + " ...")


def _left_by_an_editor(stored: NotebookNode, executed: NotebookNode) -> str:
    """Which metadata differs, in words with the cure: JupyterLab and others write their own when they save."""
    pairs = [("the notebook", stored, executed)]
    pairs += [(f"cell {n}", *cells) for n, cells in enumerate(zip(stored.cells, executed.cells), start=1)]
    places = [
        f"{place} ({', '.join(sorted(key for key in old if old.get(key) != new.get(key))) or 'something missing'})"
        for place, old, new in ((place, one.metadata, other.metadata) for place, one, other in pairs)
        if old != new
    ]
    if not places:
        return ""
    where = ", ".join(places)
    return (
        f"metadata that the book does not keep, as an editor leaves it when it saves, in {where}: make run takes it out"
    )
