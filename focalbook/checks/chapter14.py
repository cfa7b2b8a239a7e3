"""Checks of chapter 14: who owns the loss."""

from functools import cache

import numpy as np
import torch

from focalbook import experiments, imbalance
from focalbook.checks.check import Check

reweighted_share = Check(
    reference=lambda: 0.4 * 2 / (0.4 * 2 + 0.6 * 2 / 3),
    tolerance=5e-3,
    mistakes={
        "the new parts no longer add up to 1: divide by their sum": lambda: 0.4 * 2,
        "the weight of the negatives changes too, from 0.75 to 0.5": lambda: 0.4 * 2 / (0.4 * 2 + 0.6),
        "the recorded parts have their old weights in them: divide these out first": lambda: 0.4,
        "that is the share of the negatives: the positives are asked for": lambda: 0.4 / (0.4 * 2 + 0.4),
        "you divide by the new weights: take the old ones out, and put the new ones in": lambda: 0.2 / (0.2 + 0.9),
    },
)


def of_the_last(losses, fraction, direction=None):
    ordered = losses if direction is None else losses.sort(descending=direction < 0).values
    return (ordered[len(losses) - round(fraction * len(losses)) :].sum() / losses.sum()).item()


def cut_to_whole(losses, fraction):
    return of_the_last(losses, int(fraction * len(losses)) / len(losses), 1)


def of_the_rest(losses, fraction):
    return 1 - of_the_last(losses, fraction, 1)


def above_a_fraction(losses, fraction):
    return (losses[losses > (1 - fraction) * losses.max()].sum() / losses.sum()).item()


def times_as_hard(losses, fraction):
    return of_the_last(losses, fraction, 1) / fraction


def how_many_carry_it(losses, fraction):
    sums = losses.sort(descending=True).values.cumsum(0) / losses.sum()
    return ((sums < fraction).sum() + 1).item() / len(losses)


SOME = torch.tensor([0.2, 3.0, 0.1, 0.7, 0.02, 1.4, 0.3, 0.05, 0.9, 0.01], dtype=torch.float64)

hardest_share = Check(
    reference=lambda losses, fraction: of_the_last(losses, fraction, 1),
    cases=(
        *((SOME, fraction) for fraction in (0.2, 0.5, 1.0, 0.3)),
        (SOME[:5], 0.2),
        (torch.ones(20).double(), 0.05),
        (torch.arange(1.0, 101.0).double(), 0.29),  # times 100 it is a little below 29
    ),
    mistakes={
        "you cut the product to a whole number, and it may lie a hair below one: round it": cut_to_whole,
        "sorted the wrong way: that is what the easiest own": lambda *case: of_the_last(*case, -1),
        "that is what all the others own: take it from 1": of_the_rest,
        "you take the last in the given order: sort by loss first": lambda *case: of_the_last(*case),
        "you cut at a size of the loss: the fraction counts examples": above_a_fraction,
        "that is how many examples carry a fraction of the loss: the fraction is of the examples": how_many_carry_it,
        "that is how many times their fair share they own: give the share itself": times_as_hard,
    },
)


@cache
def owned():
    return experiments.load_study("flood")


def share(trained, read, kind, step="1200", group="easy negatives", seeds=slice(None)):
    found = [record["owners"][step]["shares"][read][kind][group] for record in owned()[trained]]
    return float(np.mean(found[seeds]))


CE, FL = "cross-entropy", "focal loss"


def effects(kind, model=CE, **how):
    start = share(CE, CE, kind, **how)
    return np.array([share(model, CE, kind, **how) - share(model, FL, kind, **how), start - share(FL, FL, kind, **how)])


def on_one_model(kind):
    return effects(kind)[[0, 0]]


def read_alike(kind):
    return np.array([effects(kind)[0], share(CE, CE, kind) - share(FL, CE, kind)])


two_effects = Check(
    reference=effects,
    cases=(("loss",), ("gradient",)),
    mistakes={
        "the second is about two models, each through its own loss: yours stays with one model": on_one_model,
        "you read both models with cross-entropy: read each with the loss that trained it": read_alike,
        "the first is about the model that cross-entropy trained: yours reads the focal model": lambda kind: effects(
            kind, model=FL
        ),
        "that is the untrained model: look at step 1200": lambda kind: effects(kind, step="0"),
        "those are the hard negatives: the easy ones are asked for": lambda kind: effects(kind, group="hard negatives"),
        "that is one seed: average over the records of a loss": lambda kind: effects(kind, seeds=slice(1)),
        "the sign: the share under cross-entropy minus the share under focal loss": lambda kind: -effects(kind),
        "yours comes in the wrong order: first the change of reading, then of training": lambda kind: effects(kind)[
            ::-1
        ],
    },
)


def parts(x, positives, negatives, alpha, gamma):
    """Loss and gradient of all positives and of all negatives, at one logit."""
    counts = torch.tensor([positives, negatives], dtype=torch.float64)
    logits, targets = torch.full((2,), x, dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64)
    return [counts * values for values in imbalance.loss_and_gradient(logits, targets, alpha, gamma)]


@cache
def balance(positives, negatives, alpha, gamma, what=1):
    """The logit at which positives and negatives have equal gradients, or, with 0 for ``what``, equal losses."""
    low, high = -30.0, 30.0
    for _ in range(36):
        x = (low + high) / 2
        ours, theirs = parts(x, positives, negatives, alpha, gamma)[what]
        low, high = (x, high) if ours > theirs else (low, x)
    return x


def said(x, *setting, what=0):
    values = parts(x, *setting)[what]
    return np.array([torch.sigmoid(torch.tensor(x, dtype=torch.float64)).item(), (values[1] / values.sum()).item()])


def rest(*setting):
    return said(balance(*setting), *setting)


def by_frequency(positives, negatives, alpha, gamma):
    return said(float(np.log(positives / negatives)), positives, negatives, alpha, gamma)


def one_of_each(positives, negatives, alpha, gamma):
    setting = positives, negatives, alpha, gamma
    ours, theirs = parts(balance(*setting), *setting)[0]
    ours, theirs = ours / positives, theirs / negatives
    return np.array([rest(*setting)[0], (theirs / (ours + theirs)).item()])


at_rest = Check(
    reference=rest,
    cases=((1, 99, -1, 0.0), (10, 990, 0.75, 0.0), (10, 990, 0.25, 2.0), (5, 4000, 0.5, 2.0), (3, 3, 0.5, 1.0)),
    tolerance=5e-4,
    mistakes={
        "your p is the share of positives: there cross-entropy rests, but no weighted or focal loss": by_frequency,
        "you look for equal losses: at rest the gradients cancel": lambda *case: said(balance(*case, what=0), *case),
        "that is the negatives' share of the gradient, one half under any loss: give that of the loss": lambda *case: (
            said(balance(*case), *case, what=1)
        ),
        "you let one negative stand against one positive: sum over all examples": one_of_each,
        "your p stays at the prior of 0.01: at rest, find where the gradients cancel": lambda *case: said(
            float(np.log(0.01 / 0.99)), *case
        ),
        "the class weight is missing, in the gradients and in the loss": lambda positives, negatives, alpha, gamma: (
            rest(positives, negatives, -1, gamma)
        ),
        "gamma is missing, in the gradients and in the loss": lambda positives, negatives, alpha, gamma: rest(
            positives, negatives, alpha, 0.0
        ),
        "that is the positives' share of the loss: the negatives are asked for": lambda *case: np.abs(
            rest(*case) - [0, 1]
        ),
    },
)
