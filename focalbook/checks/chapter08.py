"""Checks of chapter 8: RetinaNet piece by piece, and the prior."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from focalbook import losses, retinanet
from focalbook.checks.check import Check
from focalbook.checks.divisor import DIVISORS, divisor
from focalbook.matching import BACKGROUND, IGNORED, Matches
from focalbook.training import class_losses

bias_of_prior = Check(
    reference=lambda: retinanet.prior_bias(0.02),
    tolerance=2e-3,
    mistakes={
        "the wrong way round: with this bias every anchor starts sure of an object; b is negative": lambda: (
            -retinanet.prior_bias(0.02)
        ),
        "that is ln(pi): the sigmoid undoes the logit, ln(pi / (1 - pi)), not the logarithm": lambda: math.log(0.02),
        "that is the decimal logarithm: the sigmoid is made of e, so take the natural one": lambda: math.log10(
            0.02 / 0.98
        ),
        "the bias is a logit, not a probability": lambda: 0.02,
        "the logarithm is missing: b = -ln((1 - pi) / pi)": lambda: -0.98 / 0.02,
    },
)


def costs(prior, alpha=0.25):
    """Focal loss of a positive and of a negative output at the prior."""
    return (losses.focal_loss(prior, y, alpha, 2.0).item() for y in (1, 0))


def first_loss(prior, positives, anchors, classes):
    on, off = costs(prior)
    return (positives * on + (classes * anchors - positives) * off) / max(1, positives)


def one_question(prior, positives, anchors, classes):
    return first_loss(prior, positives, anchors, 1)


def whole_anchors(prior, positives, anchors, classes):
    on, off = costs(prior)
    return (positives * on + classes * (anchors - positives) * off) / max(1, positives)


def other_alpha(prior, positives, anchors, classes):
    on, off = costs(prior, alpha=0.75)
    return (positives * on + (classes * anchors - positives) * off) / max(1, positives)


def without_positives(prior, positives, anchors, classes):
    return first_loss(prior, positives, anchors, classes) * max(1, positives) / np.float64(positives)


expected_first_loss = Check(
    reference=first_loss,
    cases=((0.01, 20, 5000, 3), (0.5, 4, 600, 1), (0.01, 0, 1000, 3)),
    mistakes={
        "every anchor answers one question for each class: there are classes * anchors outputs": one_question,
        "a positive anchor is a negative for its other classes: their outputs count too": whole_anchors,
        "alpha weights the positives, and 1 - alpha the negatives: yours are swapped": other_alpha,
        "divide the sum by the positives": lambda prior, n, anchors, classes: (
            first_loss(prior, n, anchors, classes) * max(1, n)
        ),
        "a mean over all anchors: divide by the positives": lambda prior, n, anchors, classes: (
            first_loss(prior, n, anchors, classes) * max(1, n) / anchors
        ),
        "a batch without objects divides by zero: divide by at least 1": without_positives,
        "there is loss on the negatives as well, and nearly all of it": lambda prior, n, anchors, classes: (
            n * next(costs(prior)) / max(1, n)
        ),
        "there is loss on the positives as well": lambda prior, n, anchors, classes: (
            (classes * anchors - n) * list(costs(prior))[1] / max(1, n)
        ),
    },
)


def in_place_order(output, values):
    return output.permute(0, 2, 3, 1).reshape(len(output), -1, values)


def not_moved(output, values):
    return output.reshape(len(output), -1, values)


def columns_first(output, values):
    return output.permute(0, 3, 2, 1).reshape(len(output), -1, values)


def places_last(output, values):
    return output.unflatten(1, (-1, values)).permute(0, 1, 3, 4, 2).reshape(len(output), -1, values)


def values_first(output, values):
    return output.unflatten(1, (values, -1)).permute(0, 3, 4, 2, 1).reshape(len(output), -1, values)


def images_joined(output, values):
    return output.permute(0, 2, 3, 1).reshape(-1, values)


def output_of_head(images, channels, height, width):
    return torch.arange(images * channels * height * width).view(images, channels, height, width)


rows_of_anchors = Check(
    reference=in_place_order,
    cases=((output_of_head(2, 6, 3, 4), 3), (output_of_head(1, 8, 2, 2), 4)),
    mistakes={
        "you reshape without moving the channels last: each row mixes values of several places": not_moved,
        "you go down the columns: the anchors run along a row first, then along the next": columns_first,
        "you go through all places for one anchor first: the anchors of one place stand together": places_last,
        "channel a * values + k is value k of anchor a: you read it as k * anchors + a": values_first,
        "each image keeps its own rows: the first dimension of the result is the batch": images_joined,
    },
)


def classification(logits, labels):
    """Focal loss of every output, 0 where an anchor is ignored."""
    return class_losses(logits, Matches(labels, None), 0.25, 2.0)


def cross_entropy(logits, labels):
    targets = (labels[..., None] == torch.arange(logits.shape[-1])).double()
    errors = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return errors * (labels != IGNORED)[..., None]


def foreground(labels):
    return labels >= 0


def of_positives(by):
    """What ``by`` makes of the number of positives of each image."""
    return lambda labels: by(foreground(labels).sum(dim=1))


def sums_over(counted=of_positives(divisor), replaced=None, boxes=foreground, beta=0.1, classes=classification):
    """Both losses, divided by what ``counted`` makes of the labels; ``replaced`` maps labels to wrong ones."""

    def losses_of(logits, deltas, labels, wanted):
        seen = labels.clone()
        for label, other in (replaced or {}).items():
            seen[labels == label] = other
        errors = F.smooth_l1_loss(deltas, wanted, beta=beta, reduction="none") * boxes(labels)[..., None]
        return classes(logits, seen).sum() / counted(labels), errors.sum() / counted(labels)

    return losses_of


def image_by_image(logits, deltas, labels, wanted):
    one = sums_over()
    each = [one(*(x[i : i + 1] for x in (logits, deltas, labels, wanted))) for i in range(len(labels))]
    return sum(a for a, _ in each) / len(each), sum(b for _, b in each) / len(each)


def mean_of_boxes(logits, deltas, labels, wanted):
    by_class, by_box = sums_over()(logits, deltas, labels, wanted)
    return by_class, by_box / 4


LABELS = torch.tensor([[0, BACKGROUND, IGNORED, 2, 2], [BACKGROUND, BACKGROUND, 1, IGNORED, BACKGROUND]])
LOGITS = torch.linspace(-4, 3, 30, dtype=torch.float64).view(2, 5, 3).sin() * 4
DELTAS = torch.linspace(-1, 1, 40, dtype=torch.float64).view(2, 5, 4)
WANTED = DELTAS.flip(1) * (LABELS >= 0)[..., None]
FEW = torch.tensor([[0, 2], [BACKGROUND, BACKGROUND], [BACKGROUND, BACKGROUND]])  # positives, but more images

two_losses = Check(
    reference=sums_over(),
    cases=(
        (LOGITS, DELTAS, LABELS, WANTED),
        (LOGITS, DELTAS, LABELS.clamp(max=BACKGROUND), torch.zeros_like(WANTED)),
        (LOGITS[[0, 1, 1], :2], DELTAS[[0, 1, 1], :2], FEW, DELTAS[[0, 1, 1], 3:] * (FEW >= 0)[..., None]),
        (LOGITS[:1], DELTAS[:1], LABELS[:1], WANTED[:1]),
        (LOGITS[1:], DELTAS[1:], LABELS[1:], WANTED[1:]),  # no object of the last class
    ),
    mistakes={
        "ignored anchors count as background in your loss: they take no part": sums_over(
            replaced={IGNORED: BACKGROUND}
        ),
        "the background is no class: label -1 has a row of zeros, and class 0 is an object's": sums_over(
            replaced={BACKGROUND: 0}
        ),
        "that is cross-entropy: each output has its class weight and its modulating factor": sums_over(
            classes=cross_entropy
        ),
        "beta is 0.1: with 1, smooth L1 is quadratic for errors ten times as large": sums_over(beta=1.0),
        "a mean over all anchors: divide the sum by the positives": sums_over(lambda labels: labels.numel()),
        "a mean over the anchors that are not ignored: divide the sum by the positives": sums_over(
            lambda labels: (labels != IGNORED).sum()
        ),
        "your divisor counts the ignored anchors as positives: label -2 is none": sums_over(
            lambda labels: (labels != BACKGROUND).sum().clamp(min=len(labels))
        ),
        **{said: sums_over(of_positives(by)) for said, by in DIVISORS.items()},
        "you divide image by image: count the positives over the whole batch": image_by_image,
        "only positive anchors have a box to fit: the deltas of the others are free": sums_over(
            boxes=lambda labels: torch.ones_like(labels)
        ),
        "your box loss is a mean over the four deltas: add them up": mean_of_boxes,
    },
)
