"""Matching: which anchor answers for which object, which is background, which is left out (chapter 7)."""

from typing import NamedTuple

import torch

from focalbook.boxes import iou

BACKGROUND, IGNORED = -1, -2
"""Labels of anchors that stand for no object, and of those in the band between, which take no part in the loss."""

ROWS = 16
"""Objects of each image that are compared with all anchors at a time: what that takes does not grow with a crowd."""


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

    A claim goes before a larger overlap: the best anchor of A becomes A's even if it overlaps B more. Nearest to that
    is ``gt_max_assign_all`` of mmdetection 3.3 (max_iou_assigner.py, line 308), where of several claimants the last
    one gets the anchor. ``allow_low_quality_matches`` of detectron2 (modeling/matcher.py, line 127, at 02b5c4e) and of
    torchvision 0.28 (detection/_utils.py, line 416) makes such an anchor foreground too, but leaves it to B.

    Returns ``Matches``. Raises ``ValueError`` unless 0 < background <= foreground <= 1. The bounds are RetinaNet's
    (Lin et al. 2017b, section 4), the claim that of Faster R-CNN (Ren et al. 2015). Explained in chapter 7.
    """
    if not 0 < background <= foreground <= 1:
        raise ValueError(f"need 0 < background <= foreground <= 1, got {background} and {foreground}")
    batch, most = labels.shape
    if most == 0 or len(anchors) == 0:  # nothing to take a maximum over
        empty = torch.full((batch, len(anchors)), BACKGROUND, device=labels.device)
        return Matches(empty, anchors.expand(batch, -1, -1))
    if labels.device.type == "cpu":  # a GPU would have to wait for the look
        _require_finite_boxes(boxes, labels)
    boxes = boxes.to(anchors)
    best, claim = (
        torch.zeros(batch, len(anchors), device=boxes.device, dtype=torch.promote_types(boxes.dtype, torch.float32))
        for _ in range(2)
    )
    owner, claimant = (torch.zeros_like(best, dtype=torch.int64) for _ in range(2))
    for start in range(0, most, ROWS):
        rows = slice(start, start + ROWS)
        real = (labels[:, rows] >= 0)[..., None]
        # One crowded image has many rows, and the others of its batch only padding there.
        there = real.any(dim=1)[:, 0] if most > ROWS else slice(None)
        overlap = iou(boxes[there, rows], anchors).masked_fill(~real[there], 0)  # (B, ROWS, A)
        # IoUs that are equal on paper differ in the last bit by position; a hair of slack lets all the best ones count.
        top = overlap.amax(dim=2, keepdim=True)
        claims = overlap * ((overlap >= top * (1 - 1e-6)) & (top > 0))
        for values, most_so_far, row in ((overlap, best, owner), (claims, claim, claimant)):
            most_so_far[there], row[there] = _larger(most_so_far[there], row[there], values, start)
    claimed = claim > 0
    owner = torch.where(claimed, claimant, owner)
    positive = claimed | (best >= foreground)
    label = torch.where(best >= background, IGNORED, BACKGROUND)
    label = torch.where(positive, labels.gather(1, owner), label)
    matched = boxes.gather(1, owner[..., None].expand(-1, -1, 4))
    return Matches(label, torch.where(positive[..., None], matched, anchors))


def _larger(best: torch.Tensor, owner: torch.Tensor, values: torch.Tensor, start: int) -> tuple[torch.Tensor, ...]:
    """The largest of ``best`` (B, A) and of ``values`` (B, rows, A), and its row, the first of equals: row ``start`` is
    the first of ``values``."""
    largest, row = values.max(dim=1)
    better = largest > best
    return torch.where(better, largest, best), torch.where(better, row + start, owner)


def _require_finite_boxes(boxes: torch.Tensor, labels: torch.Tensor) -> None:
    broken = (labels >= 0) & ~boxes.isfinite().all(dim=-1)
    if broken.any():
        image, row = broken.nonzero()[0].tolist()
        raise ValueError(f"boxes must be finite, got {boxes[image, row].tolist()} in row {row} of image {image}")
