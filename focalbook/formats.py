"""Folders of annotated images in three formats, read as what COCO's says: COCO, Pascal VOC and YOLO (chapter 21).

What a folder lists is taken as it stands. Whether it can be used, ``coco`` judges, item by item, for all formats alike.
"""

import json
import os
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from focalbook.annotations import identifier, shown
from focalbook.pictures import Unusable

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")
"""What files of pictures end with, in small letters (chapter 21)."""

ASIDE = "aside"
"""The part of what a folder names neither to train on nor to be judged on (chapter 21)."""

_PAIR = re.compile(r"instances_(?:train(.*))\.json")


@dataclass(frozen=True)
class Item:
    """An entry of a list: ``place``, where it stands, for people; ``given``, what it says, of any type; ``part``, the
    name of the part of the data that it belongs to, if there are parts (chapter 21)."""

    place: str
    given: Any
    part: str = ""


@dataclass
class Listing:
    """What a folder lists: ``images``, ``annotations``, lists of ``Item``, and ``categories``, as in COCO.

    ``kind``: what the numbers of a box are, "COCO" (x, y, width, height in pixels), "VOC" (x1, y1, x2, y2 in pixels) or
    "YOLO" (center, width and height as shares of the image). ``written``: the bytes that it was read from. ``judged``:
    the part that is held out, "" where there are no parts. ``faults``: what could not even be listed, pairs of its
    place and an ``Unusable``. Explained in chapter 21.
    """

    kind: str
    categories: list[Any]
    written: bytes
    images: list[Item] = field(default_factory=list)
    annotations: list[Item] = field(default_factory=list)
    judged: str = ""
    faults: list[tuple[str, Unusable]] = field(default_factory=list)

    def places(self, part: str) -> list[str]:
        """Where the images of a part lie in the folder, if not in it or in its ``images/``."""
        return [part, f"images/{part}"] if self.kind == "COCO" and part else []


def read(folder: str | Path) -> Listing:
    """What a folder lists, in the first of these formats that it has.

    COCO: ``annotations.json``; or ``instances_trainX.json`` beside ``instances_valX.json``, in the folder or its
    ``annotations/``, with any X. Then the second's images are held out.

    Pascal VOC: an XML file for each image, in ``Annotations/`` or beside the images; with ``ImageSets/Main/train.txt``
    and ``val.txt`` the second's images are held out, and those that neither names are set aside. Corners count as
    edges, in pixels from 0, as most tools write them. In the files of the VOC challenge itself the first pixel has the
    number 1, so that there a box lies one pixel further to the right and down, and is a pixel short.

    YOLO: ``data.yaml`` with the names of the classes and the folders ``train`` and ``val``, the second held out; or
    ``classes.txt`` beside ``images/`` and ``labels/``. Needs PyYAML for ``data.yaml``.

    Raises ``ValueError`` of one line for a folder that has none of them, and for a file that cannot be understood as a
    whole. Explained in chapter 21.
    """
    root = Path(folder)
    try:
        if (root / "annotations.json").is_file():
            return _coco(root / "annotations.json")
        for place in (root, root / "annotations"):
            pair = _pair(place)
            if pair:
                return _coco_pair(*pair)
        found = _voc(root) or _yolo(root)
    except UnicodeDecodeError as error:
        raise ValueError(f"data folder {folder} has a file that is no text in UTF-8, write it anew: {error}") from None
    if not found:
        raise ValueError(
            f"data folder {folder} has no annotations.json: name the folder that holds it, "
            "or one in the format of Pascal VOC (XML files) or YOLO (data.yaml or classes.txt)"
        )
    return found


# ---- COCO ----


def _coco(path: Path, part: str = "") -> Listing:
    """One file's lists, each with an entry or more of any kind."""
    written = path.read_bytes()
    twice: list[str] = []
    try:
        content = json.loads(written, object_pairs_hook=lambda pairs: _object(pairs, twice))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON, write it anew: {error}") from None
    if twice:
        raise ValueError(f"{path} holds {twice[0]} in one object: write one of them")
    lists = {}
    for what in ("images", "annotations", "categories"):
        given = content.get(what) if isinstance(content, dict) else None
        if not isinstance(given, list) or not given:
            raise ValueError(f"{path} needs a list {what!r} with an entry or more, got {shown(given)}")
        lists[what] = given
    before = f"{part} " if part else ""
    images, annotations = (
        [Item(f"{before}{what}[{number}]", _own(given, key, part), part) for number, given in enumerate(lists[what])]
        for what, key in (("images", "id"), ("annotations", "image_id"))
    )
    return Listing("COCO", lists["categories"], written, images, annotations)


def _own(given: Any, key: str, part: str) -> Any:
    """An entry whose id is that of its part: two files count from 1 each."""
    name = identifier(given.get(key)) if isinstance(given, dict) else None
    return given | {key: f"{part} {name}"} if part and name is not None else given


def _object(pairs: list[tuple[str, Any]], twice: list[str]) -> dict[str, Any]:
    """An object of JSON; of a key that stands there twice, Python would take the last without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice += [
            f"{key!r} twice, {shown(value)} and {shown(found[key])}," for key, value in pairs if found[key] != value
        ]
    return found


def _pair(folder: Path) -> tuple[Path, Path] | None:
    """The files of what to train on and of what is held out."""
    names = [name for name in sorted(os.listdir(folder)) if _PAIR.fullmatch(name)] if folder.is_dir() else []
    if len(names) > 1:
        raise ValueError(f"data folder {folder} has {names[0]} and {names[1]}: leave one of them there")
    if not names:
        return None
    beside = folder / names[0].replace("train", "val", 1)
    if not beside.is_file():
        raise ValueError(f"{folder / names[0]} needs {beside.name} beside it, with the images held out: put it there")
    return folder / names[0], beside


def _coco_pair(train: Path, judged: Path) -> Listing:
    parts = [path.stem.removeprefix("instances_") for path in (train, judged)]
    first, second = (_coco(path, part) for path, part in zip((train, judged), parts))
    if first.categories != second.categories:
        raise ValueError(f"{train.name} and {judged.name} must list the same categories in one order: write them anew")
    return Listing(
        "COCO",
        first.categories,
        first.written + b"\0" + second.written,
        first.images + second.images,
        first.annotations + second.annotations,
        judged=parts[1],
    )


# ---- Pascal VOC ----


def _voc(root: Path) -> Listing | None:
    places = (root / "Annotations", root / "annotations", root, root / "images")
    paths = next((found for found in map(_xml_files, places) if found), [])
    if not paths:
        return None
    parts, part_of = _image_sets(root)
    listing = Listing("VOC", [], b"", judged="val" if parts else "")
    contents, kinds = [*parts.values()], set()
    places = (root / "JPEGImages", root / "images", root, paths[0].parent)
    beside = next((place for place in places if _pictures(place)), root)
    prefix = "" if beside == root else f"{beside.relative_to(root).as_posix()}/"
    pictures = {path.stem: path for path in _pictures(beside)}
    for key in sorted(pictures.keys() - {path.stem for path in paths}):
        listing.faults.append((pictures[key].name, Unusable("image without an annotation file")))
    for path in paths:
        contents.append(path.read_bytes())
        part, key = part_of.get(path.stem, ASIDE if parts else ""), path.stem
        try:
            given = ElementTree.fromstring(contents[-1])
        except ElementTree.ParseError as error:
            listing.faults.append((path.name, Unusable("annotation file broken", str(error))))
            continue
        # Labelers name their file after the picture; the name within is often that of a former copy.
        name = pictures[key].name if key in pictures else _text(given, "filename")
        entry = {"id": key, "file_name": name and f"{prefix}{name}"}
        entry |= {side: _text(given, f"size/{side}") for side in ("width", "height")}
        listing.images.append(Item(path.name, entry, part))
        for number, one in enumerate(given.iter("object")):
            name = _text(one, "name")
            kinds |= {name} if name else set()
            box = [_text(one, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
            said = {"image_id": key, "category_id": name, "bbox": box, "difficult": _text(one, "difficult")}
            listing.annotations.append(Item(f"{path.name}: object {number}", said, part))
    listing.categories = [{"id": name, "name": name} for name in sorted(kinds)]
    listing.written = b"\0".join(contents)
    return listing


def _xml_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.xml")) if folder.is_dir() else []


def _image_sets(root: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """The contents of train.txt and val.txt, if both are there, and a dict from an image's name to its part."""
    paths = {part: root / "ImageSets" / "Main" / f"{part}.txt" for part in ("train", "val")}
    if not all(path.is_file() for path in paths.values()):
        return {}, {}
    written = {part: path.read_bytes() for part, path in paths.items()}
    return written, {name: part for part, text in written.items() for name in text.decode("utf-8-sig").split()}


def _text(given: ElementTree.Element, path: str) -> str | None:
    found = given.findtext(path)
    return found.strip() if found is not None else None


# ---- YOLO ----


def _yolo(root: Path) -> Listing | None:
    written, names, folders = _yaml(root)
    if not folders:
        lists = [path for path in (root / "classes.txt", root / "labels" / "classes.txt") if path.is_file()]
        if not lists:
            return None
        written = lists[0].read_bytes()
        names = [line.strip() for line in written.decode("utf-8-sig").splitlines() if line.strip()]
        folders = {"": root / "images" if (root / "images").is_dir() else root}
    listing = Listing("YOLO", [{"id": number, "name": name} for number, name in enumerate(names)], b"")
    listing.judged, contents = "val" if len(folders) > 1 else "", [written]
    for part, folder in folders.items():
        for picture in _pictures(folder, below=True):
            key = picture.relative_to(root).as_posix()
            listing.images.append(Item(key, {"id": key, "file_name": key}, part))
            label = _label(picture, root)
            if not label.is_file():
                listing.faults.append((key, Unusable("image without a label file")))
                continue
            contents.append(label.read_bytes())
            where = label.relative_to(root).as_posix()
            for number, line in enumerate(contents[-1].decode("utf-8-sig").splitlines(), start=1):
                if line.strip():
                    kind, *box = line.split()
                    said = {"image_id": key, "category_id": kind, "bbox": box}
                    listing.annotations.append(Item(f"{where}: line {number}", said, part))
    listing.written = b"\0".join(contents)
    return listing


def _yaml(root: Path) -> tuple[bytes, list[str], dict[str, Path]]:
    """The bytes of ``data.yaml``, the names of the classes, and the folder of each part; or nothing."""
    path = root / "data.yaml"
    if not path.is_file():
        return b"", [], {}
    import yaml

    written = path.read_bytes()
    try:
        content = yaml.safe_load(written)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML, write it anew: {' '.join(str(error).split())}") from None
    content = content if isinstance(content, dict) else {}
    names = content.get("names")
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise ValueError(f"{path} needs 'names', a list of the classes or a dict from 0, 1, ..., got {shown(names)}")
    folders = {part: _within(root, path, part, content.get(part)) for part in ("train", "val")}
    if folders["train"] == folders["val"]:
        folders = {"": folders["train"]}  # as in the examples of YOLO, where they only fill the file
    return written, [str(name) for name in names], folders


def _within(root: Path, path: Path, part: str, given: object) -> Path:
    """The folder of a part, which exporters write from ``path``, from the file or from beside it."""
    if isinstance(given, str):
        inside = re.sub(r"^(\.{1,2}/)+", "", given.replace("\\", "/"))
        for folder in (root / inside, root / inside / "images"):
            if folder.is_dir() and Path(os.path.abspath(folder)).is_relative_to(os.path.abspath(root)):
                if _pictures(folder, below=True):
                    return folder
    raise ValueError(f"{path} needs {part!r}, the name of a folder of images within {root}, got {shown(given)}")


def _pictures(folder: Path, below: bool = False) -> list[Path]:
    """The pictures in a folder, and in those ``below`` it, in the order of their names."""
    found = folder.rglob("*") if below else folder.glob("*")
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES and path.is_file())


def _label(picture: Path, root: Path) -> Path:
    """``labels/`` in place of the last ``images/`` on the way, else beside the picture."""
    parts = list(picture.relative_to(root).parts)
    turned = [place for place, part in enumerate(parts[:-1]) if part == "images"]
    if turned:
        parts[turned[-1]] = "labels"
    return root.joinpath(*parts).with_suffix(".txt")
