"""Records of runs: small JSON files, written whole, read with care (chapter 11).

A record lies in ``book/records/<study>/``. It names its seed, settings, device and versions, the hash of the code that
determined it, and carries a checksum, so that a broken or edited one is refused by name.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from focalbook.files import write

RECORDS = Path(__file__).parent.parent / "book" / "records"

Record = dict[str, Any]  # as JSON holds it


def checksum(record: Record) -> str:
    """Hash of all that a record says but the checksum itself: an edited record no longer has it (chapter 11)."""
    content = {key: value for key, value in record.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def path_of(study: str, arm: str, lr: float, seed: int) -> Path:
    """Where the record of a run lies (chapter 11)."""
    return RECORDS / _plain(study) / f"{_plain(arm)}-lr{lr:g}-seed{seed}.json"


def _plain(name: str) -> str:
    return "-".join(name.replace(",", "").split())


def _place(record: Record) -> Path:
    return path_of(record["study"], record["arm"], record["settings"]["lr"], record["seed"])


def save(record: Record) -> None:
    """Write a record, whole or not at all, an entry a line and without spaces in it (chapter 11)."""
    entries = [f'"{key}": {json.dumps(record[key], sort_keys=True, separators=(",", ":"))}' for key in sorted(record)]
    write(_place(record), "{\n" + ",\n".join(entries) + "\n}\n")


def load(study: str, arm: str, lr: float, seed: int) -> Record:
    """Read one record. Raises ``FileNotFoundError`` for a missing and ``ValueError`` for a broken or edited one, each
    naming the file and the cure (chapter 11)."""
    path = path_of(study, arm, lr, seed)
    cure = "make it again with: make evidence"
    if not RECORDS.parent.is_dir():
        cure = "records belong to the book and not to the package, so run this in the book's folder"
    if not path.exists():
        raise FileNotFoundError(f"there is no record {path}: {cure}")
    try:
        record = json.loads(path.read_text("utf-8"))
        intact = record["checksum"] == checksum(record) and _place(record) == path  # nor another run's, renamed
    except (ValueError, KeyError, TypeError, AttributeError):
        intact = False
    if not intact:
        raise ValueError(f"record {path} is broken or was edited by hand: delete it and {cure}")
    return record
