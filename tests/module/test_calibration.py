"""Calibration, on answers whose reliability is known."""

import math
from dataclasses import replace

import pytest
import torch
from small_studies import TINY, answers_on

from focalbook.calibration import Reliability, calibrate, expected_calibration_error, fit_temperature, reliability
from focalbook.scenes import TEST, VALIDATION
from focalbook.training import new_model


def draws(logits, seed=0):
    """Labels drawn with the probabilities that the logits state: perfectly calibrated."""
    return (torch.rand(logits.shape, generator=torch.Generator().manual_seed(seed)) < torch.sigmoid(logits)).double()


def test_bins_count_average_and_compare():
    p = torch.tensor([0.12, 0.18, 0.91, 0.95, 0.99], dtype=torch.float64)
    found = reliability(p.logit(), torch.tensor([0, 1, 1, 1, 0]), bins=10)
    assert found.count.tolist() == [0, 2, 0, 0, 0, 0, 0, 0, 0, 3]
    assert found.confidence[[1, 9]].tolist() == pytest.approx([0.15, 0.95])
    assert found.frequency[[1, 9]].tolist() == pytest.approx([0.5, 2 / 3])
    assert found.frequency[0].isnan()
    assert expected_calibration_error(found) == pytest.approx((2 * 0.35 + 3 * (0.95 - 2 / 3)) / 5)


def test_the_crowd_of_sure_background_is_left_out():
    x = torch.cat([torch.full((1000,), -6.0), torch.zeros(10)])
    assert reliability(x, torch.zeros(1010)).count.sum() == 10


def test_a_probability_of_exactly_1_falls_into_the_last_bin():
    assert reliability(torch.tensor([100.0]), torch.ones(1), bins=10).count.tolist() == [0] * 9 + [1]


def test_an_honest_model_has_nearly_no_error_and_a_temperature_of_1():
    x = torch.randn(200_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2
    assert expected_calibration_error(reliability(x, draws(x))) < 0.01
    assert fit_temperature(x, draws(x)) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("factor", [0.3, 2.0, 6.0])
def test_the_temperature_undoes_a_factor_on_the_logits(factor):
    x = torch.randn(100_000, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 2
    t = draws(x)
    found = fit_temperature(factor * x, t)
    assert found == pytest.approx(factor, rel=0.03)
    before, after = (expected_calibration_error(reliability(logits, t)) for logits in (factor * x, factor * x / found))
    assert after < 0.01 < before


def test_the_temperature_is_where_the_cross_entropy_has_no_slope():
    x = torch.randn(1000, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 3
    t = draws(x / 2)
    inverse = 1 / fit_temperature(x, t)
    assert (x * (torch.sigmoid(inverse * x) - t)).sum().item() == pytest.approx(0, abs=1e-8)


def test_no_answers_have_no_calibration_error():
    empty = torch.zeros(0)
    assert math.isnan(expected_calibration_error(Reliability(empty.long(), empty, empty)))


def test_calibration_is_fitted_on_validation_scenes_and_reported_on_test_scenes():
    model = new_model(0, replace(TINY, prior=0.4)).double()  # in another batch a rounding must not cross a bin's edge
    found = calibrate(model, TINY)
    temperature = fit_temperature(*answers_on(VALIDATION, model))
    assert found["temperature"] == pytest.approx(temperature, rel=1e-6)
    assert temperature != pytest.approx(fit_temperature(*answers_on(TEST, model)), rel=1e-4)
    logits, targets = answers_on(TEST, model)
    for name, scaled in (("raw", logits), ("scaled", logits / temperature)):
        expected = reliability(scaled, targets)
        assert found[name]["count"] == expected.count.tolist()
        for key in ("confidence", "frequency"):
            assert found[name][key] == pytest.approx(getattr(expected, key).nan_to_num().tolist(), abs=1e-6)
    assert found["raw"]["count"] != found["scaled"]["count"]
    assert found["raw"]["count"] != reliability(*answers_on(VALIDATION, model)).count.tolist()


# ---- what must not be judged ----


@pytest.mark.parametrize("judge", [reliability, fit_temperature])
@pytest.mark.parametrize(
    "logits, targets, told",
    [
        ([math.nan, 1.0], [0, 1], "logits must be numbers, got NaN in 1 places"),
        ([0.5, 1.0], [0, 2], "targets must be labels 0 or 1, got 2"),
        ([0.5, 1.0], [0, 0.5], "targets must be labels 0 or 1, got 0.5"),
        ([0.5, 1.0], [0], r"one shape, with answers in it, got \(2,\) and \(1,\)"),
        ([], [], r"got \(0,\) and \(0,\)"),
    ],
)
def test_answers_that_are_none_are_refused(judge, logits, targets, told):
    with pytest.raises(ValueError, match=told):
        judge(torch.tensor(logits), torch.tensor(targets))


def test_an_infinite_logit_is_sure_and_has_no_temperature():
    logits, targets = torch.tensor([math.inf, -math.inf, 0.5]), torch.tensor([1, 0, 1])
    assert reliability(logits, targets).count.sum() == 2  # sure background is left out
    with pytest.raises(ValueError, match="logits must be finite to have a temperature"):
        fit_temperature(logits, targets)


@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
def test_logits_that_are_always_right_or_always_wrong_have_no_temperature(scale):
    with pytest.raises(ValueError, match="logits must be right and wrong now and then"):
        fit_temperature(scale * torch.tensor([-2.0, -1.0, 1.0, 3.0]), torch.tensor([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="none of them is the best"):
        fit_temperature(scale * torch.tensor([-2.0, -1.0, 1.0, 3.0]), torch.tensor([1, 1, 0, 0]))
