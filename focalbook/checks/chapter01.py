"""Checks of chapter 1: how rare is an object?"""

import math

import torch

from focalbook.anchors import make_anchors
from focalbook.boxes import iou
from focalbook.checks.check import Check
from focalbook.matching import BACKGROUND, IGNORED, match
from focalbook.scenes import SceneSettings, render

background_per_foreground = Check(
    reference=lambda: (1000 - 4 - 16) / 4,
    mistakes={
        "that counts all anchors, and the four are among them: divide the background alone": lambda: 1000 / 4,
        "ignored anchors are no background: they take no part": lambda: (1000 - 4) / 4,
        "that is the background alone: divide it by the foreground": lambda: 980,
        "that is a share of all anchors: divide by the foreground alone": lambda: (1000 - 4 - 16) / 1000,
        "that is the accuracy of always saying no: divide by the foreground alone": lambda: 980 / (980 + 4),
        "the other way round: how many background anchors for each foreground anchor": lambda: 4 / 980,
    },
)


def predicted(size, strides, per_place, positives, rounded=math.ceil, power=2):
    anchors = per_place * sum(rounded(size / stride) ** power for stride in strides)
    return (anchors - positives) / positives


grid_ratio = Check(
    reference=predicted,
    cases=((96, (4, 8, 16), 9, 10), (192, (4, 8, 16), 9, 10), (100, (8, 16, 32), 6, 3), (64, (8,), 1, 4)),
    mistakes={
        "places fill an area: square the number along a side": lambda *grid: predicted(*grid, power=1),
        "a stride cut off by the edge counts as a whole one: round up": lambda *grid: predicted(
            *grid, rounded=math.floor
        ),
        "where the last stride ends at the edge no other one follows: round up in place of adding 1": lambda *grid: (
            predicted(*grid, rounded=lambda strides: math.floor(strides) + 1)
        ),
        "you count the finest level alone: add up the levels": lambda size, strides, *rest: predicted(
            size, strides[:1], *rest
        ),
        "every place holds several anchors: multiply by per_place": lambda size, strides, _, positives: predicted(
            size, strides, 1, positives
        ),
        "the positives are among the anchors: take them off before you divide": lambda *grid: predicted(*grid) + 1,
    },
)


def judge(scores, labels, counts=lambda labels: labels != IGNORED, object_from=0):
    said, real = (scores > 0.5)[counts(labels)], (labels >= object_from)[counts(labels)]
    return (said == real).double().mean().item(), (said & real).sum().item() / real.sum().item()


def precision(scores, labels):
    said, real = scores > 0.5, labels >= 0
    said_and_counts = (said & (labels != IGNORED)).sum().item()
    return judge(scores, labels)[0], (said & real).sum().item() / max(1, said_and_counts)


def recall_over_all(scores, labels):
    found = ((scores > 0.5) & (labels >= 0)).sum().item()
    return judge(scores, labels)[0], found / (labels != IGNORED).sum().item()


def percent(results):
    """Shares as percentages; what is above 1 is no share."""
    return tuple(100 * value if value <= 1 else value for value in results)


def tie_is_yes(scores, labels):
    return judge(torch.where(scores == 0.5, 1.0, scores), labels)


LABELS = torch.tensor([0, 2, IGNORED, IGNORED] + [BACKGROUND] * 36)
ALWAYS_NO = torch.zeros(40, dtype=torch.float64)
USEFUL = torch.tensor([0.9, 0.6, 0.8, 0.1, 0.7, 0.7, 0.9] + [0.5] + [0.1] * 32, dtype=torch.float64)
TIMID = torch.tensor([0.3, 0.8, 0.2, 0.2, 0.5] + [0.4] * 35, dtype=torch.float64)

accuracy_and_recall = Check(
    reference=judge,
    cases=((ALWAYS_NO, LABELS), (USEFUL, LABELS), (TIMID, LABELS)),
    mistakes={
        "ignored anchors take no part: leave them out before you count": lambda scores, labels: judge(
            scores, labels, counts=lambda labels: labels >= IGNORED
        ),
        "0 is the first class, not the background: an object is any label of at least 0": lambda scores, labels: judge(
            scores, labels, object_from=1
        ),
        "that is precision: recall divides what was found by the objects, not by the alarms": precision,
        "recall divides by the foreground alone, not by all anchors": recall_over_all,
        "the order: accuracy first, then recall": lambda scores, labels: judge(scores, labels)[::-1],
        "a score of exactly 0.5 says no: an object is called above it": tie_is_yes,
        "those are percentages: a share lies between 0 and 1": lambda *given: percent(judge(*given)),
    },
)


def matched(settings, size=None):
    """Labels of all anchors of four scenes, and which anchors each object touches."""
    scenes, anchors = render(range(4), settings=settings), make_anchors(size or settings.size)
    return match(anchors, scenes.boxes, scenes.labels).labels, iou(scenes.boxes, anchors) > 0


def survey(settings, size=None, also=BACKGROUND, objects=slice(None)):
    labels, touched = matched(settings, size)
    negative = (labels == BACKGROUND) | (labels == also)
    foreground, background = (labels >= 0).sum().item(), negative.sum().item()
    untouched = (negative & ~touched[:, objects].any(dim=1)).sum().item()
    return background / foreground, background / (foreground + background), untouched / background


def mean_of_ratios(settings):
    labels, _ = matched(settings)
    return ((labels == BACKGROUND).sum(1) / (labels >= 0).sum(1)).mean().item(), *survey(settings)[1:]


def over_all_anchors(settings):
    found, _, untouched = survey(settings)
    return found, (matched(settings)[0] == BACKGROUND).double().mean().item(), untouched


def share_of_grid(settings):
    found, accuracy, untouched = survey(settings)
    return found, accuracy, untouched * (matched(settings)[0] == BACKGROUND).double().mean().item()


scene_survey = Check(
    reference=survey,
    cases=(
        (SceneSettings(),),
        (SceneSettings(objects=(0, 3)),),
        (SceneSettings(size=120, distractors=12),),
    ),
    mistakes={
        "ignored anchors are no background, though their label is below 0 too": lambda settings: survey(
            settings, also=IGNORED
        ),
        "you average the ratios of the scenes, and one may hold no object: count over all, then divide": mean_of_ratios,
        "accuracy is over the anchors that count: leave the ignored ones out": over_all_anchors,
        "the third number is a share of the background, not of the whole grid": share_of_grid,
        "you look at the first object of a scene alone: an anchor may touch another one": lambda settings: survey(
            settings, objects=slice(1)
        ),
        "the last two are percentages: a share lies between 0 and 1": lambda settings: percent(survey(settings)),
        "you lay one grid of 96 pixels over images of every size": lambda settings: survey(settings, size=96),
    },
)
