"""Your own images: a folder in COCO format, in the place of rendered scenes (chapter 20)."""

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from focalbook.anchors import AnchorSettings
from focalbook.scenes import TRAIN, Scenes

if TYPE_CHECKING:
    from PIL.Image import Image

_Id = int | str
_Keys = dict[str, type | tuple[type, ...]]

_IMAGE: _Keys = {"id": (int, str), "file_name": str}
_ANNOTATION: _Keys = {"id": (int, str), "image_id": (int, str), "category_id": (int, str), "bbox": list}
_CATEGORY: _Keys = {"id": (int, str), "name": str}
_ORIENTATION = 0x0112  # Exif; values above 4 lie on their side


class _Image(NamedTuple):
    name: str
    path: Path
    width: int
    height: int
    boxes: list[list[float]]
    labels: list[int]


def anchors_for(size: int) -> AnchorSettings:
    """Anchors for objects of any size in a square image of ``size`` pixels, at least 16: an ``AnchorSettings`` with the
    strides 4, 8, ... up to a quarter of ``size``, so that the largest anchors are about its size (chapter 20)."""
    return AnchorSettings(strides=tuple(4 * 2**level for level in range(int(math.log2(size / 8)))))


def letterbox(width: int, height: int, size: int) -> torch.Tensor:
    """Factors (4,) float64 that take a box of an image into the square of side ``size``; dividing by them leads back.

    The longer side becomes ``size``, the shorter as much less as before, to a whole pixel. The image fills the upper
    left of the square, and the rest is gray. All in pixels. Explained in chapter 20.
    """
    sides = [max(1, round(side * size / max(width, height))) for side in (width, height)]
    return torch.tensor([sides[0] / width, sides[1] / height] * 2, dtype=torch.float64)


@dataclass
class CocoFolder:
    """The images of a folder in COCO format: a data set to train on, and others to be judged on.

    ``folder``: holds ``annotations.json`` (images, annotations with boxes x, y, width, height, and categories) and
    the images, PNG or JPEG, under their file names or in ``images/``. ``size``: side in pixels of the square that each
    is fitted into by ``letterbox``. It then has ``classes``, the names of the categories; ``train`` and ``held_out``,
    the numbers of images to learn from and to be judged on; ``fingerprint``, a hash of the annotations and the images'
    names; and ``skipped``, a dict from what was left out to where.

    Held out is the fifth of the images whose names hash lowest: the same ones in every run, on every machine. Left out
    and counted is an image that is missing, unreadable or of another size than annotated, an id used twice or unknown,
    a crowd, a box that is not finite, empty or outside the image, and the part of a box beyond its edge. An image
    without boxes is a lesson in background.

    Every image is opened once, so that what is broken is known at the start. Raises ``ValueError`` for a size that
    does not fit the strides of ``anchors_for``, for annotations that cannot be understood, and where fewer than two
    images or no box can be used. Needs Pillow. Explained in chapter 20.
    """

    folder: InitVar[str | Path]
    size: int = 256
    classes: tuple[str, ...] = field(init=False)
    fingerprint: str = field(init=False)

    def __post_init__(self, folder: str | Path) -> None:
        if not isinstance(self.size, int) or self.size < 16 or self.size % anchors_for(self.size).strides[-1]:
            raise ValueError(f"size must be a multiple of its coarsest stride, such as 128 or 256, got {self.size}")
        content, written = _read(Path(folder))
        self.skipped: dict[str, list[str]] = defaultdict(list)
        self.classes, label_of = _categories(content["categories"])
        images = self._usable_images(Path(folder), content["images"])
        self._put_boxes(content, images, label_of)
        self._images = sorted(images.values(), key=lambda image: _hash(image.name.encode()))
        self.held_out = max(1, len(images) // 5)
        self.train = len(images) - self.held_out
        if self.train < 1 or not any(image.labels for image in self._images):
            raise ValueError(f"data folder {folder} needs two images and a box that can be used; {self._left_out()}")
        self.fingerprint = _hash(written, *(image.name.encode() for image in self._images))

    def _usable_images(self, folder: Path, entries: list[dict[str, Any]]) -> dict[_Id, _Image]:
        """The images that can be read, a dict from id to ``_Image``."""
        images: dict[_Id, _Image] = {}
        for entry in entries:
            name = entry["file_name"]
            path = next((path for path in (folder / name, folder / "images" / name) if path.is_file()), None)
            if entry["id"] in images:
                self.skipped["image id used twice"].append(name)
            elif path is None:
                self.skipped["image missing"].append(name)
            else:
                try:
                    _, size = _open(path, 8)
                except Exception:  # whatever a decoder raises at a broken file
                    self.skipped["image unreadable"].append(name)
                    continue
                if (entry.get("width", size[0]), entry.get("height", size[1])) != size:
                    self.skipped["image of another size than annotated"].append(name)
                else:
                    images[entry["id"]] = _Image(name, path, *size, [], [])
        return images

    def _put_boxes(self, content: dict[str, Any], images: dict[_Id, _Image], label_of: dict[_Id, int]) -> None:
        """Give each image its boxes, in pixels of the letterbox."""
        listed: set[_Id] = {entry["id"] for entry in content["images"]}
        seen: set[_Id] = set()
        for entry in content["annotations"]:
            image = images.get(entry["image_id"])
            fault = _fault(entry, listed, seen, image, label_of)
            seen.add(entry["id"])
            if fault:
                self.skipped[fault].append(image.name if image else f"annotation {entry['id']}")
                continue
            assert image, "its lack is a fault"
            x, y, width, height = entry["bbox"]
            box = [max(0, x), max(0, y), min(image.width, x + width), min(image.height, y + height)]
            if max(abs(a - b) for a, b in zip(box, (x, y, x + width, y + height))) > 1:  # less is rounding
                self.skipped["part of a box outside the image"].append(image.name)
            factors = letterbox(image.width, image.height, self.size).tolist()
            image.boxes.append([value * factor for value, factor in zip(box, factors)])
            image.labels.append(label_of[entry["category_id"]])

    def report(self) -> str:
        """What was found, and what was left out with the first place of each: a text of two lines."""
        boxes = sum(len(image.labels) for image in self._images)
        found = f"{self.train} images to train on and {self.held_out} held out"
        return f"{found}, {boxes} boxes of {len(self.classes)} classes\n{self._left_out()}"

    def _left_out(self) -> str:
        parts = [f"{what} {len(where)} (first: {where[0]})" for what, where in self.skipped.items()]
        return f"left out: {', '.join(parts) or 'nothing'}"

    def batch(
        self,
        indices: Sequence[int],
        seed: int = TRAIN,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Scenes:
        """The images with these indices as ``Scenes`` on ``device``, the pixels in ``dtype``.

        ``indices``: B ints. With the ``seed`` ``TRAIN`` the index counts through the epochs: each is an order of its
        own of all images to train on. With any other it counts the images held out. Raises ``ValueError`` for an index
        that is not there, and for an image that was removed or broken since.
        """
        chosen = [self._at(int(index), seed) for index in indices]
        # One width for all that is held out, because their batches are joined; for training the narrowest saves work.
        rows = max(len(image.labels) for image in (chosen if seed == TRAIN else self._images[: self.held_out]))
        boxes, labels = torch.zeros(len(chosen), rows, 4, dtype=torch.float64), torch.full((len(chosen), rows), -1)
        for number, image in enumerate(chosen):
            count = len(image.labels)
            boxes[number, :count] = torch.tensor(image.boxes, dtype=torch.float64).view(count, 4)
            labels[number, :count] = torch.tensor(image.labels, dtype=torch.long)
        pixels = torch.stack([self._pixels(image) for image in chosen])
        return Scenes(pixels.to(device).to(dtype) / 255, boxes.to(device), labels.to(device))

    def _at(self, index: int, seed: int) -> _Image:
        if index < 0 or (seed != TRAIN and index >= self.held_out):
            raise ValueError(f"indices must be at least 0, and below {self.held_out} for images held out, got {index}")
        if seed == TRAIN:
            epoch, place = divmod(index, self.train)
            order = torch.randperm(self.train, generator=torch.Generator().manual_seed(epoch))
            return self._images[self.held_out + int(order[place])]
        return self._images[index]

    def _pixels(self, image: _Image) -> torch.Tensor:
        """The square, (3, size, size) float32 in [0, 255]."""
        try:
            opened, _ = _open(image.path, self.size)
        except Exception as error:
            raise ValueError(f"image {image.name} cannot be read any more, put it back: {error}") from None
        across, down = letterbox(image.width, image.height, self.size)[:2].tolist()
        sides = round(image.width * across), round(image.height * down)
        square = torch.full((3, self.size, self.size), 127.5)
        fitted = np.array(opened.resize(sides, resample=2))  # bilinear over all pixels that fall together
        square[:, : sides[1], : sides[0]] = torch.from_numpy(fitted).permute(2, 0, 1)
        return square


def _read(folder: Path) -> tuple[dict[str, Any], bytes]:
    """The content of ``annotations.json``, checked for its keys, and its bytes."""
    path = folder / "annotations.json"
    if not path.is_file():
        raise ValueError(f"data folder {folder} has no annotations.json: name the folder that holds it")
    written = path.read_bytes()
    try:
        content = json.loads(written)
    except ValueError as error:
        raise ValueError(f"{path} is no JSON, write it anew: {error}") from None
    for what, keys in (("images", _IMAGE), ("annotations", _ANNOTATION), ("categories", _CATEGORY)):
        entries = content.get(what) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not entries:
            raise ValueError(f"{path} needs a list {what!r} with an entry or more")
        for number, entry in enumerate(entries):
            for key, kind in keys.items():
                value = entry.get(key) if isinstance(entry, dict) else None
                if not isinstance(value, kind):
                    raise ValueError(f"{path}: entry {number} of {what!r} needs a proper {key!r}, got {value!r}")
    return content, written


def _categories(entries: list[dict[str, Any]]) -> tuple[tuple[str, ...], dict[_Id, int]]:
    """Names of the classes in the order of the file, and a dict from a category's id to its label."""
    for key in ("id", "name"):
        values = [entry[key] for entry in entries]
        twice = [value for value in values if values.count(value) > 1]
        if twice:
            raise ValueError(f"categories must differ in their {key}, but {twice[0]!r} is used twice: rename one")
    return tuple(entry["name"] for entry in entries), {entry["id"]: label for label, entry in enumerate(entries)}


def _fault(
    entry: dict[str, Any], listed: set[_Id], seen: set[_Id], image: _Image | None, label_of: dict[_Id, int]
) -> str | None:
    """Why an annotation cannot be used, in words, or None."""
    if entry["image_id"] not in listed:
        return "image id unknown"
    if image is None:
        return "box of an image left out"
    if entry["id"] in seen:
        return "annotation id used twice"
    if entry["category_id"] not in label_of:
        return "category unknown"
    if entry.get("iscrowd"):
        return "crowd"
    box = entry["bbox"]
    if len(box) != 4 or not all(isinstance(value, int | float) and math.isfinite(value) for value in box):
        return "box not four finite numbers"
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return "box without area"
    if x >= image.width or y >= image.height or x + width <= 0 or y + height <= 0:
        return "box outside the image"
    return None


def _open(path: Path, side: int) -> tuple["Image", tuple[int, int]]:
    """An RGB image, upright, and its (width, height); a JPEG comes smaller where it is far larger than ``side``."""
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        size = image.size if image.getexif().get(_ORIENTATION, 1) <= 4 else image.size[::-1]
        image.draft("RGB", (side, side))  # decodes no more of a JPEG than is needed, several times faster
        return ImageOps.exif_transpose(image).convert("RGB"), size


def _hash(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
