"""Checks of chapter 4: focal loss."""

import math
from functools import partial

import numpy as np
import torch

from focalbook import losses
from focalbook.checks.check import Check
from focalbook.checks.divisor import DIVISORS, divisor

P = np.array([0.02, 0.3, 0.5, 0.9, 0.999])


def without_sign(p, y, alpha, gamma):
    return -losses.focal_loss(p, y, alpha, gamma)


def one_alpha(p, y, alpha, gamma):
    return alpha * losses.focal_loss(p, y, None, gamma)


def no_alpha(p, y, alpha, gamma):
    return losses.focal_loss(p, y, None, gamma)


def power_of_p_t(p, y, alpha, gamma):
    p_t, alpha_t = np.where(y == 1, p, 1 - p), np.where(y == 1, alpha, 1 - alpha)
    return alpha_t * p_t**gamma * -np.log(p_t)


def positives_only(p, y, alpha, gamma):
    return alpha * (1 - p) ** gamma * -np.log(p)


def swapped_alpha(p, y, alpha, gamma):
    return losses.focal_loss(p, y, 1 - alpha, gamma)


shrinks = Check(
    reference=lambda: 1 / (0.75 * 0.1**2),
    tolerance=5e-3,
    mistakes={
        "that is the ratio of a foreground example: the background's weight is 1 - alpha": lambda: 1 / (0.25 * 0.1**2),
        "that leaves alpha_t out": lambda: 1 / 0.1**2,
        "the factor is (1 - p_t)^gamma, and for this background example p_t = 1 - p": lambda: 1 / (0.75 * 0.9**2),
        "the other way round: how many times smaller is focal loss": lambda: 0.75 * 0.1**2,
    },
)

focal_loss = Check(
    reference=losses.focal_loss,
    cases=tuple((P, np.full(5, y), alpha, gamma) for y in (1, 0) for alpha in (0.25, 0.9) for gamma in (0.0, 0.5, 2.0)),
    mistakes={
        "the sign: a logarithm of a probability is negative, the loss is not": without_sign,
        "you weight both classes by the same alpha: the background's weight is 1 - alpha": one_alpha,
        "alpha is missing: each class has its weight": no_alpha,
        "alpha is on the wrong class: it weights y = 1, and 1 - alpha weights y = 0": swapped_alpha,
        "gamma is applied to p_t, not to 1 - p_t: the confident examples are kept": power_of_p_t,
        "y is not used: for y = 0, p_t is 1 - p": positives_only,
    },
)


def positives(targets):
    """How many each image has."""
    return (targets == 1).sum(dim=1)


def divided(by=divisor, alpha=0.25):
    """The sum over all anchors, divided by what ``by`` makes of the positives."""
    return lambda logits, targets: (
        losses.sigmoid_focal_loss(logits, targets, alpha, reduction="sum") / by(positives(targets))
    )


right_loss = divided()


def image_by_image(logits, targets):
    return torch.stack([right_loss(*image) for image in zip(logits[:, None], targets[:, None])]).mean()


def clipped(logits, targets):
    return right_loss(torch.sigmoid(logits).clamp(1e-7, 1 - 1e-7).logit(), targets)


def naive(logits, targets):
    p = torch.sigmoid(logits)
    p_t, alpha_t = torch.where(targets == 1, p, 1 - p), torch.where(targets == 1, 0.25, 0.75)
    return (-alpha_t * (1 - p_t) ** 2 * torch.log(p_t)).sum() / divisor(positives(targets))


LOGITS = torch.tensor([[-4.0, -2.0, 0.5, 3.0], [1.0, -6.0, -0.1, 2.0]], dtype=torch.float64)
LABELS = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
FEW = torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)  # positives, but more images

detection_loss = Check(
    reference=right_loss,
    cases=(
        (LOGITS, LABELS),
        (LOGITS, torch.zeros_like(LABELS)),
        (LOGITS[[0, 1, 1], :2], FEW),
        (LOGITS * (200 / 6), LABELS),
    ),
    mistakes={
        "mean over all anchors: divide the sum by the positives": partial(losses.sigmoid_focal_loss, reduction="mean"),
        "a sum that grows with the number of objects: divide it by the positives": divided(lambda positives: 1),
        **{said: divided(by) for said, by in DIVISORS.items()},
        "large logits overflow: a sigmoid that rounds to 0 has no logarithm, so work on the logits": naive,
        "you clip p: beyond the clip a worse logit costs no more, so work on the logits": clipped,
        "you divide image by image: count the positives over the whole batch": image_by_image,
        "alpha is on the wrong class: 0.25 weights the positives, 0.75 the negatives": divided(alpha=0.75),
        "one alpha on both classes: the weight of the negatives is 1 - alpha": lambda *case: (
            0.25 * divided(alpha=-1)(*case)
        ),
        "alpha is missing: 0.25 weights the positives, 0.75 the negatives": divided(alpha=-1),
    },
)

focusing = Check(
    reference=lambda p_t, times: -math.log(times) / math.log(1 - p_t),
    cases=((0.9, 100.0), (0.5, 4.0), (0.99, 10.0), (0.2, 1.0)),
    mistakes={
        "that counts p_t in place of 1 - p_t": lambda p_t, times: -math.log(times) / math.log(p_t),
        "the sign: a power of a number below 1 shrinks with a positive gamma": lambda p_t, times: (
            math.log(times) / math.log(1 - p_t)
        ),
        "the logarithm is no part of the ratio: it cancels": lambda p_t, times: (
            -math.log(times * losses.cross_entropy(p_t, 1)) / math.log(1 - p_t)
        ),
    },
)
