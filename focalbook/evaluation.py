"""Average precision by the COCO rules, computed by the COCO library itself (chapter 10)."""

import contextlib
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from focalbook.matching import BACKGROUND, match
from focalbook.retinanet import Detections, RetinaNet
from focalbook.scenes import TEST, DataSet, Scenes
from focalbook.training import TrainSettings, class_targets


def average_precision(detections: Sequence[Detections], scenes: Scenes, classes: Sequence[str]) -> dict[str, Any]:
    """COCO AP of detections against the scenes they were made on.

    ``detections``: a list of B ``Detections``. ``scenes``: the ``Scenes``, B of them. ``classes``: their names.
    Returns a dict: "AP" (mean over IoU .50 to .95 in steps of .05), "AP50", "AP75", all means over the classes, in
    [0, 1]; and "by class", a dict from each name to its AP. A class with no object in these scenes has AP NaN and is
    left out of the means, as in COCO.

    Raises ``ValueError`` when the two lengths differ, and for a box or a score that is not finite, a box whose corners
    are the wrong way round, and a label that no class has: each would be scored, and not as what it is. Computed by
    pycocotools with at most 100 detections an image. Explained in chapter 10.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if len(detections) != len(scenes.labels):
        raise ValueError(f"need one entry of detections for each scene, got {len(detections)} for {len(scenes.labels)}")
    if len(set(classes)) < len(classes):
        raise ValueError(f"classes must have distinct names, got {', '.join(classes)}")
    truth, found = COCO(), COCO()
    base = dict(
        images=[dict(id=image) for image in range(len(detections))],
        categories=[dict(id=label, name=name) for label, name in enumerate(classes)],
    )
    objects = ((boxes, labels) for _, boxes, labels in zip(*scenes))
    truth.dataset = dict(base, annotations=_annotations("objects", objects, len(classes)))
    answers = ((one.boxes, one.labels, one.scores) for one in detections)
    found.dataset = dict(base, annotations=_annotations("detections", answers, len(classes)))
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    # (IoU thresholds, 101 recalls, classes) at all areas and 100 detections; -1 marks a class without objects
    precision = torch.from_numpy(evaluation.eval["precision"])[:, :, :, 0, -1]
    precision = torch.where(precision < 0, torch.nan, precision)
    return {
        "AP": precision.nanmean().item(),
        "AP50": precision[0].nanmean().item(),
        "AP75": precision[5].nanmean().item(),
        "by class": {name: precision[:, :, label].nanmean().item() for label, name in enumerate(classes)},
    }


def _annotations(what: str, images: Iterable[tuple[torch.Tensor, ...]], classes: int) -> list[dict[str, Any]]:
    """COCO's rows, corner and size, from (boxes, labels), padded, or (boxes, labels, scores) of each image."""
    rows: list[dict[str, Any]] = []
    for image, values in enumerate(images):
        for box, label, *score in zip(*(value.tolist() for value in values), strict=True):
            if label == BACKGROUND and not score:  # padding
                continue
            fault = _fault(box, label, score, classes)
            if fault:
                raise ValueError(f"{what} of image {image}: {fault}")
            x1, y1, x2, y2 = box
            width, height = x2 - x1, y2 - y1
            row = dict(id=len(rows) + 1, image_id=image, category_id=label, bbox=[x1, y1, width, height])
            rows.append(dict(row, area=width * height, iscrowd=0, **({"score": score[0]} if score else {})))
    return rows


def _fault(box: list[float], label: int, score: list[float], classes: int) -> str | None:
    """What is wrong with a box, its label and its score, in words."""
    if not all(map(math.isfinite, box)) or box[0] > box[2] or box[1] > box[3]:
        return f"a box must have finite corners x1 <= x2 and y1 <= y2 in pixels, got {box}"
    if not all(map(math.isfinite, score)):
        return f"a score must be finite, got {score[0]}"
    if not 0 <= label < classes:
        return f"a label must be from 0 to {classes - 1} for {classes} classes, got {label}: do yours count from 1?"
    return None


def detect_scenes(
    model: RetinaNet, count: int, data: DataSet, seed: int = TEST, batch: int = 32, pixels: bool = True
) -> tuple[list[Detections], Scenes]:
    """Run ``model`` on the first ``count`` scenes of a collection: (list of ``Detections``, ``Scenes``), on its device.

    ``data``: the ``DataSet``. ``seed``: the collection, ``TEST`` unless one is choosing. ``pixels``: whether the images
    are kept, which for many large ones do not fit in memory. Raises ``ValueError`` for a count below 1. Explained in
    chapter 10.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    detections, parts = [], []
    for first in range(0, count, batch):
        part = data.batch(range(first, min(count, first + batch)), seed, model.device, model.dtype)
        detections += model.detect(part.images)
        parts.append(part if pixels else part._replace(images=part.images[:, :0]))
    return detections, Scenes(*map(torch.cat, zip(*parts)))


def evaluate(model: RetinaNet, count: int, data: DataSet, seed: int = TEST) -> dict[str, Any]:
    """COCO AP of ``model`` on the first ``count`` scenes of a collection: ``average_precision``'s dict (chapter 10)."""
    detections, scenes = detect_scenes(model, count, data, seed, pixels=False)
    return average_precision(detections, scenes, data.classes)


def answers(
    model: RetinaNet, settings: TrainSettings, collection: int, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """What ``model`` says of every anchor of the first ``count`` scenes of a collection, and what is right: logits
    float64 and targets bool, both (N, K), without the ignored anchors.

    ``settings``: the ``TrainSettings`` it was trained with. Explained in chapter 14.
    """
    scenes = settings.scenes.batch(range(count), collection, model.device, model.dtype)
    labels = match(model.anchors, scenes.boxes, scenes.labels).labels
    targets, counts = class_targets(labels, len(settings.scenes.classes))
    with torch.no_grad():
        logits = torch.cat([model(images)[0] for images in scenes.images.split(8)])
    return logits[counts].double(), targets[counts]


def as_rows(found: Detections, score: float = 0.3) -> list[list[float]]:
    """``Detections`` as rows of x1, y1, x2, y2, score, label to a hundredth, for JSON: those above ``score``, which are
    worth drawing. Explained in chapter 11."""
    return [
        [*(round(value, 2) for value in box), round(confidence, 2), label]
        for box, confidence, label in zip(*(values.tolist() for values in found))
        if confidence > score
    ]


def as_detections(rows: Sequence[Sequence[float]]) -> Detections:
    """``Detections`` from the rows of x1, y1, x2, y2, score, label (chapter 11)."""
    values = torch.tensor(rows, dtype=torch.float64).view(-1, 6)
    return Detections(values[:, :4], values[:, 4], values[:, 5].long())
