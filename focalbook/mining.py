"""Online hard example mining: which anchors take part in the loss at all (chapter 11).

Focal loss turns easy examples down; mining leaves them out. Both rules below look at the loss of each anchor under the
model as it stands and return which anchors are kept, per image.
"""

import torch


def hardest(losses: torch.Tensor, counts: torch.Tensor, keep: int) -> torch.Tensor:
    """The ``keep`` anchors of each image with the highest loss, foreground or background (Shrivastava et al. 2016).

    ``losses`` (B, A): loss of each anchor, summed over the classes; ``counts`` (B, A) bool: which may be kept at all.
    Returns (B, A) bool, at most ``keep`` True in a row. Raises ``ValueError`` for ``keep`` below 1. Without the NMS of
    candidate boxes that the original runs first. Explained in chapter 11.
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1 anchor an image, got {keep}")
    keep = min(keep, losses.shape[1])
    ranked = losses.detach().masked_fill(~counts, -torch.inf)
    chosen = torch.zeros_like(counts).scatter_(1, ranked.topk(keep, dim=1).indices, True)
    return chosen & counts


def negatives_per_positive(
    losses: torch.Tensor, counts: torch.Tensor, positive: torch.Tensor, ratio: int
) -> torch.Tensor:
    """All positives of each image, and the ``ratio`` times as many negatives that have the highest loss (Liu et al.
    2016, 3 to 1); where there is no positive, ``ratio`` negatives.

    ``losses`` (B, A), ``counts`` (B, A) bool as in ``hardest``; ``positive`` (B, A) bool. Returns (B, A) bool. Raises
    ``ValueError`` for ``ratio`` below 1. Explained in chapter 11.
    """
    if ratio < 1:
        raise ValueError(f"ratio must be at least 1 negative for each positive, got {ratio}")
    negative = counts & ~positive
    ranked = losses.detach().masked_fill(~negative, -torch.inf)
    rank = ranked.argsort(dim=1, descending=True).argsort(dim=1)
    wanted = ratio * positive.sum(dim=1, keepdim=True).clamp(min=1)
    return positive | (negative & (rank < wanted))
