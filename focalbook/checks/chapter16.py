"""Checks of chapter 16: the scorecard."""

import math

import numpy as np

from focalbook.checks.check import Check
from focalbook.intervals import FEWEST, paired_interval

HOLDS, FAILS, OPEN = "holds", "fails here", "open"
NO_ROOM, TOO_FEW = "no room here", "too few runs"

any_wrong_verdict = Check(
    reference=lambda: 1 - 0.95**10,
    tolerance=5e-3,
    mistakes={
        "that is the chance for one claim: ten claims have ten chances to go wrong": lambda: 0.05,
        "chances of events that can happen together do not add up: with more claims the sum is above 1": lambda: (
            10 * 0.05
        ),
        "that is the chance that all ten intervals catch the truth: take what is left": lambda: 0.95**10,
    },
)


def judge(low, high, least, most):
    return HOLDS if least < low and high < most else FAILS if high < least or low > most else OPEN


def two_words(low, high, least, most):
    return HOLDS if least < low and high < most else FAILS


def touching_inside(low, high, least, most):
    return HOLDS if least <= low and high <= most else FAILS if high < least or low > most else OPEN


def touching_outside(low, high, least, most):
    return HOLDS if least < low and high < most else FAILS if high <= least or low >= most else OPEN


def touching_both(low, high, least, most):
    return HOLDS if least <= low and high <= most else FAILS if high <= least or low >= most else OPEN


def middle(low, high, least, most):
    return HOLDS if least < (low + high) / 2 < most else FAILS


def one_end(low, high, least, most):
    return judge(low, high, least, math.inf)


def overlap(low, high, least, most):
    return FAILS if high < least or low > most else HOLDS


verdict_of = Check(
    reference=judge,
    cases=(
        (0.016, 0.039, 0.0, math.inf),
        (-0.005, 0.016, 0.0, math.inf),
        (-0.022, -0.001, 0.0, math.inf),
        (0.0, 0.02, 0.0, math.inf),
        (-0.02, 0.0, 0.0, math.inf),
        (-0.01, 0.09, -0.1, 0.1),
        (0.35, 0.41, -1.0, 0.1),
        (-0.2, 0.3, -0.1, 0.1),
        (0.05, 0.3, -0.1, 0.1),
        (0.1, 0.3, -0.1, 0.1),
    ),
    mistakes={
        "an interval that includes both kinds of values refutes nothing: the claim is not settled": two_words,
        "an interval that touches the end of the range is not inside it, and not outside either": touching_both,
        "an interval that touches its range's end from within is not inside: compare by <": touching_inside,
        "an interval that touches its range's end from without is not outside: compare by <": touching_outside,
        "you judge the middle of the interval: the whole interval has to lie inside": middle,
        "the range of a claim has an upper end too": one_end,
        "an interval that overlaps the range does not lie inside it": overlap,
    },
)


def slopes(ratios, gains, scale=np.log2):
    return np.polyfit(scale(ratios), gains, 1)[0]


def through_zero(ratios, gains):
    doublings = np.log2(ratios)
    return doublings @ gains / (doublings @ doublings)


RATIOS = np.array([40.0, 160.0, 320.0, 2560.0])
GAINS = np.array([[0.01, 0.02, -0.01], [0.02, 0.01, 0.0], [0.05, -0.02, 0.01], [0.04, 0.03, -0.05]])

gain_per_doubling = Check(
    reference=slopes,
    cases=((RATIOS, GAINS), (RATIOS[:2], GAINS[:2]), (np.array([3.0, 6.0, 12.0]), GAINS[1:])),
    mistakes={
        "that is the gain for one more background anchor: take the logarithm of the ratios": lambda ratios, gains: (
            slopes(ratios, gains, np.asarray)
        ),
        "a natural logarithm counts factors of e: a doubling is a step to base 2": lambda ratios, gains: slopes(
            ratios, gains, np.log
        ),
        "a logarithm to base 10 counts factors of ten: a doubling is a step of that to base 2": lambda ratios, gains: (
            slopes(ratios, gains, np.log10)
        ),
        "you average over the seeds first: there is one slope for each seed": lambda ratios, gains: slopes(
            ratios, gains.mean(axis=1)
        ),
        "your line is forced through a gain of 0 at a ratio of 1: give it an intercept": through_zero,
        "the first and the last point alone: the line is fitted to all of them": lambda ratios, gains: (
            (gains[-1] - gains[0]) / np.log2(ratios[-1] / ratios[0])
        ),
    },
)


def student(values):
    return paired_interval(values)[1:3]


def normal(values):
    half = 1.96 * np.std(values, ddof=1) / math.sqrt(len(values))
    return np.mean(values) - half, np.mean(values) + half


def whole_range(values):
    return min(values), max(values)


def board(scores, claims, interval=student, room=lambda arm, rival: 1 - np.mean(rival), fewest=FEWEST):
    words = {}
    for name, (arm, rival, least) in claims.items():
        gains = scores[arm] - scores[rival]
        if room(scores[arm], scores[rival]) < least:
            words[name] = NO_ROOM
        elif len(gains) < fewest:
            words[name] = TOO_FEW
        else:
            words[name] = judge(*interval(gains), least, math.inf)
    return words


def judged_first(scores, claims):
    words = board(scores, claims)
    return {name: TOO_FEW if len(scores[arm]) < FEWEST else words[name] for name, (arm, *_) in claims.items()}


def unpaired(scores, claims):
    words = {}
    for name, (arm, rival, least) in claims.items():
        if len(scores[arm]) < FEWEST:
            words[name] = TOO_FEW
            continue
        (low, high), (rival_low, rival_high) = student(scores[arm]), student(scores[rival])
        none = 1 - np.mean(scores[rival]) < least
        words[name] = NO_ROOM if none else judge(low - rival_high, high - rival_low, least, math.inf)
    return words


def no_room_for_the_arm(scores, claims):
    return board(scores, claims, room=lambda arm, rival: 1 - np.mean(arm))


SCORES = {
    "focal loss": np.array([0.71, 0.64, 0.78, 0.69, 0.75]),
    "cross-entropy": np.array([0.69, 0.61, 0.75, 0.68, 0.72]),
    "mining": np.array([0.72, 0.66, 0.79, 0.71, 0.78]),
    "found by focal loss": np.array([0.981, 0.979, 0.984, 0.982, 0.99]),
    "found by cross-entropy": np.array([0.975, 0.981, 0.972, 0.985, 0.978]),
    "found by halves": np.array([0.95, 0.96, 0.955, 0.965, 0.96]),
    "four runs": np.array([0.500, 0.58, 0.56, 0.61]),
    "four others": np.array([0.502, 0.53, 0.51, 0.55]),
    "eight runs": np.array([0.53, 0.52, 0.495, 0.56, 0.53, 0.515, 0.51, 0.54]),
    "eight others": np.array([0.50, 0.50, 0.50, 0.52, 0.50, 0.49, 0.50, 0.51]),
    "three runs": np.array([0.61, 0.64, 0.66]),
    "three others": np.array([0.57, 0.60, 0.61]),
    "three nearly perfect": np.array([0.98, 0.99, 0.985]),
}
CLAIMS = {
    "better than cross-entropy": ("focal loss", "cross-entropy", 0.0),
    "better by the gain of the paper": ("focal loss", "cross-entropy", 0.038),
    "better than mining": ("focal loss", "mining", 0.0),
    "far better than mining": ("focal loss", "mining", 0.22),
    "finds more": ("found by focal loss", "found by cross-entropy", 0.0),
    "finds more by the gain of the paper": ("found by focal loss", "found by cross-entropy", 0.031),
    "finds more than halves by as much": ("found by focal loss", "found by halves", 0.031),
    "better in four runs": ("four runs", "four others", 0.0),
    "better in eight runs": ("eight runs", "eight others", 0.0),
    "better in three runs": ("three runs", "three others", 0.0),
    "better than perfect in three runs": ("three runs", "three nearly perfect", 0.05),
}

scorecard = Check(
    reference=board,
    cases=tuple(({arm: SCORES[arm] for arm in claim[:2]}, {name: claim}) for name, claim in CLAIMS.items()),
    mistakes={
        "you compare two intervals: the runs are pairs, so take the interval of their differences": unpaired,
        "where the rival leaves less than the claimed gain, no run could show it: there is no room": lambda *case: (
            board(*case, room=lambda arm, rival: math.inf)
        ),
        "the room is what the rival leaves below 1, not what the other arm leaves": no_room_for_the_arm,
        "the room is what the mean of the rival leaves below 1, not what its best run leaves": lambda *case: board(
            *case, room=lambda arm, rival: 1 - max(rival)
        ),
        "with three runs or fewer there is no interval: say that they are too few": lambda *case: board(
            *case, interval=lambda values: whole_range(values) if len(values) < FEWEST else student(values), fewest=0
        ),
        "ask for the room first: where there is none, more runs would not help": judged_first,
        "of few runs the deviation is uncertain too: take Student's t in place of 1.96": lambda *case: board(
            *case, interval=normal
        ),
        "that is the range of the gains: the interval is of their mean": lambda *case: board(
            *case, interval=whole_range
        ),
        "you judge the mean alone: it takes the whole interval": lambda *case: board(
            *case, interval=lambda values: (np.mean(values), np.mean(values))
        ),
    },
)
