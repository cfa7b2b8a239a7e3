"""Faults of the stamps that ``make verify`` gives: what has changed in a notebook since its outputs were verified.

A stamp is of the whole file. So what neither an execution nor a rule can know, a sentence deleted, two cells of text
exchanged, a "two" that became "three", is named until somebody has looked and verified anew.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from tools.notebooks import chosen

STAMPS = Path("book", "verified.json")


def fingerprint(path: Path) -> str:
    """A hash of all that a notebook's file says."""
    return hashlib.sha256(path.read_text("utf-8").encode()).hexdigest()[:16]


def stamped(root: Path) -> dict[str, dict]:
    """The stamps so far, by notebook. Raises ``ValueError`` where they are broken."""
    try:
        return json.loads((root / STAMPS).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise ValueError(f"{root / STAMPS} is broken: delete it, then make verify writes it anew") from None


def faults(root: Path) -> Iterator[str]:
    """Notebooks that have changed since they were verified, or never were, and stamps of none."""
    stamps = stamped(root)
    today = {path.stem: fingerprint(path) for path in chosen(root / "book", ())}
    for name in sorted(stamps.keys() | today.keys()):
        if name not in today:
            yield f"a stamp of no notebook: {name}"
        elif stamps.get(name, {}).get("content") != today[name]:
            yield f"changed since its outputs were verified: {name}: look at git diff, then make verify"
