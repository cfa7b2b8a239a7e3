"""Matching: which anchor answers for which object, which is background, which is left out (chapter 7)."""

from typing import NamedTuple

import torch

from focalbook.boxes import iou

BACKGROUND, IGNORED = -1, -2
"""Labels of anchors that stand for no object, and of those in the band between, which take no part in the loss."""


class Matches(NamedTuple):
    """``labels`` (B, A) int64: class index, ``BACKGROUND`` or ``IGNORED``. ``boxes`` (B, A, 4): the box that a
    foreground anchor answers for; on every other anchor the anchor itself, so that its deltas are 0 (chapter 7)."""

    labels: torch.Tensor
    boxes: torch.Tensor


def match(
    anchors: torch.Tensor, boxes: torch.Tensor, labels: torch.Tensor, foreground: float = 0.5, background: float = 0.4
) -> Matches:
    """Match every anchor of a batch with its best object.

    ``anchors`` (A, 4), ``boxes`` (B, M, 4) in pixels, ``labels`` (B, M) int64 with -1 in padding rows. An anchor whose
    best IoU is at least ``foreground`` takes that object's class; below ``background`` it is background; between, it
    is ignored. Each object also claims its best anchors, however small the overlap, as long as there is one: with
    IoU 0 a padding row, or an object off the grid, would claim every anchor that touches nothing. Where two objects
    claim one anchor, it goes to the one that overlaps it more.

    Returns ``Matches``. Raises ``ValueError`` unless 0 < background <= foreground <= 1. RetinaNet's rule (Lin et al.
    2017, section 4); the claim is detectron2's ``allow_low_quality_matches``. Explained in chapter 7.
    """
    if not 0 < background <= foreground <= 1:
        raise ValueError(f"need 0 < background <= foreground <= 1, got {background} and {foreground}")
    batch, most = labels.shape
    if most == 0 or len(anchors) == 0:  # nothing to take a maximum over
        empty = torch.full((batch, len(anchors)), BACKGROUND, device=labels.device)
        return Matches(empty, anchors.expand(batch, -1, -1))
    real = (labels >= 0)[..., None]
    overlap = iou(boxes.to(anchors), anchors) * real  # (B, M, A)
    best, owner = overlap.max(dim=1)
    # IoUs that are equal on paper differ in the last bit by position; a hair of slack lets all the best ones count.
    top = overlap.amax(dim=2, keepdim=True)
    claimed = (overlap >= top * (1 - 1e-6)) & (top > 0)
    claimant = (overlap * claimed).argmax(dim=1)
    claimed = claimed.any(dim=1)
    owner = torch.where(claimed, claimant, owner)
    positive = claimed | (best >= foreground)
    label = torch.where(best >= background, IGNORED, BACKGROUND)
    label = torch.where(positive, labels.gather(1, owner), label)
    matched = boxes.to(anchors).gather(1, owner[..., None].expand(-1, -1, 4))
    return Matches(label, torch.where(positive[..., None], matched, anchors))
