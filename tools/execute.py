"""Re-execute the notebooks and store their outputs: the same bytes when nothing has changed.

    python tools/execute.py            every notebook of the book
    python tools/execute.py 04         those whose name starts so

Nothing that changes from run to run is stored: no timings, no versions, no order of stream pieces. A notebook that
fails, or writes to stderr, keeps its stored outputs; the exit status is then 1.
"""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

BOOK = Path(__file__).resolve().parent.parent / "book"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(path):
    """Execute one notebook and store it; return what to say of it, and whether that is good."""
    before = path.read_text("utf-8")
    notebook = nbformat.reads(before, as_version=4)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=1200,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        return f"{path.name}: not stored, a cell failed\n{error}", False
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells, start=1):
        # JupyterLab leaves marks of its own (collapsed, scrolled, ...); figures keep their captions.
        cell.metadata = nbformat.from_dict({key: cell.metadata[key] for key in cell.metadata if key == "mystnb"})
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr":
                return f"{path.name}: not stored, cell {number} writes to stderr:\n{output.text}", False
    after = nbformat.writes(notebook) + "\n"
    if after == before:
        return f"{path.name}: unchanged", True
    beside = path.with_suffix(".part")
    beside.write_text(after, "utf-8", newline="\n")
    os.replace(beside, path)
    return f"{path.name}: stored new outputs", True


def chosen(book, prefixes):
    """The notebooks of a folder whose names start so, all without a prefix; says so if there are none."""
    paths = [p for p in sorted(book.glob("*.ipynb")) if not prefixes or p.name.startswith(tuple(prefixes))]
    if not paths:
        print(f"no notebook in {book} starts with {' or '.join(prefixes)}")
    return paths


def main(prefixes):
    paths = chosen(BOOK, prefixes)
    if not paths:
        return 1
    good = True
    with ProcessPoolExecutor(min(len(paths), os.cpu_count() or 1)) as pool:
        for message, fine in pool.map(execute, paths):
            print(message, flush=True)
            good &= fine
    return int(not good)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
