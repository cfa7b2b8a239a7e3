"""Checks of chapter 2: cross-entropy, and how small losses add up."""

import math

import numpy as np

from focalbook import losses
from focalbook.checks.check import Check

negatives_to_outweigh = Check(
    reference=lambda: math.ceil(math.log(0.1) / math.log(0.9)),
    mistakes={
        "for a negative p_t is 1 - p: with p = 0.1 it is right, and cheap": lambda: 1,
        "that many do not quite outweigh it: round up": lambda: math.floor(math.log(0.1) / math.log(0.9)),
        "negatives come whole: round up": lambda: math.log(0.1) / math.log(0.9),
        "that is the ratio of the probabilities: the losses are their logarithms": lambda: 0.9 / 0.1,
    },
)


def total_loss(p, y):
    return losses.cross_entropy(p, y).sum()


def mean_loss(p, y):
    return losses.cross_entropy(p, y).mean()


def both_terms(p, y):
    return -y * np.log(p) - (1 - y) * np.log(1 - p)


def clipped(p, y):
    return losses.cross_entropy(np.clip(p, 1e-7, 1 - 1e-7), y)


SOME, ENDS = np.array([0.02, 0.3, 0.5, 0.9]), np.array([0.0, 0.25, 1.0])

cross_entropy = Check(
    reference=losses.cross_entropy,
    cases=(
        (SOME, np.array([1, 1, 1, 1])),
        (SOME, np.array([0, 0, 0, 0])),
        (ENDS, np.array([0, 1, 1])),
        (ENDS, np.array([1, 0, 0])),
    ),
    mistakes={
        "at p = 0 or 1 one term is 0 times infinity, a NaN: choose p_t first, then take one logarithm": both_terms,
        "you clip p: at p_t = 0 the loss is infinite, and a clip hides it and its slope": clipped,
        "the sign: the logarithm of a probability is negative, the loss is not": lambda p, y: (
            -losses.cross_entropy(p, y)
        ),
        "the labels are not used: for y = 0, p_t is 1 - p": lambda p, y: -np.log(p),
        "p and 1 - p are mixed up: for y = 1 the probability of the true class is p": lambda p, y: losses.cross_entropy(
            1 - p, y
        ),
        "those are bits, from the logarithm with base 2: nats come from the natural one": lambda p, y: (
            losses.cross_entropy(p, y) / math.log(2)
        ),
        "the logarithm with base 10: nats come from the natural one": lambda p, y: (
            losses.cross_entropy(p, y) / math.log(10)
        ),
        "one loss for each example: do not average": mean_loss,
        "one loss for each example: do not add up": total_loss,
    },
)


def from_logits(x, y):
    return np.logaddexp(0, np.where(y == 1, -x, x))


def through_p(x, y):
    p = 1 / (1 + np.exp(-x))
    return -np.log(np.where(y == 1, p, 1 - p))


def through_clipped_p(x, y):
    return clipped(1 / (1 + np.exp(-x)), y)


def overflowing(x, y):
    return np.log(1 + np.exp(np.where(y == 1, -x, x)))


def overflowing_log1p(x, y):
    return np.log1p(np.exp(np.where(y == 1, -x, x)))


def without_log1p(x, y):
    wrong = np.where(y == 1, -x, x)
    return np.maximum(wrong, 0) + np.log(1 + np.exp(-np.abs(wrong)))


LABELS = np.array([1, 0, 1, 0])

cross_entropy_of_logits = Check(
    reference=from_logits,
    cases=(
        (np.array([-2.0, 3.0, 0.0, -0.5]), LABELS),
        (np.array([-50.0, 50.0, 30.0, -30.0]), LABELS),
        (np.array([1000.0, 1000.0, -1000.0, -1000.0]), LABELS),
        (np.array([40.0, -40.0, 41.0, -42.0]), LABELS),
    ),
    mistakes={
        "log1p is right for small losses, but e^1000 overflows: take max(s, 0) out first": overflowing_log1p,
        "through a rounded p the loss becomes infinite or exactly 0: stay with the logit": through_p,
        "a clip flattens the loss: beyond it a worse logit costs no more, and has no slope": through_clipped_p,
        "e^1000 overflows: take max(s, 0) out first, so that the exponent is never positive": overflowing,
        "1 + e^-40 rounds to 1, and the loss to 0: np.log1p keeps the small number": without_log1p,
        "the labels are not used: the logit of the wrong class is -x for y = 1, and x for y = 0": lambda x, y: (
            np.logaddexp(0, x)
        ),
        "the sign of the logit is the wrong way round: a large x is right for y = 1": lambda x, y: from_logits(-x, y),
    },
)


def slope_in_logit(p, y):
    return p - y


def blind(y, steps, rate, slope=slope_in_logit, reduced=np.mean):
    b = np.float64(0)
    for _ in range(steps):
        b = b - rate * reduced(slope(1 / (1 + np.exp(-b)), y))
    return owned_by_negatives(1 / (1 + np.exp(-b)), y)


def owned_by_negatives(p, y):
    loss = -np.log(np.where(y == 1, p, 1 - p))
    return p, loss[y == 0].sum() / loss.sum()


def step_in_p(y, steps, rate):
    p = np.float64(0.5)
    for _ in range(steps):
        p = np.clip(p - rate * (p - y).mean(), 0, 1)
    return owned_by_negatives(p, y)


def other_share(y, steps, rate):
    p, share = blind(y, steps, rate)
    return p, 1 - share


def share_of_count(y, steps, rate):
    return blind(y, steps, rate)[0], (y == 0).mean()


def quotient(y, steps, rate):
    p, share = blind(y, steps, rate)
    return p, share / (1 - share)


ONE_OF_TEN, ONE_OF_HUNDRED = np.eye(1, 10)[0], np.eye(1, 100)[0]

blind_training = Check(
    reference=blind,
    cases=((ONE_OF_HUNDRED, 0, 1.0), (ONE_OF_TEN, 3, 0.5), (ONE_OF_HUNDRED, 400, 4.0), (np.array([1, 1, 0]), 50, 1.0)),
    mistakes={
        "that is the slope in p: the number you move is a logit, and there the slope is p - y": lambda *given: blind(
            *given, slope=lambda p, y: (p - y) / (p * (1 - p))
        ),
        "that is the slope of the squared error: cross-entropy's is p - y": lambda *given: blind(
            *given, slope=lambda p, y: (p - y) * p * (1 - p)
        ),
        "you go uphill: take the slope off the bias": lambda *given: blind(*given, slope=lambda p, y: y - p),
        "you add up the slopes: the loss is a mean over the anchors": lambda *given: blind(*given, reduced=np.sum),
        "you move p itself: the model's number is the logit b": step_in_p,
        "that is the share of the positives: the share of the negatives is asked for": other_share,
        "that is the share of the negatives in the count: add up their losses": share_of_count,
        "that is negatives to positives: a share is of the whole": quotient,
    },
)
