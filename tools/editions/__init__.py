"""The book's other editions, each made from the sources of the site: ``make pdf epub slides bundle``."""

import shutil
import sys
from pathlib import Path
from typing import Any

from tasks import ROOT

sys.path.append(str(ROOT / "book" / "_ext"))  # formulas, figures and fonts are made as for the site

BUILT = ROOT / "_build"
NAME = "focal-loss-book"
DATE = (2026, 1, 1, 0, 0, 0)  # of every file of an archive: the same files give the same bytes


def build(builder: str, **settings: Any) -> Path:
    """Build the book with another of Sphinx's builders, as ``make book`` builds the site: a warning is an error.

    ``settings`` of Sphinx are added to those of ``_config.yml``. Returns the folder of what was built.
    """
    from jupyter_book.sphinx import build_sphinx

    out = BUILT / builder
    shutil.rmtree(out, ignore_errors=True)
    failed = build_sphinx(
        ROOT,
        out,
        noconfig=True,
        path_config=ROOT / "_config.yml",
        confoverrides={
            "external_toc_path": str(ROOT / "_toc.yml"),
            "nitpicky": True,
            "latex_individualpages": False,
            **settings,
        },
        doctreedir=BUILT / "editions" / "doctrees",
        builder=builder,
        warningiserror=True,
        keep_going=True,
        quiet=True,
    )
    if failed:
        raise SystemExit(f"focalbook: the book could not be built as {builder}, see above")
    return out
