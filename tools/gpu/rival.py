"""torchvision's RetinaNet from the book's own parts: backbone, pyramid, anchors, heads, first weights, scenes.

What is left to compare is what torchvision brings: how it handles images, matches, counts losses (each image divided by
its own positives, L1 for boxes) and suppresses. Needs torchvision with its compiled operators.
"""

from collections import OrderedDict

import torch
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import (
    RetinaNet,
    RetinaNetClassificationHead,
    RetinaNetHead,
    RetinaNetRegressionHead,
)

from focalbook.evaluation import average_precision
from focalbook.retinanet import Detections
from focalbook.scenes import TEST, TRAIN, Scenes
from focalbook.training import _optimizer, new_model


class Backbone(nn.Module):
    """Stem, stages and pyramid of the book's network."""

    def __init__(self, model, channels):
        super().__init__()
        self.stem, self.stages, self.pyramid = model.stem, model.stages, model.pyramid
        self.out_channels = channels

    def forward(self, images):
        x, maps = self.stem(images), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return OrderedDict((str(level), x) for level, x in enumerate(self.pyramid(maps)))


class Anchors(AnchorGenerator):
    """The book's anchors, the same for every image."""

    def __init__(self, anchors):
        super().__init__()
        self.register_buffer("all", anchors.float(), persistent=False)

    def forward(self, image_list, feature_maps):
        return [self.all] * len(image_list.image_sizes)


class Classification(RetinaNetClassificationHead):
    """torchvision's loss on the book's subnet."""

    def __init__(self, subnet, channels, per_place):
        super().__init__(channels, per_place, subnet.values)
        del self.conv, self.cls_logits
        self.subnet = subnet

    def forward(self, x):
        return self.subnet(x)


class Regression(RetinaNetRegressionHead):
    """torchvision's loss on the book's subnet."""

    def __init__(self, subnet, channels, per_place):
        super().__init__(channels, per_place)
        del self.conv, self.bbox_reg
        self.subnet = subnet

    def forward(self, x):
        return self.subnet(x)


def rival(seed, settings):
    """torchvision's RetinaNet with the parts and first weights of ``new_model(seed, settings)``."""
    model, size, per_place = new_model(seed, settings), settings.scenes.size, settings.anchors.per_place
    head = RetinaNetHead(settings.channels, per_place, len(settings.scenes.classes))
    head.classification_head = Classification(model.classification, settings.channels, per_place)
    head.regression_head = Regression(model.regression, settings.channels, per_place)
    return RetinaNet(
        Backbone(model, settings.channels),
        len(settings.scenes.classes),
        min_size=size,
        max_size=size,
        image_mean=[0.5] * 3,
        image_std=[1.0] * 3,
        anchor_generator=Anchors(model.anchors),
        head=head,
        detections_per_img=100,
        size_divisible=1,
        _skip_resize=True,
    )


def loss_of(model, indices, settings, device):
    """The total loss of the rival on these training scenes."""
    images, boxes, labels = settings.scenes.batch(indices, TRAIN, device)
    objects = zip(boxes.float().unbind(), labels.unbind())
    targets = [{"boxes": box[label >= 0], "labels": label[label >= 0]} for box, label in objects]
    return sum(model(list(images.unbind()), targets).values())


def train_rival(seed, settings, device, look=None):
    """Train the rival as ``focalbook.training.train`` trains the book's; ``look(step)`` is called before and after."""
    model = rival(seed, settings).to(device).train()
    optimizer, schedule = _optimizer(model, settings)
    for step in range(settings.steps):
        if look:
            look(step)
        first = (seed * settings.steps + step) * settings.batch
        total = loss_of(model, range(first, first + settings.batch), settings, device)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        schedule.step()
    if look:
        look(settings.steps)
    return model


@torch.no_grad()
def judged(model, count, settings, device, batch=32):
    """AP of the rival on the first ``count`` test scenes, by the book's evaluation: a float."""
    model.eval()
    found, parts = [], []
    for first in range(0, count, batch):
        part = settings.scenes.batch(range(first, min(count, first + batch)), TEST, device)
        found += [Detections(one["boxes"], one["scores"], one["labels"]) for one in model(list(part.images.unbind()))]
        parts.append(part._replace(images=part.images[:, :0]))
    return average_precision(found, Scenes(*map(torch.cat, zip(*parts))), settings.scenes.classes)["AP"]
