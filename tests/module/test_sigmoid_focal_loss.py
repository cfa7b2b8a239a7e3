"""The contract of ``sigmoid_focal_loss``: 50-digit values and slopes, every type, shape, transform and refusal."""

import functools
import inspect
import math
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.extra import numpy as hnp
from torch.autograd.graph import saved_tensors_hooks

from focalbook import losses
from focalbook.losses import CHUNK, focal_loss, sigmoid_focal_loss
from tools.bench import torchvision_formula

GAMMAS = (0, 0.5, 1, 1.5, 2, 5)
ALPHAS = (-1, 0, 0.25, 0.5, 0.75, 1)
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
REDUCTIONS = ("none", "mean", "sum")
RELATIVE = {torch.float64: 1e-12, torch.float32: 5e-6}
HARD, SOFT, MIXED = (0, 1), (0.125, 0.5, 0.8125), (0, 0.25, 1)


def logits_and_targets(labels, dtype=torch.float64):
    """Every combination of some moderate logits with ``labels``."""
    x = torch.tensor([-6.3, -2.0, -0.4, 0.0, 0.7, 3.1, 8.0], dtype=dtype)
    return x.repeat_interleave(len(labels)), torch.tensor(labels, dtype=dtype).repeat(len(x))


def random_examples(*shape, labels="hard", dtype=torch.float64, seed=0):
    """Random logits with random labels: "hard", "soft" or "mixed"."""
    generator = torch.Generator().manual_seed(seed)
    x = 4 * torch.randn(shape, generator=generator, dtype=torch.float64)
    soft = torch.rand(shape, generator=generator, dtype=torch.float64)
    hard = (soft < 0.3).double()
    keep = torch.rand(shape, generator=generator) < {"hard": 1.0, "soft": 0.0, "mixed": 0.5}[labels]
    return x.to(dtype), torch.where(keep, hard, soft).to(dtype)


def value_and_gradient(x, t, *arguments, create_graph=False, **settings):
    """The loss, and the gradient of its sum towards the logits."""
    x = x.detach().requires_grad_()
    loss = sigmoid_focal_loss(x, t, *arguments, **settings)
    (gradient,) = torch.autograd.grad(loss, x, torch.ones_like(loss), create_graph=create_graph)
    return loss.detach(), gradient.detach()


def value_and_derivatives(x, t, *arguments, **settings):
    """The loss, its first and its second derivative, example by example."""
    x = x.detach().requires_grad_()
    loss = sigmoid_focal_loss(x, t, *arguments, **settings)
    (first,) = torch.autograd.grad(loss, x, torch.ones_like(loss), create_graph=True)
    (second,) = torch.autograd.grad(first, x, torch.ones_like(first))
    return loss.detach(), first.detach(), second


def assert_relative(got, want, rel, dtype=torch.float64, scale=None):
    """Every entry is within ``rel`` times ``scale`` of ``want``; the scale is ``want`` itself unless given.

    The only absolute floor: what lies below the smallest normal number of ``dtype``, where digits run out, must come
    out below it too.
    """
    got, want = got.double().numpy().reshape(-1), np.asarray(want).reshape(-1)
    assert got.shape == want.shape
    scale = np.abs(want) if scale is None else np.asarray(scale).reshape(-1)
    tiny = torch.finfo(dtype).tiny
    right = (np.abs(got - want) <= rel * scale) | (np.abs(want) < tiny) & (np.abs(got) <= tiny)
    assert right.all(), [f"{i}: got {got[i]!r}, want {want[i]!r}" for i in np.flatnonzero(~right)[:5]]


def forgiving(slope, pulls):
    """The scale of a slope's error: the slope, but at least 1/100 of the two classes' pulls that it is made of.

    A soft label has a logit where they cancel, and no digits are left there. A hard label has one pull, so that its
    errors are relative to the slope throughout.
    """
    return np.maximum(np.abs(slope), np.asarray(pulls) / 100)


# ---- values and slopes ----

# All of them exact in float32, so that one reference serves both types. Where floats end: e^-87 and e^-103 in float32,
# e^-708 and e^-745 in float64, and for gamma = 2 the third root of these.
POSITIVE = (1e-30, 1e-8, 0.01, 0.4, 1, 3.3, 8, 12.3, 16, 16.7, 20, 25, 29.1, 34.6, 36.7, 40, 58, 87, 88.5, 100, 103.9)
POSITIVE += (150, 236, 248.3, 354, 500, 708, 709.8, 745, 750, 1e3, 1e4)
LOGITS = [0.0] + [sign * float(np.float32(x)) for x in POSITIVE for sign in (-1, 1)]
EXACT_LABELS = (0, 1, 2**-10, *SOFT)


@functools.cache
def exact(gamma, label):
    """FL, dFL/dx and the sum of the two classes' pulls in dFL/dx at every logit, without alpha, as 50-digit numbers."""
    rows = []
    with mpmath.workdps(60):  # ten to spare
        t, one = mpmath.mpf(label), mpmath.mpf(1)
        for x in map(mpmath.mpf, LOGITS):
            e, inverse = mpmath.exp(x), mpmath.exp(-x)
            p, not_p = one / (1 + inverse), one / (1 + e)
            q = t * not_p + (1 - t) * p
            ce = t * mpmath.log1p(inverse) + (1 - t) * mpmath.log1p(e)
            weight, focus = q ** mpmath.mpf(gamma), gamma * p * not_p / q * ce
            up, down = weight * (1 - t) * (p + focus), weight * t * (not_p + focus)
            rows.append((weight * ce, up - down, up + down))
    return rows


def exact_columns(alpha, gamma, labels):
    """``exact`` times alpha_t in float64, for every combination of a label with a logit."""
    weight = {label: 1 if alpha == -1 else alpha * label + (1 - alpha) * (1 - label) for label in labels}  # exact
    rows = [[float(entry * weight[label]) for entry in row] for label in labels for row in exact(gamma, label)]
    return np.array(rows).T


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("labels", [HARD, EXACT_LABELS], ids=["hard", "soft-and-hard"])
@pytest.mark.parametrize("dtype", RELATIVE, ids=str)
def test_value_and_gradient_agree_with_50_digits(dtype, labels, alpha, gamma):
    # Hard labels alone take the CPU's short way; one soft label among them sends all of them the general way.
    x = torch.tensor(LOGITS, dtype=dtype).repeat(len(labels))
    t = torch.tensor(labels, dtype=dtype).repeat_interleave(len(LOGITS))
    loss, gradient = value_and_gradient(x, t, alpha, gamma)
    want, slope, pulls = exact_columns(alpha, gamma, labels)
    assert_relative(loss, want, RELATIVE[dtype], dtype)
    assert_relative(gradient, slope, RELATIVE[dtype], dtype, scale=forgiving(slope, pulls))


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("dtype", RELATIVE, ids=str)
def test_hard_labels_cost_the_same_with_and_without_a_soft_label_beside_them(dtype, gamma):
    x, t = random_examples(10_000, dtype=dtype)
    beside = [torch.cat((part, torch.tensor([value], dtype=dtype))) for part, value in ((x, 0.0), (t, 0.5))]
    for alone, together in zip(
        value_and_gradient(x, t, gamma=gamma), value_and_gradient(*beside, gamma=gamma), strict=True
    ):
        torch.testing.assert_close(together[:-1], alone, rtol=RELATIVE[dtype], atol=0)


@pytest.mark.parametrize("label", [1e-17, 1e-300])
def test_a_nearly_hard_label_counts_as_what_it_is(label):
    # Cross-entropy: ln(1 + e^-900) is nothing beside 900 label, and the slope is p - label.
    x, t = torch.tensor([-900.0], dtype=torch.float64), torch.tensor([label], dtype=torch.float64)
    loss, gradient = value_and_gradient(x, t, alpha=-1, gamma=0)
    assert_relative(loss, [900 * label], 1e-12)
    assert_relative(gradient, [-label], 1e-12)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_logit_form_agrees_with_the_probability_form(alpha, gamma):
    x, t = logits_and_targets(HARD)
    expected = focal_loss(x.sigmoid().numpy(), t.numpy(), alpha=None if alpha == -1 else alpha, gamma=gamma)
    np.testing.assert_allclose(sigmoid_focal_loss(x, t, alpha, gamma).numpy(), expected, rtol=1e-11)


def test_a_soft_label_weighs_both_classes():
    # Half of each class at p = 1/2: alpha_t = 1/2, 1 - p_t = 1/2, cross-entropy ln 2.
    loss = sigmoid_focal_loss(torch.zeros(1), torch.tensor([0.5]), alpha=0.25, gamma=2.0)
    assert loss.item() == pytest.approx(0.5 * 0.25 * math.log(2))


def test_names_order_and_defaults_are_torchvisions():
    parameters = inspect.signature(sigmoid_focal_loss).parameters.values()
    assert [parameter.name for parameter in parameters] == ["inputs", "targets", "alpha", "gamma", "reduction"]
    assert [parameter.default for parameter in parameters][2:] == [0.25, 2.0, "none"]


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_moderate_logits_agree_with_torchvisions_formula(alpha, gamma):
    x, t = logits_and_targets(MIXED)
    torch.testing.assert_close(
        sigmoid_focal_loss(x, t, alpha, gamma), torchvision_formula(x, t, alpha, gamma), rtol=1e-11, atol=0
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("labels", [HARD, MIXED], ids=["hard", "mixed"])
def test_moderate_logits_agree_with_torchvision_itself(labels, reduction):
    try:
        from torchvision.ops import sigmoid_focal_loss as torchvisions
    except (ImportError, RuntimeError) as error:  # a torchvision made for another torch has no operators
        pytest.skip(f"needs a torchvision that imports: {error}")
    x, t = logits_and_targets(labels)
    x.requires_grad_()
    results = []
    for loss in (sigmoid_focal_loss(x, t, 0.3, 1.5, reduction), torchvisions(x, t, 0.3, 1.5, reduction)):
        results.append((loss.detach(), *torch.autograd.grad(loss.sum(), x)))
    torch.testing.assert_close(*results, rtol=1e-10, atol=0)


# ---- derivatives ----


@pytest.mark.parametrize("labels", [HARD, SOFT, MIXED], ids=["hard", "soft", "mixed"])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_first_and_second_derivatives_towards_the_logits_agree_with_finite_differences(gamma, labels):
    x, t = logits_and_targets(labels)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: sigmoid_focal_loss(x, t, gamma=gamma), x)
    assert torch.autograd.gradgradcheck(lambda x: sigmoid_focal_loss(x, t, gamma=gamma), x)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_first_and_second_derivatives_towards_learnable_labels_agree_with_finite_differences(gamma):
    arguments = [part.requires_grad_() for part in logits_and_targets(SOFT)]
    assert torch.autograd.gradcheck(lambda x, t: sigmoid_focal_loss(x, t, gamma=gamma), arguments)
    assert torch.autograd.gradgradcheck(lambda x, t: sigmoid_focal_loss(x, t, gamma=gamma), arguments)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_reduced_loss_has_the_derivatives_of_its_value(reduction):
    x, t = logits_and_targets(MIXED)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: sigmoid_focal_loss(x, t, reduction=reduction), x)
    assert torch.autograd.gradgradcheck(lambda x: sigmoid_focal_loss(x, t, reduction=reduction), x)


@pytest.mark.parametrize("labels", [HARD, SOFT, MIXED], ids=["hard", "soft", "mixed"])
@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("alpha", [-1, 0.25])
def test_the_first_and_second_derivatives_at_the_logit_0_are_those_of_the_formula(alpha, gamma, labels):
    t = torch.tensor(labels, dtype=torch.float64)
    _, first, second = value_and_derivatives(torch.zeros(len(labels), dtype=torch.float64), t, alpha, gamma)
    weight = (1 if alpha == -1 else alpha * t + (1 - alpha) * (1 - t)) / 2**gamma
    tilt, ln2 = 1 - 2 * t, math.log(2)  # p = 1 - p = 1 - p_t = 1/2, and the cross-entropy is ln 2
    assert_relative(first, weight * tilt * (1 + gamma * ln2) / 2, 1e-12)
    assert_relative(second, weight * (1 + tilt**2 * gamma * (2 + (gamma - 1) * ln2)) / 4, 1e-12)


@pytest.mark.parametrize("labels", ["hard", "mixed"])
@pytest.mark.parametrize(
    "upstream",
    [
        lambda: torch.arange(24.0, dtype=torch.float64).reshape(4, 6) - 11,
        lambda: torch.arange(24.0, dtype=torch.float64).reshape(6, 4).t() - 11,
        lambda: torch.arange(48.0, dtype=torch.float64).reshape(4, 12)[:, ::2],
        lambda: torch.tensor(-3.0, dtype=torch.float64).expand(4, 6),
        lambda: torch.arange(4.0, dtype=torch.float64)[:, None].expand(4, 6),
        lambda: torch.zeros(4, 6, dtype=torch.float64),
    ],
    ids=["contiguous", "transposed", "strided", "expanded", "expanded-rows", "zero"],
)
def test_a_gradient_from_above_multiplies_the_slope_example_by_example(upstream, labels):
    x, t = random_examples(4, 6, labels=labels)
    _, slope = value_and_gradient(x, t)
    sigmoid_focal_loss(x.requires_grad_(), t).backward(upstream())
    torch.testing.assert_close(x.grad, upstream() * slope, rtol=1e-12, atol=0)


@pytest.mark.parametrize("reduction, share", [("sum", 1), ("mean", 1 / 24)])
def test_a_gradient_from_above_scales_every_slope_of_a_reduced_loss(reduction, share):
    x, t = random_examples(4, 6, labels="mixed")
    _, slope = value_and_gradient(x, t)
    (-3 * sigmoid_focal_loss(x.requires_grad_(), t, reduction=reduction)).backward()
    torch.testing.assert_close(x.grad, -3 * share * slope, rtol=1e-12, atol=0)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("labels", ["hard", "mixed"])
def test_a_second_backward_over_a_kept_graph_gives_the_same_bits(labels, reduction):
    x, t = random_examples(1000, labels=labels, dtype=torch.float32)
    loss = sigmoid_focal_loss(x.requires_grad_(), t, reduction=reduction).sum()
    first, second = (torch.autograd.grad(loss, x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("labels", [HARD, SOFT], ids=["hard", "soft"])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_a_gradient_that_can_be_differentiated_again_agrees_with_the_plain_one(gamma, labels):
    x = torch.tensor(LOGITS, dtype=torch.float64).repeat(len(labels))
    t = torch.tensor(labels, dtype=torch.float64).repeat_interleave(len(LOGITS))
    _, plain = value_and_gradient(x, t, gamma=gamma)
    _, differentiable = value_and_gradient(x, t, gamma=gamma, create_graph=True)
    assert_relative(differentiable, plain, 1e-12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("labels", ["hard", "mixed"])
def test_learnable_labels_leave_value_and_the_logits_gradient_as_they_were(labels, reduction):
    x, t = random_examples(500, labels=labels)
    plain = value_and_gradient(x, t, reduction=reduction)
    learnable = value_and_gradient(x, t.requires_grad_(), reduction=reduction)
    torch.testing.assert_close(learnable, plain, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("gamma", GAMMAS)
def test_learnable_labels_leave_the_logits_gradient_finite_and_get_one_themselves(gamma, dtype):
    top = torch.finfo(dtype).max
    x = torch.tensor([*LOGITS, top / 8, -top / 8, top, -top], dtype=dtype).repeat(len(MIXED)).requires_grad_()
    t = torch.tensor(MIXED, dtype=dtype).repeat_interleave(len(x) // len(MIXED)).requires_grad_()
    loss = sigmoid_focal_loss(x, t, gamma=gamma)
    towards_x, towards_t = torch.autograd.grad(loss, (x, t), torch.ones_like(loss))
    assert towards_x.isfinite().all()
    # Towards a label the loss itself has a slope of up to (2 + gamma) |x|, which has to fit into the type.
    assert towards_t[x.abs() < top / 7].isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_hopeless_example_still_learns(dtype):
    top = torch.finfo(dtype).max
    x, t = torch.tensor([-1e4, 1e4, -top, top], dtype=dtype), torch.tensor([1.0, 0.0, 1.0, 0.0])
    assert value_and_gradient(x, t, alpha=-1)[1].tolist() == [-1, 1, -1, 1]


# ---- types ----


@pytest.mark.parametrize("gamma", (*GAMMAS, 1e-3, 100))
@pytest.mark.parametrize("alpha", [-1, 0.25])
@pytest.mark.parametrize("labels", [(0, 1), (0.0, 0.3, 0.5, 1.0)], ids=["hard", "soft-and-hard"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_value_gradient_and_second_derivative_are_finite_for_every_finite_logit(dtype, labels, alpha, gamma):
    kind = torch.finfo(dtype)
    positive = (kind.tiny, 1e-3, 1, 20, 60, 88, 100, 750, 1e4, kind.max / 2, kind.max)
    x = torch.tensor([0.0, *positive, *(-x for x in positive)], dtype=dtype)
    t = torch.tensor(labels, dtype=dtype).repeat_interleave(len(x))
    x = x.repeat(len(labels))
    for values in value_and_derivatives(x, t, alpha, gamma):
        assert values.isfinite().all(), x[~values.isfinite()]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_right_at_the_prior(dtype):
    # 400,000 negatives where training starts: nearly all of the total is made of losses that half precision flushes.
    x = torch.full((400_000,), -math.log(99), dtype=dtype)
    t = torch.zeros_like(x)
    want, slope = value_and_gradient(x.double(), t, reduction="sum")
    loss, gradient = value_and_gradient(x, t, reduction="sum")
    assert (loss.dtype, gradient.dtype) == (torch.float32, dtype)
    assert loss.item() == pytest.approx(want.item(), rel=0.01)
    torch.testing.assert_close(gradient.double(), slope, rtol=0.01, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("labels", ["hard", "mixed"])
def test_half_precision_is_float32_rounded_once(labels, dtype):
    x, t = (part.to(dtype) for part in random_examples(1000, labels=labels))
    for half, single in zip(value_and_gradient(x, t), value_and_gradient(x.float(), t.float()), strict=True):
        assert torch.equal(half, single.to(dtype))


def test_a_float16_mean_does_not_overflow_on_the_way():
    x = torch.full((100_000,), 20.0, dtype=torch.float16)  # a sum of 2 million
    loss, gradient = value_and_gradient(x, torch.zeros_like(x), alpha=-1, reduction="mean")
    assert loss.item() == pytest.approx(20, rel=1e-3)
    torch.testing.assert_close(gradient, torch.full_like(x, 1e-5), rtol=1e-3, atol=0)


@pytest.mark.parametrize("labels", [HARD, MIXED], ids=["hard", "mixed"])
@pytest.mark.parametrize(
    "logits, targets, inside, outside",
    [
        (torch.float32, torch.float64, torch.float64, torch.float64),
        (torch.float64, torch.float32, torch.float64, torch.float64),
        (torch.float16, torch.float64, torch.float64, torch.float64),
        (torch.bfloat16, torch.float32, torch.float32, torch.float32),
        (torch.float32, torch.float16, torch.float32, torch.float32),
        (torch.float16, torch.bfloat16, torch.float32, torch.float32),
        (torch.float16, torch.float16, torch.float32, torch.float16),
    ],
    ids=str,
)
def test_mixed_types_are_computed_in_the_wider_one(logits, targets, inside, outside, labels):
    x, t = logits_and_targets(labels)
    x, t = x.to(logits), t.to(targets)
    loss, gradient = value_and_gradient(x, t)
    want, slope = value_and_gradient(x.to(inside), t.to(inside))
    assert loss.dtype == outside and torch.equal(loss, want.to(outside))
    assert gradient.dtype == logits and torch.equal(gradient, slope.to(logits))


@pytest.mark.parametrize("targets", [torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool], ids=str)
@pytest.mark.parametrize("logits", DTYPES, ids=str)
def test_integers_and_booleans_count_as_labels(logits, targets):
    x, t = logits_and_targets(HARD, logits)
    for whole, floating in zip(value_and_derivatives(x, t.to(targets)), value_and_derivatives(x, t), strict=True):
        assert whole.dtype == logits and torch.equal(whole, floating)


@pytest.mark.parametrize("scalar", [int, np.float64, np.float32, np.int64])
def test_alpha_and_gamma_may_be_any_kind_of_number(scalar):
    x, t = logits_and_targets(MIXED)
    assert torch.equal(sigmoid_focal_loss(x, t, scalar(1), scalar(2)), sigmoid_focal_loss(x, t, 1.0, 2.0))


# ---- shapes ----


@pytest.mark.parametrize("label", [1.0, 0.25])
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0), (2, 3, 4), (2, 1, 3, 1, 2)])
def test_the_shape_is_kept(shape, label):
    loss, gradient = value_and_gradient(torch.zeros(shape), torch.full(shape, label))
    assert loss.shape == gradient.shape == shape


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
@pytest.mark.parametrize("reduction, value", [("sum", 0.0), ("mean", math.nan)])
def test_an_empty_batch_sums_to_zero_and_has_no_mean(reduction, value, shape):
    loss, gradient = value_and_gradient(torch.zeros(shape), torch.zeros(shape), reduction=reduction)
    assert loss.shape == () and loss.item() == pytest.approx(value, nan_ok=True)
    assert gradient.shape == shape


LAYOUTS = {
    "transposed": lambda part: part.t(),
    "strided": lambda part: part[:, 1::2],
    "sliced": lambda part: part[1:3, 2:5],
    "expanded": lambda part: part[:, :1].expand(4, 6),
    "expanded-scalar": lambda part: part[0, 0].expand(3, 5),
    "permuted": lambda part: part.reshape(2, 3, 4).permute(2, 0, 1),
    "channels-last": lambda part: part.reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("labels", ["hard", "mixed"])
@pytest.mark.parametrize("which", ["both", "logits", "labels"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_value_and_gradient_do_not_depend_on_the_layout_in_memory(layout, which, labels):
    x, t = (LAYOUTS[layout](part) for part in random_examples(4, 6, labels=labels))
    plain = value_and_gradient(x.contiguous(), t.contiguous())
    x, t = (x.contiguous() if which == "labels" else x), (t.contiguous() if which == "logits" else t)
    torch.testing.assert_close(value_and_gradient(x, t), plain, rtol=1e-12, atol=0)


def test_an_expanded_logit_collects_the_gradients_of_its_copies():
    x, t = random_examples(4, 6, labels="mixed")
    one = x[:, :1].clone().requires_grad_()
    sigmoid_focal_loss(one.expand(4, 6), t, reduction="sum").backward()
    _, gradient = value_and_gradient(one.detach().expand(4, 6).contiguous(), t)
    torch.testing.assert_close(one.grad, gradient.sum(1, keepdim=True), rtol=1e-12, atol=0)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("labels", ["hard", "mixed"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_arguments_are_left_as_they_were(dtype, labels, reduction):
    x, t = random_examples(4, 6, labels=labels, dtype=dtype)
    upstream = torch.full((4, 6) if reduction == "none" else (), 2.0, dtype=dtype)
    before = [part.clone() for part in (x, t, upstream)]
    sigmoid_focal_loss(x.requires_grad_(), t, reduction=reduction).backward(upstream)
    assert all(torch.equal(part, copy) for part, copy in zip((x, t, upstream), before, strict=True))


# ---- many examples ----


@pytest.mark.parametrize("labels", ["hard", "mixed"])
def test_mean_and_sum_reduce_what_none_returns(labels):
    x, t = random_examples(50, 70, labels=labels)
    every, slope = value_and_gradient(x, t)
    for reduction, share in (("sum", 1), ("mean", 1 / 3500)):
        loss, gradient = value_and_gradient(x, t, reduction=reduction)
        assert loss.shape == ()
        torch.testing.assert_close(loss, share * every.sum(), rtol=1e-12, atol=0)
        torch.testing.assert_close(gradient, share * slope, rtol=1e-12, atol=0)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("labels", ["hard", "mixed"])
def test_two_runs_agree_to_the_bit(labels, reduction):
    x, t = random_examples(2 * CHUNK + 3, labels=labels, dtype=torch.float32)
    first, second = (value_and_gradient(x, t, reduction=reduction) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("label", [0.0, 0.25])
def test_a_float32_sum_over_ten_million_examples_is_right(label):
    x = torch.randn(10_000_000, generator=torch.Generator().manual_seed(0)) - 3
    t = torch.full((), label).expand(len(x))
    want = sum(sigmoid_focal_loss(part.double(), t[: len(part)], reduction="sum").item() for part in x.split(500_000))
    assert sigmoid_focal_loss(x, t, reduction="sum").item() == pytest.approx(want, rel=1e-5)
    assert sigmoid_focal_loss(x, t, reduction="mean").item() == pytest.approx(want / len(x), rel=1e-5)


def reference(x, t, alpha, gamma):
    """FL, dFL/dx and the sum of the pulls in dFL/dx in float64 NumPy, along another way: by way of logarithms."""
    x, t = (np.asarray(part.double()).reshape(-1) for part in (x, t))
    ce_1, ce_0 = np.logaddexp(0, -x), np.logaddexp(0, x)
    p, not_p = np.exp(-ce_1), np.exp(-ce_0)
    q, ce = t * not_p + (1 - t) * p, t * ce_1 + (1 - t) * ce_0
    weight = q**gamma * (1 if alpha == -1 else alpha * t + (1 - alpha) * (1 - t))
    focus = gamma * np.divide(p * not_p, q, out=np.zeros_like(q), where=q > 0) * ce
    up, down = weight * (1 - t) * (p + focus), weight * t * (not_p + focus)
    return weight * ce, up - down, up + down


@pytest.mark.parametrize("soft", [None, 0, -1], ids=["all-hard", "soft-in-the-first-chunk", "soft-in-the-last-chunk"])
@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_the_borders_of_chunks_do_not_show(size, soft):
    x, t = random_examples(size)
    if soft is not None:
        t[soft] = 0.25
    want, slope, pulls = reference(x, t, 0.25, 2.0)
    every, gradient = value_and_gradient(x, t)
    assert_relative(every, want, 1e-12)
    assert_relative(gradient, slope, 1e-12, scale=forgiving(slope, pulls))
    total, summed = value_and_gradient(x, t, reduction="sum")
    assert total.item() == pytest.approx(math.fsum(want), rel=1e-12)
    assert torch.equal(summed, gradient)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    "logits, targets, labels",
    [
        (torch.float32, torch.float32, "hard"),
        (torch.float32, torch.float32, "mixed"),
        (torch.float16, torch.float16, "hard"),
        (torch.float16, torch.float16, "mixed"),
        (torch.float32, torch.int64, "hard"),
    ],
    ids=str,
)
def test_at_most_4_bytes_a_logit_are_kept_for_the_backward_pass(logits, targets, labels, reduction):
    x, t = random_examples(CHUNK + 5, labels=labels)
    x, t = x.to(logits).requires_grad_(), t.to(targets)
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = sigmoid_focal_loss(x, t, reduction=reduction)
    own = {part.untyped_storage().data_ptr() for part in (x, t)}
    assert sum(storage.nbytes() for place, storage in kept.items() if place not in own) <= 4 * x.numel()
    loss.sum().backward()
    assert x.grad.any()  # what was kept is all that it needs


# ---- wrong arguments ----


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(targets=torch.zeros(3)), r"inputs and targets must .* got \(2,\) and \(3,\)"),
        (dict(targets=torch.zeros(2, 1)), r"inputs and targets must .* got \(2,\) and \(2, 1\)"),
        (dict(targets=torch.zeros(())), r"inputs and targets must .* got \(2,\) and \(\)"),
        (dict(inputs=torch.zeros(1)), r"inputs and targets must .* got \(1,\) and \(2,\)"),
        (dict(reduction="average"), r"reduction must .* got 'average'"),
        (dict(reduction=None), r"reduction must .* got None"),
        (dict(alpha=1.5), r"alpha must .* got 1\.5"),
        (dict(alpha=-0.5), r"alpha must .* got -0\.5"),
        (dict(alpha=math.nan), r"alpha must .* got nan"),
        (dict(alpha=math.inf), r"alpha must .* got inf"),
        (dict(alpha=None), r"alpha must .* got None"),
        (dict(alpha="0.25"), r"alpha must .* got .*0\.25"),
        (dict(alpha=torch.tensor(0.25, requires_grad=True)), r"alpha must .* got .*0\.25"),
        (dict(alpha=torch.tensor([0.25, 0.75])), r"alpha must .* got tensor\(\[0\.2500, 0\.7500\]\)"),
        (dict(gamma=-2), r"gamma must .* got -2"),
        (dict(gamma=math.nan), r"gamma must .* got nan"),
        (dict(gamma=math.inf), r"gamma must .* got inf"),
        (dict(gamma=None), r"gamma must .* got None"),
        (dict(gamma=torch.tensor(2.0, requires_grad=True)), r"gamma must .* got .*2\."),
        (dict(gamma=torch.ones(2)), r"gamma must .* got tensor\(\[1\., 1\.\]\)"),
        (dict(inputs=torch.zeros(2, dtype=torch.int64)), r"inputs must be logits .* got torch\.int64"),
        (dict(inputs=torch.zeros(2, dtype=torch.bool)), r"inputs must be logits .* got torch\.bool"),
        (dict(inputs=torch.zeros(2, dtype=torch.complex64)), r"inputs must be logits .* got torch\.complex64"),
    ],
)
def test_a_wrong_argument_is_named_with_its_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        sigmoid_focal_loss(**(dict(inputs=torch.zeros(2), targets=torch.zeros(2)) | arguments))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    "label, dtype, message",
    [
        (2.0, torch.float32, "2"),
        (-0.5, torch.float32, "-0.5"),
        (1 + 2**-20, torch.float64, "1"),
        (math.inf, torch.float32, "inf"),
        (-math.inf, torch.float32, "-inf"),
        (-1, torch.int64, "-1"),
        (255, torch.uint8, "255"),
    ],
    ids=str,
)
def test_a_label_outside_0_and_1_is_named_wherever_it_stands(label, dtype, message, reduction):
    t = torch.zeros(CHUNK + 3, dtype=dtype)
    t[-1] = label
    with pytest.raises(ValueError, match=rf"targets must .* got {message}\b"):
        sigmoid_focal_loss(torch.zeros(len(t)), t, reduction=reduction)


# ---- transforms ----


def loop(function, batch, x, t, in_dims):
    """What ``torch.vmap`` is short for."""

    def one(part, dim, i):
        return part if dim is None else part.select(dim, i)

    return torch.stack([function(one(x, in_dims[0], i), one(t, in_dims[1], i)) for i in range(batch)])


DIMS = (0, 1, -1, None)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("labels", ["hard", "mixed"])
@pytest.mark.parametrize("in_dims", [(a, b) for a in DIMS for b in DIMS if (a, b) != (None, None)])
def test_vmap_is_a_loop_along_any_dimensions(in_dims, labels, reduction):
    x, t = (
        part[0] if dim is None else part.movedim(0, dim)
        for part, dim in zip(random_examples(5, 3, 4, labels=labels), in_dims)
    )
    function = functools.partial(sigmoid_focal_loss, reduction=reduction)
    want = loop(function, 5, x, t, in_dims)
    torch.testing.assert_close(torch.vmap(function, in_dims)(x, t), want, rtol=1e-12, atol=0)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("labels", ["hard", "mixed"])
@pytest.mark.parametrize(
    "outer, inner", [((0, 0), (0, 0)), ((0, None), (None, 0)), ((None, 1), (0, None)), ((1, 0), (0, 1))]
)
def test_a_vmap_in_a_vmap_is_a_loop_in_a_loop(outer, inner, labels, reduction):
    # One dimension of 5 for every vmap that goes along the argument, and one that stays.
    x, t = (
        part[(0,) * dims.count(None)] for part, dims in zip(random_examples(5, 5, 5, labels=labels), zip(outer, inner))
    )
    function = functools.partial(sigmoid_focal_loss, reduction=reduction)
    want = loop(lambda x, t: loop(function, 5, x, t, inner), 5, x, t, outer)
    got = torch.vmap(torch.vmap(function, inner), outer)(x, t)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("labels", ["hard", "mixed"])
@pytest.mark.parametrize("in_dims", [(0, 0), (0, None), (None, 0), (1, 0)])
def test_vmap_of_grad_gives_the_gradient_of_every_example(in_dims, labels, reduction):
    x, t = (part[0] if dim is None else part for part, dim in zip(random_examples(5, 5, labels=labels), in_dims))
    gradient = torch.func.grad(functools.partial(sigmoid_focal_loss, reduction=reduction))
    want = loop(lambda x, t: value_and_gradient(x, t, reduction=reduction)[1], 5, x, t, in_dims)
    torch.testing.assert_close(torch.vmap(gradient, in_dims)(x, t), want, rtol=1e-12, atol=0)


@pytest.mark.parametrize("in_dims", [(0, 0), (None, 0), (0, None)])
def test_the_gradient_of_a_vmap_reaches_logits_and_labels(in_dims):
    x, t = (part[0] if dim is None else part for part, dim in zip(random_examples(5, 3, labels="soft"), in_dims))
    arguments = [part.clone().requires_grad_() for part in (x, t)]
    want = torch.autograd.grad(loop(sigmoid_focal_loss, 5, *arguments, in_dims).sum(), arguments)
    got = torch.autograd.grad(torch.vmap(sigmoid_focal_loss, in_dims)(*arguments).sum(), arguments, allow_unused=True)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)


@pytest.mark.parametrize("argument", [0, 1])
def test_grad_is_autograds_gradient_towards_logits_and_labels(argument):
    x, t = random_examples(20, labels="soft")
    got = torch.func.grad(functools.partial(sigmoid_focal_loss, reduction="sum"), argument)(x, t)
    arguments = [part.clone().requires_grad_() for part in (x, t)]
    want = torch.autograd.grad(sigmoid_focal_loss(*arguments, reduction="sum"), arguments)[argument]
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("labels", [HARD, MIXED], ids=["hard", "mixed"])
def test_the_jacobian_of_the_gradient_is_the_second_derivative(labels, gamma):
    x, t = logits_and_targets(labels)
    gradient = torch.func.grad(lambda x: sigmoid_focal_loss(x, t, gamma=gamma, reduction="sum"))
    *_, second = value_and_derivatives(x, t, gamma=gamma)
    torch.testing.assert_close(torch.func.jacrev(gradient)(x), second.diag(), rtol=1e-12, atol=0)


COMPILER = any(map(shutil.which, ("c++", "g++", "clang++")))
INDUCTOR = pytest.param(
    "inductor", "mixed", "sum", marks=pytest.mark.skipif(not COMPILER, reason="inductor needs a C++ compiler")
)


ONE_GRAPH = not torch.__version__.startswith("2.6.")  # there the compiler stops at torch.amp.is_autocast_available


@pytest.mark.filterwarnings("ignore:Graph break due to unsupported builtin:UserWarning")  # both of torch 2.6
@pytest.mark.filterwarnings("ignore:Skipping serialization of skipfiles_inline_module_allowlist:UserWarning")
@pytest.mark.parametrize(
    "backend, labels, reduction",
    [("aot_eager", labels, reduction) for labels in ("hard", "mixed") for reduction in REDUCTIONS] + [INDUCTOR],
)
def test_the_loss_compiles_to_one_graph_with_the_same_value_and_gradient(backend, labels, reduction):
    x, t = random_examples(50, labels=labels)
    want = value_and_gradient(x, t, reduction=reduction)
    torch.compiler.reset()
    function = functools.partial(sigmoid_focal_loss, reduction=reduction)
    compiled = torch.compile(function, backend=backend, fullgraph=ONE_GRAPH)
    x.requires_grad_()
    loss = compiled(x, t)
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    torch.testing.assert_close((loss.detach(), gradient), want, rtol=1e-12, atol=0)


def test_autocast_on_a_cpu_hands_over_bfloat16_logits():
    generator = torch.Generator().manual_seed(0)
    features, t = torch.randn(64, 8, generator=generator), random_examples(64, 3, dtype=torch.float32)[1]
    layer = torch.nn.Linear(8, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = layer(features)
        logits.retain_grad()
        loss = sigmoid_focal_loss(logits, t, reduction="sum")
    loss.backward()
    assert logits.dtype == torch.bfloat16 and loss.dtype == torch.float32
    want, slope = value_and_gradient(logits.detach().float(), t, reduction="sum")
    assert torch.equal(loss, want) and torch.equal(logits.grad, slope.bfloat16())
    assert layer.weight.grad.isfinite().all() and layer.weight.grad.any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("labels", ["hard", "mixed"])
@pytest.mark.parametrize("dtype", RELATIVE, ids=str)
def test_a_gpu_gives_the_cpus_values_and_gradients(dtype, labels):
    x, t = random_examples(1000, labels=labels, dtype=dtype)
    p, not_p, q, ce, alpha_t = losses._parts(x.double(), t.double(), 0.25)
    pulls = alpha_t * q**2 * (t * not_p + (1 - t) * p + 2 * p * not_p / q * ce)
    for reduction in REDUCTIONS:
        want = value_and_gradient(x.double(), t.double(), reduction=reduction)
        got = [part.cpu() for part in value_and_gradient(x.cuda(), t.cuda(), reduction=reduction)]
        assert_relative(got[0], want[0], RELATIVE[dtype], dtype)
        share = 1 / x.numel() if reduction == "mean" else 1
        # Where a soft label's pulls cancel, four roundings of a pull are what is left.
        scale = np.maximum(want[1].abs(), share * pulls / 10)
        assert_relative(got[1], want[1], RELATIVE[dtype], dtype, scale=scale)


# ---- properties of whatever is drawn ----

set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis")  # what it learns of the sources, kept off them
drawn = settings(deadline=None, derandomize=True, database=None, max_examples=150)
alphas = st.just(-1) | st.integers(0, 16).map(lambda k: k / 16)  # 1 - alpha is exact
gammas = st.sampled_from(GAMMAS) | st.floats(0, 10)
reductions = st.sampled_from(REDUCTIONS)
chunks = st.sampled_from([1, 3, CHUNK])


@st.composite
def examples(draw, dtypes=DTYPES, kinds=("hard", "soft", "sixteenths", torch.int64, torch.uint8, torch.bool)):
    """Logits and targets of some shape, from the whole range of their type, with labels of some kind."""
    dtype, kind = draw(st.sampled_from(dtypes)), draw(st.sampled_from(kinds))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    top, tiny = torch.finfo(dtype).max, torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32).tiny
    extremes = st.sampled_from([0.0, -0.0, top, -top, top / 3, -top / 3, tiny, -tiny])
    x = draw(hnp.arrays(np.float64, shape, elements=st.floats(-50, 50) | st.floats(-top, top) | extremes))
    labels = {"soft": st.floats(0, 1), "sixteenths": st.integers(0, 16).map(lambda k: k / 16)}
    t = torch.from_numpy(draw(hnp.arrays(np.float64, shape, elements=labels.get(kind, st.sampled_from([0.0, 1.0])))))
    t = torch.where(t < tiny, 0, t)  # subnormal labels have few digits
    return torch.from_numpy(x).to(dtype), t.to(dtype if isinstance(kind, str) else kind)


def widened(x, t):
    """Half precision as float32, which holds every such number: without the rounding of the result."""
    return (x, t) if x.dtype == torch.float64 else (x.float(), t.float())


def with_chunks_of(size):
    """Small chunks, so that small tensors have borders between them."""
    return mock.patch.object(losses, "CHUNK", size)


@drawn
@given(examples(), alphas, gammas, reductions, chunks)
def test_any_loss_is_finite_and_non_negative_with_the_right_shape_and_type(pair, alpha, gamma, reduction, chunk):
    x, t = pair
    with with_chunks_of(chunk):
        loss, gradient = value_and_gradient(x, t, alpha, gamma, reduction=reduction)
    wide = torch.float32 if reduction != "none" and x.dtype != torch.float64 else x.dtype
    assert (loss.dtype, gradient.dtype) == (wide, x.dtype)
    assert loss.shape == (x.shape if reduction == "none" else ()) and gradient.shape == x.shape
    assert gradient.isfinite().all()
    if reduction == "none":
        assert loss.isfinite().all() and (loss >= 0).all()
    else:  # the sum of finite losses may leave the range of the type
        assert loss >= 0 or reduction == "mean" and x.numel() == 0 and loss.isnan()


@drawn
@given(examples(), alphas, gammas, chunks)
def test_sum_and_mean_agree_with_the_losses_one_by_one(pair, alpha, gamma, chunk):
    x, t = widened(*pair)
    assume(x.numel())
    with with_chunks_of(chunk):
        every, mean, total = (sigmoid_focal_loss(x, t, alpha, gamma, reduction).double() for reduction in REDUCTIONS)
    want = every.numpy().astype(np.longdouble).sum()
    assume(want <= torch.finfo(x.dtype).max)
    rel = {torch.float64: 1e-12, torch.float32: 1e-5}[x.dtype]
    assert_relative(mean, np.float64(want / x.numel()), rel, x.dtype)
    assert_relative(total, np.float64(want), rel, x.dtype)


@drawn
@given(examples(kinds=("hard", torch.int64, torch.bool)), alphas, gammas, reductions, chunks)
def test_every_gradient_pushes_towards_its_hard_label(pair, alpha, gamma, reduction, chunk):
    x, t = pair
    with with_chunks_of(chunk):
        _, gradient = value_and_gradient(x, t, alpha, gamma, reduction=reduction)
    down = torch.where(t == 1, -1, 1) * gradient  # gradient descent lowers the logit of a 0 and raises that of a 1
    assert (down >= 0).all()
    weight = torch.ones(x.shape) if alpha == -1 else torch.where(t == 1, alpha, 1 - alpha)
    wrong = torch.where(t == 1, x <= 0, x >= 0) & (weight > 0)
    assert (down[wrong] > 0).all()


@drawn
@given(examples(), alphas, st.tuples(gammas, gammas).map(sorted), chunks)
def test_a_larger_gamma_never_costs_more(pair, alpha, pair_of_gammas, chunk):
    x, t = widened(*pair)
    with with_chunks_of(chunk):
        smaller, larger = (sigmoid_focal_loss(x, t, alpha, gamma).double() for gamma in pair_of_gammas)
    kind = torch.finfo(x.dtype)  # but for rounding, 1 - p_t to a power of up to 10 among it
    assert (larger <= (smaller * (1 + 16 * kind.eps)).clamp(min=kind.tiny)).all()


@drawn
@given(examples(kinds=("hard", "sixteenths", torch.int64, torch.bool)), alphas, gammas, chunks)
def test_swapping_the_classes_swaps_the_weights(pair, alpha, gamma, chunk):
    x, t = pair
    other = ~t if t.dtype == torch.bool else 1 - t
    with with_chunks_of(chunk):
        loss, gradient = value_and_gradient(x, t, alpha, gamma)
        mirrored, opposite = value_and_gradient(-x, other, alpha if alpha == -1 else 1 - alpha, gamma)
    assert torch.equal(mirrored, loss)
    assert torch.equal(opposite, -gradient)


@drawn
@given(examples(dtypes=[torch.float64]), alphas, gammas, chunks)
def test_float64_agrees_with_an_independent_way_to_compute_it(pair, alpha, gamma, chunk):
    x, t = pair
    with with_chunks_of(chunk):
        loss, gradient = value_and_gradient(x, t, alpha, gamma)
    want, slope, pulls = reference(x, t, alpha, gamma)
    assert_relative(loss, want, 1e-11)
    assert_relative(gradient, slope, 1e-11, scale=forgiving(slope, pulls))
