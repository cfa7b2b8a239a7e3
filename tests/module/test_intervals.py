"""The one interval of the book: it catches the truth as often as it says, and what is decided by it."""

import math

import numpy as np
import pytest
from scipy import stats

from focalbook.intervals import FEWEST, Interval, detectable, equivalence, holm, paired_interval, signed

OURS, OTHERS = np.array([0.81, 0.79, 0.84, 0.80, 0.82]), np.array([0.79, 0.78, 0.80, 0.80, 0.79])


def caught(count, draws=2000, truth=0.02):
    """In which share of simulated studies of so many seeds the interval holds the true difference."""
    studies = np.random.default_rng(count).normal(truth, 0.03, (draws, count))
    return np.mean([low <= truth <= high for _, low, high, _ in map(paired_interval, studies)])


@pytest.mark.parametrize("count", [5, 10, 20])
def test_the_interval_catches_the_truth_in_95_of_100_studies(count):
    assert 0.93 <= caught(count) <= 0.97


def test_the_interval_is_that_of_a_paired_t_test():
    test = stats.ttest_rel(OURS, OTHERS)
    found = paired_interval(OURS - OTHERS)
    expected = (OURS.mean() - OTHERS.mean(), *test.confidence_interval(0.95), test.pvalue)
    assert found == pytest.approx(expected)


def test_an_interval_is_printed_as_mean_and_ends():
    assert str(paired_interval([-1.0, 2.0, 3.0, 4.0])) == "+2.000 [−1.437, +5.437]"


def test_an_interval_is_named_for_the_prose():
    texts = {"gain": "+0.020", "gain_low": "−0.010", "gain_high": "+0.050"}
    assert Interval(0.02, -0.01, 0.05, 0.1).named("gain") == texts


@pytest.mark.parametrize("value, text", [(-0.0456, "−0.046"), (0.0341, "+0.034"), (0, "+0.000"), (-12.0, "−12.000")])
def test_a_difference_has_its_sign_three_digits_and_a_true_minus(value, text):
    assert signed(value) == text


def test_the_interval_by_hand():
    found = paired_interval([1.0, 2.0, 3.0, 4.0])
    half = 3.182446 * math.sqrt(5 / 3) / 2  # the table's t for three degrees
    assert found[:3] == pytest.approx((2.5, 2.5 - half, 2.5 + half), rel=1e-6)


def test_more_confidence_is_wider():
    assert paired_interval(OURS, 0.99).low < paired_interval(OURS, 0.5).low


def test_differences_without_spread_are_their_own_interval():
    assert paired_interval([0.25] * 5) == (0.25, 0.25, 0.25, 0.0)
    assert paired_interval([0.0] * 5) == (0.0, 0.0, 0.0, 1.0)
    assert (equivalence([0.25] * 5, 0.3), equivalence([0.25] * 5, 0.2)) == (0.0, 1.0)


@pytest.mark.parametrize(
    "values", [[], [0.1] * (FEWEST - 1), [0.1, 0.2, 0.3, math.nan], [0.1, 0.2, 0.3, math.inf], [[0.1] * 4] * 4]
)
@pytest.mark.parametrize("decide", [paired_interval, lambda values: equivalence(values, 0.1)], ids=["interval", "p"])
def test_too_few_differences_and_numbers_that_are_none_decide_nothing(values, decide):
    with pytest.raises(ValueError, match=f"differences must be at least {FEWEST} finite numbers in a row, got"):
        decide(values)


def test_two_losses_are_as_good_as_each_other_when_both_ends_of_the_90_percent_interval_lie_within_the_margin():
    difference = OURS - OTHERS
    low, high = paired_interval(difference, 0.9)[1:3]
    widest = max(abs(low), abs(high))
    assert equivalence(difference, widest * 1.01) < 0.05 < equivalence(difference, widest * 0.99)


def test_equivalence_is_no_lack_of_evidence():
    far_apart = [-0.3, 0.3, -0.2, 0.2]
    assert paired_interval(far_apart).p > 0.9 and equivalence(far_apart, 0.02) > 0.4


def test_a_margin_must_be_positive():
    with pytest.raises(ValueError, match="margin must be positive, got 0"):
        equivalence(OURS, 0)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == pytest.approx([1.0, 1.0]) and holm([]) == []


@pytest.mark.parametrize("bad", [1.5, -0.1, math.nan])
def test_what_is_no_probability_is_refused(bad):
    with pytest.raises(ValueError, match="p_values must lie in"):
        holm([0.5, bad])


def test_what_a_study_can_resolve_is_found_that_often():
    difference = detectable(0.03, 10)
    studies = np.random.default_rng(0).normal(difference, 0.03, (2000, 10))
    assert 0.77 <= np.mean([paired_interval(study).p < 0.05 for study in studies]) <= 0.83
    assert detectable(0.03, 20) < difference


@pytest.mark.parametrize("spread, seeds", [(0.03, 3), (0.0, 10), (math.nan, 10)])
def test_power_needs_seeds_and_a_spread(spread, seeds):
    with pytest.raises(ValueError, match="need 4 seeds and a positive spread"):
        detectable(spread, seeds)
