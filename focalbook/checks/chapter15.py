"""Checks of chapter 15: what focal loss costs."""

import math

import numpy as np
import torch

from focalbook import calibration, imbalance, losses
from focalbook.checks.check import Check

tempered = Check(
    reference=lambda: 1 / (1 + 9**-0.5),
    tolerance=5e-3,
    mistakes={
        "you divide the probability: divide its logit, and take the sigmoid again": lambda: 0.9 / 2,
        "you multiply the logit by T, which makes a score surer: divide by it": lambda: 1 / (1 + 9**-2),
        "the square root is of the odds, 9 to 1, not of the probability": lambda: math.sqrt(0.9),
        "that is the logit divided by T: take its sigmoid": lambda: math.log(9) / 2,
        "those are the odds at the new temperature: turn them into a probability": lambda: 3.0,
    },
)


def answers(logits, targets):
    return torch.sigmoid(logits).numpy(), targets.numpy()


def found(logits, targets, bins):
    count, confidence, frequency = calibration.reliability(logits, targets, bins, above=0.0)
    return count.numpy(), (confidence - frequency).numpy(), frequency.numpy()


def ece(logits, targets, bins):
    return calibration.expected_calibration_error(calibration.reliability(logits, targets, bins, above=0.0))


def of_bins(logits, targets, bins, average):
    return float(average(found(logits, targets, bins)[1]))


def with_empty(logits, targets, bins):
    count, gaps, _ = found(logits, targets, bins)
    return float((count / count.sum() * np.abs(gaps)).sum())


def from_the_middle(logits, targets, bins):
    count, _, frequency = found(logits, targets, bins)
    middle = (np.arange(bins) + 0.5) / bins
    return float(np.nansum(count * np.abs(middle - frequency)) / count.sum())


def signed(logits, targets, bins):
    count, gaps, _ = found(logits, targets, bins)
    return float(np.nansum(count * gaps) / count.sum())


def squared(logits, targets, bins):
    count, gaps, _ = found(logits, targets, bins)
    return float(np.nansum(count * gaps**2) / count.sum())


def one_by_one(logits, targets, bins):
    p, hit = answers(logits, targets)
    return float(np.abs(p - hit).mean())


def one_bin_more(logits, targets, bins):
    p, hit = answers(logits, targets)
    return float(np.abs(np.bincount((p * bins).astype(int), p - hit)).sum() / len(p))


def equally_full(logits, targets, bins):
    p, hit = answers(logits, targets)
    groups = np.array_split(np.argsort(p, kind="stable"), bins)
    return float(sum(abs(p[group].sum() - hit[group].sum()) for group in groups) / len(p))


def of_the_sure(logits, targets, bins):
    """Confidence in the likelier class, as for a classifier."""
    p, hit = answers(logits, targets)
    sure, right = np.maximum(p, 1 - p), np.where(p > 0.5, hit, 1 - hit)
    return ece(torch.from_numpy(sure).logit(), torch.from_numpy(right), bins)


LOGITS = torch.tensor([-3.0, -2.6, -2.2, -1.9, -0.3, 0.1, 0.2, 0.5, 1.2, 1.3, 2.9, 40.0], dtype=torch.float64)
HITS = torch.tensor([0, 0, 1, 0, 0, 1, 0, 1, 1, 1, 0, 1], dtype=torch.float64)
FEW = torch.tensor([1, 5, 9], dtype=torch.int64)

calibration_error = Check(
    reference=ece,
    cases=(
        (LOGITS, HITS, 5),
        (LOGITS, HITS, 15),
        (LOGITS[FEW], HITS[FEW], 10),
        (LOGITS, 1 - HITS, 4),
        (LOGITS, 1 - HITS, 15),
    ),
    mistakes={
        "your bins weigh alike: a bin weighs as much as the answers in it": lambda *case: of_bins(
            *case, lambda gaps: np.nanmean(np.abs(gaps))
        ),
        "your bins weigh alike, and empty ones count as perfect: weigh each by its answers": lambda *case: of_bins(
            *case, lambda gaps: np.abs(np.nan_to_num(gaps)).mean()
        ),
        "an empty bin divides by zero: it has no answers, so leave it out": with_empty,
        "a score of exactly 1 gets a bin of its own: it belongs to the last one": one_bin_more,
        "that is the largest gap of all: average the gaps over the answers": lambda *case: of_bins(
            *case, lambda gaps: np.nanmax(np.abs(gaps))
        ),
        "you compare with the middle of the bin: the confidence is the mean score in it": from_the_middle,
        "gaps of both signs cancel: take their absolute values before you average": signed,
        "you square the gaps: average their absolute values": squared,
        "you compare each answer with its label: even honest scores differ from 0 and 1, so bin them": one_by_one,
        "your bins hold equally many answers: they have to be equally wide": equally_full,
        "you take the score of the likelier class: for a detector the score is p itself": of_the_sure,
    },
)


def pulls(p, alpha, gamma):
    x = torch.from_numpy(p).logit()
    return [imbalance.loss_and_gradient(x, torch.full_like(x, y), alpha, gamma)[1].numpy() for y in (0.0, 1.0)]


def honest(p, alpha, gamma):
    of_wrong, of_right = pulls(p, alpha, gamma)
    return of_wrong / (of_wrong + of_right)


def forward(p, alpha, gamma):
    """The score that training gives to answers of which a share p is right: the inverse of ``honest``."""
    low, high = np.zeros_like(p), np.ones_like(p)
    for _ in range(36):
        middle = (low + high) / 2
        below = honest(middle, alpha, gamma) < p
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return middle


def from_losses(p, alpha, gamma):
    wrong, right = (losses.focal_loss(p, y, None if alpha == -1 else alpha, gamma) for y in (0, 1))
    return wrong / (wrong + right)


def swapped_weight(p, alpha, gamma):
    return honest(p, alpha if alpha == -1 else 1 - alpha, gamma)


SCORES = np.array([0.02, 0.1, 0.3, 0.5, 0.7, 0.95])

honest_score = Check(
    reference=honest,
    cases=((SCORES, 0.5, 2.0), (SCORES, -1, 0.0), (SCORES, 0.75, 0.0), (SCORES, 0.25, 2.0), (SCORES, 0.5, 0.5)),
    mistakes={
        "the fraction is upside down: many wrong answers make the share of right ones small": lambda *case: (
            1 - honest(*case)
        ),
        "you balance the losses: it is the gradients that cancel at the minimum": from_losses,
        "the score is returned as it is: only plain cross-entropy means what it says": lambda p, alpha, gamma: p,
        "the class weight is missing: it multiplies the odds": lambda p, alpha, gamma: honest(p, -1, gamma),
        "the class weight is on the wrong side: alpha weights the label 1": swapped_weight,
        "gamma is missing: the pull toward one half comes from it": lambda p, alpha, gamma: honest(p, alpha, 0.0),
        "that goes from the truth to the score, as training does: the way back is asked": forward,
    },
)


def smallest(objective, low, high):
    """Where a function of one number has its minimum, by the golden section."""
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if objective(left) < objective(right) else (left, high)
    return (low + high) / 2


def by_squares(logits, targets):
    log_t = smallest(lambda log_t: ((torch.sigmoid(logits / math.exp(log_t)) - targets) ** 2).mean(), -3.0, 3.0)
    return math.exp(log_t)


def of_probabilities(logits, targets):
    p = torch.sigmoid(logits)
    entropy = torch.nn.functional.binary_cross_entropy
    inverse = smallest(lambda inverse: entropy(p * inverse, targets), 1e-3, 1 / p.max().item() - 1e-9)
    return 1 / inverse


def by_the_mean(logits, targets):
    """The mean score made equal to the share of the label 1, as well as a temperature can."""
    log_t = smallest(lambda log_t: (torch.sigmoid(logits / math.exp(log_t)) - targets).mean().abs(), -3.0, 3.0)
    return math.exp(log_t)


TIMID = torch.tensor([-1.2, -1.1, -0.9, -0.8, -0.6, -0.5, -0.2, 0.1, 0.4, 0.6, 0.8, 1.0], dtype=torch.float64)
LABELS = torch.tensor([0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1], dtype=torch.float64)

temperature = Check(
    reference=calibration.fit_temperature,
    cases=((TIMID, LABELS), (8 * TIMID, LABELS), (3 * TIMID - 1, LABELS), (TIMID.view(3, 4), LABELS.view(3, 4))),
    tolerance=5e-3,
    mistakes={
        "that is 1 / T: the logits are divided by T": lambda *case: 1 / calibration.fit_temperature(*case),
        "you divide the probabilities: divide the logits, before the sigmoid": of_probabilities,
        "you fit squared differences: T is where the cross-entropy is smallest": by_squares,
        "you match the mean score with the share of right ones: T is where the cross-entropy is smallest": by_the_mean,
        "that is a T of 1, where a search begins: move it until the cross-entropy falls no more": lambda *case: 1.0,
    },
)
