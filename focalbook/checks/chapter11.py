"""Checks of chapter 11: the verdict."""

from itertools import combinations

import numpy as np
import torch
from scipy import stats

from focalbook import mining
from focalbook.checks.check import Check

RECORDED = (0.50, 0.53, 0.56)

better_of_two = Check(
    reference=lambda: np.mean([max(pair) for pair in combinations(RECORDED, 2)]),
    mistakes={
        "that is the mean of all runs, which an honest report tends to: the better of two is higher": lambda: np.mean(
            RECORDED
        ),
        "that is the best of all three runs: two are drawn, and the best is not always one of them": lambda: max(
            RECORDED
        ),
        "that lets one run be drawn twice: there are three pairs of different runs": lambda: np.mean(
            [max(one, other) for one in RECORDED for other in RECORDED]
        ),
        "that is the worse run of each pair: the better one is reported": lambda: np.mean(
            [min(pair) for pair in combinations(RECORDED, 2)]
        ),
    },
)


def pairs(ours, theirs):
    return np.array([ours[seed] - theirs[seed] for seed in ours if seed in theirs])


def summary(gains, ddof=1, by=None):
    return np.array([gains.mean(), gains.std(ddof=ddof) / np.sqrt(by or len(gains))])


def in_order(ours, theirs):
    return summary(np.array([one - other for one, other in zip(ours.values(), theirs.values())]))


def all_runs(ours, theirs):
    one, other = (np.array(list(side.values())) for side in (ours, theirs))
    return np.array([one.mean() - other.mean(), np.sqrt(one.var(ddof=1) / len(one) + other.var(ddof=1) / len(other))])


def unpaired(ours, theirs):
    both = [seed for seed in ours if seed in theirs]
    return all_runs(*({seed: side[seed] for seed in both} for side in (ours, theirs)))


SHARED = {0: 0.52, 1: 0.47, 2: 0.55, 3: 0.50}
ELSEWHERE = {3: 0.49, 1: 0.44, 0: 0.50, 2: 0.54}

paired_gain = Check(
    reference=lambda ours, theirs: summary(pairs(ours, theirs)),
    cases=(
        (SHARED, ELSEWHERE),
        (SHARED, {seed: ELSEWHERE[seed] for seed in range(4)}),
        ({**SHARED, 7: 0.61}, {9: 0.30, **ELSEWHERE, 8: 0.41}),
    ),
    mistakes={
        "you pair by position: the seed says which two runs belong together": in_order,
        "you treat the runs as unpaired: take the differences within each seed first": unpaired,
        "you use runs without a partner: only seeds that both losses have make a pair": all_runs,
        "that is the deviation of a whole population: of a sample, divide by one less than its size": lambda *case: (
            summary(pairs(*case), ddof=0)
        ),
        "that is the standard deviation of the gains: the error of their mean is smaller": lambda *case: summary(
            pairs(*case), by=1
        ),
        "you divide by the number of pairs: the error of a mean shrinks with its square root": lambda *case: summary(
            pairs(*case), by=len(pairs(*case)) ** 2
        ),
        "the sign: the gain is ours minus theirs": lambda ours, theirs: summary(pairs(theirs, ours)),
    },
)


def student(gains, ddof=1, quantile=0.975, by=None):
    half = stats.t.ppf(quantile, len(gains) - 1) * gains.std(ddof=ddof) / np.sqrt(by or len(gains))
    return np.array([gains.mean() - half, gains.mean() + half])


def over_runs(ours, theirs, **how):
    return student((ours - theirs).mean(axis=1), **how)


def over_all_values(ours, theirs):
    return student((ours - theirs).ravel())


def over_classes(ours, theirs):
    return student((ours - theirs).mean(axis=0))


def two_samples(ours, theirs):
    one, other = ours.mean(axis=1), theirs.mean(axis=1)
    test = stats.ttest_ind(one, other, equal_var=False).confidence_interval()
    return np.array([test.low, test.high])


def by_normal(ours, theirs):
    gains = (ours - theirs).mean(axis=1)
    half = stats.norm.ppf(0.975) * gains.std(ddof=1) / np.sqrt(len(gains))
    return np.array([gains.mean() - half, gains.mean() + half])


LEVEL = np.array([0.62, 0.44, 0.58, 0.49, 0.66, 0.53, 0.57])[:, None]
GAIN = np.array([0.0513, -0.0127, 0.0391, 0.0079, 0.0018, 0.0302, 0.0226])[:, None]
BY_CLASS = np.array([0.08, -0.03, -0.05])
WOBBLE = np.array([[0, 2, 1], [1, 0, 2], [2, 1, 0], [0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 0, 0]]) / 500

interval_over_runs = Check(
    reference=over_runs,
    cases=(
        (LEVEL + GAIN + BY_CLASS + WOBBLE, LEVEL + 0 * BY_CLASS),
        (LEVEL[1:] + GAIN[1:] + 0.3 * BY_CLASS, LEVEL[1:] - WOBBLE[1:]),
    ),
    mistakes={
        "you count all values: the classes of one run share its luck, so a run is one observation": over_all_values,
        "you count the classes: what happens again, with other luck, is a run": over_classes,
        "you take the two losses as two samples: take the differences, seed by seed": two_samples,
        "that is where the runs lie: the error of their mean is smaller": lambda *case: over_runs(*case, by=1),
        "1.96 is for many runs: with few take stats.t.ppf(0.975, n - 1)": by_normal,
        "that is the deviation of a whole population: of a sample, divide by one less than its size": lambda *case: (
            over_runs(*case, ddof=0)
        ),
        "the middle 95 percent leave 2.5 percent on each side, not five": lambda *case: over_runs(*case, quantile=0.95),
    },
)


def kept(losses, counts, positive, wanted, hardest=True, ranked=None, checked=True, sorts=2):
    """The positives, and the negatives among the ``wanted`` first of the ``ranked`` anchors."""
    negative = counts & ~positive
    out = -torch.inf if hardest else torch.inf
    rank = losses.masked_fill(~(negative if ranked is None else ranked), out).argsort(dim=1, descending=hardest)
    rank = rank.argsort(dim=1) if sorts == 2 else rank
    return positive | ((rank < wanted) & (negative | (not checked)))


def wanted(positive, ratio):
    return ratio * positive.sum(dim=1, keepdim=True).clamp(min=1)


def hardest_of_all(losses, counts, positive, ratio):
    most = wanted(positive, ratio) + positive.sum(dim=1, keepdim=True)
    return counts & (losses.masked_fill(~counts, -torch.inf).argsort(1, descending=True).argsort(1) < most)


def over_the_batch(losses, counts, positive, ratio):
    whole = (values.reshape(1, -1) for values in (losses, counts, positive))
    return mining.negatives_per_positive(*whole, ratio).view_as(positive)


def share_of_all(losses, counts, positive, ratio):
    return kept(losses, counts, positive, (ratio - 1) * positive.sum(dim=1, keepdim=True).clamp(min=1))


LOSSES = torch.tensor(
    [
        [9.0, 0.5, 3.0, 0.1, 2.0, 0.8, 0.01, 1.5, 0.6, 0.4, 0.3, 2.5],
        [0.2, 0.7, 0.3, 5.0, 0.1, 0.9, 0.4, 0.6, 0.5, 0.05, 0.8, 0.15],
        [1.0, 2.0, 0.3, 0.4, 0.5, 3.0, 0.6, 0.7, 0.8, 0.9, 1.1, 1.2],
    ],
    dtype=torch.float64,
)
POSITIVE = torch.zeros(3, 12, dtype=torch.bool)
POSITIVE[0, [2, 6]] = POSITIVE[2, [0, 3, 5, 8, 9]] = True
COUNTS = torch.ones(3, 12, dtype=torch.bool)
COUNTS[0, 0] = COUNTS[1, 3] = COUNTS[1, 7] = COUNTS[2, 10] = False

mined = Check(
    reference=mining.negatives_per_positive,
    cases=((LOSSES, COUNTS, POSITIVE, 3), (LOSSES, COUNTS, POSITIVE, 1), (LOSSES, COUNTS, POSITIVE, 2)),
    mistakes={
        "you keep the hardest of all anchors, and lose the easy positives: every positive stays": hardest_of_all,
        "you count over the whole batch: each image keeps negatives for its own positives": over_the_batch,
        "you keep as many negatives in every image: the ratio is to its positives": lambda *case: kept(*case),
        "an image without positives keeps no negative: let it keep as many as one positive would": (
            lambda losses, counts, positive, ratio: kept(
                losses, counts, positive, ratio * positive.sum(dim=1, keepdim=True)
            )
        ),
        "one negative is kept in an image without positives: keep as many as one positive would": (
            lambda losses, counts, positive, ratio: kept(
                losses, counts, positive, (ratio * positive.sum(dim=1, keepdim=True)).clamp(min=1)
            )
        ),
        "where negatives are few, ignored anchors slip in: a low rank keeps negatives alone": (
            lambda losses, counts, positive, ratio: kept(
                losses, counts, positive, wanted(positive, ratio), checked=False
            )
        ),
        "one argsort names the anchors in order: sort again for the rank of each": (
            lambda losses, counts, positive, ratio: kept(losses, counts, positive, wanted(positive, ratio), sorts=1)
        ),
        "ignored anchors take the places of negatives: leave them out before you rank": (
            lambda losses, counts, positive, ratio: kept(
                losses, counts, positive, wanted(positive, ratio), ranked=~positive
            )
        ),
        "positives take the places of negatives: rank the negatives among themselves": (
            lambda losses, counts, positive, ratio: kept(
                losses, counts, positive, wanted(positive, ratio), ranked=counts
            )
        ),
        "you keep the easiest negatives: sort from large to small": lambda losses, counts, positive, ratio: kept(
            losses, counts, positive, wanted(positive, ratio), hardest=False
        ),
        "you count the positives into the ratio: it is negatives to each positive": share_of_all,
    },
)
