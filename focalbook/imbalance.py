"""Who owns the loss, and who owns the gradient: positives, hard negatives or easy negatives (chapters 1 and 5)."""

from collections.abc import Sequence

import torch

from focalbook.losses import sigmoid_focal_loss

GROUPS = ("positives", "hard negatives", "easy negatives")
"""The three groups of examples. A negative is easy when it is well classified, p_t > 0.5, and hard otherwise."""


def loss_and_gradient(
    logits: torch.Tensor, targets: torch.Tensor, alpha: float = 0.25, gamma: float = 2.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of each example, and the size of its gradient in the logit (dL/dx without its sign): two float64 tensors of
    the logits' shape.

    ``logits``: floating tensor. ``targets``: 0 or 1, same shape. ``alpha``, ``gamma``, errors: as in
    ``sigmoid_focal_loss``. In float64, because a share is a ratio of sums of very small numbers. Explained in
    chapter 5.
    """
    logits = logits.detach().double().requires_grad_()
    loss = sigmoid_focal_loss(logits, targets.double(), alpha, gamma)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    return loss.detach(), gradient.abs()


def group_of(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Index into ``GROUPS`` of every example, int64, same shape as ``logits``. Explained in chapter 5."""
    easy = (logits < 0).long()  # for a negative, p_t = 1 - p > 0.5 means x < 0
    return torch.where(targets > 0, 0, 1 + easy)


def shares(values: torch.Tensor, groups: torch.Tensor) -> dict[str, float]:
    """Share of each of the ``GROUPS`` in the sum of ``values`` (any shape, at least 0), ``groups`` from ``group_of``.

    Returns a dict from group name to a float in [0, 1]; the shares add up to 1. Raises ``ValueError`` if the sum is
    not positive and finite, or a value is negative. Explained in chapter 5.
    """
    total = _positive_sum(values)
    return {name: (values[groups == number].sum() / total).item() for number, name in enumerate(GROUPS)}


def cumulative_share(values: torch.Tensor) -> torch.Tensor:
    """The paper's figure 4: sorted from small to large, summed up, divided by the total.

    ``values``: N numbers, at least 0, any shape. Returns N float64 numbers rising to 1: entry k is the share that the
    k + 1 smallest own. Raises ``ValueError`` as ``shares`` does. Explained in chapter 14.
    """
    _positive_sum(values)
    sums = values.double().flatten().sort().values.cumsum(0)
    return sums / sums[-1]


def _positive_sum(values: torch.Tensor) -> torch.Tensor:
    total = values.sum()
    if not 0 < total < torch.inf or (values < 0).any():
        raise ValueError(f"values must have a positive sum of parts that are at least 0, got {total.item():g}")
    return total


def foreground_per_level(labels: torch.Tensor, level_sizes: Sequence[int]) -> torch.Tensor:
    """Foreground, background and ignored anchors on each pyramid level of a batch (chapter 1).

    ``labels`` (B, A) int64 from ``matching.match``. ``level_sizes``: anchors on each level, adding up to A. Returns
    int64 (levels, 3), counted over the batch.
    """
    levels = labels.split(list(level_sizes), dim=1)
    return torch.stack([torch.stack([(x >= 0).sum(), (x == -1).sum(), (x == -2).sum()]) for x in levels])
