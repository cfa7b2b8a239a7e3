"""The script that fine-tunes torchvision's RetinaNet, on drawn images, where torchvision imports."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from focalbook import boxes, distributed
from focalbook.losses import sigmoid_focal_loss
from focalbook.scenes import SceneSettings

ROOT = Path(__file__).resolve().parents[2]


def stub():
    """Beside a CPU torch from PyPI the compiled operators of torchvision are absent, and it needs two to import."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

    def nms(dets, scores, iou_threshold):
        return boxes.nms(dets, scores, torch.zeros(len(scores), dtype=torch.int64), iou_threshold)

    library.impl("nms", nms, "CPU")
    return library


@pytest.fixture(scope="module")
def finetune():
    library = None
    if not hasattr(torch.ops.torchvision, "nms"):
        library = stub()
    try:
        import torchvision

        from tools import finetune
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"needs a torchvision that imports: {error}")
    with pytest.MonkeyPatch.context() as patched:
        if library:
            patched.setattr(torchvision.ops.boxes, "_assert_has_ops", lambda: None)
        yield finetune


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six drawn pictures of discs, squares and triangles."""
    place = tmp_path_factory.mktemp("drawn")
    scenes, images, annotations = SceneSettings(size=48, objects=(1, 2), distractors=0).batch(range(6)), [], []
    for number, (pixels, corners, labels) in enumerate(zip(*scenes)):
        Image.fromarray((pixels * 255).byte().permute(1, 2, 0).numpy()).save(place / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png"})
        for (x1, y1, x2, y2), label in zip(corners[labels >= 0].tolist(), labels[labels >= 0].tolist()):
            annotations.append({"image_id": number, "category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1]})
    categories = [{"id": label, "name": name} for label, name in enumerate(SceneSettings().classes)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (place / "annotations.json").write_text(json.dumps(content))
    return place


@pytest.fixture(scope="module")
def weights(finetune, folder):
    """A file as the one that COCO's weights come in, with random numbers for those."""
    model = finetune.retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=finetune.COCO_CLASSES)
    content = model.state_dict()
    for name in content:
        if name.endswith("bn3.weight"):
            content[name].fill_(0.1)  # with its statistics frozen, a network at its start would grow without bounds
    torch.save(content, folder / "coco.pth")
    return str(folder / "coco.pth")


def test_it_trains_judges_and_saves(finetune, folder, weights, tmp_path, capsys):
    small, weighted = ["--size", "64", "--steps", "2", "--batch", "2"], ["--weights", weights, "--device", "cpu"]
    finetune.main(["--data", str(folder), *small, *weighted, "--flips", "--save", str(tmp_path / "mine.pth")])
    out = capsys.readouterr().out
    assert "5 images to train on and 1 held out" in out and "on 1 images not seen: AP " in out
    saved, before = (torch.load(path, weights_only=True) for path in (tmp_path / "mine.pth", weights))
    fixed, moved = "backbone.body.layer1.0.conv1.weight", "backbone.body.layer4.2.conv3.weight"
    assert torch.equal(saved[fixed], before[fixed]) and not torch.equal(saved[moved], before[moved])
    assert torch.equal(saved["backbone.body.bn1.running_mean"], before["backbone.body.bn1.running_mean"])
    assert saved["head.classification_head.cls_logits.weight"].shape[0] == 9 * 3


def test_the_loss_is_that_of_the_whole_batch_and_the_divisors_are_the_fields(finetune, monkeypatch):
    head = finetune.Head(8, 1, 2, "batch")
    anchors = [torch.tensor([[0.0, 0, 10, 10], [10, 0, 20, 10], [0, 10, 10, 20]])] * 2
    matched = [torch.tensor([0, 0, -1]), torch.tensor([-1, -2, -1])]
    targets = [
        {"boxes": torch.tensor([[0.0, 0, 10, 10]]), "labels": torch.tensor([1])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    logits = torch.linspace(-2, 2, 12).view(2, 3, 2)
    outputs = {"cls_logits": logits, "bbox_regression": torch.zeros(2, 3, 4)}
    wanted = torch.zeros(2, 3, 2)
    wanted[0, :2, 1] = 1
    every = sigmoid_focal_loss(logits, wanted)
    every[1, 1] = 0
    found = head.compute_loss(targets, outputs, anchors, matched)
    torch.testing.assert_close(found["classification"], every.sum() / 2)
    torch.testing.assert_close(found["bbox_regression"], torch.tensor((0 + 1 - 0.05) / 2))  # one is a width off
    half = {name: value.half() for name, value in outputs.items()}
    for name, loss in head.compute_loss(targets, half, anchors, matched).items():
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, found[name], rtol=1e-3, atol=0)
    empty = head.compute_loss([targets[1]] * 2, outputs, anchors, [matched[1]] * 2)  # 2 images, so by 2 and not by 1
    background = sigmoid_focal_loss(logits, torch.zeros(2, 3, 2))[:, [0, 2]]
    torch.testing.assert_close(empty["classification"], background.sum() / 2)
    assert empty["bbox_regression"] == 0
    monkeypatch.setattr(distributed, "world", lambda: 2)
    monkeypatch.setattr(distributed, "total", lambda value: value + 4)  # the other process has four
    found = head.compute_loss(targets, outputs, anchors, matched)
    torch.testing.assert_close(found["classification"], every.sum() / 3)
    head.divide_by = "average"
    found = head.compute_loss(targets, outputs, anchors, matched)
    torch.testing.assert_close(found["classification"], every.sum() / (0.9 * 100 + 0.1 * 3))


def test_the_new_head_starts_at_the_prior_and_the_old_one_goes_on_with_its_boxes(finetune, weights):
    model = finetune.new_model(3, 64, weights, "batch")
    bias = model.head.classification_head.cls_logits.bias
    torch.testing.assert_close(bias, torch.full((27,), -math.log(99)))
    before = torch.load(weights, weights_only=True)
    assert torch.equal(model.head.regression_head.bbox_reg.weight, before["head.regression_head.bbox_reg.weight"])
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in model.modules())


def test_every_second_image_is_flipped_and_its_boxes_with_it(finetune, folder):
    data = finetune.CocoFolder(folder, 48)
    for index in range(2 * data.train):
        (plain,), (here,) = finetune.examples(data, [index], 0, torch.device("cpu"), False)
        (pixels,), (there,) = finetune.examples(data, [index], 0, torch.device("cpu"), True)
        if index % 2 == 0:
            assert torch.equal(plain, pixels)
            assert torch.equal(here["boxes"], there["boxes"])
        else:
            assert torch.equal(plain.flip(-1), pixels)
            torch.testing.assert_close(48 - here["boxes"][:, [2, 0]], there["boxes"][:, [0, 2]])


def test_half_precision_without_a_gpu_is_refused(finetune, folder):
    with pytest.raises(ValueError, match="amp needs a GPU, and the device is cpu: leave --amp out"):
        finetune.main(["--data", str(folder), "--device", "cpu", "--amp"])


def test_without_torchvision_the_script_says_what_it_needs():
    code = "import sys; sys.modules['torchvision'] = None; import runpy; runpy.run_module('tools.finetune')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "torchvision" in done.stderr.splitlines()[-1]
