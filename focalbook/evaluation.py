"""Average precision by the COCO rules, computed by the COCO library itself (chapter 10)."""

import contextlib
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch

from focalbook.boxes import iou
from focalbook.matching import BACKGROUND, match
from focalbook.retinanet import Detections, RetinaNet
from focalbook.scenes import TEST, DataSet, Scenes
from focalbook.training import TrainSettings, class_targets


def average_precision(detections: Sequence[Detections], scenes: Scenes, classes: Sequence[str]) -> dict[str, Any]:
    """COCO AP of detections against the scenes they were made on.

    ``detections``: a list of B ``Detections``. ``scenes``: the ``Scenes``, B of them. ``classes``: their names.
    Returns a dict: "AP" (mean over IoU .50 to .95 in steps of .05), "AP50", "AP75", all means over the classes, in
    [0, 1]; "by class", a dict from each name to its AP; and "recall", the share of all objects that are found, at IoU
    .50, before there is more than one false detection a scene. A class with no object in these scenes has AP NaN and is
    left out of the means, as in COCO.

    Raises ``ValueError`` when the two lengths differ, and for a box or a score that is not finite, a box whose corners
    are the wrong way round, and a label that no class has: each would be scored, and not as what it is. Computed by
    pycocotools with at most 100 detections an image. Explained in chapter 10.
    """
    evaluation = _evaluated(detections, scenes, classes)
    # (IoU thresholds, 101 recalls, classes) at all areas and 100 detections; -1 marks a class without objects
    precision = torch.from_numpy(evaluation.eval["precision"])[:, :, :, 0, -1]
    precision = torch.where(precision < 0, torch.nan, precision)
    return {
        "AP": precision.nanmean().item(),
        "AP50": precision[0].nanmean().item(),
        "AP75": precision[5].nanmean().item(),
        "by class": {name: precision[:, :, label].nanmean().item() for label, name in enumerate(classes)},
        "recall": _recall(_outcomes(evaluation, len(detections))),
    }


class Outcome(NamedTuple):
    """What became of one scene at IoU .50: of each object its ``labels`` (M,), and the ``scores`` (M,) and ``overlaps``
    (M,) of the detection that found it, 0 if none did; and ``false``, the scores of all other detections, best first.
    Lists (chapter 11)."""

    labels: list[int]
    scores: list[float]
    overlaps: list[float]
    false: list[float]


def outcomes(detections: Sequence[Detections], scenes: Scenes, classes: Sequence[str]) -> list[Outcome]:
    """What became of each scene, an ``Outcome`` each: so that scenes can be drawn again, as seeds can, and finding told
    from framing. Arguments and errors as for ``average_precision`` (chapter 11)."""
    return _outcomes(_evaluated(detections, scenes, classes), len(detections))


def _outcomes(evaluation: Any, count: int) -> list[Outcome]:
    """From the matches that the COCO library made at IoU .50, over objects of all sizes."""
    objects: list[list[tuple[int, int, float, float]]] = [[] for _ in range(count)]
    false: list[list[float]] = [[] for _ in range(count)]
    for part in evaluation.evalImgs:
        if not part or part["aRng"] != evaluation.params.areaRng[0]:
            continue
        image, label, scores = int(part["image_id"]), int(part["category_id"]), part["dtScores"]
        ious = evaluation.ious[image, label]
        row_of = {number: row for row, number in enumerate(part["dtIds"])}
        for column, (number, finder) in enumerate(zip(part["gtIds"], part["gtMatches"][0])):
            row = row_of.get(int(finder))  # 0, no detection's number, marks an object that was not found
            found = (0.0, 0.0) if row is None else (scores[row], float(ious[row, column]))
            objects[image].append((number, label, *found))
        false[image] += [score for score, target in zip(scores, part["dtMatches"][0]) if target == 0]
    return [
        Outcome([row[1] for row in rows], [row[2] for row in rows], [row[3] for row in rows], wrong)
        for rows, wrong in zip(map(sorted, objects), (sorted(scores, reverse=True) for scores in false))
    ]


def _recall(scenes: Sequence[Outcome]) -> float:
    """The share of the objects that score above the first false detection that is one too many: with n scenes, the
    (n + 1)-th best. NaN without objects."""
    false = sorted((score for scene in scenes for score in scene.false), reverse=True)
    bound = false[len(scenes)] if len(false) > len(scenes) else 0.0
    scores = [score for scene in scenes for score in scene.scores]
    return sum(score > bound for score in scores) / len(scores) if scores else math.nan


def reachable(model: RetinaNet, scenes: Scenes) -> list[list[float]]:
    """How well the boxes that ``model`` proposes for the class of each object would frame it at best, before NMS
    chooses among them: the largest IoU, in [0, 1], a list for each scene in the order of its objects (chapter 11)."""
    best = []
    for images, boxes, labels in zip(*(part.split(32) for part in scenes)):
        for found, box, label in zip(model.detect(images, per_level=300, overlap=1.0, most=10_000), boxes, labels):
            real = label >= 0
            overlap = iou(box[real].to(found.boxes), found.boxes) * (label[real, None] == found.labels)
            best.append((overlap.amax(dim=1) if len(found.labels) else overlap.sum(dim=1)).tolist())
    return best


def _evaluated(detections: Sequence[Detections], scenes: Scenes, classes: Sequence[str]) -> Any:
    """The COCO library's evaluation of detections; its errors are those of ``average_precision``."""
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
    return evaluation


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
