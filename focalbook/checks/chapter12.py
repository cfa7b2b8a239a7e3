"""Checks of chapter 12: turning the knobs."""

import numpy as np

from focalbook.checks.check import Check

more_focus = Check(
    reference=lambda: 0.5**5 / 0.5**2,
    mistakes={
        "that compares with the cross-entropy: what is asked is the share of the loss at gamma = 2": lambda: 0.5**5,
        "the other way round: how much of the loss at gamma = 2 is left at gamma = 5": lambda: 0.5**2 / 0.5**5,
        "gamma is an exponent, not a factor: divide the two powers": lambda: 2 / 5,
        "the logarithm is in both losses: it cancels": lambda: 0.5**3 * np.log(2),
    },
)


def combined(ap, row, column):
    return ap.max() - ap[ap[:, column].argmax(), ap[row].argmax()]


def in_turn(ap, row, column):
    best = ap[:, column].argmax()
    return ap.max() - ap[best, ap[best].argmax()]


def best_measured(ap, row, column):
    return ap.max() - max(ap[:, column].max(), ap[row].max())


RIDGE = np.array(
    [
        [0.30, 0.31, 0.36, 0.44],
        [0.34, 0.38, 0.47, 0.42],
        [0.41, 0.46, 0.43, 0.33],
        [0.45, 0.40, 0.32, 0.25],
    ]
)

shortfall = Check(
    reference=combined,
    cases=((RIDGE, 0, 0), (RIDGE, 1, 1), (RIDGE[:3], 1, 2), (RIDGE[:, :3], 2, 0), (RIDGE, 2, 1)),
    mistakes={
        "you turn the second knob at the first one's winner: both studies keep the start's other knob": in_turn,
        "that is the best run of the two studies: the two winners together were never measured in them": best_measured,
        "rows and columns: the class weights are the rows, so they compete within one column": lambda ap, row, column: (
            combined(ap, column, row)
        ),
        "you give the AP that the two winners reach together: how far is the best pair above it?": lambda *case: (
            case[0].max() - combined(*case)
        ),
        "the sign: the best pair minus the pair of the two winners, which is at least 0": lambda *case: (
            -combined(*case)
        ),
    },
)


def honest(validation, test):
    return test[validation.mean(axis=1).argmax()].mean()


VALIDATION = np.array([[0.55, 0.56], [0.58, 0.48], [0.47, 0.62], [0.53, 0.52]])
TEST = np.array([[0.51, 0.49, 0.53], [0.57, 0.52, 0.56], [0.46, 0.54, 0.50], [0.50, 0.55, 0.49]])

reported_score = Check(
    reference=honest,
    cases=(
        (VALIDATION, TEST),
        (VALIDATION[1:], TEST[1:]),
        (VALIDATION[::-1], TEST[::-1]),
        (np.column_stack([VALIDATION, [0.50, 0.56, 0.49, 0.60]]), TEST),
    ),
    mistakes={
        "you choose by the median of the seeds: choose by their mean": lambda validation, test: test[
            np.median(validation, axis=1).argmax()
        ].mean(),
        "you choose on the test scenes: then their score is no test any more": lambda validation, test: test.mean(
            axis=1
        ).max(),
        "that is the validation score, which won the choice by luck too: report the test scenes": lambda *case: (
            case[0].mean(axis=1).max()
        ),
        "you choose by the best single run: choose by the mean over the seeds": lambda validation, test: test[
            validation.max(axis=1).argmax()
        ].mean(),
        "you report the best of the test runs: report the mean over its seeds": lambda validation, test: test[
            validation.mean(axis=1).argmax()
        ].max(),
        "you average over all settings: only the chosen one is reported": lambda validation, test: test.mean(),
    },
)


def held_out(ap):
    """The score of each seed under the setting that the other seeds choose."""
    others = (ap.sum(axis=1, keepdims=True) - ap) / (ap.shape[1] - 1)
    return np.take_along_axis(ap, others.argmax(axis=0)[None], axis=0)[0]


def by_the_seed_itself(ap):
    return ap.mean(axis=1).max() - ap.max(axis=0).mean()


def against_the_mean(ap):
    return ap.mean(axis=1).max() - ap.mean()


def of_the_choosers(ap):
    """The mean under which each choice won."""
    others = (ap.sum(axis=1, keepdims=True) - ap) / (ap.shape[1] - 1)
    return others.max(axis=0).mean()


def by_the_others(ap):
    return ap.mean(axis=1).max() - of_the_choosers(ap)


NOISE = np.array([[0.50, 0.55, 0.48, 0.52], [0.54, 0.47, 0.53, 0.49], [0.49, 0.52, 0.51, 0.54]])
CLEAR = np.array([[0.60, 0.61, 0.63], [0.50, 0.52, 0.53]])

optimism = Check(
    reference=lambda ap: ap.mean(axis=1).max() - held_out(ap).mean(),
    cases=((NOISE,), (NOISE[:2],), (CLEAR,), (np.vstack([NOISE, NOISE[:, ::-1] - 0.003]),)),
    mistakes={
        "you choose with the seed that you judge by: then choice and judgment share its luck": lambda ap: 0.0,
        "each seed chooses for itself in yours: the others choose, and it judges": by_the_seed_itself,
        "you judge on the seeds that chose: judge on the one that was left out": by_the_others,
        "you subtract from the mean of the seeds that chose: take the winner's mean over all seeds": lambda ap: (
            of_the_choosers(ap) - held_out(ap).mean()
        ),
        "you compare with the mean of all settings: compare with the setting that is chosen": against_the_mean,
        "the sign: the winner's own mean minus the mean on seeds that had no say": lambda ap: (
            held_out(ap).mean() - ap.mean(axis=1).max()
        ),
        "that is the honest score itself: by how much is the winner's own mean above it?": lambda ap: held_out(
            ap
        ).mean(),
    },
)
