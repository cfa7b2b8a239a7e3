"""Files, written whole or not at all (chapter 11)."""

import errno
import os
from pathlib import Path


def write(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all: beside its place, then renamed; text in UTF-8. Makes its folder (chapter 11).

    What breaks off leaves the file before; two processes that write the same file at once leave that of one of them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def cure(error: OSError) -> str:
    """What to do about an error while writing: one line (chapter 11)."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full: make room and try again"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{error.filename} cannot be written: make its folder writable, or work in a copy of the project"
    return str(error)
