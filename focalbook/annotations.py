"""What an annotation file says, value by value, as all kinds of exporters write it (chapter 21)."""

import math
import re
import reprlib
from typing import Any

import numpy as np

_CROWD = {"": False, "false": False, "no": False, "true": True, "yes": True}
_SHARE = 1.001  # the whole image as a share of itself, and its rounding
_NEARLY_ALL = 0.95


class _Short(reprlib.Repr):
    def repr_float(self, value: float, level: int) -> str:
        return f"{value:.5g}"


_SHORT = _Short()
_SHORT.maxstring = 60


def shown(value: object) -> str:
    """A value as Python writes it, on one line and cut to a readable length: a text (chapter 21)."""
    return _SHORT.repr(value)


def plain(name: str) -> str:
    """A name as it is, or as ``shown`` where it is long or would not print (chapter 21)."""
    return name if name.isprintable() and len(name) <= 100 else shown(name)


def classes(entries: list[Any]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Names of the categories in the order of the file, and a dict from a category's ``identifier`` to its place.

    Raises ``ValueError`` for an entry without a proper id or name, and where two share one. Explained in chapter 21.
    """
    taken: dict[str, list[str]] = {"id": [], "name": []}
    for number, entry in enumerate(entries):
        given = entry if isinstance(entry, dict) else {}
        name = given.get("name")
        for what, value in (("id", identifier(given.get("id"))), ("name", name if isinstance(name, str) else None)):
            found = shown(given.get(what))
            if value is None:
                raise ValueError(f"entry {number} of 'categories' needs a proper {what!r}, got {found}: write one")
            if value in taken[what]:
                raise ValueError(f"categories must differ in their {what}, but {found} is used twice: rename one")
            taken[what].append(value)
    return tuple(taken["name"]), {key: place for place, key in enumerate(taken["id"])}


def identifier(value: object) -> str | None:
    """An id as text, the same for 1, 1.0 and "1"; None for what is no id: nothing, true, a list (chapter 21)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return f"{value:.0f}" if value.is_integer() else str(value)
    return re.sub(r"^(-?[0-9]+)\.0+$", r"\1", str(value).strip()) or None


def number(value: object) -> float | None:
    """A finite number, also one that stands there as text; None for all else, true and false too (chapter 21)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def four_numbers(value: object) -> tuple[float, float, float, float] | None:
    """A box's x, y, width and height, or None where the value is anything else (chapter 21)."""
    found = [number(part) for part in value] if isinstance(value, list) and len(value) == 4 else [None]
    return tuple(found) if None not in found else None  # type: ignore[return-value]  # four, and each a float


def as_pixels(
    kind: str, four: tuple[float, float, float, float], width: int, height: int
) -> tuple[float, float, float, float]:
    """A box as x, y, width and height in pixels, from the four numbers of an image of this size in a format of this
    ``kind`` (``formats.Listing``): as they are, corners, or shares (chapter 21)."""
    a, b, c, d = four
    if kind == "VOC":
        return a, b, c - a, d - b
    if kind == "YOLO":
        return (a - c / 2) * width, (b - d / 2) * height, c * width, d * height
    return four


def is_crowd(value: object) -> bool | None:
    """What ``iscrowd`` means: no where it is 0, false or nothing, yes where it is 1 or true, also as text, or as "no"
    and "yes"; None where nobody can know (chapter 21)."""
    if value is None or isinstance(value, bool):
        return bool(value)
    found = number(value)
    if found is not None:
        return bool(found) if found in (0, 1) else None
    return _CROWD.get(value.strip().lower()) if isinstance(value, str) else None


def fits(annotated: object, side: int) -> bool:
    """Whether an image's annotated width or height allows its true ``side`` in pixels: the same number, or one of the
    ways in which exporters write that they do not know it: 0, null, "", NaN (chapter 21)."""
    unknown = annotated is None or annotated != annotated or isinstance(annotated, str) and not annotated.strip()
    return unknown or number(annotated) in (0, side)


def is_share(box: tuple[float, float, float, float]) -> bool:
    """Whether a box lies within the first pixel, where none is worth annotating: its numbers are shares of the image
    and not pixels (chapter 21)."""
    return all(abs(value) <= _SHARE for value in box)


def require_pixels(boxes: list[tuple[float, float, float, float]], sizes: list[tuple[int, int]]) -> str:
    """Raise ``ValueError`` where the boxes, taken together, are not x, y, width, height in pixels.

    ``boxes``: N of them. ``sizes``: (width, height) in pixels of each box's image. That is so where nearly all are
    shares of the image, and where nearly all would be proper as corners x1, y1, x2, y2 while half of them or more reach
    beyond the image as they are. Returns a text: a doubt that is not certain, or "". Explained in chapter 21.
    """
    if not boxes:
        return ""
    values, sides = np.array(boxes), np.array(sizes)
    near, far = values[:, :2], values[:, 2:]
    shares = (abs(values) <= _SHARE).all(1)
    if shares.mean() >= _NEARLY_ALL:
        raise ValueError(
            f"boxes look like shares of the image: {shares.sum()} of {len(values)} lie within the first pixel, such as "
            f"{shown(list(boxes[int(shares.argmax())]))}: COCO wants pixels, multiply by the image's width and height"
        )
    beyond = (near + far > sides + 1).any(1)
    corners = ((near >= -1) & (far > near) & (far <= sides + 1)).all(1)
    if corners.mean() >= _NEARLY_ALL and beyond.mean() >= 0.5:
        raise ValueError(
            f"boxes look like corners x1, y1, x2, y2: {beyond.sum()} of {len(values)} reach beyond their image, "
            f"such as {shown(list(boxes[int(beyond.argmax())]))}: COCO wants x, y, width, height, subtract x1 and y1"
        )
    ends = (near + far).max(0)
    if (sides > 200).all() and (50 < ends).all() and (ends <= 101).all():
        return "all boxes lie within the first 100 pixels of larger images: if they are percent, turn them into pixels"
    return ""
