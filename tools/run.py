"""Re-execute the notebooks and store their outputs: the same bytes when nothing has changed.

    python -m tools.run            every notebook of the book
    python -m tools.run 04         those whose name starts so, and their exercises

A notebook that fails, or writes to stderr, keeps its stored outputs; the exit status is then 1.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from focalbook.files import cure, write
from tools.notebooks import BOOK, Failed, as_executed, chosen, outputs_of, parsed, text_of


def run(path: Path) -> tuple[str, bool]:
    """Execute one notebook and store it; return what to say of it, and whether that is good."""
    try:
        before = text_of(path)
        notebook = parsed(before)
        after = as_executed(notebook, outputs_of(notebook, path.parent))
        if text_of(path) != before:
            raise Failed("it was changed while it ran: run it again")
        if after == before:
            return f"{path.name}: unchanged", True
        write(path, after)
    except Failed as reason:
        return f"{path.name}: not stored, {reason}", False
    except OSError as error:
        return f"{path.name}: not stored, {cure(error)}", False
    return f"{path.name}: stored new outputs", True


def main(prefixes: list[str]) -> int:
    paths = chosen(BOOK, prefixes)
    if not paths:
        return 1
    good = True
    # The work is done in the kernels. They end with this one process, whatever ends it: nothing lives on to store.
    with ThreadPoolExecutor(min(len(paths), os.cpu_count() or 1)) as pool:
        try:
            for message, fine in pool.map(run, paths):
                print(message, flush=True)
                good &= fine
        except KeyboardInterrupt:
            os._exit(130)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
