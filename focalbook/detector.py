"""A trained detector as others use it: from the file of a run to boxes in a photo (chapter 21)."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from focalbook import checkpoints, pictures
from focalbook.anchors import AnchorSettings
from focalbook.boxes import decode
from focalbook.coco import letterbox, squared
from focalbook.retinanet import Detections, RetinaNet

if TYPE_CHECKING:
    from PIL.Image import Image

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of the boxes drawn into a photo, class by class, and then again from the first."""


class Detector(NamedTuple):
    """A trained ``model``, a ``RetinaNet``, and the names of its ``classes``, a tuple of texts (chapter 21)."""

    model: RetinaNet
    classes: tuple[str, ...]

    def detect(self, photo: str | Path, score: float = 0.3) -> Detections:
        """What a photo shows, best first: ``Detections`` above ``score`` in the photo's own pixels, on the CPU.

        ``photo``: the path of a picture of any size, opened as ``pictures.opened`` does, upright, and fitted into the
        model's square as in training. Raises ``pictures.Unusable`` for a file that is no picture, ``OSError`` for
        one that cannot be read, and ``FloatingPointError`` for a model that has diverged. Needs Pillow.
        """
        pixels, (width, height) = squared(photo, self.model.image_size)
        images = pixels[None].to(self.model.device).to(self.model.dtype) / 255
        boxes, scores, labels = (part.cpu() for part in self.model.detect(images, score)[0])
        photo_size = torch.tensor([width, height] * 2, dtype=torch.float64)
        boxes = (boxes.double() / letterbox(width, height, self.model.image_size)).minimum(photo_size)
        within = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)  # not in the gray beside the photo
        return Detections(boxes[within], scores[within], labels[within])

    def drawn(self, photo: str | Path, found: Detections) -> "Image":
        """The photo, upright and in its own pixels, with the boxes ``found``, their classes and scores drawn into it: a
        Pillow image of mode RGB. Raises as ``detect`` does."""
        from PIL import ImageDraw, ImageFont

        picture = pictures.opened(Path(photo), pictures.WHOLE)[0].convert("RGB")
        pen, line = ImageDraw.Draw(picture), max(1, round(max(picture.size) / 400))
        font = ImageFont.load_default(max(10, 5 * line))
        for box, score, label in zip(*(part.tolist() for part in found)):
            color = COLORS[label % len(COLORS)]
            pen.rectangle(box, outline=color, width=line)
            text = f"{self.classes[label]} {score:.2f}"
            across, down = pen.textbbox((0, 0), text, font)[2:]
            x, y = min(box[0], picture.width - across), box[1] - down
            y = y if y >= 0 else min(box[3], picture.height - down)  # above the box, where there is room
            pen.rectangle((x, y, x + across, y + down), fill=color)
            pen.text((x, y), text, "white", font)
        return picture


class Dense(nn.Module):
    """A ``RetinaNet`` to be exported, by ``torch.export`` or to ONNX: from images (B, 3, size, size) in [0, 1] to the
    boxes of all anchors, (B, A, 4) in pixels, cut at the image's edge, and their scores, (B, A, classes).

    Which of them to keep is not part of it: every place that runs such a file has a non-maximum suppression of its own.
    Explained in chapter 22.
    """

    def __init__(self, model: RetinaNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, size, size) -> boxes (B, A, 4) and scores (B, A, classes)."""
        logits, deltas = self.model(images)
        boxes = decode(deltas, self.model.anchors.to(deltas)).clamp(0, self.model.image_size)
        return boxes, logits.sigmoid()


def load(file: str | Path, device: str | torch.device = "cpu") -> Detector:
    """The ``Detector`` of a run's checkpoint, on ``device``, in the type of numbers that it was trained in.

    ``file``: what ``train`` and the command save where they are given a checkpoint. Raises ``ValueError`` for a file
    that is no checkpoint of this book, or damaged, and ``OSError`` for one that cannot be read. Explained in chapter
    21.
    """
    saved = checkpoints.read(file)
    settings, weights = saved["identity"]["settings"], saved["model"]
    model = RetinaNet(
        len(settings["scenes"]["classes"]),
        settings["scenes"]["size"],
        AnchorSettings(**settings["anchors"]),
        channels=settings["channels"],
        depth=settings["depth"],
        prior=settings["prior"],
    )
    model.to(device, next(iter(weights.values())).dtype).load_state_dict(weights)
    return Detector(model, tuple(settings["scenes"]["classes"]))
