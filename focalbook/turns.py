"""The eight ways to lay a square picture: quarter turns and flips, the boxes with it (chapter 22).

For pictures without an up, as through a microscope or from above, each is as good an example as the first.
"""

import torch

WAYS = 8
"""Four quarter turns, each as it is and flipped."""


def turned(pixels: torch.Tensor, boxes: torch.Tensor, way: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A square picture laid another way, and its boxes in the same places of what it shows.

    ``pixels``: (..., size, size). ``boxes``: (N, 4), corners x1, y1, x2, y2 in pixels. ``way``: from 0, as it is, to 7:
    so many quarter turns to the left, and from 4 on flipped before, left to right. The same picture with the same boxes
    for way 0. Raises ``ValueError`` for a picture that is not square and for another way. Explained in chapter 22.
    """
    if pixels.shape[-1] != pixels.shape[-2]:
        raise ValueError(f"pixels must be a square, got {tuple(pixels.shape)}: fit the picture into one")
    if not 0 <= way < WAYS:
        raise ValueError(f"way must be from 0 to {WAYS - 1}, got {way}")
    size = pixels.shape[-1]
    x1, y1, x2, y2 = boxes.unbind(-1)
    if way >= 4:
        pixels, x1, x2 = pixels.flip(-1), size - x2, size - x1
    for _ in range(way % 4):
        x1, y1, x2, y2 = y1, size - x2, y2, size - x1
    return torch.rot90(pixels, way % 4, (-2, -1)), torch.stack([x1, y1, x2, y2], dim=-1)
