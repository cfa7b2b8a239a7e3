"""Write the exercises without their solutions, by nbgrader: ``course/exercises``, one folder a chapter.

    python -m tools.student            every chapter's
    python -m tools.student 04         those whose name starts so

What is there already is kept, because somebody may have worked in it.
"""

import os
import sys
from pathlib import Path

from nbgrader.apps import NbGraderAPI
from traitlets.config import PyFileConfigLoader

from focalbook.files import cure

ROOT = Path(__file__).resolve().parent.parent  # the project that this file lies in: a copy of it is a course too
SOURCE = Path("book", "exercises")


def write(root, prefixes):
    """Release what is missing; return the names written, those kept, and the errors by name."""
    # nbgrader calls alembic by its bare name, which lies beside this Python.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    api = NbGraderAPI(config=PyFileConfigLoader("nbgrader_config.py", path=str(root)).load_config())
    api.coursedir.root = str(root)
    written, kept, errors = [], [], {}
    # A folder without a notebook is what git leaves of a chapter that has moved, where an editor kept something in it.
    for folder in sorted({page.parent for page in (root / SOURCE).glob("*/*.ipynb")}):
        if not folder.name.startswith(tuple(prefixes)):
            continue
        if any(Path(api.coursedir.format_path(api.coursedir.release_directory, ".", folder.name)).glob("*.ipynb")):
            kept.append(folder.name)
            continue
        done = api.generate_assignment(folder.name, create=True)
        if done["success"]:
            written.append(folder.name)
        else:
            errors[folder.name] = done["log"].strip()
    return written, kept, errors


def main(prefixes):
    try:
        (ROOT / "course").mkdir(exist_ok=True)
        written, kept, errors = write(ROOT, prefixes or [""])
    except OSError as error:
        sys.exit(f"nothing written: {cure(error)}")
    if written:
        print(f"written without solutions to course/exercises: {', '.join(written)}")
    if kept:
        print(f"there already and kept: {', '.join(kept)} (move one away to have it made again)")
    for name, error in errors.items():
        print(f"{name} could not be made:\n{error}")
    if not (written or kept or errors):
        print(f"no folder in {SOURCE} starts with {' or '.join(prefixes)}")
    return int(bool(errors) or not (written or kept))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
