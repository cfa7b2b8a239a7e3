"""Checks of chapter 17: a loss you can trust."""

import math

import torch
import torch.nn.functional as F

from focalbook import losses
from focalbook.checks.check import Check, loss_and_slope

saturates_at = Check(
    reference=lambda: 8 * math.log(2),
    tolerance=5e-3,
    mistakes={
        "a number rounds to the nearest: half a step above 1 is already rounded to 1": lambda: 7 * math.log(2),
        "that is where p itself rounds to 1: below 1 the numbers lie twice as close; here 1 + e^-x is rounded": (
            lambda: 9 * math.log(2)
        ),
        "that is single precision: the steps of bfloat16 are far coarser": lambda: 24 * math.log(2),
        "that is a power of 2: e^-x has the natural logarithm": lambda: 8.0,
        "the sign: p rounds to 1 where the logit is large and positive": lambda: -8 * math.log(2),
    },
)


def soft_loss(x, t, gamma):
    return losses.sigmoid_focal_loss(x, t, -1, gamma)


def soft_ce(x, t):
    return -t * F.logsigmoid(x) - (1 - t) * F.logsigmoid(-x)


def wrong(x, t):
    """1 - p_t without a difference of nearly equal numbers."""
    return (t * torch.sigmoid(-x) + (1 - t) * torch.sigmoid(x)).clamp(min=1e-300)


def mixed(x, t, gamma):
    return t * soft_loss(x, torch.ones_like(t), gamma) + (1 - t) * soft_loss(x, torch.zeros_like(t), gamma)


def by_distance(x, t, gamma):
    return ((torch.sigmoid(x) - t).abs() + 1e-300) ** gamma * soft_ce(x, t)


def by_exponential(x, t, gamma):
    return (1 - torch.exp(-soft_ce(x, t))).clamp(min=1e-300) ** gamma * soft_ce(x, t)


def hardened(x, t, gamma):
    return soft_loss(x, (t >= 0.5).to(x), gamma)


def hardened_factor(x, t, gamma):
    return wrong(x, (t >= 0.5).to(x)) ** gamma * soft_ce(x, t)


def logarithm_of_p_t(x, t, gamma):
    q = wrong(x, t)
    return q**gamma * -torch.log1p(-q.clamp(max=1 - 1e-15))


def detached(x, t, gamma):
    return wrong(x, t).detach() ** gamma * soft_ce(x, t)


def clamped(x, t, gamma):
    p = torch.sigmoid(x).clamp(1e-4, 1 - 1e-4)
    q = t * (1 - p) + (1 - t) * p
    return q**gamma * (-t * p.log() - (1 - t) * (1 - p).log())


def on_paper(x, t, gamma):
    p = torch.sigmoid(x)
    q = t * (1 - p) + (1 - t) * p
    return q**gamma * (-t * p.log() - (1 - t) * (1 - p).log())


def rounding(x, t, gamma):
    p = torch.sigmoid(x)
    return (1 - (t * p + (1 - t) * (1 - p))) ** gamma * soft_ce(x, t)


def hidden(x, t, gamma):
    q = t * torch.sigmoid(-x) + (1 - t) * torch.sigmoid(x)
    return torch.where(q > 0, q**gamma, 0) * soft_ce(x, t)


def by_maximum(x, t, gamma):
    return wrong(x, t) ** gamma * (x.clamp(min=0) - t * x + torch.log1p(torch.exp(-x.abs())))


MODERATE = torch.tensor([-3.0, -1.0, 0.0, 0.0, 0.5, 2.0, 4.0], dtype=torch.float64)
SOFT = torch.tensor([0.0, 0.3, 0.0, 0.9, 1.0, 0.6, 0.1], dtype=torch.float64)
FAR = torch.tensor([-40.0, 40.0, -12.0, 12.0], dtype=torch.float64)
FARTHER = torch.tensor([-800.0, 800.0, -200.0, 200.0], dtype=torch.float64)
HARD = torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
EASY_ALONE = torch.tensor([-18.0, 18.0], dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)

soft_focal_loss = Check(
    reference=soft_loss,
    probe=loss_and_slope,
    cases=(
        *((MODERATE, SOFT, gamma) for gamma in (0.0, 0.5, 2.0)),
        *((x, HARD, gamma) for x in (FAR, FARTHER) for gamma in (0.5, 2.0)),
        *((*EASY_ALONE, gamma) for gamma in (0.5, 2.0)),
    ),
    mistakes={
        "two focal losses, mixed by the label: it is one q, to the power gamma, times the whole cross-entropy": mixed,
        "1 - p_t of a soft label is t (1 - p) + (1 - t) p: the distance of p and t is another loss": by_distance,
        "exp(-CE) is p_t for the labels 0 and 1 alone: for soft labels take both terms": by_exponential,
        "you round the soft labels to 0 or 1": hardened,
        "you round the soft labels to 0 or 1 in the modulating factor": hardened_factor,
        "cross-entropy of a soft label has two logarithms: it is not the logarithm of p_t": logarithm_of_p_t,
        "the modulating factor has a slope too: do not detach it": detached,
        "the loss has no slope: autograd cannot follow it back to the logits": lambda *case: soft_loss(*case).detach(),
        "a clamp between logit and loss has no slope: a hopeless example stops learning": clamped,
        "the logarithm of a probability that rounds to 0 is infinite: use logsigmoid": on_paper,
        "1 - p_t rounds to 0, where a power below 1 has an infinite slope: add up the small parts": rounding,
        "the slope is NaN where the sigmoid is 0: clamp before the power, torch.where comes too late": hidden,
        "at logit 0 the slopes of max(x, 0) and |x| are cut: use logsigmoid": by_maximum,
    },
)


def total(x, t):
    return losses.sigmoid_focal_loss(x.double(), t.double(), reduction="sum")


def each_rounded(x, t):
    return losses.sigmoid_focal_loss(x, t).double().sum()


def sum_rounded(x, t):
    return losses.sigmoid_focal_loss(x, t, reduction="sum").to(x.dtype).double()


def running(x, t):
    added = torch.zeros((), dtype=x.dtype)
    for loss in losses.sigmoid_focal_loss(x, t):
        added = added + loss
    return added


def formula(x, t, p=None):
    p = torch.sigmoid(x) if p is None else p
    p_t, alpha_t = torch.where(t == 1, p, 1 - p), torch.where(t == 1, 0.25, 0.75).to(x)
    return alpha_t * (1 - p_t) ** 2 * -p_t.log()


def formula_summed_wide(x, t):
    return formula(x, t).double().sum()


def probability_widened(x, t):
    return formula(x.double(), t, torch.sigmoid(x).double()).sum()


def average(x, t):
    return total(x, t) / x.numel()


AT_PRIOR = torch.full((600,), -4.59375, dtype=torch.bfloat16)
EASY = torch.full((600,), -9.0, dtype=torch.float16)
LOUD = torch.full((600,), 400.0, dtype=torch.float16)


def in_double(function, x, t):
    result = function(x, t)  # NumPy knows no bfloat16
    return result.double() if isinstance(result, torch.Tensor) else result


half_precision_total = Check(
    reference=total,
    probe=in_double,
    tolerance=1e-4,
    cases=(
        *((x, torch.zeros_like(x)) for x in (AT_PRIOR, EASY, LOUD)),
        (AT_PRIOR, (torch.arange(600) < 6).to(AT_PRIOR)),
    ),
    mistakes={
        "a running sum in half precision stands still once a loss is below half its last digit": running,
        "each loss is rounded to half precision before the sum: convert the logits first": each_rounded,
        "the sum is rounded to half precision: convert the logits first": sum_rounded,
        "1 - p_t in half precision is gone before you sum: convert the logits, not the losses": formula_summed_wide,
        "p is rounded already: widen the logits, not the probabilities": probability_widened,
        "the class weight is missing: alpha is 0.25": lambda x, t: soft_loss(x.double(), t.double(), 2.0).sum(),
        "a sum is wanted, without a division": average,
    },
)


def plain(x, t, gamma):
    p = torch.sigmoid(x)
    p_t = t * p + (1 - t) * (1 - p)
    return (1 - p_t) ** gamma * F.binary_cross_entropy_with_logits(x, t, reduction="none")


def corner(x, t, gamma):
    q = (t * torch.sigmoid(-x) + (1 - t) * torch.sigmoid(x)).clamp(min=1e-30)
    return q**gamma * (x.clamp(min=0) - t * x + torch.log1p(torch.exp(-x.abs())))


def gentle(x, t, gamma):
    q = (t * torch.sigmoid(-x) + (1 - t) * torch.sigmoid(x)).clamp(min=1e-30)
    return q.detach() ** gamma * -(t * F.logsigmoid(x) + (1 - t) * F.logsigmoid(-x))


def whole_gamma(x, t, gamma):
    return soft_loss(x, t, int(gamma))


PLACES = {
    "hard": (20.0, 0.0, 2.0),
    "hopeless": (-12.0, 1.0, 2.0),
    "easy": (-20.0, 0.0, 2.0),
    "small gamma": (-20.0, 0.0, 0.5),
    "corner": (0.0, 0.0, 2.0),
}


def slope_at(loss, x, t, gamma, dtype):
    x, t = torch.tensor([x], dtype=dtype, requires_grad=True), torch.tensor([t], dtype=dtype)
    return torch.autograd.grad(loss(x, t, gamma).sum(), x)[0].item()


def value_at(loss, x, t, gamma, dtype):
    return loss(torch.tensor([x], dtype=dtype), torch.tensor([t], dtype=dtype), gamma).item()


def near(found, true):
    return abs(found - true) <= 0.01 * abs(true)


def audit(loss, at=slope_at, fails=lambda found, true: not near(found, true), dtype=torch.float32, own=False):
    truth = loss if own else soft_loss
    return {name: fails(at(loss, *place, dtype), at(truth, *place, torch.float64)) for name, place in PLACES.items()}


def one_gamma(loss):
    return audit(lambda x, t, gamma: loss(x, t, 2.0)) | {
        "small gamma": not near(
            slope_at(loss, -20.0, 0.0, 2.0, torch.float32), slope_at(soft_loss, -20.0, 0.0, 2.0, torch.float64)
        )
    }


faults_of = Check(
    reference=audit,
    cases=tuple((loss,) for loss in (on_paper, clamped, plain, corner, gentle, whole_gamma, soft_loss)),
    mistakes={
        "you compare the losses: an optimizer follows the slope": lambda loss: audit(loss, at=value_at),
        "a comparison with NaN is False: ask whether the slope is near, and turn the answer round": lambda loss: audit(
            loss, fails=lambda found, true: abs(found - true) > 0.01 * abs(true)
        ),
        "you only ask whether the slope is finite: a slope of 0 can be as wrong": lambda loss: audit(
            loss, fails=lambda found, true: not math.isfinite(found)
        ),
        "an absolute tolerance is blind to the slopes of easy examples: divide by the truth": lambda loss: audit(
            loss, fails=lambda found, true: not abs(found - true) <= 0.01
        ),
        "you run the loss in double precision, which hides what rounds: hand it float32": lambda loss: audit(
            loss, dtype=torch.float64
        ),
        "you compare the loss with itself in double precision: its own errors stay unseen": lambda loss: audit(
            loss, own=True
        ),
        "gamma is 2 in all of your places: one of them has a smaller one": one_gamma,
        "you tell where the loss is right: True stands for a fault": lambda loss: {
            name: not fault for name, fault in audit(loss).items()
        },
    },
)
