"""Checks of chapter 10: reading average precision."""

import numpy as np
import torch

from focalbook import evaluation
from focalbook.boxes import iou
from focalbook.checks.check import Check
from focalbook.retinanet import Detections
from focalbook.scenes import Scenes

precision_and_recall = Check(
    reference=lambda: np.array([3 / 6, 3 / 4]),
    tolerance=5e-3,
    mistakes={
        "recall is a share of the objects, not of the detections": lambda: np.array([3 / 6, 3 / 6]),
        "precision is a share of the detections, not of the objects": lambda: np.array([3 / 4, 3 / 4]),
        "the other way round: precision comes first": lambda: np.array([3 / 4, 3 / 6]),
        "the duplicate is no second find: each object counts once": lambda: np.array([4 / 6, 4 / 4]),
        "the duplicate is no true positive: precision counts it with the wrong ones": lambda: np.array([4 / 6, 3 / 4]),
        "the duplicate finds no new object: one of the four is never found": lambda: np.array([3 / 6, 4 / 4]),
        "the duplicate is a detection too, and a wrong one: it counts in the precision": lambda: np.array(
            [3 / 5, 3 / 4]
        ),
    },
)


def greedy(overlaps, threshold):
    """Which detections, best score first, are right: each takes the best object that is free."""
    return greedy_in_place(overlaps.copy(), threshold)


def greedy_in_place(free, threshold):
    hits = []
    for row in free:
        hits.append(row.max(initial=-1) >= threshold)
        if hits[-1]:
            free[:, row.argmax()] = -1
    return np.array(hits, dtype=bool)


def never_taken(overlaps, threshold):
    return overlaps.max(axis=1, initial=-1) >= threshold


def best_object_only(overlaps, threshold):
    taken, hits = set(), []
    for row in overlaps:
        best = row.argmax() if row.size else None
        hits.append(best is not None and row[best] >= threshold and best not in taken)
        taken |= {best} if hits[-1] else set()
    return np.array(hits, dtype=bool)


def objects_choose(overlaps, threshold):
    hits = np.zeros(len(overlaps), dtype=bool)
    for column in overlaps.T:
        if column.max(initial=-1) >= threshold:
            hits[column.argmax()] = True
    return hits


def first_that_fits(overlaps, threshold):
    return greedy(np.where(overlaps >= threshold, 1 - np.arange(overlaps.shape[1]) / 100, -1), threshold)


def one_chance(overlaps, threshold):
    """An object is gone as soon as a detection looked at it."""
    free, hits = overlaps.copy(), []
    for row in free:
        hits.append(row.max(initial=-1) >= threshold)
        if row.size:
            free[:, row.argmax()] = -1
    return np.array(hits, dtype=bool)


def second_call(hits, overlaps, threshold):
    """What the same overlaps give once more: the first call may have written into them."""
    hits(overlaps, threshold)
    return hits(overlaps, threshold)


greedy_hits = Check(
    reference=greedy,
    probe=second_call,
    cases=(
        (np.array([[0.9, 0.0], [0.7, 0.1], [0.0, 0.6], [0.0, 0.2]]), 0.5),
        (np.array([[0.6, 0.3], [0.9, 0.55]]), 0.5),
        (np.array([[0.6, 0.3], [0.9, 0.1]]), 0.5),
        (np.array([[0.55, 0.8], [0.1, 0.9]]), 0.5),
        (np.array([[0.3, 0.1], [0.75, 0.0]]), 0.75),
        (np.array([[0.55, 0.9], [0.7, 0.0]]), 0.5),
        (np.zeros((2, 0)), 0.5),
        (np.zeros((0, 3)), 0.5),
    ),
    mistakes={
        "a second detection of the same object is wrong: each object can be taken once": never_taken,
        "your detections look at their best object only: if it is taken, the best free one counts": best_object_only,
        "your objects choose: the detections do, from the best score down, and the first one wins": objects_choose,
        "you take the first object that fits: take the free one with the highest IoU": first_that_fits,
        "a detection below the threshold takes no object: leave it free for the next": one_chance,
        "an IoU equal to the threshold is enough": lambda overlaps, threshold: greedy(overlaps, threshold + 1e-9),
        "you write into overlaps: work on a copy": greedy_in_place,
    },
)


def curve(hits, objects):
    """Precision and recall after each detection."""
    right = np.cumsum(np.asarray(hits, dtype=float))
    return right / np.arange(1, len(hits) + 1), right / objects


def best_to_the_right(precision):
    return np.maximum.accumulate(precision[::-1])[::-1]


def at_recalls(precision, recall, count=101):
    """The precision at each of the recalls; 0 where the list ends before it."""
    return np.append(precision, 0)[np.searchsorted(recall, np.linspace(0, 1, count))]


def interpolated(hits, objects, count=101):
    precision, recall = curve(hits, objects)
    return at_recalls(best_to_the_right(precision), recall, count).mean()


def saw_teeth(hits, objects):
    return at_recalls(*curve(hits, objects)).mean()


def best_to_the_left(hits, objects):
    precision, recall = curve(hits, objects)
    return at_recalls(np.maximum.accumulate(precision), recall).mean()


def over_detections(hits, objects):
    return curve(hits, objects)[0].sum() / max(1, len(hits))


def monotone_over_detections(hits, objects):
    return best_to_the_right(curve(hits, objects)[0]).sum() / max(1, len(hits))


def over_hits(hits, objects):
    return curve(hits, objects)[0][np.asarray(hits, dtype=bool)].sum() / objects


def area(hits, objects):
    return best_to_the_right(curve(hits, objects)[0])[np.asarray(hits, dtype=bool)].sum() / objects


def recall_over_detections(hits, objects):
    return interpolated(hits, max(1, len(hits)))


def reached_only(hits, objects):
    precision, recall = curve(hits, objects)
    reached = np.searchsorted(recall, np.linspace(0, 1, 101)) < len(recall)
    return at_recalls(best_to_the_right(precision), recall)[reached].sum() / max(1, reached.sum())


interpolated_ap = Check(
    reference=interpolated,
    cases=tuple(
        ([letter == "T" for letter in hits], objects)
        for hits, objects in (("TTFFT", 4), ("FTT", 2), ("TFFTFTTF", 8), ("FF", 1), ("T", 1), ("", 4))
    ),
    mistakes={
        "the teeth are still in the curve: at each recall take the best precision to the right": saw_teeth,
        "you look to the left: the best precision at this recall or a larger one counts": best_to_the_left,
        "you average over the detections: average over 101 recalls, reached or not": over_detections,
        "right precision, wrong mean: average over 101 recalls, not over the detections": monotone_over_detections,
        "you average the precision at the hits: COCO averages over 101 recalls": over_hits,
        "that is the area under the curve, VOC's later rule: COCO's is the mean at 101 recalls": area,
        "recall is a share of the objects: you divide by the detections": recall_over_detections,
        "a recall that is never reached counts 0: you leave it out of the mean": reached_only,
        "eleven recalls are VOC's older rule: COCO takes 101": lambda hits, objects: interpolated(hits, objects, 11),
    },
)


def ap50(detections, scenes):
    """What COCO's library says, for one class."""
    return evaluation.average_precision(detections, scenes, ["object"])["AP50"]


def pooled(detections, scenes, hits=greedy, by_score=True, padding=False, count=len, skip=lambda found, truth: False):
    """AP50 of all images together; the defaults are right."""
    rows: list[tuple] = []
    objects = 0
    for found, boxes, labels in zip(detections, scenes.boxes, scenes.labels):
        truth = boxes if padding else boxes[labels >= 0]
        if not skip(found, truth):
            objects += count(truth)
            rows += zip(found.scores.tolist(), hits(iou(found.boxes, truth).numpy(), 0.5))
    rows.sort(key=lambda row: -row[0] * by_score)
    return interpolated([hit for _, hit in rows], objects)


def variant(**parts):
    """AP50 with some parts of ``pooled`` changed."""
    return lambda detections, scenes: pooled(detections, scenes, **parts)


def mean_of_images(detections, scenes):
    each = []
    for found, boxes, labels in zip(detections, scenes.boxes, scenes.labels):
        if (labels >= 0).any():
            each.append(pooled([found], Scenes(None, boxes[None], labels[None])))
    return np.mean(each)


def found_in(rows):
    """Detections from rows of x1, y1, x2, y2, score, of one class."""
    rows = torch.tensor(rows, dtype=torch.float64).view(-1, 5)
    return Detections(rows[:, :4], rows[:, 4], torch.zeros(len(rows), dtype=torch.int64))


LABELS = torch.tensor([[0, 0], [0, -1], [-1, -1], [0, -1]])
BOXES = torch.tensor([[10, 10, 30, 30], [50, 50, 80, 80]], dtype=torch.float64) * (LABELS >= 0)[..., None]
SCENES = Scenes(torch.zeros(4, 3, 1, 1), BOXES, LABELS)
HIT, OTHER, NEAR, FAR = [11, 10, 31, 30], [50, 52, 80, 82], [10, 12, 30, 32], [60, 5, 75, 20]
FOUND = [found_in([[*FAR, 0.85], [*HIT, 0.8], [*NEAR, 0.7], [*OTHER, 0.4]]), found_in([[*HIT, 0.9], [*NEAR, 0.75]])] + [
    found_in([[*FAR, 0.82]]),
    found_in([]),
]

ap_of_images = Check(
    reference=ap50,
    cases=(
        (FOUND, SCENES),
        (FOUND[1:2], Scenes(*(part[1:2] for part in SCENES))),
        (FOUND[:2], Scenes(*(part[:2] for part in SCENES))),
    ),
    mistakes={
        "a mean over the images: put all their detections in one list, and make one curve": mean_of_images,
        "the list is not sorted by score: image after image is no ranking": variant(by_score=False),
        "your list starts with the worst score: sort it the best first": variant(by_score=-1),
        "recall divides by the objects, not by the images": variant(count=lambda truth: 1),
        "a second detection of the same object counts as right: each object can be taken once": variant(
            hits=never_taken
        ),
        "padding rows count as objects: take the rows whose label is at least 0": variant(padding=True),
        "an image without objects is left out: what is detected there is wrong, and counts": variant(
            skip=lambda found, truth: len(truth) == 0
        ),
        "an image without detections is left out: its objects are missed, and count in the recall": variant(
            skip=lambda found, truth: len(found.scores) == 0
        ),
    },
)
