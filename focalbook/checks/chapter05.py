"""Checks of chapter 5: what the optimizer feels."""

import math

import torch

from focalbook.checks.check import Check

pull_ratio = Check(
    reference=lambda: 0.1 / (0.1**2 * (0.1 - 2 * 0.9 * math.log(0.9))),
    tolerance=5e-3,
    mistakes={
        "that is the ratio of the losses: the slope has a second term": lambda: 1 / 0.1**2,
        "1 + gamma is the bracket's limit for p_t near 1: here work the bracket out": lambda: 1 / (3 * 0.1**2),
        "compare with cross-entropy: its slope is 1 - p_t = 0.1 in size, not 1": lambda: (
            1 / (0.1**2 * (0.1 - 2 * 0.9 * math.log(0.9)))
        ),
        "the other way round: how many times smaller is the slope of focal loss": lambda: (
            0.1 * (0.1 - 2 * 0.9 * math.log(0.9))
        ),
        "that is one term of the bracket: the slope of the logarithm itself is missing": lambda: (
            0.1 / (0.1**2 * -2 * 0.9 * math.log(0.9))
        ),
        "both terms of the bracket are negative: their sizes add up": lambda: (
            0.1 / (0.1**2 * -(0.1 + 2 * 0.9 * math.log(0.9)))
        ),
    },
)


def parts(x, y, alpha):
    """p_t, 1 - p_t, alpha_t and the label as a sign."""
    sign = 2 * y - 1
    return torch.sigmoid(sign * x), torch.sigmoid(-sign * x), torch.where(y == 1, alpha, 1 - alpha), sign


def slope(x, y, alpha, gamma):
    p_t, q, alpha_t, sign = parts(x, y, alpha)
    return alpha_t * sign * q**gamma * (gamma * p_t * p_t.log() - q)


def in_p(x, y, alpha, gamma):
    p_t, q, *_ = parts(x, y, alpha)
    return slope(x, y, alpha, gamma) / (p_t * q)


def in_p_t(x, y, alpha, gamma):
    return in_p(x, y, alpha, gamma) * (2 * y - 1)


def detached(x, y, alpha, gamma):
    _, q, alpha_t, sign = parts(x, y, alpha)
    return -alpha_t * sign * q ** (gamma + 1)


def factor_alone(x, y, alpha, gamma):
    return slope(x, y, alpha, gamma) - detached(x, y, alpha, gamma)


def one_alpha(x, y, alpha, gamma):
    return alpha * slope(x, y, 0.5, gamma) / 0.5


def as_positives(x, y, alpha, gamma):
    return slope(x, torch.ones_like(y), alpha, gamma)


X = torch.tensor([-6.0, -1.0, 0.0, 0.5, 3.0, 8.0], dtype=torch.float64)

focal_slope = Check(
    reference=slope,
    cases=tuple(
        (X, torch.full_like(X, y), alpha, gamma) for y in (1, 0) for alpha in (0.25, 0.9) for gamma in (0.0, 0.5, 2.0)
    ),
    mistakes={
        "that is the derivative in p: multiply by dp/dx = p (1 - p), for the logit is what moves": in_p,
        "that is the derivative in p_t: multiply by dp_t/dx = y' p_t (1 - p_t)": in_p_t,
        "the modulating factor moves too: you treat it as a constant, as a detached factor would be": detached,
        "that is the factor's part alone: the product rule has a second term, from the logarithm": factor_alone,
        "that is the size: a positive's slope is negative, a negative's is positive": lambda *given: slope(
            *given
        ).abs(),
        "the sign: the slope points uphill, and for y = 1 the loss falls as x grows": lambda *given: -slope(*given),
        "one alpha on both classes: the background's weight is 1 - alpha": one_alpha,
        "alpha is on the wrong class: it weights y = 1, and 1 - alpha weights y = 0": lambda x, y, alpha, gamma: slope(
            x, y, 1 - alpha, gamma
        ),
        "for y = 0, p_t is the sigmoid of -x, and the sign y' is -1": as_positives,
    },
)

detached_factor = Check(
    reference=lambda p_t, gamma: 1 - gamma * p_t * math.log(p_t) / (1 - p_t),
    cases=((0.001, 2.0), (0.5, 2.0), (0.5, 0.5), (0.999, 2.0), (0.9, 0.0)),
    mistakes={
        "1 + gamma is the limit for p_t near 1: a hard example notices less": lambda p_t, gamma: 1 + gamma,
        "the other way round: the right slope over the detached one": lambda p_t, gamma: (
            1 / (1 - gamma * p_t * math.log(p_t) / (1 - p_t))
        ),
        "the sign: the two terms of the bracket are both negative, so they add up": lambda p_t, gamma: (
            1 + gamma * p_t * math.log(p_t) / (1 - p_t)
        ),
        "that compares with cross-entropy: a detached loss still has its modulating factor": lambda p_t, gamma: (
            (1 - p_t) ** gamma * (1 - gamma * p_t * math.log(p_t) / (1 - p_t))
        ),
        "the two losses are equal in value: compare their slopes": lambda p_t, gamma: 1.0,
    },
)


def loss(x, y, alpha, gamma):
    p_t, q, alpha_t, _ = parts(x, y, alpha)
    return -alpha_t * q**gamma * p_t.log()


def rest(x, y, alpha, gamma, pull=slope):
    """The logits with the bias at which the pulls cancel, found by halving an interval."""
    low, high = -30.0, 30.0
    for _ in range(50):
        b = (low + high) / 2
        low, high = (b, high) if pull(x + b, y, alpha, gamma).sum() < 0 else (low, b)
    return x + b


def owned(x, y, alpha, gamma, reduced=torch.sum):
    """Share of the positives in the loss, and in the size of the slopes."""
    found = []
    for values in (loss(x, y, alpha, gamma), slope(x, y, alpha, gamma).abs()):
        positives, negatives = reduced(values[y == 1]), reduced(values[y == 0])
        found.append((positives / (positives + negatives)).item())
    return tuple(found)


def resting(x, *given, pull=slope, reduced=torch.sum):
    return owned(rest(x, *given, pull=pull), *given, reduced=reduced)


def signed_loss(x, y, alpha, gamma):
    return (1 - 2 * y) * loss(x, y, alpha, gamma)


def loss_twice(*given):
    return (resting(*given)[0],) * 2


def of_negatives(*given):
    return tuple(1 - share for share in resting(*given))


PRIOR = torch.full((40,), -4.6, dtype=torch.float64), torch.eye(1, 40, dtype=torch.float64)[0]
MIXED = torch.linspace(-3, 1, 12, dtype=torch.float64), (torch.arange(12) > 9).double()

resting_shares = Check(
    reference=resting,
    tolerance=1e-4,
    cases=((*PRIOR, 0.5, 0.0), (*PRIOR, 0.25, 2.0), (*MIXED, 0.5, 0.0), (*MIXED, 0.75, 0.0), (*MIXED, 0.25, 2.0)),
    mistakes={
        "those are the shares before anything moves: add the bias at which the slopes cancel": owned,
        "you balance the losses: training rests where the slopes, with their signs, add up to 0": lambda *given: (
            resting(*given, pull=signed_loss)
        ),
        "you balance slopes in p: the bias is added to the logit, so the slopes in the logit have to cancel": (
            lambda *given: resting(*given, pull=in_p)
        ),
        "the modulating factor is no constant: its derivative belongs to the slope": lambda *given: resting(
            *given, pull=detached
        ),
        "you compare the averages of the classes: each class owns the sum of its examples": lambda *given: resting(
            *given, reduced=torch.mean
        ),
        "a share of the loss is no share of the gradient: the second number comes from the slopes": loss_twice,
        "the order: the share of the loss first, then that of the gradient": lambda *given: resting(*given)[::-1],
        "those are the shares of the negatives: the positives' are asked for": of_negatives,
    },
)
