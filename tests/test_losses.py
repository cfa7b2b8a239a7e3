"""The losses, against the article's numbers, other ways to write them, 50-digit arithmetic and finite differences."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from focalbook.losses import balanced_cross_entropy, cross_entropy, focal_loss, sigmoid_focal_loss

GAMMAS = (0, 0.5, 1, 2, 5)
EXTREMES = (-1e4, -1e3, -100.0, -20.0, -1.0, 0.0, 1.0, 20.0, 100.0, 1e3, 1e4)


def logits_and_targets(labels, dtype=torch.float64):
    """Every combination of some moderate logits with ``labels``."""
    x = torch.tensor([-6.3, -2.0, -0.4, 0.0, 0.7, 3.1, 8.0], dtype=dtype)
    return x.repeat_interleave(len(labels)), torch.tensor(labels, dtype=dtype).repeat(len(x))


# ---- on probabilities ----


@pytest.mark.parametrize(
    "loss, p, y, expected",
    [
        (cross_entropy, 0.95, 1, 0.0512932943875505),
        (cross_entropy, 0.05, 0, 0.0512932943875505),
        (cross_entropy, 0.05, 1, 2.995732273553991),
        (cross_entropy, 0.95, 0, 2.995732273553991),
        (cross_entropy, 0.99, 1, 0.0100503358535014),
        (cross_entropy, 0.01, 0, 0.0100503358535014),
        (balanced_cross_entropy, 0.95, 1, 0.0128233235968876),
        (balanced_cross_entropy, 0.05, 0, 0.0384699707906629),
        (focal_loss, 0.95, 1, 3.2058308992219e-05),
        (focal_loss, 0.05, 0, 9.6174926976657e-05),
        (focal_loss, 0.05, 1, 0.675912094220619),
        (focal_loss, 0.95, 0, 2.027736282661858),
        (focal_loss, 0.99, 1, 2.5125839633754e-07),
        (focal_loss, 0.01, 0, 7.5377518901261e-07),
    ],
)
def test_the_articles_numbers_come_out(loss, p, y, expected):
    assert loss(p, y) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "p, y, ratio",
    [
        (0.95, 1, 1600),
        (0.05, 0, 1600 / 3),
        (0.05, 1, 4.432133),
        (0.95, 0, 1.477378),
        (0.99, 1, 40000),
        (0.01, 0, 40000 / 3),
    ],
)
def test_focal_loss_is_smaller_than_cross_entropy_by_the_articles_ratio(p, y, ratio):
    assert cross_entropy(p, y) / focal_loss(p, y) == pytest.approx(ratio, rel=1e-6)


def test_an_example_at_0_9_counts_0_61_percent_of_one_at_0_5():
    assert focal_loss(0.9, 1) / focal_loss(0.5, 1) == pytest.approx(0.01 * math.log(0.9) / (0.25 * math.log(0.5)))


@pytest.mark.parametrize("gamma", GAMMAS)
def test_focal_loss_never_exceeds_cross_entropy(gamma):
    p = np.linspace(0.001, 1, 1000)
    assert np.all(focal_loss(p, 1, alpha=None, gamma=gamma) <= cross_entropy(p, 1))


@pytest.mark.parametrize("gamma", GAMMAS)
def test_the_loss_falls_as_the_true_class_gets_likelier(gamma):
    assert np.all(np.diff(focal_loss(np.linspace(0.001, 1, 1000), 1, gamma=gamma)) < 0)


def test_swapping_the_classes_swaps_the_weights():
    p = np.linspace(0.01, 0.99, 50)
    np.testing.assert_allclose(focal_loss(p, 1, alpha=0.2), focal_loss(1 - p, 0, alpha=0.8), rtol=1e-12)


def test_gamma_0_is_balanced_cross_entropy_and_no_alpha_besides_is_cross_entropy():
    p, y = np.linspace(0.01, 0.99, 50), np.arange(50) % 2
    np.testing.assert_array_equal(focal_loss(p, y, alpha=0.3, gamma=0), balanced_cross_entropy(p, y, alpha=0.3))
    np.testing.assert_array_equal(focal_loss(p, y, alpha=None, gamma=0), cross_entropy(p, y))
    np.testing.assert_array_equal(cross_entropy(p, y), -np.log(np.where(y == 1, p, 1 - p)))


def test_scalars_give_a_scalar():
    assert isinstance(focal_loss(0.9, 1), float)


def test_arrays_broadcast_against_each_other():
    p, y = np.array([[0.1], [0.6]]), np.array([0, 1, 1])
    expected = [[focal_loss(a, b) for b in (0, 1, 1)] for a in (0.1, 0.6)]
    np.testing.assert_array_equal(focal_loss(p, y), expected)


def test_the_result_is_float64_for_float32_probabilities_and_boolean_labels():
    assert focal_loss(np.float32([0.5, 0.25]), np.array([True, False])).dtype == np.float64


def test_no_examples_give_no_losses():
    assert focal_loss([], []).shape == (0,)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("alpha", [None, 0.0, 0.25, 1.0])
def test_certainty_gives_no_nan(alpha, gamma):
    losses = focal_loss([0.0, 0.0, 1.0, 1.0], [0, 1, 0, 1], alpha=alpha, gamma=gamma)
    assert not np.isnan(losses).any()


def test_a_certain_and_right_answer_costs_nothing_and_not_minus_nothing():
    losses = focal_loss([1.0, 0.0], [1, 0])
    assert losses.tolist() == [0.0, 0.0] and not np.signbit(losses).any()


def test_a_certain_and_wrong_answer_costs_infinitely_much():
    assert focal_loss([0.0, 1.0], [1, 0]).tolist() == [math.inf, math.inf]


def test_a_class_of_weight_0_is_silent_even_where_it_is_certainly_wrong():
    assert focal_loss(0.0, 1, alpha=0.0) == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(p=1.5, y=1), r"p must .* got 1\.5"),
        (dict(p=[0.5, -0.25], y=1), r"p must .* got -0\.25"),
        (dict(p=math.nan, y=1), r"p must .* got nan"),
        (dict(p=0.5, y=[1, 2]), r"y must .* got 2"),
        (dict(p=0.5, y=0.5), r"y must .* got 0\.5"),
        (dict(p=[0.5] * 3, y=[0, 1]), r"p and y must .* got \(3,\) and \(2,\)"),
        (dict(p=0.5, y=1, alpha=1.25), r"alpha must .* got 1\.25"),
        (dict(p=0.5, y=1, alpha=-1), r"alpha must .* got -1"),
        (dict(p=0.5, y=1, gamma=-0.5), r"gamma must .* got -0\.5"),
        (dict(p=0.5, y=1, gamma=math.nan), r"gamma must .* got nan"),
    ],
)
def test_a_wrong_argument_is_named_with_its_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        focal_loss(**arguments)


# ---- on logits ----


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0, -1])
def test_the_logit_form_agrees_with_the_probability_form(alpha, gamma):
    x, t = logits_and_targets([0, 1])
    expected = focal_loss(x.sigmoid().numpy(), t.numpy(), alpha=None if alpha == -1 else alpha, gamma=gamma)
    np.testing.assert_allclose(sigmoid_focal_loss(x, t, alpha, gamma).numpy(), expected, rtol=1e-11)


def torchvision_formula(inputs, targets, alpha, gamma):
    """What ``torchvision.ops.sigmoid_focal_loss`` computes, written out: torchvision is no dependency of the book."""
    p = torch.sigmoid(inputs)
    ce_loss = F.binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    p_t = p * targets + (1 - p) * (1 - targets)
    loss = ce_loss * ((1 - p_t) ** gamma)
    if alpha >= 0:
        alpha_t = alpha * targets + (1 - alpha) * (1 - targets)
        loss = alpha_t * loss
    return loss


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("alpha", [0.25, 0.75, -1])
def test_moderate_logits_agree_with_torchvisions_formula(alpha, gamma):
    x, t = logits_and_targets([0, 0.3, 1])
    torch.testing.assert_close(
        sigmoid_focal_loss(x, t, alpha, gamma), torchvision_formula(x, t, alpha, gamma), rtol=1e-11, atol=0
    )


@pytest.mark.parametrize("labels", [[0, 1], [0.1, 0.5, 0.8]], ids=["hard", "soft"])
@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2])
def test_autograds_first_and_second_derivatives_are_right(gamma, labels):
    x, t = logits_and_targets(labels)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: sigmoid_focal_loss(x, t, gamma=gamma), x)
    assert torch.autograd.gradgradcheck(lambda x: sigmoid_focal_loss(x, t, gamma=gamma), x)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_the_gradient_is_the_slope_of_the_probability_form(gamma):
    x, t = logits_and_targets([0, 1])
    step = 1e-5

    def probability_form(x):
        return focal_loss(x.sigmoid().numpy(), t.numpy(), gamma=gamma)

    slope = (probability_form(x + step) - probability_form(x - step)) / (2 * step)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(sigmoid_focal_loss(x, t, gamma=gamma).sum(), x)
    np.testing.assert_allclose(gradient.numpy(), slope, rtol=1e-6, atol=1e-10)


def test_at_the_logit_0_cross_entropy_has_slope_minus_one_half():
    x = torch.zeros((), requires_grad=True)
    sigmoid_focal_loss(x, torch.ones(()), alpha=-1, gamma=0).backward()
    assert x.grad == -0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("label", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_extreme_logits_give_finite_values_gradients_and_second_derivatives(gamma, label, dtype):
    x = torch.tensor(EXTREMES, dtype=dtype, requires_grad=True)
    loss = sigmoid_focal_loss(x, torch.full_like(x, label), gamma=gamma)
    (first,) = torch.autograd.grad(loss.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert all(values.isfinite().all() for values in (loss, first, second))


def test_a_hopeless_example_still_learns():
    x = torch.tensor([-1e4, 1e4], requires_grad=True)
    sigmoid_focal_loss(x, torch.tensor([1.0, 0.0]), alpha=-1).sum().backward()
    assert x.grad.tolist() == [-1, 1]


@pytest.mark.parametrize("label", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_value_and_gradient_agree_with_50_digits(gamma, label):
    mp = pytest.importorskip("mpmath")
    t, alpha = mp.mpf(label), mp.mpf("0.25")

    def exact(x):
        p, not_p = 1 / (1 + mp.exp(-x)), 1 / (1 + mp.exp(x))
        entropy = t * mp.log1p(mp.exp(-x)) + (1 - t) * mp.log1p(mp.exp(x))
        return (alpha * t + (1 - alpha) * (1 - t)) * (t * not_p + (1 - t) * p) ** gamma * entropy

    with mp.workdps(60):  # ten to spare
        for logit in (-100.0, -36.7, -12.3, -1.0, -0.01, 0.0, 0.01, 1.0, 3.3, 40.0, 100.0):
            x = torch.tensor(logit, dtype=torch.float64, requires_grad=True)
            loss = sigmoid_focal_loss(x, torch.tensor(label, dtype=torch.float64), gamma=gamma)
            loss.backward()
            for value, truth in ((loss.item(), exact(mp.mpf(logit))), (x.grad.item(), mp.diff(exact, mp.mpf(logit)))):
                assert abs(mp.mpf(value) / truth - 1) < 1e-12, (logit, value, truth)


@pytest.mark.parametrize("x", [-12.0, -16.0, -20.0, -25.0])
def test_easy_float32_negatives_are_not_flushed_to_zero(x):
    truth = sigmoid_focal_loss(torch.tensor(x, dtype=torch.float64), torch.tensor(0.0))
    assert sigmoid_focal_loss(torch.tensor(x), torch.tensor(0.0)).item() == pytest.approx(truth.item(), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_integer_and_boolean_targets_count_as_labels(dtype):
    x, t = logits_and_targets([0, 1], torch.float32)
    loss = sigmoid_focal_loss(x, t.to(dtype))
    assert loss.dtype == torch.float32 and torch.equal(loss, sigmoid_focal_loss(x, t))


def test_float32_targets_cost_float64_logits_no_accuracy():
    x, t = logits_and_targets([0, 1])
    assert torch.equal(sigmoid_focal_loss(x, t.float()), sigmoid_focal_loss(x, t))


def test_a_soft_label_weighs_both_classes():
    # Half of each class at p = 1/2: alpha_t = 1/2, 1 - p_t = 1/2, cross-entropy ln 2.
    loss = sigmoid_focal_loss(torch.zeros(1), torch.tensor([0.5]), alpha=0.25, gamma=2.0)
    assert loss.item() == pytest.approx(0.5 * 0.25 * math.log(2))


def test_mean_and_sum_reduce_what_none_returns():
    x, t = logits_and_targets([0, 1])
    every = sigmoid_focal_loss(x, t)
    assert every.shape == x.shape
    assert torch.equal(sigmoid_focal_loss(x, t, reduction="sum"), every.sum())
    assert torch.equal(sigmoid_focal_loss(x, t, reduction="mean"), every.mean())


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3, 4)])
def test_the_shape_is_kept(shape):
    assert sigmoid_focal_loss(torch.zeros(shape), torch.zeros(shape)).shape == shape


def test_an_empty_batch_sums_to_zero():
    assert sigmoid_focal_loss(torch.zeros(0), torch.zeros(0), reduction="sum") == 0


def test_the_inputs_are_left_as_they_were():
    x, t = logits_and_targets([0, 1])
    before = x.clone(), t.clone()
    sigmoid_focal_loss(x, t)
    assert torch.equal(x, before[0]) and torch.equal(t, before[1])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(targets=torch.zeros(3)), r"inputs and targets must .* got \(2,\) and \(3,\)"),
        (dict(targets=torch.zeros(2, 1)), r"inputs and targets must .* got \(2,\) and \(2, 1\)"),
        (dict(reduction="average"), r"reduction must .* got 'average'"),
        (dict(alpha=1.5), r"alpha must .* got 1\.5"),
        (dict(alpha=-0.5), r"alpha must .* got -0\.5"),
        (dict(alpha=None), r"alpha must .* got None"),
        (dict(gamma=-2), r"gamma must .* got -2"),
    ],
)
def test_a_wrong_argument_of_the_logit_form_is_named_with_its_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        sigmoid_focal_loss(**(dict(inputs=torch.zeros(2), targets=torch.zeros(2)) | arguments))


# ---- half precision ----


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_right_at_the_prior(dtype):
    # 400,000 negatives where training starts: nearly all of the total is made of losses that half precision flushes.
    logits = torch.full((400_000,), -4.59512, dtype=dtype)
    exact = sigmoid_focal_loss(logits.double(), torch.zeros(400_000)).sum()
    assert sigmoid_focal_loss(logits, torch.zeros_like(logits), reduction="sum").item() == pytest.approx(
        exact.item(), rel=0.01
    )


def test_half_precision_comes_back_in_its_own_type_and_its_mean_does_not_overflow():
    logits = torch.full((100_000,), 20.0, dtype=torch.float16, requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.zeros_like(logits), alpha=-1, reduction="mean")
    loss.backward()
    assert loss.dtype == torch.float16 and loss.item() == pytest.approx(20, rel=1e-3)
    assert logits.grad.dtype == torch.float16 and logits.grad.isfinite().all()


def test_integer_logits_are_refused_by_name():
    with pytest.raises(ValueError, match="inputs must be logits in a floating type, got torch.int64"):
        sigmoid_focal_loss(torch.zeros(2, dtype=torch.int64), torch.zeros(2))
