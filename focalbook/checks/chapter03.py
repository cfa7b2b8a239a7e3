"""Checks of chapter 3: what a class weight can do, and what it cannot."""

import numpy as np

from focalbook import losses
from focalbook.checks.check import Check

alpha_by_frequency = Check(
    reference=lambda: 998 / 1000,
    mistakes={
        "that is the share of the positives: the rare class needs the larger weight, and alpha is on it": lambda: (
            2 / 1000
        ),
        "that is the ratio of the two weights: alpha lies in [0, 1], and 1 - alpha is left for class 0": lambda: (
            998 / 2
        ),
        "that is the ratio of the two weights, the other way round: alpha is a share of all": lambda: 2 / 998,
        "equal weights leave the counts as unequal as they are": lambda: 0.5,
    },
)


def one_factor(p, y, alpha):
    return alpha * losses.cross_entropy(p, y)


def swapped(p, y, alpha):
    return losses.balanced_cross_entropy(p, y, 1 - alpha)


def positives_weighted(p, y, alpha):
    return np.where(y == 1, alpha, 1.0) * losses.cross_entropy(p, y)


def divided(p, y, alpha):
    return losses.cross_entropy(p, y) / np.where(y == 1, alpha, 1 - alpha)


def inside(p, y, alpha):
    p_t, alpha_t = np.where(y == 1, p, 1 - p), np.where(y == 1, alpha, 1 - alpha)
    return -np.log(alpha_t * p_t)


def without_p_t(p, y, alpha):
    return -np.where(y == 1, alpha, 1 - alpha) * np.log(p)


P, BOTH = np.array([0.02, 0.3, 0.5, 0.9]), np.array([1, 0, 0, 1])

balanced_cross_entropy = Check(
    reference=losses.balanced_cross_entropy,
    cases=tuple((P, y, alpha) for y in (BOTH, 1 - BOTH) for alpha in (0.1, 0.25, 0.75)),
    mistakes={
        "one factor on both classes only rescales the loss: the background's weight is 1 - alpha": one_factor,
        "alpha is on the wrong class: it weights y = 1, and 1 - alpha weights y = 0": swapped,
        "the background has a weight as well: it is 1 - alpha, not 1": positives_weighted,
        "you divide by the weight: it multiplies the loss": divided,
        "the weight is inside the logarithm, where it only adds a constant: it multiplies the loss": inside,
        "for y = 0, p_t is 1 - p: the label chooses the probability as well as the weight": without_p_t,
        "the weight is missing: that is plain cross-entropy": lambda p, y, alpha: losses.cross_entropy(p, y),
    },
)

alpha_of_pos_weight = Check(
    reference=lambda w: (w / (1 + w), 1 + w),
    cases=((1.0,), (3.0,), (0.25,), (99.0,)),
    mistakes={
        "pos_weight is the ratio of the two weights: alpha is its share of their sum": lambda w: (w, 1.0),
        "that is the weight of the background: alpha is on y = 1": lambda w: (1 / (1 + w), 1 + w),
        "alpha is right, but the sizes differ: compare the two losses of a background example": lambda w: (
            w / (1 + w),
            1.0,
        ),
        "scale is the other way round: it multiplies the balanced loss": lambda w: (w / (1 + w), 1 / (1 + w)),
        "compare the two losses of a foreground example: w there, and scale times alpha here": lambda w: (
            w / (1 + w),
            w,
        ),
    },
)


def solve(positives, negatives, share):
    return share * negatives / (share * negatives + (1 - share) * positives)


def tuned(p, y, share, solve=solve, size=np.sum):
    loss = losses.cross_entropy(p, y)
    easy = (y == 0) & (p < 0.5)
    return solve(size(loss[y == 1]), size(loss[y == 0]), share), loss[easy].sum() / loss[y == 0].sum()


def by_counts(p, y, share):
    return solve((y == 1).sum(), (y == 0).sum(), share), tuned(p, y, share)[1]


def easy_by_count(p, y, share):
    return tuned(p, y, share)[0], (p[y == 0] < 0.5).mean()


def easy_of_all(p, y, share):
    alpha, loss = tuned(p, y, share)[0], losses.balanced_cross_entropy(p, y, tuned(p, y, share)[0])
    return alpha, loss[(y == 0) & (p < 0.5)].sum() / loss.sum()


def hard_share(p, y, share):
    alpha, easy = tuned(p, y, share)
    return alpha, 1 - easy


MISSED = np.array([0.05, 0.3, 0.9, 0.02, 0.04, 0.6, 0.5, 0.1, 0.95, 0.03])
LABELS = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
ONE = np.array([0.05] + [0.05] * 11), np.eye(1, 12)[0]

alpha_for_share = Check(
    reference=tuned,
    cases=((MISSED, LABELS, 0.5), (MISSED, LABELS, 0.1), (MISSED, LABELS, 0.9), (*ONE, 0.5), (*ONE, 0.8)),
    mistakes={
        "that balances the counts: the classes own their losses, so add those up": by_counts,
        "you balance the average losses: a class owns the sum of its losses": lambda *given: tuned(
            *given, size=np.mean
        ),
        "you gave that share to the negatives: it is for the positives": lambda p, y, share: (
            tuned(p, y, 1 - share)[0],
            tuned(p, y, share)[1],
        ),
        "that is 1 - alpha, the weight of the negatives": lambda *given: (1 - tuned(*given)[0], tuned(*given)[1]),
        "that weighs the class with the larger loss up: it is the smaller one that needs it": lambda *given: tuned(
            *given, solve=lambda positives, negatives, share: solve(negatives, positives, share)
        ),
        "the second number is a share of the negatives' loss, not of their count": easy_by_count,
        "the second number is a share of the negatives' loss, not of the whole": easy_of_all,
        "that is the share of the hard negatives: the easy ones are asked for": hard_share,
    },
)
