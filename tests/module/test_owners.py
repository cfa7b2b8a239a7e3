"""Who owns the loss: the shares and the curves of an untrained detector."""

import math
from dataclasses import replace

import pytest
import torch
from small_studies import TINY, answers_on

from focalbook.imbalance import GROUPS
from focalbook.matching import IGNORED, match
from focalbook.owners import _at_twentieths, owners_of
from focalbook.scenes import VALIDATION, render
from focalbook.training import LOSSES, new_model


@pytest.fixture(scope="module")
def found():
    """The owners of a model that takes many places for objects."""
    return owners_of(new_model(100, replace(TINY, prior=0.4)), TINY)


def test_the_shares_of_the_owners_add_up_to_1(found):
    assert list(found["shares"]) == list(LOSSES)
    for kinds in found["shares"].values():
        assert list(kinds) == ["loss", "gradient"]
        for shares in kinds.values():
            assert list(shares) == list(GROUPS) == ["positives", "hard negatives", "easy negatives"]
            assert sum(shares.values()) == pytest.approx(1, abs=2e-6) and min(shares.values()) >= 0
    assert sum(found["sizes"].values()) % 3 == 0 and found["sizes"]["positives"] > 0


def test_the_cumulative_curves_rise_from_0_to_1(found):
    assert list(found["cumulative"]) == ["0", "0.5", "1", "2"]
    for kinds in found["cumulative"].values():
        assert list(kinds) == ["positives", "negatives"]
        for curve in kinds.values():
            assert len(curve) == 21 and curve[0] == 0 and curve[-1] == 1
            assert all(a <= b for a, b in zip(curve, curve[1:]))
            assert all(value <= number / 20 + 1e-6 for number, value in enumerate(curve))  # the easy ones first


def test_the_losses_own_what_they_should():
    found = owners_of(new_model(0, TINY), TINY)
    shares = {name: kinds["loss"]["positives"] for name, kinds in found["shares"].items()}
    assert shares["cross-entropy"] < shares["balanced cross-entropy"] < shares["focal loss"]


def test_the_owners_are_counted_on_validation_scenes_and_without_ignored_anchors():
    model = new_model(0, TINY)
    _, boxes, labels = render(range(32), VALIDATION, TINY.scenes)
    labels = match(model.anchors, boxes, labels).labels
    sizes = owners_of(model, TINY)["sizes"]
    assert sizes["positives"] == (labels >= 0).sum()
    assert sum(sizes.values()) == 3 * (labels != IGNORED).sum() < 3 * labels.numel()


def test_each_curve_is_that_of_its_own_outputs():
    model = new_model(0, TINY)
    curves = owners_of(model, TINY, count=64)["cumulative"]["0"]
    logits, targets = answers_on(VALIDATION, model)
    for name, losses in (
        ("positives", torch.nn.functional.softplus(-logits[targets])),
        ("negatives", torch.nn.functional.softplus(logits[~targets])),
    ):
        losses, half = losses.sort().values, math.ceil(len(losses) / 2)
        assert curves[name][10] == pytest.approx((losses[:half].sum() / losses.sum()).item(), abs=1e-5)


@pytest.mark.parametrize(
    "length, places", [(1, [0] * 20), (3, [0] * 6 + [1] * 7 + [2] * 7), (40, list(range(1, 40, 2)))]
)
def test_a_curve_is_read_at_twentieths(length, places):
    curve = torch.arange(1, length + 1, dtype=torch.float64) / length
    assert _at_twentieths(curve) == [0, *(round((place + 1) / length, 6) for place in places)]
