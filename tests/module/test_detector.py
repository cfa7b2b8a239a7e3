"""A trained detector as others use it: loaded from a checkpoint, on photos of any size."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

import focalbook
from focalbook import detector
from focalbook.anchors import AnchorSettings
from focalbook.boxes import encode
from focalbook.coco import CocoFolder, anchors_for, letterbox
from focalbook.detector import Dense, Detector
from focalbook.pictures import Unusable
from focalbook.retinanet import Detections, RetinaNet
from focalbook.scenes import SceneSettings
from focalbook.training import TrainSettings, train


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_detector_comes_back_from_its_checkpoint(tmp_path, dtype):
    anchors = AnchorSettings((4, 8), 2.5, (1.0,), (0.5, 2.0))
    scenes = SceneSettings(48, classes=("ring", "disc"), distractors=1)
    settings = TrainSettings(steps=1, batch=2, channels=8, depth=2, prior=0.3, scenes=scenes, anchors=anchors)
    run = train(settings=settings, device="cpu", dtype=dtype, checkpoint=tmp_path / "run.pt")
    model, classes = focalbook.load(tmp_path / "run.pt")
    assert classes == ("ring", "disc") and (model.dtype, model.image_size) == (dtype, 48)
    images = scenes.batch(range(2), dtype=dtype).images
    for mine, theirs in zip(model(images), run.model(images), strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(model.anchors, run.model.anchors)


def test_a_detector_on_ones_own_images_comes_back_with_their_classes(tmp_path):
    for name in "ab":
        Image.new("RGB", (32, 32), (ord(name), 0, 0)).save(tmp_path / f"{name}.png")
    content = {
        "images": [{"id": 0, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}],
        "annotations": [{"image_id": image, "category_id": 5, "bbox": [8, 8, 16, 16]} for image in (0, 1)],
        "categories": [{"id": 5, "name": "tree"}],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    data = CocoFolder(tmp_path, 32)
    settings = TrainSettings(steps=1, batch=2, channels=8, scenes=data, anchors=anchors_for(32))
    run = train(settings=settings, device="cpu", checkpoint=tmp_path / "run.pt")
    loaded = detector.load(tmp_path / "run.pt")
    assert loaded.classes == ("tree",) and loaded.model.image_size == 32
    images = data.batch([0], device="cpu").images
    assert torch.equal(loaded.model(images)[0], run.model(images)[0])


# ---- exported ----


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch calls its own older parts deprecated
def test_what_is_exported_says_of_any_batch_what_the_detector_says():
    from onnx.reference import ReferenceEvaluator

    model = RetinaNet(2, 32, AnchorSettings((8, 16), scales=(1.0,)), channels=8, prior=0.2)
    dense, images = Dense(model.eval()), torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        boxes, scores = dense(images)
    program = torch.export.export(dense, (images[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for mine, theirs in zip((boxes, scores), program.module()(images), strict=True):
        torch.testing.assert_close(mine, theirs)
    written = torch.onnx.export(program, dynamo=True, verbose=False).model_proto
    for mine, theirs in zip(
        (boxes, scores), ReferenceEvaluator(written).run(None, {"images": images.numpy()}), strict=True
    ):
        torch.testing.assert_close(mine, torch.from_numpy(theirs), rtol=1e-4, atol=1e-4)
    for found, image_boxes, image_scores in zip(model.detect(images, score=0.0, most=9), boxes, scores):
        best, where = image_scores.flatten().max(0)
        assert found.scores[0] == best and torch.equal(found.boxes[0], image_boxes[where // 2])


# ---- photos ----


def planted(finds):
    """A detector that finds what it is told, each a (probability, label, box in its square), and the images that it was
    shown."""
    model = RetinaNet(2, 32, channels=8, depth=0)
    logits, deltas = torch.full((1, len(model.anchors), 2), -20.0), torch.zeros(1, len(model.anchors), 4)
    for anchor, (probability, label, box) in enumerate(finds):
        logits[0, anchor, label] = math.log(probability / (1 - probability))
        deltas[0, anchor] = encode(torch.tensor(box, dtype=torch.float64), model.anchors[anchor]).float()
    seen = []
    model.forward = lambda images: (seen.append(images), (logits, deltas))[1]
    return Detector(model, ("ring", "disc")), seen


def photo(path, width=100, height=50, **options):
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2] = 255
    Image.fromarray(pixels).save(path, **options)
    return path


def test_boxes_are_in_the_pixels_of_the_photo(tmp_path):
    found, seen = planted([(0.9, 1, (8, 4, 24, 12)), (0.5, 0, (0, 0, 6, 6)), (0.2, 0, (20, 0, 30, 6))])
    result = found.detect(photo(tmp_path / "wide.png"))
    torch.testing.assert_close(result.scores, torch.tensor([0.9, 0.5]))
    assert result.labels.tolist() == [1, 0] and result.boxes.dtype == torch.float64
    expected = torch.tensor([[8.0, 4, 24, 12], [0, 0, 6, 6]], dtype=torch.float64) / letterbox(100, 50, 32)
    torch.testing.assert_close(result.boxes, expected, rtol=0, atol=1e-4)
    assert len(found.detect(tmp_path / "wide.png", score=0.1).scores) == 3
    (images, _) = seen
    assert (images[0, :, :7] == 1).all() and (images[0, :, 9:16] == 0).all() and (images[0, :, 16:] == 0.5).all()


def test_what_is_found_in_the_gray_beside_the_photo_is_nothing(tmp_path):
    found, _ = planted([(0.9, 0, (4, 18, 20, 30)), (0.8, 0, (4, 6, 20, 17))])
    (box,) = found.detect(photo(tmp_path / "wide.png")).boxes.tolist()
    assert box[3] == 50 and box[1] == pytest.approx(6 / 32 * 100, abs=1e-3)


def test_a_photo_on_its_side_is_found_and_drawn_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = photo(tmp_path / "side.jpg", exif=exif)
    found, _ = planted([(0.9, 0, (0, 16, 16, 32))])
    result = found.detect(path)
    torch.testing.assert_close(result.boxes, torch.tensor([[0.0, 50, 50, 100]]).double(), rtol=0, atol=1e-4)
    assert found.drawn(path, result).size == (50, 100)


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16", "RGBA", "P"])
def test_boxes_are_drawn_where_they_are_and_nowhere_else(tmp_path, mode):
    picture = Image.new(mode, (400, 300))
    picture.save(tmp_path / "black.png")
    found = Detections(torch.tensor([[50.0, 60, 350, 250]]), torch.tensor([0.9]), torch.tensor([1]))
    drawn = np.array(planted([])[0].drawn(tmp_path / "black.png", found))
    assert drawn.shape == (300, 400, 3)
    for row, column in ((60, 200), (250, 200), (150, 50), (150, 350)):
        assert drawn[row, column].tolist() == [0xD5, 0x5E, 0x00]
    assert (drawn[65:245, 55:345] == 0).all() and (drawn[255:] == 0).all() and (drawn[:, 352:] == 0).all()
    assert drawn[40:59, 50:80].any()  # the class and the score


def test_a_large_jpeg_is_drawn_in_all_its_pixels(tmp_path):
    path = photo(tmp_path / "large.jpg", 1600, 1200)
    assert planted([])[0].drawn(path, Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0))).size == (
        1600,
        1200,
    )


def test_a_text_finds_room_at_the_edges(tmp_path):
    boxes = torch.tensor([[380.0, 0, 400, 300], [0, 0, 400, 300]])
    found = Detections(boxes, torch.tensor([0.9, 0.8]), torch.tensor([0, 0]))
    drawn = np.array(planted([])[0].drawn(photo(tmp_path / "all.png", 400, 300), found))
    assert (drawn[275:299, 330:399, 0] > 200).any() and drawn.shape == (300, 400, 3)


def test_what_is_no_picture_is_named(tmp_path):
    (tmp_path / "text.png").write_text("text")
    for name in ("text.png", "nowhere.png"):
        with pytest.raises(Unusable, match="image unreadable"):
            planted([])[0].detect(tmp_path / name)
