"""Every edition in one folder, to attach to a release: ``make bundle``.

The book as PDF and as ePub, the slides, the site and the notebooks with all that they need, and the checksums of the
five. The archives hold nothing of this machine: files in order, all of one date.
"""

import hashlib
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from tasks import ROOT, SITE
from tools.editions import BUILT, DATE, NAME
from tools.matrix import copy


def pack(folder: Path, archive: Path) -> None:
    """Write all files of a folder into a ZIP archive, under one folder of the archive's name."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(f"{archive.stem}/{path.relative_to(folder).as_posix()}", DATE)
            entry.external_attr = (0o755 if path.stat().st_mode & 0o100 else 0o644) << 16
            packed.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)


def checksums(folder: Path) -> str:
    """A line for each file of a folder, as ``sha256sum --check`` reads it."""
    paths = sorted(path for path in folder.iterdir() if path.suffix != ".txt")
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths)


def main() -> int:
    out = BUILT / "bundle"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for suffix in ("pdf", "epub"):
        shutil.copy(BUILT / f"{NAME}.{suffix}", out)
    pack(BUILT / "slides", out / f"{NAME}-slides.zip")
    pack(SITE, out / f"{NAME}-site.zip")
    with tempfile.TemporaryDirectory() as folder:
        copy(ROOT, Path(folder))
        pack(Path(folder), out / f"{NAME}-notebooks.zip")
    (out / "SHA256SUMS.txt").write_text(checksums(out), "utf-8")
    for path in sorted(out.iterdir()):
        print(f"{path.stat().st_size / 1e6:6.1f} MB  {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
