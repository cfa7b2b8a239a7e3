"""The losses on probabilities, against the article's numbers and each other."""

import math

import numpy as np
import pytest

from focalbook.losses import balanced_cross_entropy, cross_entropy, focal_loss

GAMMAS = (0, 0.5, 1, 2, 5)


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
