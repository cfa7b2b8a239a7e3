"""A small RetinaNet: residual backbone, feature pyramid, two subnets shared over the levels (chapter 8).

The layout is the paper's (Lin et al. 2017b, section 4), scaled down to train on a laptop. Three things differ on
purpose: group normalization, because batches are small; SiLU for ReLU, because with a smooth activation training is
not chaotic and its digits are the same on another machine (chapter 9); and a residual stage of two convolutions only.

Everywhere in ``focalbook``, Lin et al. 2017a is the paper on feature pyramids (CVPR) and 2017b that on focal loss
(ICCV), as in the book's references.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from focalbook.anchors import AnchorSettings, make_anchors, places_per_level
from focalbook.boxes import SETTLED_AT_ONCE, decode, uncovered

PAIRS = 2**23
"""Pairs of boxes that are compared at a time where detections overlap: what that takes does not grow with the batch."""


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3 x 3 convolution, group normalization (8 channels a group), SiLU (chapter 8)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(max(1, outputs // 8), outputs),
        nn.SiLU(),
    )


class Residual(nn.Module):
    """A convolution that halves the map, then one that adds to it: (B, inputs, H, W) -> (B, outputs, H / 2, W / 2).

    The shortcut skips the second convolution alone. The block of He et al. 2016 is larger: there it skips two or three,
    past the halving as well, and the activation comes after the sum. Explained in chapter 8.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = convolution(inputs, outputs, stride=2)
        self.second = convolution(outputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / 2, W / 2)."""
        x = self.first(x)
        return x + self.second(x)


class FeaturePyramid(nn.Module):
    """Top-down pyramid (Lin et al. 2017a): maps of every level, each with ``channels`` channels and a view of all
    that lies above it (chapter 8)."""

    def __init__(self, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in widths)
        self.smooth = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in widths)

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        """Maps (B, width, H, W), fine to coarse -> as many maps (B, channels, H, W)."""
        maps = [lateral(x) for lateral, x in zip(self.lateral, maps)]
        for level in range(len(maps) - 2, -1, -1):
            maps[level] = maps[level] + F.interpolate(maps[level + 1], size=maps[level].shape[-2:], mode="nearest")
        return [smooth(x) for smooth, x in zip(self.smooth, maps)]


class Subnet(nn.Module):
    """One head, shared over the levels: ``depth`` convolutions, then ``values`` numbers for each anchor of a place.

    Explained in chapter 8.
    """

    def __init__(self, channels: int, depth: int, per_place: int, values: int) -> None:
        super().__init__()
        self.tower = nn.Sequential(*(convolution(channels, channels) for _ in range(depth)))
        self.output = nn.Conv2d(channels, per_place * values, 3, padding=1)
        self.values = values

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Maps (B, channels, H, W) of all levels -> (B, A, values), in the order of the anchors."""
        outputs = [self.output(self.tower(x)) for x in maps]
        # (B, per_place * values, H, W) -> (B, H * W * per_place, values): the order of the anchors
        flat = [x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.values) for x in outputs]
        return torch.cat(flat, dim=1)


class Detections(NamedTuple):
    """Of one image, best first: ``boxes`` (N, 4) in pixels, ``scores`` (N,) in [0, 1], ``labels`` (N,) int64.

    Explained in chapter 8.
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    labels: torch.Tensor


def prior_bias(prior: float) -> float:
    """The logit of a probability, b = -ln((1 - pi) / pi): with this bias every anchor starts at p = pi.

    Raises ``ValueError`` unless 0 < prior < 1. Lin et al. 2017b, section 4.1. Explained in chapter 8.
    """
    if not 0 < prior < 1:
        raise ValueError(f"prior must lie strictly between 0 and 1, got {prior}")
    return -math.log((1 - prior) / prior)


class RetinaNet(nn.Module):
    """A one-stage detector: logits and box deltas for every anchor of an image, in one pass.

    ``classes``: number of classes. ``image_size``: side of the square images in pixels. ``anchors``: the grid, an
    ``AnchorSettings`` whose strides are 4, 8, 16, ..., or begin with a later one of these: the paper's P3 to P7 have 8
    to 128, and spare the many anchors of stride 4. ``channels``: width of the pyramid and the subnets. ``depth``:
    convolutions in a subnet before its output. ``prior``: probability pi of foreground before training.
    ``generator``: a CPU ``torch.Generator`` that draws all initial weights; the same weights on every device.

    Explained in chapter 8.
    """

    def __init__(
        self,
        classes: int,
        image_size: int,
        anchors: AnchorSettings = AnchorSettings(),
        channels: int = 24,
        depth: int = 1,
        prior: float = 0.01,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        there = [4]
        while there[-1] < anchors.strides[-1]:
            there.append(2 * there[-1])
        if tuple(there[-len(anchors.strides) :]) != tuple(anchors.strides):
            raise ValueError(
                f"strides must be 4, 8, 16, ... for this backbone, or begin with a later one, got {anchors.strides}"
            )
        widths = [16 * (level + 2) for level in range(len(there))]
        self.stem = convolution(3, 16, stride=2)
        self.stages = nn.ModuleList(Residual(i, o) for i, o in zip([16] + widths, widths))
        self.levels = len(anchors.strides)
        self.pyramid = FeaturePyramid(widths[-self.levels :], channels)
        self.classification = Subnet(channels, depth, anchors.per_place, classes)
        self.regression = Subnet(channels, depth, anchors.per_place, 4)
        self.image_size = image_size
        self.level_sizes = [places * anchors.per_place for places in places_per_level(image_size, anchors)]
        self.anchors: torch.Tensor  # the buffer of the next line, told to type checkers
        self.register_buffer("anchors", make_anchors(image_size, anchors), persistent=False)
        self._initialize(prior, generator)

    def _initialize(self, prior: float, generator: torch.Generator | None) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for subnet in (self.classification, self.regression):
            nn.init.normal_(subnet.output.weight, std=0.01, generator=generator)
        nn.init.constant_(
            self.classification.output.bias,  # type: ignore[arg-type]  # because torch does not say that it has one
            prior_bias(prior),
        )

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.anchors.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return self.classification.output.weight.dtype

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``images`` (B, 3, size, size) in [0, 1] -> logits (B, A, classes) and deltas (B, A, 4).

        Raises ``ValueError`` for images of another shape or type than the model's: the anchors are made for one size.
        """
        self._require(images)
        # Convolutions are faster in this order of memory, and a head's output is flattened without a copy.
        x = self.stem((images - 0.5).contiguous(memory_format=torch.channels_last))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        maps = self.pyramid(maps[-self.levels :])
        return self.classification(maps), self.regression(maps)

    def _require(self, images: torch.Tensor) -> None:
        """Raise for images that the model is not made for."""
        side = self.image_size
        if images.shape[1:] != (3, side, side) or images.dim() != 4:
            raise ValueError(
                f"images must be (B, 3, {side}, {side}), the size that the anchors are made for, "
                f"got {tuple(images.shape)}: resize them, or make a model for their size"
            )
        if not images.is_floating_point():
            raise ValueError(f"images must be floating numbers in [0, 1], got {images.dtype}: divide bytes by 255")
        device = images.device.type
        mixed = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        if images.dtype != self.dtype and not mixed:
            raise ValueError(
                f"images must be {self.dtype} like the weights, got {images.dtype}: use images.to(model.dtype)"
            )

    @torch.no_grad()
    def detect(
        self, images: torch.Tensor, score: float = 0.05, per_level: int = 1000, overlap: float = 0.5, most: int = 100
    ) -> list[Detections]:
        """Detections of each image of a batch: a list of B ``Detections``, best score first.

        As in the paper (section 4.1): of each level the ``per_level`` best scores above ``score``, decoded and cut at
        the image's edge, then class-wise NMS at IoU ``overlap``; at most ``most`` stay. Raises ``ValueError`` as
        ``forward`` does, and ``FloatingPointError`` where what the model says is not finite. Explained in chapter 8.
        """
        logits, deltas = self(images)
        if not (logits.isfinite().all() and deltas.isfinite().all()):
            raise FloatingPointError(
                "the model's outputs are not finite: it has diverged, or the images are not finite"
            )
        parts, first = [], 0
        for level in logits.sigmoid().split(self.level_sizes, dim=1):
            best, where = level.flatten(1).topk(min(per_level, level[0].numel()))
            parts.append((best, where // level.shape[2] + first, where % level.shape[2]))
            first += level.shape[1]
        scores, anchors, labels = (torch.cat(part, dim=1) for part in zip(*parts))
        # Best first, and no more of them than the image with the most has above the score: what is left is padding.
        order = scores.masked_fill(scores <= score, -1).argsort(dim=1, descending=True, stable=True)
        order = order[:, : int((scores > score).sum(dim=1).max())]
        scores, anchors, labels = (part.gather(1, order) for part in (scores, anchors, labels))
        chosen = deltas.gather(1, anchors[..., None].expand(-1, -1, 4))
        boxes = decode(chosen, self.anchors.to(deltas)[anchors]).clamp(0, images.shape[-1])
        together = max(1, PAIRS // max(1, SETTLED_AT_ONCE * order.shape[1]))  # images, by the boxes that are there
        kept = torch.cat([uncovered(*part, overlap) for part in zip(boxes.split(together), labels.split(together))])
        kept &= scores > score
        counts = kept.sum(dim=1).tolist()
        return [
            Detections(*(value[:most] for value in image))
            for image in zip(*(part[kept].split(counts) for part in (boxes, scores, labels)))
        ]
