"""Anchors: the dense grid of candidate boxes that a one-stage detector scores (chapters 1 and 7)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class AnchorSettings:
    """The shape of the grid: ``len(scales) * len(ratios)`` anchors at every place of every pyramid level.

    ``strides``: pixels between the places of each level. ``base``: side of the level's first square anchor in strides.
    ``scales``: factors on that side (three steps of an octave, as in the paper). ``ratios``: height over width.

    Raises ``ValueError`` for an empty or non-positive entry. Explained in chapter 7.
    """

    strides: tuple[int, ...] = (4, 8, 16)
    base: float = 3.0
    scales: tuple[float, ...] = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)

    def __post_init__(self) -> None:
        for name in ("strides", "scales", "ratios"):
            values = getattr(self, name)
            if not values or not all(0 < value < math.inf for value in values):
                raise ValueError(f"{name} must be positive numbers, at least one, got {values}")
        if not 0 < self.base < math.inf:
            raise ValueError(f"base must be positive, got {self.base}")

    @property
    def per_place(self) -> int:
        """Anchors at one place."""
        return len(self.scales) * len(self.ratios)


def cell_anchors(size: float, scales: Sequence[float] = (1.0,), ratios: Sequence[float] = (1.0,)) -> torch.Tensor:
    """Anchors around the origin, (len(scales) * len(ratios), 4) float64, in pixels.

    Anchor (s, r) has area (size s)^2 and height / width = r: w = size s / sqrt(r), h = size s sqrt(r). Scales vary
    slowest. Explained in chapter 7.
    """
    scale = torch.tensor(scales, dtype=torch.float64)[:, None]
    root = torch.tensor(ratios, dtype=torch.float64).sqrt()[None, :]
    half = torch.stack([size * scale / root, size * scale * root], dim=-1).view(-1, 2) / 2
    return torch.cat([-half, half], dim=1)


def grid_anchors(cell: torch.Tensor, places: tuple[int, int], stride: int) -> torch.Tensor:
    """Lay ``cell`` (K, 4) on a ``places`` = (rows, columns) grid: (rows * columns * K, 4), rows first, then columns.

    The place (i, j) has its center at ((j + 0.5) stride, (i + 0.5) stride): the middle of the patch that it stands
    for. The half is a convention. torchvision 0.28 (detection/anchor_utils.py, line 102) centers on the patch's upper
    left corner, and unless a setting is changed so do detectron2 (config/defaults.py, line 195, at 02b5c4e) and
    mmdetection 3.3 (anchor_generator.py, line 78). The two lie half a stride apart: what was trained with the one
    must not be decoded with the other. Explained in chapters 7 and 19.
    """
    rows, columns = places
    y = (torch.arange(rows, dtype=cell.dtype) + 0.5) * stride
    x = (torch.arange(columns, dtype=cell.dtype) + 0.5) * stride
    y, x = torch.meshgrid(y, x, indexing="ij")
    centers = torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4)
    return (centers + cell).view(-1, 4)


def places_per_level(image_size: int, settings: AnchorSettings = AnchorSettings()) -> list[int]:
    """Places on each level for a square image of ``image_size`` pixels: a list of ints (chapter 1)."""
    return [(-(-image_size // stride)) ** 2 for stride in settings.strides]


def make_anchors(image_size: int, settings: AnchorSettings = AnchorSettings()) -> torch.Tensor:
    """All anchors of a square image, level after level: (A, 4) float64 on the CPU, in pixels.

    Level l has ceil(image_size / stride_l)^2 places; A is the sum over levels of places times ``per_place``.
    Explained in chapter 7; counted in chapter 1.
    """
    levels = []
    for stride in settings.strides:
        side = -(-image_size // stride)
        cell = cell_anchors(settings.base * stride, settings.scales, settings.ratios)
        levels.append(grid_anchors(cell, (side, side), stride))
    return torch.cat(levels)
