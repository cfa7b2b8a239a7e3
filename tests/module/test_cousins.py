"""The relatives of focal loss: where they meet it or cross-entropy, and values worked out by hand."""

import math

import pytest
import torch

from focalbook.cousins import asymmetric_loss, gradient_harmonized_loss, poly_focal_loss
from focalbook.losses import sigmoid_focal_loss

X = torch.linspace(-5, 5, 21, dtype=torch.float64)
T = (torch.arange(21) % 2).double()


def test_poly_loss_without_its_term_is_focal_loss():
    torch.testing.assert_close(poly_focal_loss(X, T, epsilon=0.0), sigmoid_focal_loss(X, T))


def test_poly_loss_adds_the_first_term_of_the_series():
    # p = 1/2: alpha_t (1 - p_t)^2 (ln 2 + 1/2)
    value = poly_focal_loss(torch.zeros(1).double(), torch.ones(1), alpha=0.25, gamma=2.0, epsilon=1.0)
    assert value.item() == pytest.approx(0.25 * 0.25 * (math.log(2) + 0.5))
    plain = poly_focal_loss(torch.zeros(1).double(), torch.zeros(1), alpha=-1, gamma=0.0, epsilon=2.0)
    assert plain.item() == pytest.approx(math.log(2) + 2 * 0.5)


def test_asymmetric_loss_with_equal_gammas_and_no_margin_is_focal_loss():
    same = asymmetric_loss(X, T, positive_gamma=2.0, negative_gamma=2.0, margin=0.0)
    torch.testing.assert_close(same, sigmoid_focal_loss(X, T, -1, 2.0), rtol=1e-9, atol=0)


def test_asymmetric_loss_forgets_negatives_below_its_margin():
    p = torch.tensor([0.01, 0.0499, 0.3], dtype=torch.float64)
    values = asymmetric_loss(p.logit(), torch.zeros(3), negative_gamma=4.0, margin=0.05)
    assert values[:2].tolist() == [0, 0]
    assert values[2].item() == pytest.approx(0.25**4 * -math.log(0.75))


def test_harmonized_loss_divides_by_the_crowd_at_the_same_gradient():
    # Three easy negatives in one bin, one hard one in another: weights 4 / (3 x 2) and 4 / (1 x 2).
    p = torch.tensor([0.01, 0.01, 0.01, 0.9], dtype=torch.float64)
    values = gradient_harmonized_loss(p.logit(), torch.zeros(4), bins=10)
    expected = torch.tensor([4 / 6, 4 / 6, 4 / 6, 2], dtype=torch.float64) * -torch.log1p(-p)
    torch.testing.assert_close(values, expected)


def test_harmonized_loss_does_not_count_the_ignored():
    p = torch.tensor([[0.01], [0.01], [0.9]], dtype=torch.float64)
    counts = torch.tensor([[True], [False], [True]])
    values = gradient_harmonized_loss(p.logit(), torch.zeros(3, 1), counts, bins=10)
    assert values[0].item() == pytest.approx(-math.log(0.99))  # two examples, two bins, one in each


@pytest.mark.parametrize("loss", [poly_focal_loss, asymmetric_loss, gradient_harmonized_loss])
def test_every_cousin_pushes_towards_the_label(loss):
    x = torch.linspace(-4, 4, 21, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(x, T).sum(), x)
    assert gradient.isfinite().all()
    assert (gradient * (1 - 2 * T) >= 0).all()


@pytest.mark.parametrize("loss", [poly_focal_loss, asymmetric_loss, gradient_harmonized_loss])
@pytest.mark.parametrize("x", [-100.0, 100.0])
def test_extreme_logits_give_finite_losses_and_gradients(loss, x):
    x = torch.full((2,), x, requires_grad=True)
    value = loss(x, torch.tensor([0.0, 1.0]))
    (gradient,) = torch.autograd.grad(value.sum(), x)
    assert value.isfinite().all() and gradient.isfinite().all()
