"""Trees from above: real images with boxes that come by pip, cut into tiles (chapter 22).

The pictures and their boxes lie in the wheel of deepforest, of which nothing is imported: it would bring a gigabyte.
"""

import io
import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from focalbook.files import write

VERSION = "2.1.0"
"""Of deepforest: another may bring other pictures."""

CREDIT = "Pictures: NEON airborne remote sensing; boxes: deepforest 2.1.0, MIT License, © 2019 Ben Weinstein."
"""What stands under every figure that shows them."""

LARGE, SMALL = "2019_YELL_2_528000_4978000_image_crop2", "2019_YELL_2_541000_4977000_image_crop"
"""Two pieces of forest in Yellowstone, 2299 x 2472 and 1249 x 1035 pixels of about 10 cm."""

SIDE = 256
"""Of a tile, in pixels."""

BLOCKS = {"train": ((LARGE, 0, 7, 8), (SMALL, 0, 4, 4)), "val": ((LARGE, 1960, 2, 8),)}
"""What is cut from where: a picture, its first row of pixels, and how many tiles down and across. Held out is the
lowest part of the large picture, with a strip of 168 pixels between, so that no crown lies in both."""


def path_of(name: str) -> Path:
    """The file of that ``name`` in the wheel, such as "OSBS_029.png".

    Raises ``ModuleNotFoundError`` where the wheel is not installed, and ``ValueError`` for another version of it.
    Explained in chapter 22.
    """
    cure = f"python -m pip install --no-deps deepforest=={VERSION}"
    try:
        found = distribution("deepforest")
    except PackageNotFoundError:
        raise ModuleNotFoundError(f"the trees are not installed: {cure}") from None
    if found.version != VERSION:
        raise ValueError(
            f"deepforest must be {VERSION}, the version whose trees these are, got {found.version}: {cure}"
        )
    return Path(str(found.locate_file(f"deepforest/data/{name}")))


def crowns(name: str) -> list[tuple[float, float, float, float]]:
    """The crowns that are marked in a picture, each as x1, y1, x2, y2 in its pixels (chapter 22)."""
    found = ElementTree.parse(path_of(f"{name}.xml")).getroot().iter("bndbox")
    sides = ("xmin", "ymin", "xmax", "ymax")
    return [tuple(float(box.findtext(side, "nan")) for side in sides) for box in found]  # type: ignore[misc]  # four


def write_tiles(folder: str | Path) -> None:
    """Cut the pictures into tiles of ``SIDE`` pixels: a folder in COCO format, in two parts, ``train`` and ``val``.

    A tile has the crowns whose center lies in it, cut at its edge. Writes the same bytes each time. Raises as
    ``path_of`` does, and ``OSError`` where nothing can be written. Needs Pillow. Explained in chapter 22.
    """
    from PIL import Image

    for part, blocks in BLOCKS.items():
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for name, top, down, across in blocks:
            boxes = crowns(name)
            with Image.open(path_of(f"{name}.png")) as opened:
                picture = opened.convert("RGB")
            for place in range(down * across):
                x, y = place % across * SIDE, top + place // across * SIDE
                tile, content = {"id": len(images), "file_name": f"{part}-{len(images):02}.png"}, io.BytesIO()
                picture.crop((x, y, x + SIDE, y + SIDE)).save(content, "PNG")
                write(Path(folder, part, str(tile["file_name"])), content.getvalue())
                images.append(tile)
                for box in _within(boxes, x, y):
                    annotations.append(
                        {"id": len(annotations), "image_id": tile["id"], "category_id": 0, "bbox": box, "iscrowd": 0}
                    )
        lists = {"images": images, "annotations": annotations, "categories": [{"id": 0, "name": "tree"}]}
        write(Path(folder, "annotations", f"instances_{part}.json"), json.dumps(dict(lists, info={"credit": CREDIT})))


def _within(boxes: list[tuple[float, float, float, float]], x: int, y: int) -> list[list[float]]:
    """What a tile has of the boxes, as x, y, width and height in its own pixels."""
    found = []
    for x1, y1, x2, y2 in boxes:
        if 0 <= (x1 + x2) / 2 - x < SIDE and 0 <= (y1 + y2) / 2 - y < SIDE:
            left, upper, right, lower = (min(max(v, 0), SIDE) for v in (x1 - x, y1 - y, x2 - x, y2 - y))
            found.append([left, upper, right - left, lower - upper])
    return found
