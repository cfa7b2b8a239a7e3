"""Checkpoints: what a run can go on from, and a detector be built from, in one file (chapters 9 and 21).

The file is what ``torch.save`` writes, and ``torch.load(file, weights_only=True)`` reads it. Torch itself accepts one
in which a bit of a weight has flipped, so a hash of the content stands at its end, as the comment of the zip archive
that such a file is.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from focalbook.files import write

_DIGEST = hashlib.sha256().digest_size
_ZIP = b"PK\3\4"


def save(path: str | Path, content: dict[str, Any]) -> None:
    """Write a dict of numbers, texts and tensors to a file, whole or not at all (chapter 9)."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    # An archive ends with the length of its comment, in two bytes, and the comment: none, as torch writes it.
    archive = buffer.getvalue()[:-2] + _DIGEST.to_bytes(2, "little")
    write(Path(path), archive + hashlib.sha256(archive).digest())


def read(path: str | Path) -> dict[str, Any]:
    """What ``save`` has written to a file, its tensors on the CPU.

    Raises ``ValueError`` for a file of anything else, or one that has changed since, be it by a bit. Explained in
    chapters 9 and 21.
    """
    content = Path(path).read_bytes()
    archive, digest = content[:-_DIGEST], content[-_DIGEST:]
    if hashlib.sha256(archive).digest() != digest:
        if content[_DIGEST:].startswith(_ZIP) and hashlib.sha256(content[_DIGEST:]).digest() == content[:_DIGEST]:
            raise ValueError(f"checkpoint {path} was saved by an earlier version of this book: train again")
        raise ValueError(f"checkpoint {path} is no checkpoint of this book, or is damaged: delete it and train again")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
