"""Your own images: a folder of annotated pictures, in the place of rendered scenes (chapter 21)."""

import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from focalbook import annotations, formats, pictures
from focalbook.anchors import AnchorSettings
from focalbook.annotations import identifier, plain, shown
from focalbook.formats import Item, Listing
from focalbook.pictures import Unusable
from focalbook.scenes import TRAIN, Scenes
from focalbook.turns import WAYS, turned

if TYPE_CHECKING:
    from PIL.Image import Image

REASONS = {
    "image without a proper id": "give it a number or a text of its own",
    "image without a proper file name": "write the name of its file",
    "image id used twice": "nobody knows whose its boxes are, number the images anew before you join files",
    "image listed twice": "one picture with the boxes of all its entries, list each file once",
    "image to train on and held out": "held out only, list it in one of the two",
    "image without a label file": "kept as one without objects, write its file if it shows some",
    "image without an annotation file": "write its file, without objects if it shows none",
    "annotation file broken": "its image is left out too, write the file anew",
    "image path out of the folder": "copy it into the folder and write its path from there",
    "image missing": "put it beside annotations.json or into images/",
    "image unreadable": "save it anew, as PNG or JPEG",
    "image of too many pixels": "save it smaller, and its boxes with it",
    "image without a fixed white": "save it as RGB of 8 bits, or as gray of 8 or 16",
    "image of another size than annotated": "boxes are in its pixels, annotate it upright and in its true size",
    "image of 16 bits, nearly black": "kept, but white is 65535, multiply its values if they have a lower white",
    "annotation not understood": "write image_id, category_id and bbox",
    "image id unknown": "list the image, or write the id of one that is listed",
    "box of an image left out": "see its image",
    "category unknown": "list the category, or write the id of one that is listed",
    "crowd": "box its objects one by one if they shall count",
    "crowd mark not understood": "write 0 or 1",
    "object marked as difficult": "mark it with 0 if it shall count",
    "box not four finite numbers": "write x, y, width and height in pixels, or what the format has in their place",
    "box without area": "write width and height in pixels, both above 0",
    "box within the first pixel": "if these are shares of the image, multiply by its width and height",
    "box outside the image": "write x, y, width and height in pixels of this image",
    "part of a box outside the image": "cut at the edge, look whether these are x, y, width and height in its pixels",
    "box given twice": "write each annotation once",
}
"""Why something is left out, and what to do about it (chapter 21)."""

_THINNEST = 1e-6
"""Pixels of the square: what is thinner is lost in float32, and its deltas would not be finite."""

_DECODERS = ThreadPoolExecutor(4, "decoder")  # Pillow decodes beside Python, and beside torch


class _Image(NamedTuple):
    name: str
    path: Path
    width: int
    height: int
    boxes: list[list[float]]
    labels: list[int]
    part: str
    orientation: int


class _Entry(NamedTuple):
    id: str
    name: str
    found: Path | Unusable
    file: str  # the same for two entries of one file
    given: dict[str, Any]
    part: str


def anchors_for(size: int) -> AnchorSettings:
    """Anchors for objects of any size in a square image of ``size`` pixels, at least 16: an ``AnchorSettings`` with the
    strides 4, 8, ... up to a quarter of ``size``, so that the largest anchors are about its size (chapter 21)."""
    return AnchorSettings(strides=tuple(4 * 2**level for level in range(int(math.log2(size / 8)))))


def letterbox(width: int, height: int, size: int) -> torch.Tensor:
    """Factors (4,) float64 that take a box of an image into the square of side ``size``; dividing by them leads back.

    The longer side becomes ``size``, the shorter as much less as before, to a whole pixel. The image fills the upper
    left of the square, and the rest is gray. All in pixels. Explained in chapter 21.
    """
    sides = [max(1, round(side * size / max(width, height))) for side in (width, height)]
    return torch.tensor([sides[0] / width, sides[1] / height] * 2, dtype=torch.float64)


def squared(path: str | Path, size: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """A picture in a square, by ``letterbox``, and the picture's own (width, height).

    ``path``: of a picture that ``pictures.opened`` can open; what it raises is raised. Returns the square as
    (3, size, size) float32 in [0, 255]. Needs Pillow. Explained in chapter 21.
    """
    opened, (width, height) = pictures.opened(Path(path), size)
    return _in_square(opened, width, height, size), (width, height)


def _in_square(picture: "Image", width: int, height: int, size: int) -> torch.Tensor:
    across, down = letterbox(width, height, size)[:2].tolist()
    sides = round(width * across), round(height * down)
    square = torch.full((3, size, size), 127.5)
    fitted = np.array(picture.resize(sides, resample=2))  # bilinear over all pixels that fall together
    square[:, : sides[1], : sides[0]] = torch.from_numpy(np.atleast_3d(fitted)).permute(2, 0, 1)
    return square


@dataclass
class CocoFolder:
    """The images of a folder in COCO format: a data set to train on, and others to be judged on.

    ``folder``: holds ``annotations.json`` (images, annotations with boxes x, y, width, height, and categories) and
    the images, PNG or JPEG, under their file names or in ``images/``; or it is in another of the formats that
    ``formats.read`` reads, and counts as what it would be in COCO's. ``size``: side in pixels of the square that each
    image is fitted into by ``letterbox``. ``turns``: whether each image to train on is laid another way each time, one
    of the eight of ``turns.turned``, drawn by its index; those held out never are. ``judge``: names of the files to be
    judged on, where the folder or a hash shall not decide. ``omit``: names of files that are set aside. ``only``: the
    classes that count, if not all: the boxes of others are background.

    It then has ``classes``, the names of the categories; ``train`` and ``held_out``, the numbers of images to learn
    from and to be judged on; ``fingerprint``, a hash of the annotations and the images' names; and ``skipped``, a dict
    from what was left out to a list of where, each with the value found.

    Held out are the images that the folder says, in a file of their own (``formats.read``). Where it says nothing, it
    is the fifth of the images whose names hash lowest: the same ones in every run, on every machine. What
    cannot be used is left out and counted, image by image and box by box, for one of the ``REASONS``. So is the part of
    a box beyond the edge. Two images with one id are both left out, because nobody knows whose its boxes are; a file
    that is listed twice is one image with all its boxes. An image without boxes is a lesson in background.

    Values count as what they mean: ids, numbers and ``iscrowd`` as text, a size of 0 or null as not annotated. Images
    count as ``pictures.opened`` opens them: gray of 16 bits is scaled from 65535 to 255, transparent pixels are black.

    Every image is opened once, so that what is broken is known at the start. Raises ``ValueError`` for a size that
    does not fit the strides of ``anchors_for``, for a file that lacks a list or whose categories cannot be told apart,
    for boxes that look like shares of the image or like corners, for a name in ``judge`` or ``omit`` that no image has,
    and where fewer than two images, none to train on or to judge on, or no box can be used.
    Needs Pillow. Explained in chapter 21.
    """

    folder: InitVar[str | Path]
    size: int = 256
    turns: bool = False
    judge: InitVar[Collection[str] | None] = None
    omit: InitVar[Collection[str]] = ()
    only: InitVar[Collection[str] | None] = None
    classes: tuple[str, ...] = field(init=False)
    fingerprint: str = field(init=False)

    def __post_init__(
        self, folder: str | Path, judge: Collection[str] | None, omit: Collection[str], only: Collection[str] | None
    ) -> None:
        if not isinstance(self.size, int) or self.size < 16 or self.size % anchors_for(self.size).strides[-1]:
            raise ValueError(f"size must be a multiple of its coarsest stride, such as 128 or 256, got {self.size}")
        listing = formats.read(folder)
        self._ahead: dict[int, Future[torch.Tensor]] = {}
        self.skipped: dict[str, list[str]] = {}
        for place, fault in listing.faults:
            self._leave_out(place, fault)
        self.classes, label_of = annotations.classes(listing.categories)
        if only is not None:
            label_of = self._keep(only, label_of)
        images = self._usable_images(folder, listing)
        self._doubt = self._put_boxes(listing, images, label_of)
        self._images = sorted(
            {image.path: image for image in images.values() if image}.values(),
            key=lambda image: _hash(_bytes(image.name)),
        )
        self._hold_out(listing, judge, omit)
        if len(self._images) < 2 or not any(image.labels for image in self._images):
            left_out = "; ".join(f"{what}: {cure}" for what, cure in self._left_out()) or "nothing"
            raise ValueError(f"data folder {folder} needs two images and a box that can be used; left out: {left_out}")
        if min(self.train, self.held_out) < 1:
            raise ValueError(
                f"data folder {folder} needs images to train on and to be judged on, got {self.train} and "
                f"{self.held_out}: move some from one part to the other"
            )
        chosen = (str(self.held_out),) if judge is not None else ()
        self.fingerprint = _hash(listing.written, *(_bytes(image.name) for image in self._images), *map(_bytes, chosen))

    def _keep(self, only: Collection[str], label_of: dict[str, int]) -> dict[str, int]:
        """Keep these classes alone, and number them anew; -1 for the others."""
        unknown = sorted(set(only) - set(self.classes))
        if unknown or not only:
            raise ValueError(f"only must name classes from {', '.join(self.classes)}, got {shown(list(only))}")
        kept = tuple(name for name in self.classes if name in only)
        numbers = [kept.index(name) if name in kept else -1 for name in self.classes]
        self.classes = kept
        return {key: numbers[label] for key, label in label_of.items()}

    def _hold_out(self, listing: Listing, judge: Collection[str] | None, omit: Collection[str]) -> None:
        """Put the images that are held out first, and count."""
        names = {image.name for image in self._images}
        for what, given in (("judge", judge or ()), ("omit", omit)):
            unknown = sorted(set(given) - names)
            if unknown:
                raise ValueError(f"{what} must hold names of images that can be used, got {shown(unknown[0])}")
        aside = {image.name for image in self._images if image.part == formats.ASIDE and judge is None} | set(omit)
        self._images = [image for image in self._images if image.name not in aside]
        self.aside = len(aside)

        def is_judged(image: _Image) -> bool:
            return image.part == listing.judged if judge is None else image.name in judge

        if judge is None and not listing.judged:
            self.held_out = max(1, len(self._images) // 5)
        else:
            self._images.sort(key=is_judged, reverse=True)
            self.held_out = sum(map(is_judged, self._images))
        self.train = len(self._images) - self.held_out

    def _usable_images(self, folder: str | Path, listing: Listing) -> dict[str, _Image | None]:
        """A dict from each id to its image, or to None where that is left out."""
        listed, files = self._listed(folder, listing)
        doubtful = {file for named in files.values() if len(named) > 1 for file in named}
        images: dict[str, _Image | None] = dict.fromkeys(files)
        by_file: dict[str, _Image] = {}
        for entry in listed:
            try:
                if entry.file in doubtful:
                    raise Unusable("image id used twice", f"id {plain(entry.id)}")
                if isinstance(entry.found, Unusable):
                    raise entry.found
                image = by_file.get(entry.file)
                size, orientation = (image[2:4], image.orientation) if image else self._look(entry.name, entry.found)
                _require_size(entry.given, size)
            except Unusable as fault:
                self._leave_out(entry.name, fault)
                continue
            if image and image.part != entry.part:
                self._leave_out(entry.name, Unusable("image to train on and held out", f"id {plain(entry.id)}"))
                by_file[entry.file] = image._replace(part=listing.judged)
            elif image:
                self._leave_out(entry.name, Unusable("image listed twice", f"id {plain(entry.id)}"))
            first = _Image(entry.name, entry.found, *size, [], [], entry.part, orientation)
            images[entry.id] = by_file.setdefault(entry.file, first)
        return images

    def _look(self, name: str, path: Path) -> tuple[tuple[int, int], int]:
        """(width, height) in pixels of a picture that can be opened, and its orientation."""
        picture, size, orientation = pictures.examined(path, 8)
        most = float(np.max(np.asarray(picture))) if picture.mode == "F" else 255.0
        if 0 < most < 16:  # 12 bits or fewer, stored as 16
            self._leave_out(name, Unusable("image of 16 bits, nearly black", f"values up to {most * 257:.0f}"))
        return size, orientation

    def _listed(self, folder: str | Path, listing: Listing) -> tuple[list[_Entry], dict[str, set[str]]]:
        """The entries that have an id and a name, and a dict from each id to the files that it stands for."""
        listed, files = [], defaultdict(set)
        for item in listing.images:
            place, given = item.place, item.given if isinstance(item.given, dict) else {}
            key, name = identifier(given.get("id")), given.get("file_name")
            if key is None:
                self._leave_out(
                    place, Unusable("image without a proper id", shown(given.get("id") if given else item.given))
                )
            elif not isinstance(name, str) or not name:
                self._leave_out(place, Unusable("image without a proper file name", shown(name)))
                files[key].add(place)
            else:
                try:
                    path = pictures.find(folder, name, [*listing.places(item.part), "", "images"])
                    entry = _Entry(key, name, path, os.path.normcase(os.path.realpath(path)), given, item.part)
                except Unusable as fault:
                    entry = _Entry(key, name, fault, f"{item.part} {name}", given, item.part)
                files[key].add(entry.file)
                listed.append(entry)
        return listed, files

    def _put_boxes(self, listing: Listing, images: dict[str, _Image | None], label_of: dict[str, int]) -> str:
        """Give each image its boxes, in pixels of the letterbox, and return what is doubtful about all of them."""
        seen, boxes, sizes = set(), [], []
        self.others = 0
        for item in listing.annotations:
            given = item.given if isinstance(item.given, dict) else {}
            image = images.get(identifier(given.get("image_id")) or "")
            where = image.name if image and listing.kind == "COCO" else item.place
            try:
                image, label, box = _usable_box(item, listing.kind, images, label_of)
                beyond, fitted = _fitted(image, box, self.size)
                boxes.append(box)
                sizes.append(image[2:4])
                if annotations.is_share(box):
                    raise Unusable("box within the first pixel", shown(list(box)))
                if (image.path, label, box) in seen:
                    raise Unusable("box given twice", shown(list(box)))
            except Unusable as fault:
                self._leave_out(where, fault)
                continue
            if label < 0:
                self.others += 1
                continue
            seen.add((image.path, label, box))
            if beyond > 1:  # less is rounding
                self._leave_out(where, Unusable("part of a box outside the image", shown(list(box))))
            image.boxes.append(fitted)
            image.labels.append(label)
        return annotations.require_pixels(boxes, sizes)

    def _leave_out(self, where: str, fault: Unusable) -> None:
        """Count a fault and keep where it was, with the value found."""
        text = f"{plain(where)}: {fault.found}" if fault.found else plain(where)
        self.skipped.setdefault(fault.reason, []).append(text)

    def report(self) -> str:
        """What was found, and for each reason how many were left out, the first of them, and what to do: a text of a
        line and two for each reason."""
        boxes = sum(len(image.labels) for image in self._images)
        found = f"{self.train} images to train on and {self.held_out} held out"
        found += f" ({self.aside} set aside)" if self.aside else ""
        lines = [f"{found}, {boxes} boxes of {len(self.classes)} classes"]
        lines[0] += f", and {self.others} of others that count as background" if self.others else ""
        lines += [f"left out: {what}\n    {cure}" for what, cure in self._left_out()] or ["left out: nothing"]
        return "\n".join(lines + [self._doubt] * bool(self._doubt))

    def _left_out(self) -> list[tuple[str, str]]:
        """Pairs of what was left out, with its first places, and the cure."""
        return [
            (f"{what} {len(where)} (first: {', '.join(where[:3])})", REASONS.get(what, ""))
            for what, where in self.skipped.items()
            if where
        ]

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
        squares = self._read_ahead([int(index) for index in indices]) if seed == TRAIN else map(self._pixels, chosen)
        pixels = torch.empty(len(chosen), 3, self.size, self.size)
        boxes, labels = torch.zeros(len(chosen), rows, 4, dtype=torch.float64), torch.full((len(chosen), rows), -1)
        for number, (index, image, square) in enumerate(zip(indices, chosen, squares)):
            count, way = len(image.labels), _way(index) if self.turns and seed == TRAIN else 0
            given = torch.tensor(image.boxes, dtype=torch.float64).view(count, 4)
            pixels[number], boxes[number, :count] = turned(square, given, way)
            labels[number, :count] = torch.tensor(image.labels, dtype=torch.long)
        return Scenes(pixels.to(device).to(dtype) / 255, boxes.to(device), labels.to(device))

    def _read_ahead(self, indices: list[int]) -> list[torch.Tensor]:
        """The squares of these indices of training; and those of the next batch are begun, so that they are decoded
        beside the step that this one is for. Which ones are next is a guess, and a wrong one costs only its time."""
        ahead = self._ahead
        reading = [ahead.pop(index) if index in ahead else self._begin(index) for index in indices]
        for left in self._ahead.values():
            left.cancel()
        apart = indices[1] - indices[0] if len(indices) > 1 else 1  # processes that train together take turns
        self._ahead = {index: self._begin(index) for index in (at + apart * len(indices) for at in indices)}
        return [square.result() for square in reading]

    def _begin(self, index: int) -> Future[torch.Tensor]:
        return _DECODERS.submit(self._pixels, self._at(index, TRAIN))

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: all but the pictures that are being read."""
        return self.__dict__ | {"_ahead": {}}

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
            picture = pictures.decoded(image.path, self.size, image.orientation)
            return _in_square(picture, image.width, image.height, self.size)
        except Unusable as error:
            raise ValueError(f"image {plain(image.name)} cannot be read any more, put it back: {error}") from None


def _require_size(given: dict[str, Any], size: tuple[int, int]) -> None:
    """Raise ``Unusable`` where an image's annotated width and height are others than those of its picture."""
    annotated = given.get("width"), given.get("height")
    if not all(annotations.fits(value, side) for value, side in zip(annotated, size)):
        width, height = (plain(value) if isinstance(value, str) else shown(value) for value in annotated)
        raise Unusable(
            "image of another size than annotated", f"annotated {width} x {height}, is {size[0]} x {size[1]}"
        )


def _usable_box(
    item: Item, kind: str, images: dict[str, _Image | None], label_of: dict[str, int]
) -> tuple[_Image, int, tuple[float, float, float, float]]:
    """The image of an annotation, its label, and its box as x, y, width, height; or ``Unusable``."""
    entry = item.given
    if not isinstance(entry, dict):
        raise Unusable("annotation not understood", shown(entry))
    image_id, category, crowd = (entry.get(key) for key in ("image_id", "category_id", "iscrowd"))
    key = identifier(image_id)
    if key is None or key not in images:
        raise Unusable("image id unknown", shown(image_id))
    image = images[key]
    if image is None:
        raise Unusable("box of an image left out", f"image_id {shown(image_id)}")
    label = label_of.get(identifier(category) or "")
    if label is None:
        raise Unusable("category unknown", shown(category))
    marked = annotations.is_crowd(crowd)
    if marked is not False:
        raise Unusable("crowd" if marked else "crowd mark not understood", shown(crowd))
    if annotations.is_crowd(entry.get("difficult")):  # Pascal VOC's
        raise Unusable("object marked as difficult")
    four = annotations.four_numbers(entry.get("bbox"))
    if four is None:
        raise Unusable("box not four finite numbers", shown(entry.get("bbox")))
    box = annotations.as_pixels(kind, four, image.width, image.height)
    x, y, width, height = box
    if width <= 0 or height <= 0:
        raise Unusable("box without area", shown(list(box)))
    if x >= image.width or y >= image.height or x + width <= 0 or y + height <= 0:
        raise Unusable("box outside the image", shown(list(box)))
    return image, label, box


def _fitted(image: _Image, box: tuple[float, float, float, float], size: int) -> tuple[float, list[float]]:
    """How far a box reaches beyond its image, and what is within as corners in the square, both in pixels."""
    x, y, width, height = box
    whole = (x, y, x + width, y + height)
    cut = [max(0, x), max(0, y), min(image.width, x + width), min(image.height, y + height)]
    fitted = [value * factor for value, factor in zip(cut, letterbox(image.width, image.height, size).tolist())]
    x1, y1, x2, y2 = np.array(fitted, np.float32)
    if min(x2 - x1, y2 - y1) < _THINNEST:
        raise Unusable("box without area", shown(list(box)))
    return max(abs(a - b) for a, b in zip(cut, whole)), fitted


def _way(index: int) -> int:
    """How the image of that index of training is laid."""
    return int(_hash(str(int(index)).encode()), 16) % WAYS


def _hash(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _bytes(name: str) -> bytes:
    """Of a name that is no Unicode too, as some file systems have it."""
    return name.encode("utf-8", "surrogatepass")
