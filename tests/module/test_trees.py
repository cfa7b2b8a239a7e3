"""Trees from above, where they are installed: what is cut, and that nothing is in two parts."""

import json
import sys
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
from PIL import Image

from focalbook import __main__ as command
from focalbook import trees
from focalbook.coco import CocoFolder


def missing():
    try:
        trees.path_of("")
    except (ModuleNotFoundError, ValueError) as error:
        return str(error)
    return ""


needs_them = pytest.mark.skipif(bool(missing()), reason=missing() or "they are installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("trees")
    trees.write_tiles(place)
    return place


@needs_them
def test_they_are_read_and_their_package_is_not_imported(folder):
    assert "deepforest" not in sys.modules
    assert len(trees.crowns(trees.LARGE)) == 574 and len(trees.crowns(trees.SMALL)) == 279
    assert "© 2019 Ben Weinstein" in trees.CREDIT and trees.VERSION in trees.CREDIT


@needs_them
def test_a_tile_has_the_pixels_of_its_place_and_the_crowns_with_their_center_there(folder):
    lists = json.loads((folder / "annotations" / "instances_val.json").read_text())
    name, top, down, across = trees.BLOCKS["val"][0]
    boxes = np.array(trees.crowns(name))
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    with Image.open(trees.path_of(f"{name}.png")) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert len(lists["images"]) == down * across
    for number in (0, across + 3):
        x, y = number % across * trees.SIDE, top + number // across * trees.SIDE
        with Image.open(folder / "val" / lists["images"][number]["file_name"]) as tile:
            assert np.array_equal(np.asarray(tile), pixels[y : y + trees.SIDE, x : x + trees.SIDE])
        within = ((center >= (x, y)) & (center < (x + trees.SIDE, y + trees.SIDE))).all(1)
        expected = (boxes[within] - (x, y, x, y)).clip(0, trees.SIDE)
        expected[:, 2:] -= expected[:, :2]
        found = [entry["bbox"] for entry in lists["annotations"] if entry["image_id"] == number]
        assert np.array_equal(np.array(found).reshape(-1, 4), expected)


@needs_them
def test_no_crown_lies_in_both_parts_and_none_is_that_tall():
    end, start = (
        top + (part == "train") * down * trees.SIDE
        for part, blocks in trees.BLOCKS.items()
        for name, top, down, _ in blocks
        if name == trees.LARGE
    )
    boxes = np.array(trees.crowns(trees.LARGE))
    assert start - end > (boxes[:, 3] - boxes[:, 1]).max()
    assert not ((boxes[:, 1] < end) & (boxes[:, 3] > start)).any()


@needs_them
def test_the_folder_is_read_whole_and_written_to_the_same_bytes(folder, tmp_path):
    data = CocoFolder(folder, 64)
    assert (data.train, data.held_out, data.classes) == (72, 16, ("tree",)) and not data.skipped
    trees.write_tiles(tmp_path)
    for path in sorted(folder.rglob("*.*")):
        assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes()


def test_a_missing_package_and_another_version_are_named_with_the_cure(monkeypatch):
    def none(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(trees, "distribution", none)
    with pytest.raises(ModuleNotFoundError, match="not installed: python -m pip install --no-deps deepforest==2.1.0"):
        trees.path_of("a.png")
    monkeypatch.setattr(trees, "distribution", lambda name: type("Other", (), {"version": "1.3"}))
    with pytest.raises(ValueError, match="deepforest must be 2.1.0, .* got 1.3: python -m pip install --no-deps"):
        trees.path_of("a.png")


@needs_them
def test_the_command_makes_the_folder_once_trains_and_finds(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["--size", "32", "--steps", "1", "--batch", "2", "--device", "cpu", "--turns"]
    command.main(["--data", "trees", *small, "--checkpoint", "trees.pt"])
    assert "72 images to train on and 16 held out" in capsys.readouterr().out
    monkeypatch.setattr(trees, "write_tiles", None)
    command.main(["--data", "trees", *small, "--checkpoint", "trees.pt"])
    capsys.readouterr()
    command.main(["detect", "trees/val/val-00.png", "--checkpoint", "trees.pt", "--score", "0.001"])
    assert capsys.readouterr().out.startswith("trees/val/val-00.png: ") and (tmp_path / "found" / "val-00.png").exists()
