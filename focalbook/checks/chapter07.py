"""Checks of chapter 7: anchors, matching and boxes."""

import math

import torch

from focalbook import boxes
from focalbook.checks.check import Check
from focalbook.matching import BACKGROUND, IGNORED, match


def rows(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


ANCHOR, BOX = rows(0, 0, 16, 16), rows(4, 0, 36, 16)

deltas_by_hand = Check(
    reference=lambda: boxes.encode(BOX, ANCHOR),
    tolerance=5e-3,
    mistakes={
        "the logarithm is missing: the last two are ln(w / w_a) and ln(h / h_a)": lambda: rows(0.75, 0, 2, 1),
        "that is the relative change of the sides: take the logarithm of their ratio": lambda: rows(0.75, 0, 1, 0),
        "that is the decimal logarithm: the last two are natural ones": lambda: rows(0.75, 0, math.log10(2), 0),
        "the shift is in pixels: divide it by the anchor's side": lambda: rows(12, 0, math.log(2), 0),
        "the shift is that of the corner: take the centers": lambda: rows(0.25, 0, math.log(2), 0),
        "you divide the shift by the object's side: divide it by the anchor's": lambda: rows(
            12 / 32, 0, math.log(2), 0
        ),
        "the other way round: these deltas lead from the object to the anchor": lambda: boxes.encode(ANCHOR, BOX),
    },
)


def sides(a, b):
    """Width and height of what two boxes share, negative where they are apart; their areas."""
    shared = torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])
    return shared, (a[:, 2:] - a[:, :2]).prod(1), (b[:, 2:] - b[:, :2]).prod(1)


def ratio(inter, union):
    return torch.where(union > 0, inter / union, 0.0)


def no_clamp(a, b, ratio=ratio):
    shared, area_a, area_b = sides(a, b)
    return ratio(shared.prod(1), area_a + area_b - shared.prod(1))


def clamp_too_late(a, b, ratio=ratio):
    shared, area_a, area_b = sides(a, b)
    inter = shared.prod(1).clamp(min=0)
    return ratio(inter, area_a + area_b - inter)


def one_pixel_more(a, b):
    grown = rows(0, 0, 1, 1)
    return pairwise(a + grown, b + grown)


def without_overlap(a, b):
    shared, area_a, area_b = sides(a, b)
    return ratio(shared.clamp(min=0).prod(1), area_a + area_b)


def over_smaller(a, b):
    shared, area_a, area_b = sides(a, b)
    return ratio(shared.clamp(min=0).prod(1), torch.minimum(area_a, area_b))


def zero_by_zero(a, b):
    shared, area_a, area_b = sides(a, b)
    inter = shared.clamp(min=0).prod(1)
    return inter / (area_a + area_b - inter)


def pairwise(a, b):
    return boxes.iou(a[:, None], b[:, None])[:, 0, 0]


LEFT = rows([0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10])
RIGHT = rows([5, 0, 15, 10], [2, 2, 7, 8], [10, 0, 20, 10], [40, 0, 50, 10], [0, 0, 10, 10])

pair_iou = Check(
    reference=pairwise,
    cases=((LEFT, RIGHT), (LEFT[:1], rows([12, 13, 20, 20])), (rows([0, 0, 0, 0]), rows([0, 0, 0, 0]))),
    mistakes={
        "boxes that do not touch come out positive: two negative sides have a positive product": clamp_too_late,
        "boxes apart share no side, not a negative one: cut width and height at 0 before you multiply": no_clamp,
        "cut width and height at 0 each: two negative sides have a positive product; and 0/0 is no IoU": lambda a, b: (
            clamp_too_late(a, b, torch.div)
        ),
        "boxes apart share no side: cut width and height at 0 before you multiply; and 0/0 is no IoU": lambda a, b: (
            no_clamp(a, b, torch.div)
        ),
        "the width is x2 - x1: a corner lies between pixels, so there is no + 1": one_pixel_more,
        "the union counts the shared part twice: take it away once": without_overlap,
        "that is the share of the smaller box: divide by the union of both": over_smaller,
        "two boxes without area give 0/0: their IoU is 0": zero_by_zero,
    },
)


def from_center(center, size):
    return torch.cat([center - size / 2, center + size / 2], dim=1)


def parts(deltas, anchors):
    """Centers and sizes of the anchors; shifts and cut log sizes."""
    size = anchors[:, 2:] - anchors[:, :2]
    return anchors[:, :2] + size / 2, size, deltas[:, :2], deltas[:, 2:].clamp(max=math.log(1000 / 16))


def not_cut(deltas, anchors):
    center, size, shift, _ = parts(deltas, anchors)
    return from_center(center + shift * size, size * torch.exp(deltas[:, 2:]))


def not_exponential(deltas, anchors):
    center, size, shift, _ = parts(deltas, anchors)
    return from_center(center + shift * size, size * deltas[:, 2:])


def linear(deltas, anchors):
    center, size, shift, _ = parts(deltas, anchors)
    return from_center(center + shift * size, size * (1 + deltas[:, 2:]))


def in_pixels(deltas, anchors):
    center, size, shift, log = parts(deltas, anchors)
    return from_center(center + shift, size * torch.exp(log))


def from_corner(deltas, anchors):
    _, size, shift, log = parts(deltas, anchors)
    return from_center(anchors[:, :2] + shift * size, size * torch.exp(log))


def cut_both_ways(deltas, anchors):
    center, size, shift, log = parts(deltas, anchors)
    return from_center(center + shift * size, size * torch.exp(log.clamp(min=-math.log(1000 / 16))))


def cut_in_pixels(deltas, anchors):
    center, size, shift, _ = parts(deltas, anchors)
    return from_center(center + shift * size, (size * torch.exp(deltas[:, 2:])).clamp(max=1000))


def cut_shifts_too(deltas, anchors):
    return boxes.decode(deltas.clamp(max=math.log(1000 / 16)), anchors)


def center_and_size(deltas, anchors):
    center, size, shift, log = parts(deltas, anchors)
    return torch.cat([center + shift * size, size * torch.exp(log)], dim=1)


def whole_sides(deltas, anchors):
    center, size, shift, log = parts(deltas, anchors)
    return torch.cat([center + shift * size - size * torch.exp(log), center + shift * size + size * torch.exp(log)], 1)


DELTAS = rows([0, 0, 0, 0], [0.5, 0, 0.7, 0], [-0.2, 0.3, -0.4, 0.1])

decoded_boxes = Check(
    reference=boxes.decode,
    cases=(
        (DELTAS, rows([10, 10, 20, 20], [10, 10, 20, 20], [0, 5, 8, 30])),
        (rows([0, 0, 20, 0], [0.1, 0.1, 0, 1000], [0, 0, -9, 0.2]), rows([0, 0, 16, 16]).repeat(3, 1)),
        (rows([6, -7, 9, -1], [-5, 5, 1, 9]), rows([0, 0, 8, 30], [0, 0, 40, 4])),
    ),
    mistakes={
        "a wild dw makes a box without end: cut dw and dh at ln(1000/16) before the exponential": not_cut,
        "the exponential is missing: w = w_a e^dw, so a delta of 0 keeps the anchor's size": not_exponential,
        "dw is a logarithm: w = w_a e^dw, not w_a (1 + dw)": linear,
        "dx and dy are in anchor sizes, not in pixels: multiply them by w_a and h_a": in_pixels,
        "the shift starts at the anchor's center, not at its corner": from_corner,
        "cut large dw and dh only: a small box does no harm": cut_both_ways,
        "1000/16 is a factor, not a size in pixels": cut_in_pixels,
        "cut dw and dh only: a shift is no logarithm": cut_shifts_too,
        "that is center and size: return the corners x1, y1, x2, y2": center_and_size,
        "from the center it is half a side to each edge: your boxes are twice as large": whole_sides,
    },
)


def right_labels(anchors, objects, labels, **thresholds):
    return match(anchors, objects[None], labels[None], **thresholds).labels[0]


def band_is_background(anchors, objects, labels):
    right = right_labels(anchors, objects, labels)
    return torch.where(right == IGNORED, BACKGROUND, right)


def numbers_for_classes(anchors, objects, labels):
    return right_labels(anchors, objects, torch.where(labels >= 0, torch.arange(len(labels)), -1))


def by_overlap(overlap, labels):
    """Labels by the thresholds alone."""
    best, owner = overlap.max(dim=0)
    return torch.where(best >= 0.5, labels[owner], torch.where(best >= 0.4, IGNORED, BACKGROUND))


def no_claim(anchors, objects, labels):
    return by_overlap(boxes.iou(objects, anchors), labels)


def claiming(claims, winner=lambda overlap, claims: (overlap * claims).argmax(dim=0)):
    """A way to match, with another rule for who claims, or for who wins a claim."""

    def labels_of(anchors, objects, labels):
        overlap = boxes.iou(objects, anchors)
        claimed = claims(overlap, labels[:, None] >= 0)
        owner = winner(overlap, claimed.double())
        return torch.where(claimed.any(dim=0), labels[owner], by_overlap(overlap, labels))

    return labels_of


def best_anchors(overlap, real):
    top = overlap.amax(dim=1, keepdim=True)
    return (overlap == top) & (top > 0)


def any_best(overlap, real):
    return (overlap == overlap.amax(dim=1, keepdim=True)) & real


def one_best(overlap, real):
    chosen = torch.zeros_like(overlap).scatter(1, overlap.argmax(dim=1, keepdim=True), 1.0)
    return (chosen > 0) & (overlap > 0)


def only_without_half(overlap, real):
    return best_anchors(overlap, real) & (overlap.amax(dim=1, keepdim=True) < 0.5)


def first_wins(overlap, claims):
    return (claims * torch.arange(len(claims), 0, -1)[:, None]).argmax(dim=0)


def last_wins(overlap, claims):
    return (claims * torch.arange(1, len(claims) + 1)[:, None]).argmax(dim=0)


def padding_too(anchors, objects, labels):
    claims = any_best(boxes.iou(objects, anchors), True).any(dim=0)
    return torch.where(claims, labels.clamp(min=0).amax(), no_claim(anchors, objects, labels))


STEPS = rows([0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 4.5], [0, 0, 10, 4], [0, 0, 10, 3], [50, 50, 60, 60])
NARROW = rows([0, 0, 10, 3], [0, 7, 10, 10], [0, 0, 3, 3], [40, 40, 50, 50])
SHARED = rows([0, 0, 10, 10], [50, 50, 60, 60])
NONE, SQUARE = [0, 0, 0, 0], [0, 0, 10, 10]

matched_labels = Check(
    reference=right_labels,
    cases=(
        (STEPS, rows(SQUARE), torch.tensor([2])),
        (STEPS, rows(SQUARE, NONE), torch.tensor([1, -1])),
        (NARROW, rows(SQUARE), torch.tensor([1])),
        (SHARED, rows([2, 2, 8, 8], [0, 0, 8, 5]), torch.tensor([0, 2])),
        (SHARED, rows([0, 0, 8, 5], [2, 2, 8, 8]), torch.tensor([2, 0])),
        (rows(SQUARE, [0, 0, 10, 9]), rows([0, 0, 10, 4], [0, 0, 10, 10]), torch.tensor([0, 1])),
        (rows(SQUARE, [0, 0, 10, 14]), rows([0, 0, 10, 13], [0, 0, 10, 6]), torch.tensor([2, 1])),
        (STEPS, rows([80, 80, 90, 90]), torch.tensor([0])),
        (STEPS, rows(NONE, NONE), torch.tensor([-1, -1])),
    ),
    mistakes={
        "an IoU from .4 to .5 is not background: such an anchor is ignored, label -2": band_is_background,
        "an IoU of exactly .4 is ignored: background is what lies below .4": lambda *given: right_labels(
            *given, background=0.4 + 1e-9
        ),
        "an IoU of exactly .5 is foreground: you ask for more than .5": lambda *given: right_labels(
            *given, foreground=0.5 + 1e-9
        ),
        "there is a band: from .4 to .5 an anchor is ignored, not foreground": lambda *given: right_labels(
            *given, foreground=0.4
        ),
        "an object without an anchor at .5 is never learned: let each object claim its best anchors": no_claim,
        "padding rows claim every anchor that touches nothing: only real objects may claim": padding_too,
        "an object with IoU 0 everywhere claims all anchors: a claim needs an IoU above 0": claiming(any_best),
        "several anchors tie for the best: the object claims all of them, not the first": claiming(one_best),
        "every object claims its best anchors, also one that has an anchor at .5": claiming(only_without_half),
        "two objects claim one anchor: the larger overlap has it, not the last one as in mmdetection": claiming(
            best_anchors, last_wins
        ),
        "two objects claim one anchor: it goes to the one that overlaps it more, not to the first": claiming(
            best_anchors, first_wins
        ),
        "a claim goes before a larger overlap: you leave the anchor to the other object, as detectron2 does": claiming(
            best_anchors, lambda overlap, claims: overlap.argmax(dim=0)
        ),
        "you return the number of the object: its class stands in labels": numbers_for_classes,
    },
)
