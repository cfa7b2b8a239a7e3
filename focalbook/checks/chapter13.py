"""Checks of chapter 13: the map of the gain."""

import numpy as np

from focalbook.checks.check import Check

false_alarms = Check(
    reference=lambda: 12 * 2 * 0.5**5,
    mistakes={
        "five seeds can agree in two ways, all above zero or all below": lambda: 12 * 0.5**5,
        "that is the chance for one interval: how many of the twelve?": lambda: 2 * 0.5**5,
        "95 percent is what it is called: five seeds that all agree leave out zero, so count those": lambda: 12 * 0.05,
        "that is the chance of at least one, and the mean number is asked: it is a sum": lambda: 1 - (15 / 16) ** 12,
    },
)


def gains(ours, rivals, chosen):
    """Mean gain at each point over the rival ``chosen`` there."""
    points = np.arange(ours.shape[0])
    return (ours - rivals[np.broadcast_to(chosen, points.shape), points]).mean(axis=1)


def better(rivals):
    return rivals.mean(axis=2).argmax(axis=0)


def against_each_best(ours, rivals):
    return (ours - rivals.max(axis=0)).mean(axis=1)


def as_ratio(ours, rivals):
    theirs = rivals.mean(axis=2).max(axis=0)
    return ours.mean(axis=1) / theirs - 1


def mean_of_ratios(ours, rivals):
    return (ours / rivals[better(rivals), np.arange(len(ours))]).mean(axis=1) - 1


def of_the_error(ours, rivals):
    theirs = rivals.mean(axis=2).max(axis=0)
    return (ours.mean(axis=1) - theirs) / (1 - theirs)


OURS = np.array([[0.91, 0.93, 0.92], [0.70, 0.62, 0.69], [0.44, 0.52, 0.31], [0.35, 0.20, 0.41]])
RIVALS = np.array(
    [
        [[0.90, 0.92, 0.89], [0.66, 0.65, 0.64], [0.47, 0.49, 0.37], [0.30, 0.24, 0.38]],
        [[0.91, 0.90, 0.91], [0.69, 0.60, 0.70], [0.41, 0.55, 0.33], [0.22, 0.31, 0.27]],
    ]
)

against_better_rival = Check(
    reference=lambda ours, rivals: gains(ours, rivals, better(rivals)),
    cases=((OURS, RIVALS), (OURS[2:], RIVALS[:, 2:]), (OURS, np.stack([*RIVALS, RIVALS[0, :, ::-1] - 0.01]))),
    mistakes={
        "you take the best rival of each seed, which no one could choose: choose by the mean": against_each_best,
        "one rival for all points: choose anew at each point": lambda ours, rivals: gains(
            ours, rivals, rivals.mean(axis=(1, 2)).argmax()
        ),
        "that is a share of the rival's AP: a gain in AP is a difference, not a ratio": as_ratio,
        "those are ratios, averaged: a gain in AP is a difference, not a ratio": mean_of_ratios,
        "that is the share of the error that is gone: a gain in AP is the difference alone": of_the_error,
        "you compare with the weaker rival: it is the larger mean AP that makes the better one": lambda *case: gains(
            *case, case[1].mean(axis=2).argmin(axis=0)
        ),
        "you compare with the mean of the rivals: choose the better one at each point": lambda ours, rivals: (
            ours - rivals.mean(axis=0)
        ).mean(axis=1),
        "the sign: ours minus the rival": lambda ours, rivals: -gains(ours, rivals, better(rivals)),
    },
)


def fit(ratios, objects, gains, scale=np.log2, intercept=True, checked=True):
    knobs = np.stack([scale(ratios), scale(objects), np.ones(len(ratios))][: 3 if intercept else 2], axis=1)
    if checked and np.linalg.matrix_rank(np.column_stack([knobs, np.ones(len(ratios))])) < 3:
        return np.full((2, gains.shape[1]), np.nan)
    return np.linalg.lstsq(knobs, gains, rcond=None)[0][:2]


def one_at_a_time(ratios, objects, gains):
    return np.stack([np.polyfit(np.log2(knob), gains, 1)[0] for knob in (ratios, objects)])


RATIOS = np.array([64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0])
OBJECTS = np.array([32.0, 16.0, 8.0, 4.0, 4.0, 4.0])
GAINS = np.array(
    [
        [0.012, 0.010, 0.011],
        [0.010, 0.004, 0.018],
        [-0.002, 0.011, 0.001],
        [-0.030, -0.012, -0.021],
        [-0.010, 0.008, -0.025],
        [0.021, -0.004, 0.018],
    ]
)

two_slopes = Check(
    reference=fit,
    cases=(
        (RATIOS, OBJECTS, GAINS),
        (RATIOS[:4], OBJECTS[:4], GAINS[:4]),
        (RATIOS[[0, 1, 2, 0, 1, 2]], OBJECTS[[0, 0, 1, 3, 2, 3]], GAINS[:, :2]),
    ),
    mistakes={
        "one line for each knob, the other one left out: fit both knobs at once": one_at_a_time,
        "where both knobs turn together, no fit can tell them apart: return NaN there": lambda *case: fit(
            *case, checked=False
        ),
        "your plane is forced through zero at one anchor and one object: give it an intercept": lambda *case: fit(
            *case, intercept=False
        ),
        "those are gains for one more anchor and one more object: take logarithms": lambda *case: fit(
            *case, scale=np.asarray
        ),
        "a doubling is a step of the logarithm to base 2: yours counts factors of e": lambda *case: fit(
            *case, scale=np.log
        ),
        "you average over the seeds first: each seed has its own two slopes": lambda *case: fit(*case).mean(axis=1),
        "the first row is for the ratio, the second for the objects: yours are the other way round": lambda *case: fit(
            *case
        )[::-1],
    },
)
