"""The synthetic data set: small shapes among distractors on a textured background (chapter 6).

A scene is a pure function of two integers, the collection's ``seed`` and the scene's ``index``. Every random number
is a hash of (seed, index, what it is for), computed in integers, so any scene can be rendered alone, in any order, on
any device, and has the same pixels and the same boxes everywhere. There are no files.

The image is a board of square cells and a cell holds at most one item, so items never overlap and every pixel knows
its item without a search.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F

TRAIN, VALIDATION, TEST = 0, 1, 2
"""Seeds of the three collections: what a model learns from, what is chosen by, and what is reported on."""

# What a random number is for: the last word of its hash.
_ORDER, _KIND, _WIDTH, _HEIGHT, _X, _Y, _COLOR, _CONTRAST, _COUNT, _COARSE, _FINE, _NOISE = range(12)


def _disc(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.sqrt(u * u + v * v) - 1


def _square(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.maximum(u.abs(), v.abs()) - 1


def _triangle(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.maximum(v - 1, (2 * u.abs() - v - 1) / 5**0.5)


def _ring(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return (torch.sqrt(u * u + v * v) - 0.75).abs() - 0.25


def _cross(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    u, v = u.abs(), v.abs()
    return torch.minimum(torch.maximum(u - 1, v - 0.3), torch.maximum(u - 0.3, v - 1))


def _diamond(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return (u.abs() + v.abs() - 1) / 2**0.5


SHAPES = {"disc": _disc, "square": _square, "triangle": _triangle, "ring": _ring, "cross": _cross, "diamond": _diamond}
"""Signed distance to each shape's edge, negative inside, in a frame where the shape's box is [-1, 1] x [-1, 1]."""


class Scenes(NamedTuple):
    """A batch of B scenes; M is the most objects that a scene may hold.

    ``images``: (B, 3, size, size), values in [0, 1]. ``boxes``: (B, M, 4) float64, corners x1, y1, x2, y2 in pixels.
    ``labels``: (B, M) int64, the class index, or -1 in a padding row (whose box is zero). Explained in chapter 6.
    """

    images: torch.Tensor
    boxes: torch.Tensor
    labels: torch.Tensor


class DataSet(Protocol):
    """What a detector is trained on and judged on: ``SceneSettings``, or one's own images (``coco.CocoFolder``).

    ``classes``: their names. ``size``: side of its square images in pixels. Explained in chapters 6 and 21.
    """

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def size(self) -> int: ...

    def batch(self, indices: Sequence[int], seed: int, device: str | torch.device, dtype: torch.dtype) -> Scenes:
        """The images with these indices of a collection (``TRAIN``, ``VALIDATION``, ``TEST``), in ``dtype``."""
        ...


@dataclass(frozen=True)
class SceneSettings:
    """What a scene holds. The defaults are the book's severe setting: fewer than 1 anchor in 300 is foreground.

    ``size``: side of the square image in pixels; ``cell``: side of a cell in pixels, a divisor of ``size``.
    ``objects``: fewest and most objects in a scene. ``distractors``: shapes of no class in a scene.
    ``extent``: smallest and largest half side of an item's box in pixels, drawn for width and height apart.
    ``classes``: names from ``SHAPES``; the shapes left over serve as distractors.
    ``contrast``: least and most distance of an item's color from mid-gray, in each channel, at most 0.5.
    ``clutter``: amplitude of the background's texture; ``noise``: amplitude of the pixel noise, both in [0, 1].

    Raises ``ValueError`` for a setting that no scene can meet. Explained in chapter 6.
    """

    size: int = 96
    cell: int = 24
    objects: tuple[int, int] = (1, 1)
    distractors: int = 6
    extent: tuple[float, float] = (5.0, 10.0)
    classes: tuple[str, ...] = ("disc", "square", "triangle")
    contrast: tuple[float, float] = (0.15, 0.4)
    clutter: float = 0.25
    noise: float = 0.15

    def __post_init__(self) -> None:
        for name in ("size", "cell", "distractors"):
            if not isinstance(getattr(self, name), int):
                raise ValueError(f"{name} must be an integer, got {getattr(self, name)!r}")
        for name, kind in (("objects", int), ("extent", (int, float)), ("contrast", (int, float))):
            pair = getattr(self, name)
            if not (isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(value, kind) for value in pair)):
                raise ValueError(f"{name} must be a pair of {'integers' if kind is int else 'numbers'}, got {pair!r}")
        (few, most), (small, large), (low, high) = self.objects, self.extent, self.contrast
        if self.cell < 8:
            raise ValueError(f"cell must be at least 8 pixels, got {self.cell}")
        if self.size < self.cell or self.size % self.cell:
            raise ValueError(f"size must be a multiple of cell ({self.cell}), got {self.size}")
        if not 0 <= few <= most:
            raise ValueError(f"objects must be (fewest, most) with 0 <= fewest <= most, got {self.objects}")
        if self.distractors < 0:
            raise ValueError(f"distractors must be at least 0, got {self.distractors}")
        if most + self.distractors > self.cells:
            raise ValueError(f"objects and distractors must fit in {self.cells} cells, got {most} + {self.distractors}")
        if not 1 <= small <= large <= self.cell / 2 - 1:
            raise ValueError(
                f"extent must be (smallest, largest) between 1 and cell / 2 - 1 = {self.cell / 2 - 1:g}, "
                f"got {self.extent}"
            )
        if not len(set(self.classes)) == len(self.classes) > 0:
            raise ValueError(f"classes must be distinct names, got {self.classes}")
        for name in self.classes:
            if name not in SHAPES:
                raise ValueError(f"classes must come from {', '.join(SHAPES)}, got {name!r}")
        if self.distractors and not self.distractor_shapes:
            raise ValueError("classes must leave a shape for the distractors")
        if not 0 <= low <= high <= 0.5:
            raise ValueError(f"contrast must be (least, most) within 0 and 0.5, got {self.contrast}")
        for name in ("clutter", "noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")

    @property
    def cells(self) -> int:
        """Number of cells on the board."""
        return (self.size // self.cell) ** 2

    @property
    def distractor_shapes(self) -> tuple[str, ...]:
        """Names of the shapes that belong to no class."""
        return tuple(name for name in SHAPES if name not in self.classes)

    def batch(
        self,
        indices: int | Sequence[int] | torch.Tensor,
        seed: int = TRAIN,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Scenes:
        """The ``Scenes`` with these indices, by ``render``."""
        return render(indices, seed, self, device, dtype)


def _mix(x: torch.Tensor) -> torch.Tensor:
    """The finalizer of SplitMix64 (Steele, Lea & Flood 2014) on int64, whose products wrap; >> needs its sign cut."""
    x = (x ^ ((x >> 30) & (2**34 - 1))) * (0xBF58476D1CE4E5B9 - 2**64)
    x = (x ^ ((x >> 27) & (2**37 - 1))) * (0x94D049BB133111EB - 2**64)
    return x ^ ((x >> 31) & (2**33 - 1))


class _Drawn(NamedTuple):
    """All random numbers of a batch: float64 in [0, 1) for the purposes of ``items`` (B, purposes, cells, 3), and of
    the ``coarse`` and the ``fine`` octave (B, 3, places, places); and for the ``noise`` 64 bits a pixel, int64 (B,
    size, size)."""

    items: torch.Tensor
    coarse: torch.Tensor
    fine: torch.Tensor
    noise: torch.Tensor


def _drawn(scene: torch.Tensor, settings: SceneSettings) -> _Drawn:
    """Hashes of (scene, purpose, position), all in one call of the hash: a GPU is slowed by the number of calls."""
    golden, size, side = 0x9E3779B97F4A7C15 - 2**64, settings.size, settings.size // settings.cell
    # A color takes three numbers a cell, and so does, for short, all else that is drawn for a cell.
    shapes = [(_COUNT + 1, settings.cells, 3), (1, 3, side + 1, side + 1), (1, 3, 4 * side + 1, 4 * side + 1)]
    shapes += [(1, size, size)]
    counts = [math.prod(shape) for shape in shapes]
    stream = _mix(scene[:, None] + torch.arange(1, _NOISE + 2, device=scene.device))
    position = torch.arange(1, 1 + max(counts), device=scene.device) * golden
    bits = stream.new_empty(len(scene), sum(counts))
    streams = stream.split([shape[0] for shape in shapes], dim=1)
    for part, starts, (purposes, *_) in zip(bits.split(counts, dim=1), streams, shapes):
        part = part.view(len(scene), purposes, -1)
        torch.add(starts[..., None], position[: part.shape[2]], out=part)
    bits, pixels = _mix(bits).split([sum(counts[:3]), counts[3]], dim=1)
    parts = _uniform(bits).split(counts[:3], dim=1)
    items, coarse, fine = (part.view(-1, *shape) for part, shape in zip(parts, shapes))
    return _Drawn(items, coarse[:, 0], fine[:, 0], pixels.view(-1, size, size))


def _uniform(bits: torch.Tensor) -> torch.Tensor:
    """Numbers in [0, 1) from 53 of their 64 bits, float64."""
    return ((bits >> 11) & (2**53 - 1)).double() * 2.0**-53


def _pixel_noise(bits: torch.Tensor) -> torch.Tensor:
    """Numbers in [-1, 1), (B, 3, size, size) float64, from (B, size, size): one hash a pixel, 21 bits a channel."""
    noise = torch.empty(len(bits), 3, *bits.shape[1:], dtype=torch.float64, device=bits.device)
    for channel, shift in enumerate((0, 21, 42)):
        noise[:, channel] = (bits >> shift) & (2**21 - 1)
    return noise.mul_(2.0**-20).sub_(1)


def _ground(coarse: torch.Tensor, fine: torch.Tensor, settings: SceneSettings) -> torch.Tensor:
    """The background, (B, 3, size, size): value noise in two octaves, about 0.5 with amplitude ``clutter``."""
    octaves = _stretched(coarse, settings.size).add_(_stretched(fine, settings.size)).sub_(1)
    return octaves.mul_(settings.clutter).add_(0.5)


def _stretched(values: torch.Tensor, size: int) -> torch.Tensor:
    return F.interpolate(values, size=(size, size), mode="bilinear", align_corners=True)


@cache
def _shape_numbers(names: tuple[str, ...], device: torch.device) -> torch.Tensor:
    """The numbers of these shapes, kept on their device: a GPU would have to wait for each copy."""
    return torch.tensor([tuple(SHAPES).index(name) for name in names], device=device)


class _Items(NamedTuple):
    """What lies on the board, (B, K) each, the objects first and then the distractors, each in a cell of its own: its
    ``cell``, its ``label`` (-1 for a distractor), the number of its shape in ``kind`` (-1 for none), its center and its
    half sides in pixels; and its ``color``, (B, K, 3)."""

    cell: torch.Tensor
    label: torch.Tensor
    kind: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    half_width: torch.Tensor
    half_height: torch.Tensor
    color: torch.Tensor


def _items(drawn: torch.Tensor, settings: SceneSettings) -> _Items:
    """The items, by the numbers drawn for a cell's purposes, (B, purposes, cells, 3)."""
    few, most = settings.objects
    by_cell = drawn.flatten(2)[:, :, : settings.cells]
    count = few + (by_cell[:, _COUNT, :1] * (most - few + 1)).long()
    cell = by_cell[:, _ORDER].argsort(dim=1, stable=True)[:, : most + settings.distractors]
    own = by_cell.gather(2, cell[:, None].expand(-1, by_cell.shape[1], -1))
    of_color = drawn[:, _COLOR : _CONTRAST + 1].gather(2, cell[:, None, :, None].expand(-1, 2, -1, 3))

    rank = torch.arange(cell.shape[1], device=cell.device)
    label = torch.where(rank < count, (own[:, _KIND] * len(settings.classes)).long(), -1)
    kind = torch.full_like(label, -1)
    if settings.distractors:
        others = _shape_numbers(settings.distractor_shapes, cell.device)
        kind = torch.where(rank < count + settings.distractors, others[(own[:, _KIND] * len(others)).long()], kind)
    kind = torch.where(label >= 0, _shape_numbers(settings.classes, cell.device)[label], kind)

    small, large = settings.extent
    half_width = small + (large - small) * own[:, _WIDTH]
    half_height = small + (large - small) * own[:, _HEIGHT]
    side = settings.size // settings.cell
    # A pixel of room on each side keeps the soft edge inside the cell; it is wider than half a pixel on a long side.
    room_x, room_y = settings.cell - 2 - 2 * half_width, settings.cell - 2 - 2 * half_height
    x = (cell % side) * settings.cell + 1 + half_width + room_x * own[:, _X]
    y = (cell // side) * settings.cell + 1 + half_height + room_y * own[:, _Y]

    low, high = settings.contrast
    sign = torch.where(of_color[:, 0] < 0.5, -1.0, 1.0)
    color = 0.5 + sign * (low + (high - low) * of_color[:, 1])
    return _Items(cell, label, kind, x, y, half_width, half_height, color)


def _draw(images: torch.Tensor, items: _Items, settings: SceneSettings) -> None:
    """Draw the items onto the ``images`` (B, 3, size, size), each within its cell."""
    side, cell = settings.size // settings.cell, settings.cell
    row, column = items.cell // side, items.cell % side
    pixel = torch.arange(cell, device=images.device).double() + 0.5
    u = ((column * cell)[..., None] + pixel - items.x[..., None]) / items.half_width[..., None]
    v = ((row * cell)[..., None] + pixel - items.y[..., None]) / items.half_height[..., None]
    u, v = u[..., None, :], v[..., :, None]  # (B, K, 1, cell) and (B, K, cell, 1)
    distance = torch.ones_like(u * v)
    for number, shape in enumerate(SHAPES.values()):
        distance = torch.where((items.kind == number)[..., None, None], shape(u, v), distance)
    half = torch.minimum(items.half_width, items.half_height)[..., None, None]
    cover = (0.5 - distance * half).clamp_(0, 1)[:, :, None]  # the share of the pixel inside, to first order
    board = images.view(-1, 3, side, cell, side, cell).permute(0, 2, 4, 1, 3, 5)  # (B, side, side, 3, cell, cell)
    place = torch.arange(len(images), device=images.device)[:, None], row, column
    board[place] = board[place] * (1 - cover) + items.color[..., None, None] * cover


def render(
    indices: int | Sequence[int] | torch.Tensor,
    seed: int = TRAIN,
    settings: SceneSettings = SceneSettings(),
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Scenes:
    """Render the scenes with these indices as one batch, on this device.

    ``indices``: int, sequence or 1-d tensor of B ints, each at least 0; those that lie on a GPU already are not looked
    at, because it would have to wait. ``seed``: int, which collection (``TRAIN``, ``VALIDATION``, ``TEST``, or
    another). ``settings``: a ``SceneSettings``. Returns ``Scenes`` on ``device``, the images in ``dtype``. All is
    computed in float64 and only then cast; CPU and CUDA agree to 1e-9.

    Raises ``ValueError`` for indices that are not such integers, for none, and for a seed that is no integer.
    Explained in chapter 6.
    """
    indices = torch.as_tensor(indices)
    wrong = indices.is_floating_point() or indices.dim() > 1 or indices.numel() == 0
    if wrong or indices.device.type == "cpu" and (indices < 0).any():
        raise ValueError(f"indices must be one or more integers that are at least 0, got {indices.tolist()}")
    if not isinstance(seed, int):
        raise ValueError(f"seed must be an integer, got {seed!r}")
    # The seed's hash on the CPU, whatever the device: it is a number that no GPU has to give back.
    scene = _mix(indices.to(device, non_blocking=True).long().view(-1) + _mix(torch.tensor(seed)).item())
    drawn = _drawn(scene, settings)
    items = _items(drawn.items, settings)
    images = _ground(drawn.coarse, drawn.fine, settings)
    _draw(images, items, settings)
    images.add_(_pixel_noise(drawn.noise).mul_(settings.noise))

    corners = [items.x - items.half_width, items.y - items.half_height]
    corners += [items.x + items.half_width, items.y + items.half_height]
    labels = items.label[:, : settings.objects[1]]
    boxes = torch.stack(corners, dim=-1)[:, : settings.objects[1]] * (labels >= 0)[..., None]
    return Scenes(images.clamp_(0, 1).to(dtype), boxes, labels)
