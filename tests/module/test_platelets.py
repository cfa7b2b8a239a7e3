"""The folds, and the platelets themselves where they are."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from focalbook import platelets
from focalbook.coco import CocoFolder
from focalbook.scenes import TEST, TRAIN

FOLDER = Path(os.environ.get("FOCALBOOK_PLATELETS", Path(__file__).parents[3] / "shared" / "data" / "bccd"))
"""A clone's ``BCCD_Dataset/BCCD``, or the shrunk copies in COCO format."""

needs_them = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="needs the platelets: name their folder by FOCALBOOK_PLATELETS"
)


def planted(count=50):
    return {f"JPEGImages/p{number:03}.jpg": number % 4 for number in range(count)}


@pytest.mark.parametrize("count", [2, 5, 7])
def test_each_picture_is_in_one_fold_and_the_folds_are_of_one_size(count):
    objects = planted()
    found = platelets.folds(objects, (), count)
    assert sorted(name for fold in found for name in fold) == sorted(objects)
    for sizes in ([len(fold) for fold in found], [sum(objects[name] for name in fold) for fold in found]):
        assert max(sizes) - min(sizes) <= 3
    assert platelets.folds(dict(reversed(objects.items())), (), count) == found


def test_twins_are_in_one_fold_whatever_their_number():
    twins = (("p001", "p002", "p003"), ("p010", "p047"))
    found = platelets.folds(planted(), twins)
    for group in twins:
        assert len({place for place, fold in enumerate(found) for name in fold if Path(name).stem in group}) == 1


@pytest.mark.parametrize("count", [0, 1, 6])
def test_a_number_of_folds_that_cannot_be_is_named(count):
    with pytest.raises(ValueError, match=f"count must be from 2 to 5, .* got {count}"):
        platelets.folds(planted(5), (), count)


@pytest.fixture
def voc(tmp_path):
    """A folder as the clone is, of ten pictures with a platelet or none, and a red cell in each."""
    for place in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / place).mkdir(parents=True)
    for number in range(10):
        Image.new("RGB", (64, 48), (number, 0, 0)).save(tmp_path / "JPEGImages" / f"BloodImage_{number:05}.jpg")
        corners = "<bndbox><xmin>8</xmin><ymin>8</ymin><xmax>24</xmax><ymax>24</ymax></bndbox>"
        kinds = ["RBC"] + [platelets.NAME] * (number % 2)
        objects = "".join(f"<object><name>{kind}</name>{corners}</object>" for kind in kinds)
        path = tmp_path / "Annotations" / f"BloodImage_{number:05}.xml"
        path.write_text(f"<annotation><filename>BloodImage_{number:05}.jpg</filename>{objects}</annotation>")
    for part, names in (("train", range(5)), ("val", (5, 6))):
        lines = "".join(f"BloodImage_{number:05}\n" for number in names)
        (tmp_path / "ImageSets" / "Main" / f"{part}.txt").write_text(lines)
    return tmp_path


def test_a_clone_is_read_and_its_own_division_put_aside(voc):
    objects = platelets.counted(voc)
    assert len(objects) == 10 and sum(objects.values()) == 5
    judge, inner, *_ = platelets.folds(objects)
    data = platelets.data(voc, judge, size=64)
    assert data.classes == (platelets.NAME,) and (data.train, data.held_out, data.others) == (8, 2, 10)
    assert sum(len(image.labels) for image in data._images) == 5 and data.turns
    assert "5 boxes of 1 classes, and 10 of others that count as background" in data.report()
    within = platelets.data(voc, inner, omit=judge, size=64)
    assert (within.train, within.held_out, within.aside) == (6, 2, 2)


def test_a_class_that_is_not_there_is_named(voc):
    with pytest.raises(ValueError, match=r"only must name classes from Platelets, RBC, got \['WBC'\]"):
        CocoFolder(voc, 64, only=["WBC"])


def test_a_fold_reads_its_pictures_where_the_environment_says(voc, monkeypatch):
    monkeypatch.setenv(platelets.FOLDER, str(voc))
    fold = platelets.Fold(1, omit=0, size=64)
    names = platelets.folds(platelets.counted(voc))
    data = platelets.data(voc, names[1], names[0], 64)
    assert (fold.classes, fold.held_out, fold.fingerprint) == (data.classes, data.held_out, data.fingerprint)
    for collection in (TRAIN, TEST):
        ours, theirs = (one.batch([0, 1], collection, "cpu", torch.float32) for one in (fold, data))
        assert all(map(torch.equal, ours, theirs))
    assert platelets.Fold(2, size=64).fingerprint != fold.fingerprint


@pytest.mark.parametrize("folder", [None, "", "nowhere"])
def test_a_fold_without_pictures_says_where_they_come_from(folder, monkeypatch):
    monkeypatch.delenv(platelets.FOLDER, raising=False)
    if folder is not None:
        monkeypatch.setenv(platelets.FOLDER, folder)
    with pytest.raises(FileNotFoundError, match="FOCALBOOK_PLATELETS names no folder with them: git clone https"):
        platelets.Fold(0).batch([0], TRAIN, "cpu", torch.float32)


# ---- the platelets themselves ----


@needs_them
def test_there_are_as_many_as_is_written():
    objects = platelets.counted(FOLDER)
    assert len(objects) == 364 and sum(objects.values()) == 361
    assert sum(count == 0 for count in objects.values()) / len(objects) == pytest.approx(0.45, abs=0.01)


@needs_them
def test_the_five_folds_hold_them_all_and_keep_the_twins_together():
    objects = platelets.counted(FOLDER)
    found = platelets.folds(objects)
    assert sorted(sum(objects[name] for name in fold) for fold in found) == [72, 72, 72, 72, 73]
    assert {len(fold) for fold in found} <= {72, 73, 74}
    for fold in found:
        twins = {Path(name).stem for name in fold} & set(platelets.TWINS[0])
        assert twins in (set(), set(platelets.TWINS[0]))


@needs_them
def test_the_twins_are_nearly_the_same_picture_and_no_others_are():
    names = sorted(platelets.counted(FOLDER))
    small = []
    for name in names:
        place = FOLDER / name if (FOLDER / name).exists() else FOLDER / "images" / name
        with Image.open(place) as picture:
            picture.draft("L", (32, 32))
            small.append(np.asarray(picture.convert("L").resize((16, 16)), np.float64).ravel())
    values = np.array(small) - np.mean(small, axis=1, keepdims=True)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    alike = np.triu(values @ values.T, 1)
    first, second = np.unravel_index(alike.argmax(), alike.shape)
    assert (Path(names[first]).stem, Path(names[second]).stem) == platelets.TWINS[0]
