"""Boxes: overlap, coding against anchors, non-maximum suppression (chapter 7).

A box is four numbers, x1, y1, x2, y2, in pixels; every function takes boxes in the last dimension, (..., 4). In half
precision an area is infinite from 256 pixels squared on, so such boxes are computed in float32, and so are the results.
"""

import math

import torch

LARGEST_STEP = math.log(1000 / 16)
"""Most that a predicted log size may grow (about 62 times): beyond it exp() would overflow on an untrained model."""


def _wide(boxes: torch.Tensor) -> torch.Tensor:
    """Boxes, or deltas, in float32 if they came in half precision or as integers."""
    return boxes if boxes.dtype in (torch.float32, torch.float64) else boxes.float()


def area(boxes: torch.Tensor) -> torch.Tensor:
    """Area in square pixels, (..., 4) -> (...). An inverted box has area 0. Explained in chapter 7."""
    return _area(_wide(boxes)[..., :2], _wide(boxes)[..., 2:])


def _area(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    width, height = (high - low).clamp_(min=0).unbind(-1)
    return width * height


def iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Intersection over union of every box in ``a`` with every box in ``b``: (..., N, 4), (..., M, 4) -> (..., N, M).

    Values in [0, 1]. Two boxes without area have IoU 0, not NaN, so that padding rows are harmless. Explained in
    chapter 7.
    """
    a, b = _wide(a), _wide(b)
    low = torch.maximum(a[..., :, None, :2], b[..., None, :, :2])
    high = torch.minimum(a[..., :, None, 2:], b[..., None, :, 2:])
    inter = _area(low, high)
    union = area(a)[..., :, None] + area(b)[..., None, :] - inter
    return inter / union.clamp(min=torch.finfo(inter.dtype).tiny)


def _center_size(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    boxes = _wide(boxes)
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + size / 2, size


def encode(boxes: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Deltas (..., 4) that turn ``anchors`` into ``boxes``: shift of the center in anchor sizes, log ratio of sizes.

    dx = (x - x_a) / w_a, dy = (y - y_a) / h_a, dw = ln(w / w_a), dh = ln(h / h_a) (Girshick et al. 2014). Both
    arguments (..., 4) with positive sides. Inverse of ``decode``. Explained in chapter 7.
    """
    center, size = _center_size(boxes)
    anchor_center, anchor_size = _center_size(anchors)
    return torch.cat([(center - anchor_center) / anchor_size, torch.log(size / anchor_size)], dim=-1)


def decode(deltas: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Boxes (..., 4) in pixels from ``deltas`` (..., 4) on ``anchors`` (..., 4): the inverse of ``encode``.

    dw and dh are cut at ``LARGEST_STEP``, so an untrained head cannot make an infinite box. Explained in chapter 7.
    """
    deltas = _wide(deltas)
    anchor_center, anchor_size = _center_size(anchors)
    center = anchor_center + deltas[..., :2] * anchor_size
    half = anchor_size * torch.exp(deltas[..., 2:].clamp(max=LARGEST_STEP)) / 2
    return torch.cat([center - half, center + half], dim=-1)


def nms(boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, threshold: float = 0.5) -> torch.Tensor:
    """Greedy non-maximum suppression within each class: indices of the boxes kept, best score first.

    ``boxes`` (N, 4), ``scores`` (N,), ``labels`` (N,) int64. A box goes when a kept box of its class with a higher
    score overlaps it by more than ``threshold`` IoU. Ties keep their order. Raises ``ValueError`` for boxes or scores
    that are not finite: no comparison with them holds, so they would all be kept. Explained in chapter 7.
    """
    for name, values in (("boxes", boxes), ("scores", scores)):
        if not values.isfinite().all():
            raise ValueError(f"{name} must be finite, got {values[~values.isfinite()][0]:g}: has the model diverged?")
    order = scores.argsort(descending=True, stable=True)
    return order[uncovered(boxes[order], labels[order], threshold)]


SETTLED_AT_ONCE = 64
"""So many boxes are settled at a time in ``uncovered``: few enough that their overlaps with all others stay small."""


def uncovered(boxes: torch.Tensor, labels: torch.Tensor, threshold: float = 0.5) -> torch.Tensor:
    """Which of the boxes of each image ``nms`` keeps: (..., N) bool, for many images at once.

    ``boxes`` (..., N, 4) and ``labels`` (..., N), best score first, so that padding may follow. It goes from the best
    block of boxes to the last: what a block keeps takes away what it covers in all later ones. Explained in chapter 7.
    """
    kept = torch.ones_like(labels, dtype=torch.bool)
    for first in range(0, labels.shape[-1], SETTLED_AT_ONCE):
        here, later = slice(first, first + SETTLED_AT_ONCE), slice(first + SETTLED_AT_ONCE, None)
        covers = _covers(boxes[..., here, :], boxes[..., first:, :], labels[..., here], labels[..., first:], threshold)
        kept[..., here] = _settled(kept[..., here], covers[..., : covers.shape[-2]].triu(1))
        kept[..., later] &= ~(covers[..., SETTLED_AT_ONCE:] & kept[..., here, None]).any(dim=-2)
    return kept


def _covers(
    a: torch.Tensor, b: torch.Tensor, labels_a: torch.Tensor, labels_b: torch.Tensor, threshold: float
) -> torch.Tensor:
    """Which boxes of ``a`` would take away which of ``b``, if they were kept: (..., N, M) bool."""
    return (iou(a, b) > threshold) & (labels_a[..., :, None] == labels_b[..., None, :])


def _settled(alive: torch.Tensor, covers: torch.Tensor) -> torch.Tensor:
    """Which of the boxes (..., N) that are ``alive`` stay, if each is covered only by better ones, above the diagonal.

    "Kept" is a fixed point: a box is kept unless a better *kept* box covers it. Starting from "all kept" and applying
    that rule settles the i-th best box after at most i rounds, and in practice all of them after three or four.
    """
    kept = alive
    while True:
        updated = alive & ~(covers & kept[..., None]).any(dim=-2)
        if torch.equal(updated, kept):
            return kept
        kept = updated
