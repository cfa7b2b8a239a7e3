"""Fine-tune torchvision's RetinaNet, trained on COCO, with this book's loss, on your own images (chapter 22).

python -m tools.finetune --data FOLDER                            torchvision fetches the weights, once
python -m tools.finetune --data FOLDER --weights FILE.pth         they are at hand
torchrun --standalone --nproc-per-node 2 -m tools.finetune ...    in two processes

Needs a torchvision that fits the installed torch: 0.28 for 2.13.
"""

import argparse
import io
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.models.detection import RetinaNet_ResNet50_FPN_Weights, retinanet, retinanet_resnet50_fpn
from torchvision.ops.misc import FrozenBatchNorm2d

from focalbook import distributed
from focalbook.coco import CocoFolder
from focalbook.evaluation import average_precision
from focalbook.files import write
from focalbook.losses import sigmoid_focal_loss
from focalbook.retinanet import Detections
from focalbook.scenes import TEST, TRAIN, Scenes
from focalbook.turns import turned

COCO_CLASSES = 91
"""Outputs of the head that the weights come with, and that is replaced."""


class Head(retinanet.RetinaNetHead):
    """The two subnets, with a loss over the whole batch in place of torchvision's image by image.

    ``divide_by``: "batch", the positives of the batch, counted over all processes and divided by their number, because
    ``DistributedDataParallel`` takes the mean of the gradients (DETR); or "average", their moving average, which one
    crowded batch moves little (detectron2: from 100, with momentum 0.9). Either is at least one for each image
    (mmdetection): divided by 1, a batch without objects would weigh a hundred times as much as others (chapter 22).
    """

    def __init__(self, channels: int, places: int, classes: int, divide_by: str) -> None:
        super().__init__(channels, places, classes)  # its bias is that of the prior 0.01
        self.divide_by = divide_by
        self.register_buffer("average", torch.tensor(100.0))

    def compute_loss(self, targets, head_outputs, anchors, matched_idxs):
        """Two scalars: focal loss of all anchors but the ignored, smooth L1 of the positives, by the same divisor."""
        matched = torch.stack(matched_idxs)
        positive = matched >= 0
        divisor = self._divisor(positive)
        logits, deltas = head_outputs["cls_logits"], head_outputs["bbox_regression"]
        wanted = torch.zeros(logits.shape, dtype=torch.bool, device=logits.device)
        errors = []
        for image, target in enumerate(targets):
            here, objects = positive[image], matched[image][positive[image]]
            wanted[image, here, target["labels"][objects]] = True
            coder = self.regression_head.box_coder
            right = coder.encode_single(target["boxes"][objects], anchors[image][here])
            errors.append(F.smooth_l1_loss(deltas[image][here].float(), right, beta=0.1, reduction="sum"))
        losses = sigmoid_focal_loss(logits, wanted, alpha=0.25, gamma=2.0)
        counts = matched != self.classification_head.BETWEEN_THRESHOLDS
        return {
            "classification": (losses * counts[..., None]).sum() / divisor,
            "bbox_regression": torch.stack(errors).sum() / divisor,
        }

    def _divisor(self, positive: torch.Tensor) -> torch.Tensor:
        mean = distributed.total(positive.sum().float()) / distributed.world()
        if self.divide_by == "average":
            self.average.mul_(0.9).add_(mean, alpha=0.1)
            mean = self.average.clone()
        return mean.clamp(min=len(positive))


def frozen(module: nn.Module) -> None:
    """Put in place of each batch normalization one that keeps what it has learned: few images cannot measure it."""
    for name, part in module.named_children():
        if isinstance(part, nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(part.num_features, eps=0.0))  # the weights were trained with this 0
        else:
            frozen(part)


def new_model(classes: int, size: int, weights: str, divide_by: str) -> nn.Module:
    """Torchvision's RetinaNet with COCO's weights, frozen batch normalization, the first layers fixed, and a new head.

    Labels count from 0: RetinaNet has no output for background.
    """
    model = retinanet_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=COCO_CLASSES, min_size=size, max_size=size
    )
    frozen(model)
    known = RetinaNet_ResNet50_FPN_Weights.COCO_V1
    model.load_state_dict(
        known.get_state_dict(progress=False) if weights == "coco" else torch.load(weights, weights_only=True)
    )
    places = model.anchor_generator.num_anchors_per_location()[0]
    head = Head(model.backbone.out_channels, places, classes, divide_by)
    head.regression_head.load_state_dict(model.head.regression_head.state_dict())  # boxes are boxes in any class
    model.head = head
    for name, weight in model.backbone.body.named_parameters():
        weight.requires_grad_(not name.startswith(("conv1", "bn1", "layer1")))
    return model


def examples(data: CocoFolder, indices: range, collection: int, device: torch.device, flips: bool):
    """Images and targets as torchvision wants them; with ``flips`` every second one left to right."""
    images, targets = [], []
    for index in indices:
        pixels, boxes, labels = (part[0] for part in data.batch([index], collection, device))
        boxes, labels = boxes[labels >= 0], labels[labels >= 0]
        if flips and index % 2:
            pixels, boxes = turned(pixels, boxes, 4)
        images.append(pixels)
        targets.append({"boxes": boxes.float(), "labels": labels})
    return images, targets


def fine_tune(options: argparse.Namespace, data: CocoFolder, device: torch.device) -> tuple[nn.Module, list[float]]:
    """The moving average of the weights, which is what to use, and the loss of each step."""
    torch.manual_seed(options.seed)  # the new head's, the same in each process
    model = new_model(len(data.classes), data.size, options.weights, options.divide_by).to(device)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(options.ema), use_buffers=True)
    trained = DistributedDataParallel(model) if distributed.world() > 1 else model
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=options.lr, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.lr, options.steps)
    scaler = torch.amp.GradScaler(device.type, enabled=options.amp)
    losses = []
    model.train()
    for step in range(options.steps):
        indices = distributed.share(range(step * options.batch, (step + 1) * options.batch))
        images, targets = examples(data, indices, TRAIN, device, options.flips)
        with torch.autocast(device.type, torch.float16, enabled=options.amp):
            loss = sum(trained(images, targets).values())
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(learning, 10.0)
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        averaged.update_parameters(model)
        losses.append(loss.item())
        if not losses[-1] - losses[-1] == 0:
            raise FloatingPointError(f"the loss is {losses[-1]} at step {step}: lower --lr (it is {options.lr:g})")
    return averaged.module.eval(), losses


@torch.no_grad()
def judged(model: nn.Module, data: CocoFolder, device: torch.device) -> dict:
    """COCO AP on the images held out."""
    found, parts = [], []
    for index in range(data.held_out):
        part = data.batch([index], TEST, device)
        (answer,) = model(list(part.images))
        found.append(Detections(answer["boxes"], answer["scores"], answer["labels"]))
        parts.append(part._replace(images=part.images[:, :0]))
    return average_precision(found, Scenes(*map(torch.cat, zip(*parts))), data.classes)


def main(arguments: list[str] | None = None) -> None:
    """Run the command with these arguments, or with those of the command line."""
    parser = argparse.ArgumentParser(
        "python -m tools.finetune", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", metavar="FOLDER", required=True, help="your images and annotations")
    parser.add_argument("--weights", metavar="FILE", default="coco", help="of retinanet_resnet50_fpn, trained on COCO")
    parser.add_argument("--size", type=int, default=512, help="side in pixels that your images are fitted into")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=8, help="images a step, over all processes together")
    parser.add_argument("--lr", type=float, default=1e-4, help="peak learning rate")
    parser.add_argument("--ema", type=float, default=0.998, help="share of the average of weights that each step keeps")
    parser.add_argument("--divide-by", choices=("batch", "average"), default="batch", help="how positives are counted")
    parser.add_argument("--flips", action="store_true", help="show every second image left to right")
    parser.add_argument("--amp", action="store_true", help="in float16 where torch holds it safe, on a GPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--save", metavar="FILE", help="where the averaged weights go")
    options = parser.parse_args(arguments)
    with distributed.joined(options.device):
        device = torch.device(options.device)
        if options.amp and device.type != "cuda":
            raise ValueError(f"amp needs a GPU, and the device is {device}: leave --amp out")
        data = CocoFolder(options.data, options.size)
        model, losses = fine_tune(options, data, device)
        if distributed.rank() == 0:
            score = judged(model, data, device)
            print(data.report())
            print(f"loss {losses[0]:.3f} at the first step, {losses[-1]:.3f} at the last")
            print(f"on {data.held_out} images not seen: AP {score['AP']:.3f}, AP50 {score['AP50']:.3f}")
            if options.save:
                content = io.BytesIO()
                torch.save(model.state_dict(), content)
                write(Path(options.save), content.getvalue())


if __name__ == "__main__":
    main()
