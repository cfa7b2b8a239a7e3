"""Checks of chapter 19: famous bugs."""

import math
from functools import partial

import torch
import torch.nn.functional as F

from focalbook import losses
from focalbook.checks.check import Check, loss_and_slope
from focalbook.checks.divisor import DIVISORS, divisor
from focalbook.matching import BACKGROUND, IGNORED
from focalbook.training import class_targets


def stuck(alpha_t=0.25, p_t=1e-7, gamma=2):
    return -alpha_t * (1 - p_t) ** gamma * math.log(p_t)


stuck_at = Check(
    reference=stuck,
    tolerance=1e-3,
    mistakes={
        "2.302 is the number of the chapter's thread, with its own clamp: this one is 1e-7": lambda: stuck(p_t=1e-4),
        "alpha is missing: a positive has the weight alpha": lambda: stuck(alpha_t=1),
        "that is the weight of the background: the examples that are stuck are positives": lambda: stuck(alpha_t=0.75),
        "a logarithm to base 10: the loss has the natural one": lambda: stuck() / math.log(10),
        "that is a background anchor at the clamp, with p_t close to 1: it costs next to nothing": lambda: stuck(
            alpha_t=0.75, p_t=1 - 1e-7
        ),
        "the sign: a logarithm of a probability is negative, the loss is not": lambda: -stuck(),
    },
)


def weighted(logits, y, weight, gamma):
    ce = F.cross_entropy(logits, y, reduction="none")
    return weight[y] * (1 - torch.exp(-ce)) ** gamma * ce


def weight_in_p_t(logits, y, weight, gamma):
    ce = F.cross_entropy(logits, y, weight, reduction="none")
    return (1 - torch.exp(-ce)) ** gamma * ce


def weight_twice(logits, y, weight, gamma):
    return weight[y] * weighted(logits, y, weight, gamma)


def one_p_t(logits, y, weight, gamma):
    ce = F.cross_entropy(logits, y, reduction="none")
    return weight[y] * (1 - torch.exp(-ce.mean())) ** gamma * ce


def kept_confident(logits, y, weight, gamma):
    ce = F.cross_entropy(logits, y, reduction="none")
    return weight[y] * torch.exp(-ce) ** gamma * ce


def softmax_twice(logits, y, weight, gamma):
    return weighted(logits.softmax(dim=1), y, weight, gamma)


def sigmoids(logits, y, weight, gamma):
    ce = -F.logsigmoid(logits.gather(1, y[:, None])[:, 0])
    return weight[y] * (1 - torch.exp(-ce)) ** gamma * ce


def weight_of_the_guess(logits, y, weight, gamma):
    ce = F.cross_entropy(logits, y, reduction="none")
    return weight[logits.argmax(dim=1)] * (1 - torch.exp(-ce)) ** gamma * ce


CLASS_LOGITS = torch.tensor(
    [[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [-1.0, 3.0, 1.0], [1.5, 1.0, -2.0]], dtype=torch.float64
)
CLASSES = torch.tensor([0, 1, 2, 1])
WEIGHT = torch.tensor([0.25, 4.0, 1.5], dtype=torch.float64)

weighted_focal_loss = Check(
    reference=weighted,
    cases=tuple((CLASS_LOGITS, CLASSES, WEIGHT, gamma) for gamma in (0.0, 1.0, 2.0)),
    mistakes={
        "p_t comes from a weighted cross-entropy: exp(-CE) is then p_t to the power of the weight": weight_in_p_t,
        "each example is weighted twice": weight_twice,
        "p_t is taken from the mean of the batch: each example has its own": one_p_t,
        "gamma is on p_t, not on 1 - p_t: the confident examples are kept": kept_confident,
        "softmax twice: F.cross_entropy takes logits": softmax_twice,
        "sigmoid in place of softmax: these classes exclude each other": sigmoids,
        "the weight is that of the true class, not of the predicted one": weight_of_the_guess,
    },
)


def claimed(overlap, above=0.0):
    best = overlap.amax(dim=1, keepdim=True)
    return ((overlap == best) & (best > above)).any(dim=0)


def good(overlap):
    return (overlap >= 0.5).any(dim=0)


def positive(overlap):
    return claimed(overlap) | good(overlap)


def padding_claims(overlap):
    return claimed(overlap, above=-1.0) | good(overlap)


def padding_takes_the_first(overlap):
    chosen = torch.zeros(overlap.shape[1], dtype=torch.bool)
    chosen[overlap.argmax(dim=1)] = True
    return chosen | good(overlap)


def one_anchor_each(overlap):
    return padding_takes_the_first(overlap[overlap.amax(dim=1) > 0])


def mutual(overlap):
    """An object claims its best anchor only where it is the best object of that anchor."""
    both = (overlap == overlap.amax(dim=0)) & (overlap == overlap.amax(dim=1, keepdim=True)) & (overlap > 0)
    return both.any(dim=0) | good(overlap)


def best_object(overlap):
    best = overlap.amax(dim=0)
    return (best > 0) & (best >= best.max())


FULL = torch.tensor([[0.6, 0.5, 0.1, 0.0, 0.0, 0.0], [0.0, 0.0, 0.2, 0.3, 0.3, 0.0]], dtype=torch.float64)
CONTESTED = torch.tensor([[0.3, 0.1], [0.4, 0.6]], dtype=torch.float64)  # the first anchor suits the second object
PADDED = torch.cat([FULL, torch.zeros(2, 6, dtype=torch.float64)])

padded_positives = Check(
    reference=positive,
    cases=((FULL,), (PADDED,), (PADDED[2:],), (PADDED[1:],), (CONTESTED,)),
    mistakes={
        "a row of padding claims every anchor: an IoU of 0 is no best one": padding_claims,
        "a row of padding claims the first anchor: argmax of zeros is 0": padding_takes_the_first,
        "an object without an IoU of 0.5 gets no anchor: let it claim its best one": good,
        "an IoU of 0.5 is enough to be positive, whether it is the best of the object or not": claimed,
        "two anchors fit an object equally well: both are positive, argmax names one": one_anchor_each,
        "an object keeps its best anchor, even if another object fits that anchor better": mutual,
        "the best one of all is claimed: each object has a best anchor of its own": best_object,
    },
)


def positives(labels):
    """How many each image has."""
    return (labels >= 0).sum(dim=1)


def mended(logits, labels, loss=losses.sigmoid_focal_loss, by=divisor):
    """The sum over the anchors that count, divided by what ``by`` makes of the positives."""
    targets, counts = class_targets(labels, logits.shape[-1])
    return loss(logits, targets.to(logits))[counts].sum() / by(positives(labels))


def other(formula):
    """The same with another loss of probabilities p and targets t."""

    def loss(logits, targets):
        p = torch.sigmoid(logits).clamp(1e-12, 1 - 1e-12)
        return formula(torch.where(targets == 1, p, 1 - p), torch.where(targets == 1, 0.25, 0.75))

    return lambda logits, labels: mended(logits, labels, loss)


def averaged(logits, labels):
    targets, counts = class_targets(labels, logits.shape[-1])
    return losses.sigmoid_focal_loss(logits, targets.to(logits))[counts].mean()


def by_anchors(logits, labels):
    return mended(logits, labels, by=lambda positives: (labels != IGNORED).sum())


def by_image(logits, labels):
    return torch.stack([mended(*image) for image in zip(logits[:, None], labels[:, None])]).mean()


def with_ignored(logits, labels):
    return mended(logits, torch.where(labels == IGNORED, BACKGROUND, labels))


def positives_alone(logits, labels):
    return mended(logits, torch.where(labels == BACKGROUND, IGNORED, labels))


def background_first(logits, labels):
    return mended(logits, torch.where(labels >= 0, labels - 1, labels))


def background_is(label, logits, labels):
    targets, _ = class_targets(torch.where(labels == BACKGROUND, label, labels), logits.shape[-1])
    total = losses.sigmoid_focal_loss(logits, targets.to(logits))[labels != IGNORED].sum()
    return total / divisor(positives(labels))


def shares_a_softmax(logits, targets):
    p = logits.softmax(dim=-1).clamp(1e-12, 1 - 1e-12)
    return losses.sigmoid_focal_loss(p.logit(), targets)


def takes_probabilities(logits, targets):
    return losses.sigmoid_focal_loss(logits.clamp(1e-7, 1 - 1e-7).logit(), targets)


def twice(logits, targets):
    return losses.sigmoid_focal_loss(torch.sigmoid(logits), targets)


def no_slope_of_the_factor(logits, targets):
    ce = losses.sigmoid_focal_loss(logits, targets, gamma=0.0)
    return torch.sigmoid(torch.where(targets == 1, -logits, logits)).detach() ** 2 * ce


LOGITS = torch.tensor(
    [
        [[-4.0, -2.0, 0.5], [3.0, -1.0, -3.0], [0.3, -5.0, 1.0], [-2.5, 0.8, -0.6]],
        [[-3.0, 2.0, -1.5], [0.7, -0.2, -4.5], [-1.0, -1.2, 4.0], [-3.5, -2.2, -0.4]],
    ],
    dtype=torch.float64,
)
LABELS = torch.tensor([[BACKGROUND, 0, IGNORED, 1], [1, BACKGROUND, 2, 0]])
FEW = torch.tensor([[0, 1], [BACKGROUND, BACKGROUND], [BACKGROUND, BACKGROUND]])  # positives, but more images

mended_loss = Check(
    reference=mended,
    probe=loss_and_slope,
    cases=(
        (LOGITS, LABELS),
        (LOGITS, torch.full_like(LABELS, BACKGROUND)),
        (LOGITS[[0, 1, 1], :2], FEW),
        (LOGITS[:1], LABELS[:1]),
    ),
    mistakes={
        "the sigmoid is applied twice: sigmoid_focal_loss takes logits": lambda *case: mended(*case, loss=twice),
        "the logits are taken for probabilities: they need a sigmoid first": lambda *case: mended(
            *case, loss=takes_probabilities
        ),
        "softmax in place of sigmoid: each class has its own yes or no": lambda *case: mended(
            *case, loss=shares_a_softmax
        ),
        "gamma is on p_t, not on 1 - p_t: the confident examples are kept": other(
            lambda p_t, alpha_t: -alpha_t * p_t**2 * p_t.log()
        ),
        "you weight all targets by the same alpha: those of 0 have the weight 1 - alpha": other(
            lambda p_t, alpha_t: -0.25 * (1 - p_t) ** 2 * p_t.log()
        ),
        "alpha is missing: targets of 1 have the weight alpha, those of 0 have 1 - alpha": other(
            lambda p_t, alpha_t: -((1 - p_t) ** 2) * p_t.log()
        ),
        "alpha is on the wrong side: it weights y = 1, and 1 - alpha weights y = 0": other(
            lambda p_t, alpha_t: -(1 - alpha_t) * (1 - p_t) ** 2 * p_t.log()
        ),
        "mean over all outputs: divide the sum by the positives": averaged,
        "divided by the anchors: divide by the positives": by_anchors,
        **{said: partial(mended, by=by) for said, by in DIVISORS.items()},
        "divided image by image, then averaged: the positives are those of the whole batch": by_image,
        "ignored anchors take part: leave them out": with_ignored,
        "background anchors are left out: they are most of the lesson": positives_alone,
        "off by one: label 0 is a class here, and the background is -1": background_first,
        "the background became the first class: its targets are all 0": lambda *case: background_is(0, *case),
        "the background became the last class: its targets are all 0": lambda *case: background_is(2, *case),
        "the loss has no slope: autograd cannot follow it back to the logits": lambda *case: mended(*case).detach(),
        "the modulating factor has a slope too: do not detach it": lambda *case: mended(
            *case, loss=no_slope_of_the_factor
        ),
    },
)
