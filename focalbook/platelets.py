"""Platelets in blood: a public set of photographs through a microscope, and its five folds (chapter 22).

The pictures are BCCD, github.com/Shenggan/BCCD_Dataset, MIT License, (c) 2017 shenggan. None of them is part of this
book. To have them: ``git clone https://github.com/Shenggan/BCCD_Dataset``, and name the folder ``BCCD_Dataset/BCCD``,
which is in the format of Pascal VOC. The set of shrunk copies in COCO format, with the same file names, is read alike.
"""

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import torch

from focalbook import formats
from focalbook.annotations import identifier
from focalbook.coco import CocoFolder
from focalbook.scenes import Scenes

FOLDER = "FOCALBOOK_PLATELETS"
"""The environment variable that names the folder of the pictures, where a study asks for them."""

NAME = "Platelets"
"""The class of interest; white and red cells count as background."""

TWINS = (("BloodImage_00037", "BloodImage_00038"),)
"""Pictures of nearly the same place: one of them in training would give the other away."""


def counted(folder: str | Path) -> dict[str, int]:
    """How many platelets are marked in each picture: a dict from the name of its file.

    Raises as ``formats.read`` does. Explained in chapter 22.
    """
    listing = formats.read(folder)
    ids = {identifier(given.get("id")) for given in listing.categories if given.get("name") == NAME}
    files = {identifier(item.given.get("id")): str(item.given.get("file_name")) for item in listing.images}
    found = dict.fromkeys(files.values(), 0)
    for item in listing.annotations:
        if identifier(item.given.get("category_id")) in ids:
            found[files[identifier(item.given.get("image_id"))]] += 1
    return found


def folds(objects: Mapping[str, int], twins: Collection[Collection[str]] = TWINS, count: int = 5) -> list[list[str]]:
    """Pictures in ``count`` folds of about as many objects and as many pictures each, twins together.

    ``objects``: how many objects each picture has, by the name of its file. ``twins``: groups of pictures that must not
    be parted, each by its file's name without folder and ending. Returns the names, fold by fold. They depend on the
    names and numbers alone. Raises ``ValueError`` for fewer groups of pictures than folds, or fewer folds than two.
    Explained in chapter 22.
    """
    group_of = {name: number for number, group in enumerate(twins) for name in group}
    groups: dict[object, list[str]] = {}
    for name in sorted(objects):
        stem = PurePosixPath(name).stem
        groups.setdefault(group_of.get(stem, stem), []).append(name)
    if not 2 <= count <= len(groups):
        raise ValueError(f"count must be from 2 to {len(groups)}, the groups of pictures, got {count}")
    found: list[list[str]] = [[] for _ in range(count)]
    held = [0] * count
    # The largest first, equal ones in an order that no name decides; each to the fold that has least.
    for group in sorted(groups.values(), key=lambda group: (-sum(map(objects.__getitem__, group)), _hash(group))):
        own = sum(map(objects.__getitem__, group))
        sizes = [
            (held[place], len(found[place])) if own else (len(found[place]), held[place]) for place in range(count)
        ]
        place = sizes.index(min(sizes))
        found[place] += group
        held[place] += own
    return [sorted(fold) for fold in found]


def data(folder: str | Path, judge: Collection[str], omit: Collection[str] = (), size: int = 256) -> CocoFolder:
    """The platelets as a data set: to be judged on ``judge``, to learn from all but these and ``omit``, in all turns.

    Names as in ``counted``. To choose within four folds, judge on one of them and omit the fifth. Raises as
    ``CocoFolder`` does. Explained in chapter 22.
    """
    return CocoFolder(folder, size, turns=True, judge=judge, omit=omit, only=(NAME,))


@dataclass(frozen=True)
class Fold:
    """The platelets as a study names them, without a folder: a data set that is judged on the fold number ``judge`` and
    learns from all others but ``omit``, at ``size`` pixels.

    The pictures are read when they are first asked for, from the folder that the environment variable ``FOLDER`` names.
    Raises ``FileNotFoundError`` then where it names none. Explained in chapter 22.
    """

    judge: int
    omit: int | None = None
    size: int = 192

    @property
    def classes(self) -> tuple[str, ...]:
        """The platelets alone."""
        return (NAME,)

    @property
    def held_out(self) -> int:
        """How many pictures it is judged on."""
        return self._pictures().held_out

    @property
    def fingerprint(self) -> str:
        """A hash of the annotations and of the names of the pictures that it is judged on."""
        return self._pictures().fingerprint

    def batch(self, indices: Sequence[int], seed: int, device: str | torch.device, dtype: torch.dtype) -> Scenes:
        """As in ``scenes.DataSet``."""
        return self._pictures().batch(indices, seed, device, dtype)

    def _pictures(self) -> CocoFolder:
        folder = os.environ.get(FOLDER)
        if not folder or not Path(folder).is_dir():
            raise FileNotFoundError(
                f"the platelets are not part of the book, and {FOLDER} names no folder with them: "
                "git clone https://github.com/Shenggan/BCCD_Dataset, and set it to BCCD_Dataset/BCCD"
            )
        return _read(folder, self)


@cache
def _read(folder: str, fold: Fold) -> CocoFolder:
    names = folds(counted(folder))
    return data(folder, names[fold.judge], () if fold.omit is None else names[fold.omit], fold.size)


def _hash(group: Sequence[str]) -> str:
    return hashlib.sha256(PurePosixPath(group[0]).stem.encode()).hexdigest()
