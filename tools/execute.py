"""Re-execute the notebooks and store their outputs: the same bytes when nothing has changed.

    python tools/execute.py            every notebook of the book
    python tools/execute.py 04         those whose name starts so, and their exercises

Nothing that changes from run to run is stored: no timings, no versions, no order of stream pieces. A notebook that
fails, or writes to stderr, keeps its stored outputs; the exit status is then 1.
"""

import atexit
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import NoSuchKernel, get_kernel_spec
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

from focalbook.files import cure, write

BOOK = Path(__file__).resolve().parent.parent / "book"
SECONDS = 1200  # a cell that takes longer hangs
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(path):
    """Execute one notebook and store it; return what to say of it, and whether that is good."""
    try:
        before = path.read_text("utf-8")
        after, problem = executed(nbformat.reads(before, as_version=4), path.parent)
        if problem:
            return f"{path.name}: not stored, {problem}", False
        if path.read_text("utf-8") != before:
            return f"{path.name}: not stored, it was changed while it ran: run it again", False
        if after == before:
            return f"{path.name}: unchanged", True
        write(path, after)
    except OSError as error:
        return f"{path.name}: not stored, {cure(error)}", False
    except ValueError as error:
        return f"{path.name}: not a notebook ({str(error)[:60]!r}): restore it, git checkout has it", False
    return f"{path.name}: stored new outputs", True


def executed(notebook, folder):
    """Execute a notebook in a folder; returns the text to store, and what is wrong, one of them None."""
    started = []
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=SECONDS,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
        on_cell_execute=lambda cell, cell_index: started.append(cell),
    )
    try:
        get_kernel_spec("python3")
        client.execute()
    except NoSuchKernel:
        return None, "the Python kernel is missing: make clean, then the same command installs it again"
    except CellTimeoutError:
        return None, f"code cell {len(started)} took more than {SECONDS} s: make it shorter"
    except CellExecutionError as error:
        return None, f"code cell {len(started)} fails: mend it and run it again\n{error}"
    except RuntimeError:  # nbclient's for a kernel that died
        where = f"in code cell {len(started)}" if started else "before its first cell"
        atexit.unregister(client._cleanup_kernel)  # of one that never started it would complain
        return None, f"the kernel died {where}: is there enough memory? run it again"
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        # JupyterLab leaves marks of its own (collapsed, scrolled, ...). Figures keep their captions, exercises what is
        # a solution and what a check.
        kept = ("mystnb", "nbgrader", "tags") if "nbgrader" in cell.metadata else ("mystnb",)
        cell.metadata = nbformat.from_dict({key: cell.metadata[key] for key in kept if key in cell.metadata})
    for number, cell in enumerate(started, start=1):
        for output in cell.outputs:
            if output.get("name") == "stderr":
                return None, f"code cell {number} writes to stderr: mend it and run it again\n{output.text}"
    return nbformat.writes(notebook) + "\n", None


def chosen(book, prefixes):
    """The chapters of a book and their exercises whose numbers start so, all without; says so if there are none."""
    paths = [*sorted(book.glob("*.ipynb")), *sorted(book.glob("exercises/*/*.ipynb"))]
    paths = [path for path in paths if path.stem.removeprefix("exercises-").startswith(tuple(prefixes) or "")]
    if not paths:
        print(f"no notebook in {book} starts with {' or '.join(prefixes)}")
    return paths


def main(prefixes):
    paths = chosen(BOOK, prefixes)
    if not paths:
        return 1
    good = True
    # The work is done in the kernels. They end with this one process, whatever ends it: nothing lives on to store.
    with ThreadPoolExecutor(min(len(paths), os.cpu_count() or 1)) as pool:
        try:
            for message, fine in pool.map(execute, paths):
                print(message, flush=True)
                good &= fine
        except KeyboardInterrupt:
            os._exit(130)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
