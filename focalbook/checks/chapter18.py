"""Checks of chapter 18: memory and time of a loss."""

import numpy as np
import torch
import torch.nn.functional as F

from focalbook import losses
from focalbook.checks.check import Check

gigabytes_saved = Check(
    reference=lambda: 2.56,
    tolerance=5e-3,
    mistakes={
        "that is what the plain formula keeps in all: subtract what the book's loss keeps": lambda: 3.072,
        "that is what is still kept: asked is what is saved": lambda: 0.512,
        "a logit belongs to one class of an anchor: there are 80 times as many as anchors": lambda: 0.032,
        "that is one image: a step has 16": lambda: 0.16,
        "those are bytes: a gigabyte is a billion of them": lambda: 2.56e9,
    },
)


def quartiles(ratios):
    return np.percentile(ratios, [25, 50, 75])


def by_rounds(base, ours):
    return quartiles(base / ours)


def by_medians(base, ours):
    return quartiles(base) / quartiles(ours)


def by_best(base, ours):
    return np.full(3, base.min() / ours.min())


def by_mean(base, ours):
    ratios = base / ours
    return np.array([ratios.mean() - ratios.std(), ratios.mean(), ratios.mean() + ratios.std()])


BUSY = np.array([4.0, 8.0, 4.4, 4.2, 9.0, 4.1]), np.array([2.0, 5.0, 2.2, 2.0, 3.0, 2.5])
CALM = np.array([10.0, 10.5, 9.8, 10.2, 10.1]), np.array([12.0, 12.4, 12.6, 11.9, 12.1])

times_faster = Check(
    reference=by_rounds,
    cases=(BUSY, CALM),
    mistakes={
        "divide round by round first: a busy round slows both, and the ratio of two medians forgets that": by_medians,
        "that is how many times slower: the time of the base stands above": lambda base, ours: quartiles(ours / base),
        "those are milliseconds saved: times faster is a ratio": lambda base, ours: quartiles(base - ours),
        "the best time of each may come from different rounds: divide round by round": by_best,
        "quartiles are wanted, not the mean and a standard deviation": by_mean,
        "that is one less: as fast as the base is 1, not 0": lambda base, ours: quartiles(base / ours) - 1,
        "from the lower quartile to the upper one: that is the other order": lambda base, ours: by_rounds(base, ours)[
            ::-1
        ],
    },
)


def slope_of(x, t):
    """Slope of the focal loss with gamma 2, without a class weight, for hard labels."""
    s = 1 - 2 * t
    q, p_t = torch.sigmoid(s * x), torch.sigmoid(-s * x)
    return s * q**2 * (q - 2 * p_t * F.logsigmoid(-s * x)), -(q**2) * F.logsigmoid(-s * x)


class Kept(torch.autograd.Function):
    """Focal loss that keeps its slope; ``altered`` says what becomes of the slope on its way back."""

    @staticmethod
    def forward(ctx, x, t, altered):
        slope, loss = slope_of(x, t)
        ctx.save_for_backward(altered(slope, x, t))
        ctx.times = altered is not alone
        return loss

    @staticmethod
    def backward(ctx, above):
        (slope,) = ctx.saved_tensors
        return above * slope if ctx.times else slope, None, None


def alone(slope, x, t):
    return slope


def one_number(x, t):
    return Kept.apply(x, t, lambda slope, x, t: slope)


def several_numbers(x, t):
    s = 1 - 2 * t
    return -(torch.sigmoid(s * x) ** 2) * F.logsigmoid(-s * x)


def without_above(x, t):
    return Kept.apply(x, t, alone)


def factor_detached(x, t):
    return Kept.apply(x, t, lambda slope, x, t: torch.sigmoid((1 - 2 * t) * x) ** 2 * (torch.sigmoid(x) - t))


def without_sign(x, t):
    return Kept.apply(x, t, lambda slope, x, t: slope.abs())


def without_q(x, t):
    return Kept.apply(x, t, lambda slope, x, t: slope / torch.sigmoid((1 - 2 * t) * x) ** 2)


def kept_bytes(loss, x, t, size=lambda tensor: tensor.untyped_storage().nbytes()):
    """Bytes that a forward pass keeps: each piece of memory once, the arguments aside."""
    pieces = {}

    def look(tensor):
        pieces[tensor.untyped_storage().data_ptr()] = size(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(look, lambda tensor: tensor):
        loss(x, t)
    pieces = {place: number for place, number in pieces.items() if place not in (x.data_ptr(), t.data_ptr())}
    return sum(pieces.values())


def loss_slope_and_room(function, x, t):
    """A probe: losses, the gradient of a weighted sum of them, and whether at most one number a logit is kept."""
    x = x.requires_grad_()
    little = kept_bytes(function, x, t) <= x.numel() * x.element_size()
    loss = function(x, t)
    if not isinstance(loss, torch.Tensor) or loss.shape != x.shape:
        return loss
    weighted = (torch.arange(1, len(x) + 1) * loss).sum()
    slope = torch.autograd.grad(weighted, x)[0] if loss.requires_grad else torch.zeros_like(x)
    return loss.detach(), slope, torch.tensor(float(little))


AT = torch.linspace(-4, 4, 12, dtype=torch.float64)

kept_slope = Check(
    reference=one_number,
    probe=loss_slope_and_room,
    cases=((AT, (torch.arange(12) % 2).double()), (AT[:5] / 2, torch.tensor([1.0, 0, 0, 1, 1], dtype=torch.float64))),
    mistakes={
        "right, but autograd keeps several numbers a logit: save the slope alone": several_numbers,
        "the backward pass returns the slope alone: multiply it by what comes from above": without_above,
        "the modulating factor has a slope too: the slope needs both terms of the product rule": factor_detached,
        "the slope of a positive is negative: a larger logit makes its loss smaller": without_sign,
        "the factor q squared in front is missing from the slope": without_q,
        "the loss has no slope: call apply, so that autograd knows of the backward pass": lambda x, t: slope_of(x, t)[
            1
        ].detach(),
    },
)


def each_time(loss, x, t):
    """With a piece of memory counted as often as it is saved."""
    return sum(size for place, size in saved(loss, x, t) if place not in (x.data_ptr(), t.data_ptr()))


def with_arguments(loss, x, t):
    """With logits and labels counted too."""
    return sum(dict(saved(loss, x, t)).values())


def saved(loss, x, t):
    """Place and size of the memory behind each tensor that is saved."""
    found = []

    def look(tensor):
        found.append((tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(look, lambda tensor: tensor):
        loss(x, t)
    return found


def a_logit(loss, x, t):
    return kept_bytes(loss, x, t) / x.numel()


def numbers(loss, x, t):
    return kept_bytes(loss, x, t, size=lambda tensor: tensor.untyped_storage().nbytes() // tensor.element_size())


def four_bytes(loss, x, t):
    return 4 * numbers(loss, x, t)


def only_views(loss, x, t):
    return kept_bytes(loss, x, t, size=lambda tensor: tensor.numel() * tensor.element_size())


def cubed(x, t):
    y = torch.sigmoid(x)
    return y * y * y


def plain(x, t):
    p = torch.sigmoid(x)
    p_t = t * p + (1 - t) * (1 - p)
    return (1 - p_t) ** 2 * F.binary_cross_entropy_with_logits(x, t, reduction="none")


def halves(x, t):
    """Saves two views of one piece of memory, each a half of it."""
    y = torch.sigmoid(x)
    half = len(x) // 2
    return y[:half].exp() * torch.log(1 + y[:half]) + y[half:].square()


def book(x, t):
    return losses.sigmoid_focal_loss(x, t)


LOGITS = torch.linspace(-5, 5, 40)


def with_slope(function, loss, x, t):
    return function(loss, x.clone().requires_grad_(), t)


bytes_kept = Check(
    reference=kept_bytes,
    probe=with_slope,
    cases=tuple(
        (loss, x, (torch.arange(40) < 4).to(x))
        for loss in (plain, book, cubed, halves)
        for x in (LOGITS, LOGITS.double())
    ),
    mistakes={
        "you count a piece of memory each time that it is saved: count each once": each_time,
        "logits and labels are there anyway: leave them out": with_arguments,
        "the bytes of all logits together are wanted, not those of one": a_logit,
        "you count numbers: bytes are wanted, and a number may have four or eight": numbers,
        "a number of double precision has eight bytes: ask the memory for its size": four_bytes,
        "a view of a half keeps the whole memory alive: ask the storage, not the tensor": only_views,
    },
)
