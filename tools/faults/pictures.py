"""Faults of the explorers' stored pictures and data: what ``tools.explorers`` makes today, and they do not show."""

import base64
import re
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from tools import explorers

EMBEDDED = re.compile(r'(?<=data:image/png;base64,)[^"]*')
HASHED = re.compile(r"\b[mp][0-9a-f]{10}\b")  # names made of all bits of the coordinates: the last one is the machine's
COORDINATE = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
TOLERANCE = 1e-3  # of a coordinate, in points
CURE = "python -m tools.explorers makes it again"


def faults(stored: Path) -> Iterator[str]:
    """What is out of date in a folder of stored pictures."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        with plt.rc_context():
            explorers.store(made)
        for name in explorers.PICTURES:
            texts = [(place / f"{name}.svg").read_text("utf-8") for place in (made, stored)]
            yield from (f"{name}.svg, {fault}: {CURE}" for fault in _picture_faults(*texts))
        for name in explorers.DATA:
            files = [(place / f"{name}-data.js").read_text("utf-8") for place in (made, stored)]
            if files[0] != files[1]:
                yield f"{name}-data.js: {CURE}"
        if not np.array_equal(*(plt.imread(place / "detector.png") for place in (made, stored))):
            yield f"detector.png: {CURE}"


def _picture_faults(made: str, stored: str) -> Iterator[str]:
    (words, numbers), (drawn, drawn_numbers) = drawing(made), drawing(stored)
    if words != drawn:
        yield "words"
    elif not np.allclose(numbers, drawn_numbers, atol=TOLERANCE, rtol=0):
        yield "coordinates"
    if not np.array_equal(pixels(made), pixels(stored)):
        yield "pixels"


def pixels(svg: str) -> list[np.ndarray]:
    """Those of the images that a picture embeds. How they are packed may differ between machines; they may not."""
    return [plt.imread(BytesIO(base64.b64decode(packed))) for packed in EMBEDDED.findall(svg)]


def drawing(svg: str) -> tuple[str, list[float]]:
    """What a picture says, with the numbers apart, in points: they hold to the last digits only on one processor."""
    svg = EMBEDDED.sub("", svg)
    order = {name: str(place) for place, name in enumerate(dict.fromkeys(HASHED.findall(svg)))}
    svg = HASHED.sub(lambda name: order[name[0]], svg)
    return COORDINATE.sub("0.0", svg), [float(number) for number in COORDINATE.findall(svg)]
