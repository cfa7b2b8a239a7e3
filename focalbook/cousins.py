"""Three relatives of focal loss, on logits, with its defaults and its arguments (chapter 15).

All take logits ``inputs`` and labels ``targets`` 0 or 1 of one shape and return nats of that shape, computed as the
formula stands: they are for comparison, and have not been through what ``sigmoid_focal_loss`` has.
"""

import torch
import torch.nn.functional as F

from focalbook.losses import sigmoid_focal_loss


def poly_focal_loss(
    inputs: torch.Tensor, targets: torch.Tensor, alpha: float = 0.25, gamma: float = 2.0, epsilon: float = 1.0
) -> torch.Tensor:
    """Focal loss with the first term of its series in 1 - p_t raised by ``epsilon`` (Leng et al. 2022, Poly-1):

        FL + epsilon alpha_t (1 - p_t)^(gamma + 1)

    Explained in chapter 15.
    """
    t = targets.to(inputs.dtype)
    not_p_t = torch.sigmoid(inputs * (1 - 2 * t))
    alpha_t = 1.0 if alpha == -1 else alpha * t + (1 - alpha) * (1 - t)
    return sigmoid_focal_loss(inputs, targets, alpha, gamma) + epsilon * alpha_t * not_p_t ** (gamma + 1)


def asymmetric_loss(
    inputs: torch.Tensor,
    targets: torch.Tensor,
    positive_gamma: float = 0.0,
    negative_gamma: float = 4.0,
    margin: float = 0.05,
) -> torch.Tensor:
    """A gamma for each class, and no loss at all for negatives below the probability ``margin`` (Ridnik et al. 2021):

        positives (1 - p)^g+ (-ln p),   negatives p_m^g- (-ln(1 - p_m)) with p_m = max(p - margin, 0)

    Explained in chapter 15.
    """
    p = torch.sigmoid(inputs)
    shifted = (p - margin).clamp(min=0)
    positives = torch.sigmoid(-inputs) ** positive_gamma * -F.logsigmoid(inputs)
    negatives = shifted**negative_gamma * -torch.log1p(-shifted)
    return torch.where(targets.bool(), positives, negatives)


def gradient_harmonized_loss(
    inputs: torch.Tensor, targets: torch.Tensor, counts: torch.Tensor | None = None, bins: int = 30
) -> torch.Tensor:
    """Cross-entropy divided by how many examples of the batch have a gradient like this one's (Li et al. 2019, GHM-C):

        N / (examples in the same of M bins of the size of p - t, times the bins that are not empty) CE

    without the running mean over batches. ``counts``: bool, which examples take part. Explained in chapter 15.
    """
    t = targets.to(inputs.dtype)
    counts = torch.ones_like(targets, dtype=torch.bool) if counts is None else counts.expand_as(targets)
    size = torch.sigmoid((inputs * (1 - 2 * t)).detach())  # |p - t|
    place = (size.nan_to_num() * bins).long().clamp(max=bins - 1)  # a NaN stays in the loss, for others to find
    crowd = torch.zeros(bins, dtype=inputs.dtype, device=inputs.device)
    crowd.index_add_(0, place.flatten(), counts.flatten().to(crowd))  # no selection: a GPU would have to wait for it
    weight = counts.sum() / (crowd[place].clamp(min=1) * (crowd > 0).sum())
    return weight * sigmoid_focal_loss(inputs, targets, -1, 0.0)
