"""Checks of chapter 23: where it went."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from focalbook import losses
from focalbook.checks.check import Check, loss_and_slope
from focalbook.softmax import softmax_focal_loss

one_against_the_rest = Check(
    reference=lambda: 2 - math.log(math.exp(1) + math.exp(-1)),
    tolerance=1e-3,
    mistakes={
        "the true class is not among the others: with it in the sum, this is ln p_t": lambda: (
            2 - math.log(math.exp(2) + math.exp(1) + math.exp(-1))
        ),
        "the strongest rival alone is not all the others: the weaker one counts too": lambda: 2 - 1.0,
        "the others' powers of e are added, and then the logarithm is taken": lambda: 2 - (1 + -1.0),
        "that is the probability of the true class: its logit is asked for": lambda: (
            1 / (1 + math.exp(-1) + math.exp(-3))
        ),
        "the sign: a true class that leads has a positive logit": lambda: math.log(math.exp(1) + math.exp(-1)) - 2,
        "a mean of the others' powers: they are added": lambda: 2 - math.log((math.exp(1) + math.exp(-1)) / 2),
    },
)


def soft_ce(x, t):
    return -t * F.logsigmoid(x) - (1 - t) * F.logsigmoid(-x)


def quality(x, t, beta):
    return (t - torch.sigmoid(x)).abs() ** beta * soft_ce(x, t)


def book(x, t, beta):
    return losses.sigmoid_focal_loss(x, t, -1, beta)


def without_size(x, t, beta):
    return (t - torch.sigmoid(x)) ** beta * soft_ce(x, t)


def frozen(x, t, beta):
    return (t - torch.sigmoid(x)).abs().detach() ** beta * soft_ce(x, t)


def of_one_logarithm(x, t, beta):
    return (t - torch.sigmoid(x)).abs() ** beta * -t * F.logsigmoid(x)


def varifocal(x, t, beta):
    return torch.where(t > 0, t, torch.sigmoid(x) ** beta) * soft_ce(x, t)


def less_the_best(x, t, beta):
    best = -torch.xlogy(t, t) - torch.xlogy(1 - t, 1 - t)
    return (t - torch.sigmoid(x)).abs() ** beta * (soft_ce(x, t) - best)


def hardened(x, t, beta):
    return quality(x, (t > 0).to(x), beta)


def by_exponential(x, t, beta):
    return (1 - torch.exp(-soft_ce(x, t))) ** beta * soft_ce(x, t)


def with_alpha(x, t, beta):
    return (0.25 * t + 0.75 * (1 - t)) * quality(x, t, beta)


SCORES = torch.tensor([-3.0, -1.0, 0.5, 1.5, 2.0, -0.5, 0.3], dtype=torch.float64)
IOUS = torch.tensor([0.0, 0.3, 0.0, 0.9, 1.0, 0.6, 0.1], dtype=torch.float64)

quality_focal_loss = Check(
    reference=quality,
    probe=loss_and_slope,
    cases=tuple((SCORES, IOUS, beta) for beta in (1.0, 2.0, 3.0)),
    mistakes={
        "that is the book's q = t (1 - p) + (1 - t) p: QFL has the distance of p and t, which is 0 at p = t": book,
        "a distance has no sign: with an odd power, a score above its label would earn something": without_size,
        "the distance has a slope too: do not detach it": frozen,
        "cross-entropy of a soft label has two logarithms": of_one_logarithm,
        "that is varifocal loss: there a positive is weighted by its label, here by its distance": varifocal,
        "QFL keeps the whole cross-entropy: the part that no score can avoid is not taken off": less_the_best,
        "you round the labels up to 1: an IoU is the score that is asked for": hardened,
        "1 - exp(-CE) is 1 - p_t for the labels 0 and 1 alone: take the distance of p and t": by_exponential,
        "QFL has no class weight: the paper's formula is without alpha": with_alpha,
        "the loss has no slope: autograd cannot follow it back to the logits": lambda *case: quality(*case).detach(),
    },
)


def objective(y, raw, alpha=0.25, gamma=2.0, loss=losses.sigmoid_focal_loss):
    """Slope and second derivative of each loss, toward the raw score, by autograd."""
    x = torch.from_numpy(raw).requires_grad_()
    total = loss(x, torch.from_numpy(y), alpha, gamma).sum()
    (slope,) = torch.autograd.grad(total, x, create_graph=True)
    (second,) = torch.autograd.grad(slope.sum(), x)
    return slope.detach().numpy(), second.numpy()


def toward_p(y, raw):
    p = torch.sigmoid(torch.from_numpy(raw)).requires_grad_()
    t = torch.from_numpy(y)
    p_t = t * p + (1 - t) * (1 - p)
    total = ((0.25 * t + 0.75 * (1 - t)) * (1 - p_t) ** 2 * -p_t.log()).sum()
    (slope,) = torch.autograd.grad(total, p, create_graph=True)
    return slope.detach().numpy(), torch.autograd.grad(slope.sum(), p)[0].numpy()


def raw_as_p(y, raw):
    return objective(y, 1 / (1 + np.exp(-raw)))


def of_cross_entropy(y, raw):
    slope, _ = objective(y, raw)
    p = 1 / (1 + np.exp(-raw))
    return slope, np.where(y == 1, 0.25, 0.75) * p * (1 - p)


def frozen_factor(y, raw):
    def loss(x, t, alpha, gamma):
        p = torch.sigmoid(x).detach()
        factor = (t * (1 - p) + (1 - t) * p) ** gamma
        return (alpha * t + (1 - alpha) * (1 - t)) * factor * soft_ce(x, t)

    return objective(y, raw, loss=loss)


def downhill(y, raw):
    slope, second = objective(y, raw)
    return -slope, second


def averaged(y, raw):
    slope, second = objective(y, raw)
    return slope / len(y), second / len(y)


def one_weight(y, raw):
    slope, second = objective(y, raw, alpha=-1)
    return 0.25 * slope, 0.25 * second


def never_negative(change):
    def wrong(y, raw):
        slope, second = objective(y, raw)
        return slope, change(second)

    return wrong


def summed(y, raw):
    slope, second = objective(y, raw)
    return slope.sum(), second.sum()


HITS = np.array([0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0])
RAW = np.array([-4.6, -4.6, 0.0, 0.0, 3.0, 2.0, -8.0, 7.0])

boosting_objective = Check(
    reference=objective,
    cases=((HITS, RAW), (1 - HITS, RAW / 2)),
    tolerance=1e-5,
    mistakes={
        "these are derivatives toward p: a tree adds to the raw score, so derive toward that": toward_p,
        "the sigmoid is taken twice: the raw score is a logit already": raw_as_p,
        "that second derivative is cross-entropy's: the factor of focal loss changes it too": of_cross_entropy,
        "the modulating factor has derivatives of its own: do not hold it fixed": frozen_factor,
        "the sign: the slope itself is handed over, and the library goes downhill": downhill,
        "no mean: the library adds up the examples of a leaf itself": averaged,
        "one number an example: neither array is summed": summed,
        "alpha is the weight of label 1, and 1 - alpha that of label 0": one_weight,
        "alpha is missing: weights of 0.25 and 0.75": lambda y, raw: objective(y, raw, alpha=-1),
        "the second derivative is negative for hopeless examples: hand it over as it is": never_negative(np.abs),
        "you cut the second derivative off at 0: hand it over as it is": never_negative(lambda second: second.clip(0)),
        "the two arrays are swapped: first the slope, then the second derivative": lambda *case: objective(*case)[::-1],
    },
)


def by_hand(x, t, weight, gamma, ignore, loss=softmax_focal_loss):
    x = torch.from_numpy(x).requires_grad_()
    t, weight = torch.from_numpy(t), torch.from_numpy(weight)
    total = loss(x, t, weight, gamma, "mean", ignore)
    return total.item(), torch.autograd.grad(total, x)[0].numpy()


def parts(x, t, weight, ignore):
    """What a formula of one's own begins with: the examples that count, their p and their cross-entropy."""
    counts = t != ignore
    ce = F.cross_entropy(x, t, reduction="none", ignore_index=ignore)
    t = t.masked_fill(~counts, 0)
    return counts, t, ce, weight[t] * counts


def wrong_way(change):
    """The loss by hand with one thing changed: ``change`` gives the total from the parts."""

    def loss(x, t, weight, gamma, reduction, ignore):
        counts, t, ce, w = parts(x, t, weight, ignore)
        return change(x, t, ce, w, counts, gamma, weight)

    return lambda *case: by_hand(*case, loss=loss)


def powered(ce, gamma):
    return (1 - torch.exp(-ce)) ** gamma * ce


def naive(x, t, weight, gamma, ignore):
    """Powers of e of the logits themselves."""
    loss, slope = by_hand(x, t, weight, gamma, ignore)
    return (loss, slope) if np.abs(x).max() < 700 else (math.nan, np.full_like(slope, math.nan))


def not_ignored(x, t, weight, gamma, ignore):
    return by_hand(x, np.where(t == ignore, 0, t), weight, gamma, ignore)


def slope_undivided(x, t, weight, gamma, ignore):
    loss, slope = by_hand(x, t, weight, gamma, ignore)
    return loss, slope * weight[t[t != ignore]].sum()


def without_one_hot(x, t, weight, gamma, ignore):
    loss, slope = by_hand(x, t, weight, gamma, ignore)
    p, hot = torch.from_numpy(x).softmax(1).numpy(), np.eye(x.shape[1])[np.maximum(t, 0) % x.shape[1]]
    return loss, slope * np.where(hot == 1, p / (p - 1), 1.0)


def of_the_true_class(x, t, weight, gamma, ignore):
    loss, slope = by_hand(x, t, weight, gamma, ignore)
    return loss, slope * np.eye(x.shape[1])[np.maximum(t, 0) % x.shape[1]]


CLASSES = np.array([0, 2, 1, -100, 1, 0])
CLASS_LOGITS = np.array([[2.0, 0.5, -1], [0, 0, 0.25], [-1, 1.5, 3], [5, -5, 1], [0.5, -2, 1], [-0.5, 0.75, 0]])
CLASS_WEIGHT = np.array([0.5, 2.0, 1.0])
LEADING = CLASS_LOGITS + 1000.0 * np.array([[1, 0, 0], [1, 0, 0], *[[0, 0, 0]] * 4])  # once right and once wrong


def rounded_away(x, t, weight, gamma, ignore):
    """1 - p_t, where p_t has been rounded to 1."""
    loss, slope = by_hand(x, t, weight, gamma, ignore)
    p_t = torch.from_numpy(x).softmax(1).numpy()[np.arange(len(t)), np.where(t == ignore, 0, t)]
    return loss, np.where(p_t[:, None] == 1, math.nan, slope)


softmax_by_hand = Check(
    reference=by_hand,
    cases=(
        *((CLASS_LOGITS, CLASSES, CLASS_WEIGHT, gamma, -100) for gamma in (0.0, 1.0, 2.0)),
        (CLASS_LOGITS + 1000, CLASSES, CLASS_WEIGHT, 2.0, -100),
        (LEADING, CLASSES, CLASS_WEIGHT, 2.0, -100),
        (CLASS_LOGITS, np.where(CLASSES < 0, 7, CLASSES), CLASS_WEIGHT[::-1].copy(), 2.0, 7),
    ),
    mistakes={
        "the mean is taken first: each example has a p_t of its own": wrong_way(
            lambda x, t, ce, w, counts, gamma, weight: powered((w * ce).sum() / w.sum(), gamma)
        ),
        "the weight is inside the exponent: p_t comes from a cross-entropy without weights": wrong_way(
            lambda x, t, ce, w, counts, gamma, weight: powered(w * ce, gamma).sum() / w.sum()
        ),
        "the weight is gathered by the example's place: it is that of the example's class": wrong_way(
            lambda x, t, ce, w, counts, gamma, weight: (
                (weight[torch.arange(len(t)) % len(weight)] * counts * powered(ce, gamma)).sum() / w.sum()
            )
        ),
        "softmax twice: the logits go into one of them": wrong_way(
            lambda x, t, ce, w, counts, gamma, weight: (
                (w * powered(F.cross_entropy(x.softmax(1), t, reduction="none"), gamma)).sum() / w.sum()
            )
        ),
        "an ignored example still counts in the divisor": wrong_way(
            lambda x, t, ce, w, counts, gamma, weight: (w * powered(ce, gamma)).sum() / weight[t].sum()
        ),
        "the sum is divided by the number of examples: divide by the sum of their weights": wrong_way(
            lambda x, t, ce, w, counts, gamma, weight: (w * powered(ce, gamma)).sum() / counts.sum()
        ),
        "the sum is not divided: the mean is asked for": wrong_way(
            lambda x, t, ce, w, counts, gamma, weight: (w * powered(ce, gamma)).sum()
        ),
        "the slope lacks the modulating factor's own part: differentiate the product": wrong_way(
            lambda x, t, ce, w, counts, gamma, weight: (w * (1 - torch.exp(-ce)).detach() ** gamma * ce).sum() / w.sum()
        ),
        "an ignored example is taken for one of class 0: its loss and its slopes are 0": not_ignored,
        "the slope is not divided by the divisor of the mean": slope_undivided,
        "the slope is p_j - [j = t] times a factor: the one-hot row is missing": without_one_hot,
        "all classes have a slope: the others are pushed down as the true one is pulled up": of_the_true_class,
        "e^x of a logit of 1000 is infinite: subtract the largest logit of the example first": naive,
        "1 - p_t is rounded to 0 where the true class leads, and 0 / 0 is no number: add up the other p": rounded_away,
    },
)
