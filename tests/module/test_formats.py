"""Folders in COCO's two files, in Pascal VOC's format and in YOLO's: the same boxes, and every fault by name."""

import json
import sys

import pytest
import torch
from PIL import Image

from focalbook import formats
from focalbook.coco import REASONS, CocoFolder
from focalbook.scenes import TEST

BOXES = {
    "a": [("cat", 8, 10, 28, 40)],
    "b": [("dog", 0, 0, 64, 48), ("cat", 30, 20, 50, 44)],
    "c": [],
    "d": [],
    "e": [],
}
"""Corners in images of 64 x 48 pixels."""


def picture(path, size=(64, 48)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (len(path.stem), 9, 9)).save(path)


def coco_entries(names, start=1):
    kinds = {"cat": 3, "dog": 8}
    images = [{"id": number, "file_name": f"{name}.png"} for number, name in enumerate(names, start)]
    annotations = [
        {"image_id": number, "category_id": kinds[kind], "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for number, name in enumerate(names, start)
        for kind, x1, y1, x2, y2 in BOXES[name]
    ]
    categories = [{"id": number, "name": kind} for kind, number in kinds.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def coco(root):
    (root / "annotations").mkdir()
    for part, names in (("train2017", "acd"), ("val2017", "be")):
        for name in names:
            picture(root / part / f"{name}.png")
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(coco_entries(names)))


def objects_of(name, more=""):
    return "".join(
        f"<object><name>{kind}</name>{more}<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for kind, x1, y1, x2, y2 in BOXES[name]
    )


def annotation(name, objects):
    size = "<size><width>64</width><height>48</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}</filename>{size}{objects}</annotation>"


def voc(root):
    for place in ("Annotations", "ImageSets/Main"):
        (root / place).mkdir(parents=True)
    for name in BOXES:
        picture(root / "JPEGImages" / f"{name}.png")
        (root / "Annotations" / f"{name}.xml").write_text(annotation(f"{name}.png", objects_of(name)))
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\nc\nd\n")
    (root / "ImageSets" / "Main" / "val.txt").write_text("b\ne\n")


def yolo(root, train="../train/images", val="../valid/images"):
    for part, names in (("train", "acd"), ("valid", "be")):
        (root / part / "labels").mkdir(parents=True)
        for name in names:
            picture(root / part / "images" / f"{name}.png")
            lines = [
                f"{('cat', 'dog').index(kind)} {(x1 + x2) / 128} {(y1 + y2) / 96} {(x2 - x1) / 64} {(y2 - y1) / 48}"
                for kind, x1, y1, x2, y2 in BOXES[name]
            ]
            (root / part / "labels" / f"{name}.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text(f"train: {train}\nval: {val}\nnc: 2\nnames: [cat, dog]\n")


def found(data):
    """From each image's name to its boxes, and which of them are held out."""
    boxes = {
        image.path.stem: [
            (data.classes[label], *(round(side) for side in box)) for label, box in zip(image.labels, image.boxes)
        ]
        for image in data._images
    }
    return boxes, {data._at(index, TEST).path.stem for index in range(data.held_out)}


@pytest.mark.parametrize("write", [coco, voc, yolo])
def test_each_format_gives_the_same_boxes_and_the_same_images_held_out(tmp_path, write):
    write(tmp_path)
    data = CocoFolder(tmp_path, 64)
    assert data.classes == ("cat", "dog") and (data.train, data.held_out) == (3, 2) and not data.skipped
    assert found(data) == (BOXES, {"b", "e"})
    images, boxes, labels = data.batch(range(2), TEST, dtype=torch.float64)
    assert sorted(labels[labels >= 0].tolist()) == [0, 1] and (images[:, :, 48:] == 0.5).all()


@pytest.mark.parametrize("write", [coco, voc, yolo])
def test_any_change_of_what_is_written_is_another_fingerprint(tmp_path, write):
    write(tmp_path)
    before = CocoFolder(tmp_path, 64).fingerprint
    assert CocoFolder(tmp_path, 64).fingerprint == before
    for path in sorted(path for path in tmp_path.rglob("*") if path.suffix in (".json", ".xml", ".txt", ".yaml")):
        whole = path.read_text()
        path.write_text(whole + "\n")
        assert CocoFolder(tmp_path, 64).fingerprint != before
        path.write_text(whole)


# ---- two files of COCO's ----


def test_two_files_that_both_count_from_1_keep_their_own_images(tmp_path):
    coco(tmp_path)
    listing = formats.read(tmp_path)
    assert [item.given["id"] for item in listing.images] == [f"train2017 {n}" for n in (1, 2, 3)] + [
        "val2017 1",
        "val2017 2",
    ]
    assert listing.annotations[1].place == "val2017 annotations[0]"


def test_two_pictures_of_one_name_are_those_of_their_own_parts(tmp_path):
    coco(tmp_path)
    (tmp_path / "val2017" / "b.png").rename(tmp_path / "val2017" / "a.png")
    path = tmp_path / "annotations" / "instances_val2017.json"
    path.write_text(path.read_text().replace("b.png", "a.png"))
    data = CocoFolder(tmp_path, 64)
    assert not data.skipped and (data.train, data.held_out) == (3, 2)
    assert len({image.path for image in data._images}) == 5


def test_a_picture_in_both_files_is_held_out_only(tmp_path):
    coco(tmp_path)
    path = tmp_path / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    content["images"].append({"id": 9, "file_name": "train2017/a.png"})
    path.write_text(json.dumps(content))
    data = CocoFolder(tmp_path, 64)
    assert (data.train, data.held_out) == (2, 3) and found(data)[1] == {"a", "b", "e"}
    assert data.skipped == {"image to train on and held out": ["train2017/a.png: id val2017 9"]}


@pytest.mark.parametrize("place", [".", "images"])
def test_both_parts_may_lie_in_one_folder(tmp_path, place):
    coco(tmp_path)
    (tmp_path / place).mkdir(exist_ok=True)
    for path in sorted(tmp_path.glob("*2017/*.png")):
        path.rename(tmp_path / place / path.name)
    assert found(CocoFolder(tmp_path, 64)) == (BOXES, {"b", "e"})


def test_a_fault_in_one_of_the_files_is_named_with_its_part(tmp_path):
    coco(tmp_path)
    path = tmp_path / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    content["images"] += [{"id": None}, {"id": 7, "file_name": "lost.png"}]
    content["annotations"] += [{"image_id": 99, "category_id": 3, "bbox": [1, 1, 5, 5]}, 4]
    path.write_text(json.dumps(content))
    assert CocoFolder(tmp_path, 64).skipped == {
        "image without a proper id": ["val2017 images[2]: None"],
        "image missing": ["lost.png"],
        "image id unknown": ["val2017 annotations[2]: 'val2017 99'"],
        "annotation not understood": ["val2017 annotations[3]: 4"],
    }


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda root: (root / "instances_val2017.json").unlink(), "needs instances_val2017.json beside it"),
        (
            lambda root: (root / "instances_train.json").write_text("{}"),
            "has instances_train.json and instances_train2017",
        ),
        (lambda root: (root / "instances_val2017.json").write_text("{"), "instances_val2017.json is no JSON"),
        (
            lambda root: (root / "instances_val2017.json").write_text(
                '{"images": [1], "annotations": [1], "categories": [{"id": 3, "name": "cat"}]}'
            ),
            "instances_train2017.json and instances_val2017.json must list the same categories",
        ),
    ],
)
def test_two_files_that_do_not_belong_together_are_refused(tmp_path, edit, message):
    coco(tmp_path)
    edit(tmp_path / "annotations")
    with pytest.raises(ValueError, match=message):
        CocoFolder(tmp_path, 64)


# ---- Pascal VOC ----


def test_voc_files_may_lie_beside_their_pictures_and_name_others(tmp_path):
    for name in BOXES:
        picture(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.xml").write_text(annotation("a copy.tif", objects_of(name)))
    data = CocoFolder(tmp_path, 64)
    assert found(data)[0] == BOXES and data.held_out == 1 and not data.skipped


def test_what_neither_list_of_voc_names_is_set_aside(tmp_path):
    voc(tmp_path)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a\nd\n")
    data = CocoFolder(tmp_path, 64)
    assert (data.train, data.held_out, data.aside) == (2, 2, 1) and "c" not in found(data)[0]
    assert data.report().startswith("2 images to train on and 2 held out (1 set aside), 3 boxes of 2 classes")
    (tmp_path / "ImageSets" / "Main" / "val.txt").unlink()  # a train.txt alone divides nothing
    assert CocoFolder(tmp_path, 64).train == 4


def edited(path, *pairs):
    for old, new in pairs:
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize(
    "pairs, what, where",
    [
        ([("</annotation>", "")], "annotation file broken", "b.xml: no element found"),
        ([("<name>cat</name>", "")], "category unknown", "b.xml: object 1: None"),
        ([("<xmin>30</xmin>", "")], "box not four finite numbers", "b.xml: object 1: [None, '20', '50', '44']"),
        (
            [("<xmin>30", "<xmin>thirty")],
            "box not four finite numbers",
            "b.xml: object 1: ['thirty', '20', '50', '44']",
        ),
        ([("<xmax>50", "<xmax>30")], "box without area", "b.xml: object 1: [30, 20, 0, 24]"),
        ([("<ymax>44", "<ymax>54")], "part of a box outside the image", "b.xml: object 1: [30, 20, 20, 34]"),
        (
            [("<width>64", "<width>65")],
            "image of another size than annotated",
            "JPEGImages/b.png: annotated 65 x 48, is",
        ),
        ([("<object>", "<object><difficult>1</difficult>")], "object marked as difficult", "b.xml: object 0"),
    ],
)
def test_what_is_broken_in_a_voc_file_is_named(tmp_path, pairs, what, where):
    voc(tmp_path)
    edited(tmp_path / "Annotations" / "b.xml", *pairs)
    data = CocoFolder(tmp_path, 64)
    assert data.skipped[what][0].startswith(where) and what in REASONS
    assert set(data.skipped) <= {what, "box of an image left out", "image without an annotation file"}


def test_a_picture_without_its_voc_file_is_named_and_teaches_nothing(tmp_path):
    voc(tmp_path)
    (tmp_path / "Annotations" / "c.xml").unlink()
    data = CocoFolder(tmp_path, 64)
    assert data.skipped == {"image without an annotation file": ["c.png"]} and "c" not in found(data)[0]


def test_a_voc_file_without_its_picture_is_named(tmp_path):
    voc(tmp_path)
    edited(tmp_path / "Annotations" / "c.xml", ("c.png", r"C:\photos\c.png"))
    (tmp_path / "JPEGImages" / "c.png").unlink()
    (tmp_path / "JPEGImages" / "a.png").unlink()
    assert CocoFolder(tmp_path, 64).skipped == {
        "image missing": ["JPEGImages/a.png", r"JPEGImages/C:\photos\c.png"],
        "box of an image left out": ["a.xml: object 0: image_id 'a'"],
    }


# ---- YOLO ----


def test_yolo_without_a_file_of_its_own_has_classes_txt(tmp_path):
    yolo(tmp_path)
    for part in ("train", "valid"):
        for what in ("images", "labels"):
            (tmp_path / what).mkdir(exist_ok=True)
            for path in sorted((tmp_path / part / what).iterdir()):
                path.rename(tmp_path / what / path.name)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    data = CocoFolder(tmp_path, 64)
    assert found(data)[0] == BOXES and data.held_out == 1 and not data.skipped


@pytest.mark.parametrize("names", ["{0: cat, 1: dog}", "\n  - cat\n  - dog"])
@pytest.mark.parametrize("train, val", [("train", "valid"), ("./train/images", "valid/images/")])
def test_a_yaml_may_be_written_in_several_ways(tmp_path, names, train, val):
    yolo(tmp_path, train, val)
    edited(tmp_path / "data.yaml", ("[cat, dog]", names))
    assert found(CocoFolder(tmp_path, 64)) == (BOXES, {"b", "e"})


def test_one_folder_for_both_is_divided_by_the_hash(tmp_path):
    yolo(tmp_path, "train", "train")
    data = CocoFolder(tmp_path, 64)
    assert (data.train, data.held_out) == (2, 1)


@pytest.mark.parametrize(
    "line, what, where",
    [
        ("2 .5 .5 .2 .2", "category unknown", "valid/labels/b.txt: line 3: '2'"),
        ("cat .5 .5 .2 .2", "category unknown", "valid/labels/b.txt: line 3: 'cat'"),
        ("0 .5 .5 .2", "box not four finite numbers", "valid/labels/b.txt: line 3: ['.5', '.5', '.2']"),
        (
            "0 .1 .1 .5 .1 .5 .5",
            "box not four finite numbers",
            "valid/labels/b.txt: line 3: ['.1', '.1', '.5', '.1', '.5',",
        ),
        ("0 .5 .5 nan .2", "box not four finite numbers", "valid/labels/b.txt: line 3: ['.5', '.5', 'nan', '.2']"),
        ("0 .5 .5 0 .2", "box without area", "valid/labels/b.txt: line 3: [32, "),
        ("0 32 24 20 20", "box outside the image", "valid/labels/b.txt: line 3: [1408, "),
        ("0 .9 .5 .4 .2", "part of a box outside the image", "valid/labels/b.txt: line 3: [44.8, "),
        ("1 .5 .5 1 1", "box given twice", "valid/labels/b.txt: line 3: [0, 0, 64, 48]"),
    ],
)
def test_what_is_broken_in_a_line_of_yolo_is_named(tmp_path, line, what, where):
    yolo(tmp_path)
    path = tmp_path / "valid" / "labels" / "b.txt"
    path.write_text(f"{path.read_text()}\n{line}\n\n")
    data = CocoFolder(tmp_path, 64)
    assert list(data.skipped) == [what] and data.skipped[what][0].startswith(where)


def test_a_picture_without_its_file_of_labels_is_kept_and_told(tmp_path):
    yolo(tmp_path)
    (tmp_path / "train" / "labels" / "c.txt").unlink()
    data = CocoFolder(tmp_path, 64)
    assert found(data) == (BOXES, {"b", "e"})
    assert data.skipped == {"image without a label file": ["train/images/c.png"]}


@pytest.mark.parametrize(
    "written, message",
    [
        ("train: [", "data.yaml is no YAML, write it anew"),
        ("train: train\nval: valid", "needs 'names', a list of the classes or a dict .*, got None"),
        ("train: train\nval: valid\nnames: {1: cat, 2: dog}", "needs 'names'"),
        ("train: train\nnames: [cat, dog]", "needs 'val', the name of a folder of images within .*, got None"),
        ("train: train\nval: nowhere\nnames: [cat, dog]", "needs 'val', .* got 'nowhere'"),
        ("train: train\nval: valid/../../..\nnames: [cat, dog]", "needs 'val'"),
        ("3", "needs 'names'"),
    ],
)
def test_a_yaml_that_cannot_be_understood_is_refused(tmp_path, written, message):
    yolo(tmp_path)
    (tmp_path / "data.yaml").write_text(written)
    with pytest.raises(ValueError, match=message) as caught:
        CocoFolder(tmp_path, 64)
    assert "\n" not in str(caught.value)


def test_yaml_is_asked_for_where_it_is_needed_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "voc").mkdir(), (tmp_path / "yolo").mkdir()
    voc(tmp_path / "voc"), yolo(tmp_path / "yolo")
    CocoFolder(tmp_path / "voc", 64)
    with pytest.raises(ModuleNotFoundError, match="yaml"):
        CocoFolder(tmp_path / "yolo", 64)


# ---- all of them ----


def test_a_folder_in_no_format_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"has no annotations.json: name the folder that holds it, or one in the format"
    ):
        CocoFolder(tmp_path, 64)


@pytest.mark.parametrize("write, name", [(voc, "ImageSets/Main/val.txt"), (yolo, "train/labels/a.txt")])
def test_a_file_in_another_encoding_is_refused_in_one_line(tmp_path, write, name):
    write(tmp_path)
    (tmp_path / name).write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="has a file that is no text in UTF-8, write it anew"):
        CocoFolder(tmp_path, 64)


def test_names_may_say_what_is_judged_on_and_what_is_set_aside(tmp_path):
    voc(tmp_path)
    names = {name: f"JPEGImages/{name}.png" for name in BOXES}
    data = CocoFolder(tmp_path, 64, judge=[names["a"], names["c"]], omit=[names["d"]])
    assert (data.train, data.held_out, data.aside) == (2, 2, 1) and found(data)[1] == {"a", "c"}
    other = CocoFolder(tmp_path, 64, judge=[names["a"]], omit=[names["d"]])
    assert len({data.fingerprint, other.fingerprint, CocoFolder(tmp_path, 64).fingerprint}) == 3
    for option in ("judge", "omit"):
        with pytest.raises(ValueError, match=f"{option} must hold names of images that can be used, got 'lost.png'"):
            CocoFolder(tmp_path, 64, **{option: ["lost.png"]})
    with pytest.raises(ValueError, match="needs images to train on and to be judged on, got 5 and 0"):
        CocoFolder(tmp_path, 64, judge=[])
