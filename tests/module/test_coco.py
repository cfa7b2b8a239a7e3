"""Your own images: a folder in COCO format, whole and with every fault."""

import inspect
import json
import math
import re

import pytest
import torch
from PIL import Image

from focalbook import distributed
from focalbook.__main__ import main
from focalbook.anchors import AnchorSettings
from focalbook.coco import CocoFolder, anchors_for, letterbox
from focalbook.evaluation import detect_scenes, evaluate
from focalbook.scenes import TEST, TRAIN, VALIDATION, DataSet, Scenes, SceneSettings, render
from focalbook.training import TrainSettings, new_model, train

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


def box_of(*values):
    def plant(folder, content):
        content["annotations"][0]["bbox"] = list(values)

    return plant


def set_first(key, value):
    def plant(folder, content):
        content["annotations"][0][key] = value

    return plant


def same_image_id(folder, content):
    content["images"][1]["id"] = content["images"][0]["id"]


def another_size(folder, content):
    content["images"][0]["width"] = 96


SKIPPED = {
    "image missing": [drop_file],
    "image unreadable": [truncate, no_picture],
    "image of another size than annotated": [another_size],
    "image id used twice": [same_image_id],
    "image id unknown": [set_first("image_id", 12345)],
    "annotation id used twice": [lambda folder, content: content["annotations"][1].update(id=0)],
    "category unknown": [set_first("category_id", 12345)],
    "crowd": [set_first("iscrowd", 1)],
    "box not four finite numbers": [
        *(box_of(1, 2, value, 3) for value in (math.nan, math.inf, None, "4")),
        box_of(1, 2, 3),
        box_of(1, 2, 3, 4, 5),
    ],
    "box without area": [box_of(5, 5, 0, 9), box_of(5, 5, 9, 0), box_of(20, 20, -5, 9), box_of(20, 20, 5, -9)],
    "box outside the image": [box_of(48, 0, 5, 5), box_of(0, 50, 5, 5), box_of(-9, 0, 9, 5), box_of(0, -99, 5, 9)],
}


@pytest.mark.parametrize("what, plant", [(what, plant) for what, plants in SKIPPED.items() for plant in plants])
def test_what_is_broken_is_left_out_counted_and_named(folder, change, what, plant):
    before = sum(len(image.labels) for image in CocoFolder(folder, 48)._images)
    change(lambda content: plant(folder, content))
    data = CocoFolder(folder, 48)
    assert set(data.skipped) <= {what, "box of an image left out", "image id unknown"} and len(data.skipped[what]) == 1
    where = data.skipped[what][0]
    assert f"{what} 1 (first: {where})" in data.report() and (where.endswith(("png", "jpg")) or where == "annotation 0")
    assert sum(len(image.labels) for image in data._images) < before or what.startswith("image")
    pixels, boxes, _ = data.batch(range(data.train))
    assert pixels.isfinite().all() and boxes.isfinite().all()


def test_a_box_over_the_edge_is_cut_and_counted(folder, change):
    change(lambda content: box_of(-10, 20, 30, 100)(folder, content))
    data = CocoFolder(folder, 48)
    name = data.skipped["part of a box outside the image"][0]
    assert [0, 20, 20, 48] in named(data, name)[1].tolist()
    change(lambda content: box_of(-0.4, 20, 30, 10)(folder, content))  # less than a pixel is rounding
    assert not CocoFolder(folder, 48).skipped


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", r"annotations.json is no JSON, write it anew: .* line 1"),
        ("\xff", "is no JSON"),
        ("[]", "needs a list 'images'"),
        ('{"images": []}', "needs a list 'images' with an entry or more"),
        ('{"images": [3]}', "entry 0 of 'images' needs a proper 'id', got None"),
        ('{"images": [{"id": [1], "file_name": "a"}]}', r"needs a proper 'id', got \[1\]"),
        ('{"images": [{"id": 1}]}', "entry 0 of 'images' needs a proper 'file_name', got None"),
    ],
)
def test_annotations_that_cannot_be_understood_are_refused(tmp_path, content, message):
    (tmp_path / "annotations.json").write_text(content, "latin-1")
    with pytest.raises(ValueError, match=message):
        CocoFolder(tmp_path)


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda content: content["annotations"].clear(), "needs a list 'annotations' with an entry or more"),
        (lambda content: content["annotations"][3].pop("bbox"), "entry 3 of 'annotations' needs a proper 'bbox'"),
        (lambda content: content.pop("categories"), "needs a list 'categories'"),
        (lambda content: content["categories"][1].update(id=7), "differ in their id, but 7 is used twice"),
        (lambda content: content["categories"][1].update(name="disc"), "in their name, but 'disc' is used twice"),
        (
            lambda content: content.update(annotations=content["annotations"][:1], images=content["images"][:1]),
            "two images",
        ),
        (
            lambda content: [entry.update(category_id=0) for entry in content["annotations"]],
            r"a box that can be used; left out: category unknown \d+ \(first: \d+\.",
        ),
    ],
)
def test_a_folder_without_anything_to_learn_from_is_refused(folder, change, edit, message):
    change(edit)
    with pytest.raises(ValueError, match=message):
        CocoFolder(folder, 48)


def test_a_folder_that_is_none_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere has no annotations.json: name the folder"):
        CocoFolder(tmp_path / "nowhere")


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


def test_the_command_trains_on_a_folder_and_judges(folder, change, capsys):
    change(lambda content: content["annotations"][0].update(iscrowd=1))
    main(["--data", str(folder), "--size", "48", "--steps", "3", "--batch", "2", "--device", "cpu"])
    out = capsys.readouterr().out
    assert "16 images to train on and 4 held out" in out and "left out: crowd 1 (first: " in out
    assert "on 4 images not seen: AP " in out and "triangle" in out


def test_of_several_processes_only_the_first_speaks(folder, capsys, monkeypatch):
    monkeypatch.setattr(distributed, "world", lambda: 2)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed.dist, "all_reduce", lambda value: value.mul_(2))
    main(["--data", str(folder), "--size", "48", "--steps", "1", "--batch", "2", "--device", "cpu"])
    assert capsys.readouterr() == ("", "")


def test_the_command_names_a_folder_that_is_none(tmp_path, capsys):
    with pytest.raises(SystemExit, match="^1$"):
        main(["--data", str(tmp_path / "nowhere")])
    said = capsys.readouterr().err
    assert re.fullmatch(r"focalbook: data folder .*nowhere has no annotations.json[^\n]*\n", said)


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
    model, losses = train("focal loss", 0, settings_for(data, steps=1), "cpu")
    assert math.isfinite(losses[0])
    assert list(evaluate(model, 2, data)["by class"]) == list(data.classes)


def test_the_batch_of_scenes_is_rendered():
    assert all(torch.equal(*pair) for pair in zip(SCENES.batch([4], TEST), render([4], TEST, SCENES)))
