"""Your own images: a folder in COCO format, whole and with every fault."""

import inspect
import json
import math
import pickle
import struct
import threading
import zlib
from concurrent.futures import wait

import numpy as np
import pytest
import torch
from PIL import Image

from focalbook import pictures
from focalbook.anchors import AnchorSettings
from focalbook.coco import REASONS, CocoFolder, anchors_for, letterbox
from focalbook.evaluation import detect_scenes, evaluate
from focalbook.pictures import decoded
from focalbook.scenes import TEST, TRAIN, VALIDATION, DataSet, Scenes, SceneSettings, render
from focalbook.training import TrainSettings, new_model, train
from focalbook.turns import turned

SCENES = SceneSettings(size=48, objects=(0, 2), distractors=1)
COUNT = 20


def save(pixels, path):
    """Write pixels (3, H, W) in [0, 1] as a picture."""
    path.parent.mkdir(exist_ok=True)
    Image.fromarray((pixels * 255).round().byte().permute(1, 2, 0).numpy()).save(path)


@pytest.fixture
def folder(tmp_path):
    """Twenty scenes: the even ones PNG beside the annotations, the odd ones JPEG in images/; category ids 7, 3, 9."""
    scenes, images, annotations = render(range(COUNT), TRAIN, SCENES, dtype=torch.float64), [], []
    for index, (pixels, boxes, labels) in enumerate(zip(*scenes)):
        name = f"{index}.png" if index % 2 == 0 else f"{index}.jpg"
        save(pixels, tmp_path / name if index % 2 == 0 else tmp_path / "images" / name)
        images.append({"id": 100 + index, "file_name": name, "width": 48, "height": 48})
        for (x1, y1, x2, y2), label in zip(boxes.tolist(), labels.tolist()):
            if label >= 0:
                box = {"image_id": 100 + index, "category_id": (7, 3, 9)[label], "bbox": [x1, y1, x2 - x1, y2 - y1]}
                annotations.append({"id": len(annotations), "iscrowd": 0, **box})
    categories = [{"id": number, "name": name} for number, name in zip((7, 3, 9), SCENES.classes)]
    (tmp_path / "annotations.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return tmp_path


@pytest.fixture
def change(folder):
    """Rewrite the annotations: change(lambda content: ...) edits them in place."""

    def rewrite(edit):
        content = json.loads((folder / "annotations.json").read_text())
        edit(content)
        (folder / "annotations.json").write_text(json.dumps(content))

    return rewrite


def named(data, name):
    """The image of that name as (pixels, boxes, labels), wherever the split has put it."""
    for seed, count in ((TRAIN, data.train), (TEST, data.held_out)):
        for index in range(count):
            if data._at(index, seed).name == name:
                pixels, boxes, labels = (part[0] for part in data.batch([index], seed, dtype=torch.float64))
                return pixels, boxes[labels >= 0], labels[labels >= 0]
    raise KeyError(name)


# ---- a whole folder ----


def test_images_boxes_and_labels_come_back(folder):
    data = CocoFolder(folder, 48)
    scenes = render(range(COUNT), TRAIN, SCENES, dtype=torch.float64)
    assert data.classes == SCENES.classes and data.train + data.held_out == COUNT and not data.skipped
    for index in range(COUNT):
        png = index % 2 == 0
        pixels, boxes, labels = named(data, f"{index}.png" if png else f"{index}.jpg")
        real = scenes.labels[index] >= 0
        torch.testing.assert_close(boxes, scenes.boxes[index][real])
        assert labels.tolist() == scenes.labels[index][real].tolist()
        error = (pixels - scenes.images[index]).abs()
        assert error.max() < 0.003 if png else error.mean() < 0.1  # JPEG of noise loses color


def test_a_batch_has_the_shapes_and_padding_of_scenes(folder):
    images, boxes, labels = CocoFolder(folder, 48).batch(range(30), TRAIN, "cpu", torch.float64)
    assert images.shape == (30, 3, 48, 48) and images.dtype == boxes.dtype == torch.float64
    assert boxes.shape == (30, 2, 4) and labels.shape == (30, 2) and labels.dtype == torch.int64
    assert (
        (boxes[labels < 0] == 0).all()
        and (labels[labels < 0] == -1).all()
        and {-1, 0, 1, 2} == set(labels.unique().tolist())
    )
    assert images.min() >= 0 and images.max() <= 1


def test_the_split_is_the_same_again_and_hardly_moves_when_images_are_added(folder, change):
    first = CocoFolder(folder, 48)
    held = {first._at(index, TEST).name for index in range(first.held_out)}
    assert first.held_out == 4 and not held & {first._at(index, TRAIN).name for index in range(first.train)}
    assert held == {first._at(index, VALIDATION).name for index in range(4)}
    save(torch.rand(3, 48, 48, generator=torch.Generator().manual_seed(0)), folder / "new.png")
    change(lambda content: content["images"].reverse())
    change(lambda content: content["images"].append({"id": 1, "file_name": "new.png"}))
    again = CocoFolder(folder, 48)
    assert len(held & {again._at(index, TEST).name for index in range(4)}) >= 3


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own(folder):
    data = CocoFolder(folder, 48)
    epochs = [[data._at(epoch * data.train + place, TRAIN).name for place in range(data.train)] for epoch in range(3)]
    assert all(len(set(epoch)) == data.train for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3 and len({frozenset(epoch) for epoch in epochs}) == 1


@pytest.mark.parametrize("index, seed", [(-1, TRAIN), (-1, TEST), (4, TEST)])
def test_an_index_that_is_not_there_is_named(folder, index, seed):
    with pytest.raises(ValueError, match=f"indices must be .* below 4 .* got {index}"):
        CocoFolder(folder, 48).batch([index], seed)


def test_the_report_counts_what_was_found(folder):
    data = CocoFolder(folder, 48)
    boxes = sum((render([index], TRAIN, SCENES).labels >= 0).sum().item() for index in range(COUNT))
    assert data.report() == f"16 images to train on and 4 held out, {boxes} boxes of 3 classes\nleft out: nothing"


# ---- flips and quarter turns ----


def test_an_image_to_train_on_comes_in_all_ways_and_its_boxes_with_it(folder):
    plain, data = CocoFolder(folder, 48), CocoFolder(folder, 48, turns=True)
    seen = set()
    for index in range(6 * data.train):
        before, after = (one.batch([index], TRAIN, dtype=torch.float64) for one in (plain, data))
        ways = [turned(before.images[0], before.boxes[0, before.labels[0] >= 0], way) for way in range(8)]
        same = {way for way, (pixels, _) in enumerate(ways) if torch.equal(pixels, after.images[0])}
        assert len(same) == 1 and torch.equal(before.labels, after.labels)
        seen |= same
        assert torch.equal(ways[min(same)][1], after.boxes[0, after.labels[0] >= 0])
    assert seen == set(range(8))


def test_turns_are_the_same_again_and_none_for_what_is_held_out(folder):
    plain, data = CocoFolder(folder, 48), CocoFolder(folder, 48, turns=True)
    for seed, other in ((TEST, plain), (TRAIN, CocoFolder(folder, 48, turns=True))):
        for mine, theirs in zip(data.batch(range(4), seed), other.batch(range(4), seed)):
            assert torch.equal(mine, theirs)


# ---- decoded beside the training ----


def test_the_next_batch_is_decoded_before_it_is_asked_for(folder, monkeypatch):
    data, other, here = CocoFolder(folder, 48), CocoFolder(folder, 48), threading.get_ident()
    expected = [other.batch(range(start, start + 3), TRAIN) for start in (0, 3, 6)]
    wait(other._ahead.values())
    read = []

    def watched(path, size, orientation):
        read.append((path.name, threading.get_ident()))
        return decoded(path, size, orientation)

    monkeypatch.setattr(pictures, "decoded", watched)
    for start, scenes in zip((0, 3, 6), expected):
        if start:
            wait(data._ahead.values())
            assert len(read) == start + 3  # those of this batch are there, and no more
        for mine, theirs in zip(data.batch(range(start, start + 3), TRAIN), scenes):
            assert torch.equal(mine, theirs)
    wait(data._ahead.values())
    assert here not in {thread for _, thread in read}
    names = [data._at(index, TRAIN).path.name for index in range(12)]
    assert sorted(name for name, _ in read) == sorted(names)  # each once


@pytest.mark.parametrize("batches", [[(0, 2), (1, 3)], [(5,), (6,), (0,)], [(0, 1), (7, 9), (2, 3)], [(3, 3), (3, 3)]])
def test_whatever_is_asked_for_next_is_what_comes(folder, batches):
    data = CocoFolder(folder, 48)
    for indices in batches:
        for mine, theirs in zip(data.batch(indices, TRAIN), CocoFolder(folder, 48).batch(indices, TRAIN)):
            assert torch.equal(mine, theirs)


def test_a_folder_that_is_being_read_goes_to_another_process(folder):
    data = CocoFolder(folder, 48)
    data.batch(range(3), TRAIN)
    other = pickle.loads(pickle.dumps(data))
    assert other.fingerprint == data.fingerprint and other.batch(range(3), TRAIN).images.shape == (3, 3, 48, 48)


# ---- letterbox ----


@pytest.mark.parametrize("width, height", [(48, 48), (640, 480), (333, 500), (1, 1000), (7, 5)])
def test_boxes_go_through_the_letterbox_and_back(width, height):
    factors = letterbox(width, height, 96)
    whole = torch.tensor([0, 0, width, height], dtype=torch.float64)
    assert (factors * whole)[2:].max() == pytest.approx(96) and (factors * whole)[2:].min() >= 1 - 1e-9
    box = torch.tensor([0.1, 0.2, 0.7, 0.9], dtype=torch.float64) * whole
    torch.testing.assert_close(box * factors / factors, box)
    if min(width, height) > 100:
        assert factors[0] == pytest.approx(factors[1].item(), rel=0.01)


def test_a_box_lies_on_its_object_after_the_letterbox(folder, change):
    pixels = torch.full((3, 60, 120), 0.2)
    pixels[:, 20:40, 30:90] = 1.0
    save(pixels, folder / "wide.png")
    change(lambda content: content["images"].append({"id": 1, "file_name": "wide.png"}))
    box = {"id": 999, "image_id": 1, "category_id": 3, "bbox": [30, 20, 60, 20]}
    change(lambda content: content["annotations"].append(box))
    pixels, boxes, labels = named(CocoFolder(folder, 48), "wide.png")
    torch.testing.assert_close(boxes, torch.tensor([[12.0, 8, 36, 16]], dtype=torch.float64))
    assert labels.tolist() == [1]
    assert (pixels[:, 9:15, 13:35] == 1).all() and (pixels[:, 24:] == 0.5).all()  # the object, and the empty rest
    assert pixels[:, :6].max() < 0.25


def test_a_photo_on_its_side_is_set_upright(folder, change):
    photo = Image.new("RGB", (60, 30), (255, 0, 0))
    exif = photo.getexif()
    exif[0x0112] = 6
    photo.save(folder / "photo.jpg", exif=exif)
    change(lambda content: content["images"].append({"id": 1, "file_name": "photo.jpg"}))
    data = CocoFolder(folder, 48)
    pixels, _, _ = named(data, "photo.jpg")
    assert (pixels[0, 40, :24] > 0.9).all() and (pixels[:, :, 24:] == 0.5).all()  # upright: 30 wide, 60 high


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_other_kinds_of_pictures_become_rgb(folder, change, mode):
    Image.new(mode, (48, 48)).save(folder / "kind.png")
    change(lambda content: content["images"].append({"id": 1, "file_name": "kind.png"}))
    pixels, _, _ = named(CocoFolder(folder, 48), "kind.png")
    assert (pixels == 0).all()


@pytest.mark.parametrize("size", [64, 96, 128, 256, 320, 512])
def test_the_largest_anchor_is_about_the_image_and_the_size_fits_the_strides(size):
    anchors = anchors_for(size)
    largest = anchors.base * anchors.strides[-1] * max(anchors.scales)
    assert 0.75 * size <= largest <= 1.5 * size and size % anchors.strides[-1] == 0


def test_the_books_scenes_have_the_anchors_of_their_size():
    assert anchors_for(96) == AnchorSettings()


# ---- what cannot be used ----


def drop_file(folder, content):
    (folder / "0.png").unlink()


def truncate(folder, content):
    path = folder / "images" / "1.jpg"
    path.write_bytes(path.read_bytes()[:300])


def no_picture(folder, content):
    (folder / "0.png").write_text("not a picture")


def floats(folder, content):
    Image.new("F", (48, 48), 0.5).save(folder / "0.png", "TIFF")


def too_many_pixels(folder, content):
    header = b"IHDR" + struct.pack(">IIBBBBB", 20000, 20000, 1, 0, 0, 0, 0)
    chunks = [struct.pack(">I", n) + c + struct.pack(">I", zlib.crc32(c)) for n, c in ((13, header), (0, b"IDAT"))]
    (folder / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def a_folder(folder, content):
    (folder / "0.png").unlink()
    (folder / "0.png").mkdir()


def box_of(*values):
    return set_first("bbox", list(values))


def set_first(key, value, what="annotations"):
    def plant(folder, content):
        content[what][0][key] = value

    return plant


def name_of(name):
    return set_first("file_name", name, "images")


def in_place_of_first(what, value):
    def plant(folder, content):
        content[what][0] = value

    return plant


def without(what, key):
    def plant(folder, content):
        content[what][0].pop(key)

    return plant


# What is planted, why it is then left out, and the value that is told.
LEFT_OUT = [
    (drop_file, "image missing", "0.png"),
    (a_folder, "image missing", "0.png: a folder"),
    (name_of("a\0b.png"), "image missing", r"'a\x00b.png'"),
    (name_of("n" * 5000), "image missing", "nnn...nnn"),
    (name_of("0.jpg"), "image missing", "0.jpg"),
    (name_of("../0.png"), "image path out of the folder", "../0.png"),
    (name_of("..\\..\\0.png"), "image path out of the folder", r"..\..\0.png"),
    (name_of("/0.png"), "image path out of the folder", "/0.png"),
    (name_of(r"C:\data\0.png"), "image path out of the folder", r"C:\data\0.png"),
    (truncate, "image unreadable", "1.jpg: "),
    (no_picture, "image unreadable", "0.png: no picture that Pillow knows"),
    (floats, "image without a fixed white", "0.png: mode F"),
    (too_many_pixels, "image of too many pixels", "0.png: 400000000, at most "),
    *(
        (
            set_first(key, value, "images"),
            "image of another size than annotated",
            f"0.png: annotated {found}, is 48 x 48",
        )
        for key, value, found in (
            ("width", 96, "96 x 48"),
            ("height", "64", "48 x 64"),
            ("width", 48.5, "48.5 x 48"),
            ("height", -48, "48 x -48"),
            ("height", "a", "48 x a"),
            ("width", True, "True x 48"),
            ("width", [48], "[48] x 48"),
        )
    ),
    *(
        (set_first("id", value, "images"), "image without a proper id", f"images[0]: {value}")
        for value in (None, True, [])
    ),
    (without("images", "id"), "image without a proper id", "images[0]: None"),
    (set_first("id", math.nan, "images"), "image without a proper id", "images[0]: nan"),
    *(
        (name_of(value), "image without a proper file name", f"images[0]: {value!r}")
        for value in (None, "", 3, ["0.png"])
    ),
    (without("images", "file_name"), "image without a proper file name", "images[0]: None"),
    *(
        (in_place_of_first("images", value), "image without a proper id", f"images[0]: {value!r}")
        for value in (None, 3, "a")
    ),
    *(
        (in_place_of_first("annotations", value), "annotation not understood", f"annotations[0]: {value!r}")
        for value in (None, 3, "a", [])
    ),
    *(
        (set_first("image_id", value), "image id unknown", f"annotations[0]: {value!r}")
        for value in (12345, None, True, "first", [100])
    ),
    (without("annotations", "image_id"), "image id unknown", "annotations[0]: None"),
    *(
        (set_first("category_id", value), "category unknown", f"1.jpg: {value!r}")
        for value in (12345, None, True, "disc", {})
    ),
    *((set_first("iscrowd", value), "crowd", f"1.jpg: {value!r}") for value in (1, True, "1", "true", "Yes", "1.0")),
    *(
        (set_first("iscrowd", value), "crowd mark not understood", f"1.jpg: {value!r}")
        for value in (2, -1, "maybe", [], [0], {"a": 1}, "0 1")
    ),
    *(
        (box_of(1, 2, value, 3), "box not four finite numbers", f"1.jpg: [1, 2, {value!r}, 3]")
        for value in (math.nan, math.inf, None, True, "a", "nan", "inf", [4], "")
    ),
    *(
        (set_first("bbox", value), "box not four finite numbers", f"1.jpg: {value!r}")
        for value in ([1, 2, 3], [1, 2, 3, 4, 5], [], None, 7, "1, 2, 3, 4", {"x": 1})
    ),
    (without("annotations", "bbox"), "box not four finite numbers", "1.jpg: None"),
    *(
        (box_of(*values), "box without area", f"1.jpg: [{', '.join(f'{value:g}' for value in values)}]")
        for values in (
            (5, 5, 0, 9),
            (5, 5, 9, 0),
            (20, 20, -5, 9),
            (20, 20, 5, -9),
            (20, 20, 1e-9, 9),
            (20, 20, 9, 1e-300),
            (48 - 1e-9, 5, 9, 9),  # what is inside has none
        )
    ),
    *(
        (box_of(0.2, 0.3, *values), "box within the first pixel", "1.jpg: [0.2, 0.3, ")
        for values in ((0.5, 0.5), (1, 1e-3))
    ),
    *(
        (box_of(*values), "box outside the image", f"1.jpg: {[float(value) for value in values]}".replace(".0", ""))
        for values in ((48, 0, 5, 5), (0, 50, 5, 5), (-9, 0, 9, 5), (0, -99, 5, 9))
    ),
]


@pytest.mark.parametrize("plant, what, value", LEFT_OUT)
def test_what_is_broken_is_left_out_counted_and_named(folder, change, plant, what, value):
    before = sum(len(image.labels) for image in CocoFolder(folder, 48)._images)
    change(lambda content: plant(folder, content))
    data = CocoFolder(folder, 48)
    assert set(data.skipped) <= {what, "box of an image left out", "image id unknown"} and len(data.skipped[what]) == 1
    where = data.skipped[what][0]
    assert value in where and f"left out: {what} 1 (first: {where})\n    {REASONS[what]}" in data.report()
    assert sum(len(image.labels) for image in data._images) == before - 1 or what.startswith("image")
    assert data.train + data.held_out == COUNT - (what.startswith("image") and what != "image id unknown")
    pixels, boxes, _ = data.batch(range(data.train))
    assert pixels.isfinite().all() and boxes.isfinite().all()


def test_everything_broken_at_once_stops_nothing(folder, change):
    def plant(content):
        content["images"] += [None, 3, {}, {"id": [1]}, {"id": 1, "file_name": {}}, {"id": 2, "file_name": "\0"}]
        content["annotations"] += [None, 3, {}, {"image_id": []}, {"image_id": 2, "bbox": [1]}, {"image_id": 101}]

    whole = CocoFolder(folder, 48)
    change(plant)
    data = CocoFolder(folder, 48)
    assert [image.boxes for image in data._images] == [image.boxes for image in whole._images]
    assert {what: len(where) for what, where in data.skipped.items()} == {
        "image without a proper id": 4,
        "image without a proper file name": 1,
        "image missing": 1,
        "annotation not understood": 2,
        "image id unknown": 2,
        "box of an image left out": 1,
        "category unknown": 1,
    }
    assert "images[20]: None, images[21]: 3, images[22]: {})" in data.report()  # the first three of four


def test_what_was_not_left_out_can_be_looked_up(folder):
    data = CocoFolder(folder, 48)
    with pytest.raises(KeyError):
        data.skipped["crowd"]
    assert type(data.skipped) is dict and data.skipped.get("crowd", []) == [] and not data.skipped
    data.skipped["a reason of my own"] = []
    assert data.report().endswith("\nleft out: nothing")


def test_every_reason_is_left_out_by_some_test_and_has_a_cure():
    assert {what for _, what, _ in LEFT_OUT} | TESTED_BELOW == set(REASONS)
    assert all(cure == cure.strip() and cure for cure in REASONS.values())


TESTED_BELOW = {
    "image id used twice",
    "image listed twice",
    "image of 16 bits, nearly black",
    "box of an image left out",
    "box given twice",
    "part of a box outside the image",
    *("image to train on and held out", "image without a label file", "image without an annotation file"),
    *("annotation file broken", "object marked as difficult"),  # in test_formats.py
}


def test_a_box_over_the_edge_is_cut_and_counted(folder, change):
    change(lambda content: box_of(-10, 20, 30, 100)(folder, content))
    data = CocoFolder(folder, 48)
    name, value = data.skipped["part of a box outside the image"][0].split(": ")
    assert [0, 20, 20, 48] in named(data, name)[1].tolist() and value == "[-10, 20, 30, 100]"
    change(lambda content: box_of(-0.4, 20, 30, 10)(folder, content))  # less than a pixel is rounding
    assert not CocoFolder(folder, 48).skipped


# ---- keys that are not unique ----


def listed(names, boxes=(), categories=1, **more):
    """Annotations of images (id, name), with boxes (image id, box) or (image id, box, category)."""
    return {
        "images": [{"id": key, "file_name": name} for key, name in names],
        "annotations": [
            {"id": number, "image_id": key, "bbox": box, "category_id": (*category, 0)[0], **more}
            for number, (key, box, *category) in enumerate(boxes)
        ],
        "categories": [{"id": number, "name": f"kind {number}"} for number in range(categories)],
    }


def write(folder, content, pictures="abcd", size=(64, 64)):
    """A folder of small pictures a.png, b.png, ... and these annotations."""
    for name in pictures:
        Image.new("RGB", size, (ord(name), 0, 0)).save(folder / f"{name}.png")
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def boxes_by_name(data):
    return {image.name: sorted(image.boxes) for image in data._images}


def test_of_an_id_with_two_files_both_are_left_out_with_all_its_boxes(tmp_path):
    names = [(1, "a.png"), (2, "b.png"), ("1", "c.png"), (3, "d.png")]
    boxes = [(1, [5, 5, 9, 9]), (2, [6, 6, 9, 9]), (3, [7, 7, 9, 9]), (1.0, [8, 8, 9, 9])]
    data = CocoFolder(write(tmp_path, listed(names, boxes)), 64)
    assert boxes_by_name(data) == {"b.png": [[6, 6, 15, 15]], "d.png": [[7, 7, 16, 16]]}
    assert data.skipped["image id used twice"] == ["a.png: id 1", "c.png: id 1"]
    assert data.skipped["box of an image left out"] == ["annotations[0]: image_id 1", "annotations[3]: image_id 1"]


@pytest.mark.parametrize("other", [{"id": 1, "file_name": "lost.png"}, {"id": 1, "file_name": None}, {"id": 1}])
def test_an_id_is_used_twice_also_where_the_second_file_is_lost(tmp_path, other):
    content = listed([(1, "a.png"), (2, "b.png"), (3, "c.png")], [(1, [5, 5, 9, 9]), (2, [6, 6, 9, 9])])
    content["images"].append(other)
    data = CocoFolder(write(tmp_path, content), 64)
    assert set(boxes_by_name(data)) == {"b.png", "c.png"} and "a.png: id 1" in data.skipped["image id used twice"]


def test_a_file_of_an_id_used_twice_is_left_out_under_its_other_id_too(tmp_path):
    names = [(1, "a.png"), (1, "b.png"), (2, "a.png"), (3, "c.png"), (4, "d.png")]
    data = CocoFolder(write(tmp_path, listed(names, [(2, [5, 5, 9, 9]), (3, [6, 6, 9, 9])])), 64)
    assert set(boxes_by_name(data)) == {"c.png", "d.png"}  # a.png lacks the boxes of id 1: they would be background


@pytest.mark.parametrize("again", ["a.png", "./a.png", "images/../a.png", "link.png"])
def test_a_file_under_two_ids_is_one_picture_with_all_its_boxes(tmp_path, again):
    (tmp_path / "link.png").symlink_to("a.png")
    names = [(1, "a.png"), (2, "b.png"), (3, again)]
    boxes = [(1, [5, 5, 9, 9]), (3, [20, 20, 9, 9]), (3, [5, 5, 9, 9]), (2, [6, 6, 9, 9])]
    data = CocoFolder(write(tmp_path, listed(names, boxes)), 64)
    assert boxes_by_name(data) == {"a.png": [[5, 5, 14, 14], [20, 20, 29, 29]], "b.png": [[6, 6, 15, 15]]}
    assert data.skipped == {"image listed twice": [f"{again}: id 3"], "box given twice": ["a.png: [5, 5, 9, 9]"]}


def test_an_image_that_is_listed_again_with_its_id_is_one_image(tmp_path):
    names = [(1, "a.png"), (2, "b.png"), (1, "a.png")]
    data = CocoFolder(write(tmp_path, listed(names, [(1, [5, 5, 9, 9])])), 64)
    assert boxes_by_name(data) == {"a.png": [[5, 5, 14, 14]], "b.png": []}
    assert data.skipped == {"image listed twice": ["a.png: id 1"]}


def test_an_annotation_is_known_by_what_it_says_and_not_by_its_id(tmp_path):
    boxes = [(1, [5, 5, 9, 9]), ("1", ["5", 5.0, 9, "9"]), (1, [5, 5, 9, 9], 1), (1, [5, 5, 9, 10]), (2, [5, 5, 9, 9])]
    content = listed([(1, "a.png"), (2, "b.png")], boxes, categories=2)
    for entry in content["annotations"]:
        entry["id"] = 7
    data = CocoFolder(write(tmp_path, content), 64)
    assert sum(len(image.labels) for image in data._images) == 4
    assert data.skipped == {"box given twice": ["a.png: [5, 5, 9, 9]"]}
    for entry in content["annotations"]:
        del entry["id"]
    assert boxes_by_name(CocoFolder(write(tmp_path, content), 64)) == boxes_by_name(data)


# ---- values of another type or unit ----


def test_ids_numbers_and_marks_as_text_are_what_they_spell(folder, change):
    whole = CocoFolder(folder, 48)

    def as_text(content):
        for entry in content["images"]:
            entry.update(id=str(entry["id"]), width="48", height="48.0")
        for entry in content["annotations"]:
            entry.update(bbox=[str(value) for value in entry["bbox"]], iscrowd="0", image_id=float(entry["image_id"]))
        for entry in content["categories"]:
            entry.update(id=f" {entry['id']}.0")

    change(as_text)
    data = CocoFolder(folder, 48)
    assert not data.skipped and [image[2:] for image in data._images] == [image[2:] for image in whole._images]


@pytest.mark.parametrize("value", [0, 0.0, None, "", " ", "0", "0.0", math.nan, 48, 48.0, "48", "48.0", " 48 "])
def test_a_size_that_nobody_knew_is_that_of_the_picture(folder, change, value):
    change(lambda content: [entry.update(width=value, height=value) for entry in content["images"]])
    assert not CocoFolder(folder, 48).skipped


@pytest.mark.parametrize("value", [0, 0.0, None, False, "", "0", "0.0", "false", "False", "no", " NO "])
def test_a_mark_that_says_no_is_no_crowd(folder, change, value):
    change(lambda content: [entry.update(iscrowd=value) for entry in content["annotations"]])
    assert not CocoFolder(folder, 48).skipped


SHARES = [(key, [0.2 + key / 50, 0.3, 0.5, 0.25]) for key in range(4)]
NAMES = list(enumerate(f"{name}.png" for name in "abcd"))


@pytest.mark.parametrize(
    "boxes",
    [
        SHARES,
        [(key, [str(value) for value in box]) for key, box in SHARES],
        [(key, [0.5, 0.5, 0.9, 1.0]) for key in range(4)],  # corners, or center and size
        [(0, [0, 0, 1, 1])],
        [*SHARES * 10, (0, [5, 5, 9, 9])],
    ],
)
def test_boxes_as_shares_of_the_image_are_refused(tmp_path, boxes):
    boxes = [(key, box, number) for number, (key, box) in enumerate(boxes)]
    write(tmp_path, listed(NAMES, boxes, categories=len(boxes)))
    with pytest.raises(
        ValueError, match=r"^boxes look like shares of the image: \d+ of \d+ .* such as \[.*multiply by"
    ):
        CocoFolder(tmp_path, 64)


def test_some_shares_among_pixels_are_left_out(tmp_path):
    boxes = [*SHARES, *((key, [5, 5, 9, 9]) for key in range(4))]
    data = CocoFolder(write(tmp_path, listed(NAMES, boxes)), 64)
    assert len(data.skipped["box within the first pixel"]) == 4 and list(data.skipped) == ["box within the first pixel"]
    assert all(boxes == [[5, 5, 14, 14]] for boxes in boxes_by_name(data).values())


CORNERS = [[10, 10, 50, 60], [30, 30, 64, 64], [2, 3, 9, 8], [40, 1, 60, 20]]


def test_boxes_as_corners_are_refused(tmp_path):
    write(tmp_path, listed(NAMES, list(enumerate(CORNERS))))
    with pytest.raises(ValueError, match=r"^boxes look like corners .*: 3 of 4 .* \[10, 10, 50, 60\]: .* subtract"):
        CocoFolder(tmp_path, 64)


@pytest.mark.parametrize(
    "boxes",
    [
        [*CORNERS, [40, 30, 20, 40]],  # no corners: the right edge would lie left of the left one
        [*CORNERS[:2], [2, 3, 9, 8], [3, 3, 9, 9], [4, 4, 9, 9]],  # most lie within the image as they are
        [[10, 10, 100, 100], [20, 20, 80, 90], [5, 5, 70, 70]],  # beyond the image as corners too: of a larger image
        [[0, 0, 64, 64], [1, 0.5, 64, 64], [0, 1, 64, 64]],  # a pixel too far, as one counts from 1
    ],
)
def test_boxes_that_only_reach_beyond_the_image_are_cut(tmp_path, boxes):
    data = CocoFolder(write(tmp_path, listed(NAMES, list(enumerate(boxes[:4])) + [(0, box) for box in boxes[4:]])), 64)
    assert sum(len(image.boxes) for image in data._images) == len(boxes)


def test_boxes_that_may_be_percent_are_doubted(tmp_path):
    boxes = [(0, [5, 5, 90, 20]), (1, [20, 30, 40, 60]), (2, [70, 8, 9, 9])]
    report = CocoFolder(write(tmp_path, listed(NAMES, boxes), size=(640, 480)), 64).report()
    assert report.splitlines()[-1].startswith(
        "all boxes lie within the first 100 pixels of larger images: if they are pe"
    )
    boxes.append((3, [200, 200, 90, 90]))
    assert "percent" not in CocoFolder(write(tmp_path, listed(NAMES, boxes), size=(640, 480)), 64).report()


# ---- pictures and names ----


def test_gray_of_16_bits_is_scaled_by_its_range(tmp_path):
    write(tmp_path, listed(NAMES, [(0, [5, 5, 9, 9])]))
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)[None].repeat(64, 0)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    Image.fromarray(ramp // 16).save(tmp_path / "b.png")
    data = CocoFolder(tmp_path, 64)
    pixels, _, _ = named(data, "a.png")
    torch.testing.assert_close(pixels, torch.linspace(0, 1, 64).double().expand(3, 64, 64), atol=2e-5, rtol=0)
    assert data.skipped == {"image of 16 bits, nearly black": ["b.png: values up to 4095"]}
    pixels, _, _ = named(data, "b.png")
    assert len(pixels.unique()) == 64  # 12 bits keep their steps


@pytest.mark.parametrize(
    "name, stored",
    [
        (r"sub\e.png", "sub/e.png"),
        (r"images\sub\e.png", "images/sub/e.png"),
        ("Zoe\u0308.png", "Zo\u00eb.png"),
        ("Zo\u00eb.png", "Zoe\u0308.png"),
        ("a%20b%C3%AB.png", "a b\u00eb.png"),
        ("a b.png", "images/a%20b.png"),
        ("100%.png", "100%.png"),
        ("a%20b.png", "a%20b.png"),
        (" e.png ", "e.png"),
        ("a\nb.png", "a\nb.png"),
        ("e\udcff.png", "e\udcff.png"),
    ],
)
def test_a_picture_is_found_by_an_odd_name(tmp_path, name, stored):
    (tmp_path / stored).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64)).save(tmp_path / stored)
    content = listed([*NAMES, (4, name)], [(4, [5, 5, 9, 9])])
    data = CocoFolder(write(tmp_path, content), 64)
    assert boxes_by_name(data)[name] == [[5, 5, 14, 14]] and not data.skipped
    assert len(data.batch(range(data.train)).images) == 4


def test_images_may_lie_behind_a_link_and_be_named_by_a_path_within(tmp_path):
    (tmp_path / "store").mkdir()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "images").symlink_to(tmp_path / "store")
    content = listed([(0, "a.png"), (1, str(folder / "b.png")), (2, "images/c.png")], [(0, [5, 5, 9, 9])])
    for name in "ac":
        Image.new("RGB", (64, 64)).save(tmp_path / "store" / f"{name}.png")
    assert not CocoFolder(write(folder, content, "b"), 64).skipped


@pytest.mark.parametrize("name", ["b\ncd.png", "b" * 120 + ".png"])
def test_a_name_that_would_not_print_is_shown_in_short(tmp_path, name):
    report = CocoFolder(write(tmp_path, listed([*NAMES, (9, name)], [(0, [5, 5, 9, 9])])), 64).report()
    assert len(report.splitlines()) == 3 and max(map(len, report.splitlines())) < 120


# ---- what is refused ----


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", r"annotations.json is no JSON, write it anew: .* line 1"),
        ("\xff", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "needs a list 'images'"),
        ('{"images": []}', r"needs a list 'images' with an entry or more, got \[\]"),
        ('{"images": {"1": "a.png"}}', "needs a list 'images' .* got {'1': 'a.png'}"),
        ('{"images": [3]}', "needs a list 'annotations' with an entry or more, got None"),
        ('{"images": [3], "annotations": null}', "needs a list 'annotations' with an entry or more, got None"),
        ('{"images": [3], "annotations": [3], "categories": "cat"}', "needs a list 'categories' .* got 'cat'"),
        (
            '{"images": [3], "annotations": [3], "categories": [3]}',
            "entry 0 of 'categories' needs a proper 'id', got N",
        ),
        (
            '{"images": [3], "annotations": [3], "categories": [{"id": [1], "name": "a"}]}',
            r"entry 0 of 'categories' needs a proper 'id', got \[1\]",
        ),
        (
            '{"images": [3], "annotations": [3], "categories": [{"id": 1}]}',
            "entry 0 of 'categories' needs a proper 'name', got None",
        ),
        ('{"images": [3], "images": [4]}', r"holds 'images' twice, \[3\] and \[4\], in one object: write one"),
        ('{"images": [{"id": 1, "id": 2}]}', "holds 'id' twice, 1 and 2, in one object"),
        (
            '{"images": [3, {"id": 1, "id": 1}], "annotations": [3], "categories": [{"id": 1, "name": "a"}]}',
            r"two images and a box.*; left out: image without a proper id 1 \(first: images\[0\]: 3\): give .*; im",
        ),
    ],
)
def test_annotations_that_cannot_be_understood_are_refused(tmp_path, content, message):
    content = content.replace('"id": 1, "id": 1', '"id": 1, "id": 1, "file_name": "a.png"')
    (tmp_path / "annotations.json").write_text(content, "latin-1")
    with pytest.raises(ValueError, match=message) as caught:
        CocoFolder(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda content: content["annotations"].clear(), "needs a list 'annotations' with an entry or more"),
        (lambda content: content.pop("categories"), "needs a list 'categories'"),
        (lambda content: content["categories"][1].update(id=7), "differ in their id, but 7 is used twice"),
        (lambda content: content["categories"][1].update(id="7"), "differ in their id, but '7' is used twice"),
        (lambda content: content["categories"][1].update(id=True), "entry 1 of 'categories' .* proper 'id', got True"),
        (lambda content: content["categories"][1].update(name="disc"), "in their name, but 'disc' is used twice"),
        (
            lambda content: content.update(annotations=content["annotations"][:1], images=content["images"][:1]),
            "two images",
        ),
        (
            lambda content: [entry.update(category_id=0) for entry in content["annotations"]],
            r"a box that can be used; left out: category unknown \d+ \(first: \d+\....: 0, .*\): list the category",
        ),
        (
            lambda content: [entry.pop("bbox") for entry in content["annotations"]],
            r"a box that can be used; left out: box not four finite numbers \d+ \(first: \d+\....: None, ",
        ),
    ],
)
def test_a_folder_without_anything_to_learn_from_is_refused(folder, change, edit, message):
    change(edit)
    with pytest.raises(ValueError, match=message):
        CocoFolder(folder, 48)


def test_a_folder_that_is_none_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "odd" / "annotations.json").mkdir(parents=True)
    for name in ("nowhere", "file", "odd"):
        with pytest.raises(ValueError, match=f"{name} has no annotations.json: name the folder"):
            CocoFolder(tmp_path / name)


@pytest.mark.parametrize("size", [0, 8, 100, 250, 96.0])
def test_a_size_that_does_not_fit_the_strides_is_named(folder, size):
    with pytest.raises(ValueError, match=f"size must be a multiple .* got {size}"):
        CocoFolder(folder, size)


def test_an_image_that_breaks_later_is_named(folder):
    data = CocoFolder(folder, 48)
    for path in (*folder.glob("*.png"), *folder.glob("images/*")):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"image \d+\.\w+ cannot be read any more, put it back: "):
        data.batch([0])


# ---- training and judging ----


def settings_for(data, **changes):
    changes = dict(steps=4, batch=4, channels=8) | changes
    return TrainSettings(scenes=data, anchors=anchors_for(data.size), **changes)


def test_a_folder_trains_where_scenes_train_and_its_images_are_seen(folder):
    data = CocoFolder(folder, 48)
    first = train("focal loss", 0, settings_for(data), "cpu", torch.float64)
    second = train("focal loss", 0, settings_for(CocoFolder(folder, 48)), "cpu", torch.float64)
    other = train("focal loss", 1, settings_for(data), "cpu", torch.float64)
    assert first.losses == second.losses != other.losses
    detections, scenes = detect_scenes(first.model, data.held_out, data, batch=3)
    assert len(detections) == len(scenes.labels) == 4 and scenes.images.shape == (4, 3, 48, 48)
    score = evaluate(first.model, data.held_out, data)
    assert 0 <= score["AP"] <= 1 and list(score["by class"]) == list(SCENES.classes)


def test_training_on_a_folder_lowers_the_loss(folder):
    losses = train("focal loss", 0, settings_for(CocoFolder(folder, 48), steps=40), "cpu").losses
    assert sum(losses[-8:]) < 0.7 * sum(losses[:8])


def test_judging_keeps_no_pixels_where_none_are_asked_for(folder):
    data = CocoFolder(folder, 48)
    _, scenes = detect_scenes(new_model(0, settings_for(data)), data.held_out, data, pixels=False)
    assert scenes.images.numel() == 0 and scenes.labels.shape[0] == data.held_out


def test_a_checkpoint_belongs_to_its_annotations_and_not_to_its_place(folder, change, tmp_path):
    checkpoint = tmp_path / "run.pt"
    train(settings=settings_for(CocoFolder(folder, 48)), device="cpu", checkpoint=checkpoint)
    moved = folder.rename(folder.with_name(folder.name + "-moved"))
    checkpoint = moved / "run.pt"
    train(settings=settings_for(CocoFolder(moved, 48)), device="cpu", checkpoint=checkpoint)
    (moved / "0.png").unlink()
    with pytest.raises(ValueError, match="belongs to a run with another settings"):
        train(settings=settings_for(CocoFolder(moved, 48)), device="cpu", checkpoint=checkpoint)


# ---- scenes and a folder are one kind of thing ----


@pytest.fixture(params=["scenes", "folder"])
def data(request):
    """Each of the two."""
    return SCENES if request.param == "scenes" else CocoFolder(request.getfixturevalue("folder"), 48)


def test_scenes_and_a_folder_have_what_a_data_set_has(data):
    names = {name for name in vars(DataSet) if not name.startswith("_")}
    assert names == {"classes", "size", "batch"} and all(hasattr(data, name) for name in names)
    assert type(data.size) is int and type(data.classes) is tuple
    assert data.classes and all(type(name) is str for name in data.classes)
    assert ["self", *inspect.signature(data.batch).parameters] == list(inspect.signature(DataSet.batch).parameters)


def test_scenes_and_a_folder_give_batches_of_one_kind(data):
    for dtype in (torch.float32, torch.float64):
        scenes = data.batch(range(3), TRAIN, torch.device("cpu"), dtype)
        assert isinstance(scenes, Scenes)
        assert scenes.images.shape == (3, 3, data.size, data.size) and scenes.images.dtype == dtype
        assert scenes.boxes.shape == (*scenes.labels.shape, 4) and scenes.boxes.dtype == torch.float64
        assert scenes.labels.dtype == torch.int64 and -1 <= scenes.labels.min() <= scenes.labels.max() < 3


def test_scenes_and_a_folder_are_trained_on_and_judged_on(data):
    run = train("focal loss", 0, settings_for(data, steps=1), "cpu")
    assert math.isfinite(run.losses[0])
    assert list(evaluate(run.model, 2, data)["by class"]) == list(data.classes)


def test_the_batch_of_scenes_is_rendered():
    assert all(torch.equal(*pair) for pair in zip(SCENES.batch([4], TEST), render([4], TEST, SCENES)))
