"""Shares of the loss and of the gradient."""

import pytest
import torch

from focalbook.imbalance import GROUPS, cumulative_share, foreground_per_level, group_of, loss_and_gradient, shares
from focalbook.losses import sigmoid_focal_loss


def test_cross_entropys_gradient_is_the_distance_of_the_probability_from_the_label():
    logits, targets = torch.tensor([-3.0, 0.0, 2.0, 2.0]), torch.tensor([0, 1, 0, 1])
    _, gradient = loss_and_gradient(logits, targets, alpha=-1, gamma=0)
    torch.testing.assert_close(gradient, (logits.double().sigmoid() - targets).abs())


def test_the_loss_is_the_focal_loss_in_float64():
    logits, targets = torch.tensor([[-3.0, 1.0]]), torch.tensor([[0.0, 1.0]])
    loss, gradient = loss_and_gradient(logits, targets, alpha=0.4, gamma=1.5)
    assert torch.equal(loss, sigmoid_focal_loss(logits.double(), targets.double(), 0.4, 1.5))
    assert loss.dtype == gradient.dtype == torch.float64 and gradient.shape == (1, 2)


def test_looking_at_the_gradient_leaves_the_logits_out_of_any_graph():
    logits = torch.zeros(2, requires_grad=True)
    loss, gradient = loss_and_gradient(logits, torch.tensor([0, 1]))
    assert logits.grad is None and not loss.requires_grad and not gradient.requires_grad


def test_a_wrong_alpha_is_named():
    with pytest.raises(ValueError, match="alpha must .* got 2"):
        loss_and_gradient(torch.zeros(1), torch.zeros(1), alpha=2)


def test_every_example_falls_into_its_group():
    # a poor and a good positive, then negatives at p = .73, exactly .5 (not more than half right: hard), and .27
    groups = group_of(torch.tensor([-1.0, 1.0, 1.0, 0.0, -1.0]), torch.tensor([1, 1, 0, 0, 0]))
    assert [GROUPS[number] for number in groups] == ["positives"] * 2 + ["hard negatives"] * 2 + ["easy negatives"]


def test_shares_are_parts_of_the_sum():
    assert shares(torch.tensor([1.0, 2.0, 4.0, 1.0]), torch.tensor([0, 1, 2, 2])) == {
        "positives": 0.125,
        "hard negatives": 0.25,
        "easy negatives": 0.625,
    }


def test_a_group_without_examples_has_no_share():
    assert shares(torch.ones(2), torch.tensor([2, 2]))["positives"] == 0


@pytest.mark.parametrize("values", [[0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0], [2.0, -1.0]])
def test_shares_of_nothing_are_refused(values):
    with pytest.raises(ValueError, match="values must have a positive sum .* got (0|nan|inf|1)"):
        shares(torch.tensor(values), torch.tensor([0, 1]))


def test_the_cumulative_share_adds_up_from_the_smallest():
    assert cumulative_share(torch.tensor([[4.0, 1.0], [3.0, 0.0]])).tolist() == [0, 0.125, 0.5, 1]


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [1.0, float("nan")], [1.0, float("inf")], [2.0, -1.0]])
def test_the_cumulative_share_of_nothing_is_refused(values):
    with pytest.raises(ValueError, match="values must have a positive sum"):
        cumulative_share(torch.tensor(values))


def test_foreground_is_counted_level_by_level():
    labels = torch.tensor([[0, -1, -1, -2, -1], [2, 1, -1, -2, -2]])
    three_and_two = [3, 2]  # anchors on the first level and on the second
    assert foreground_per_level(labels, three_and_two).tolist() == [[3, 3, 0], [0, 1, 3]]
