"""Training: one loss for the whole batch, one loop (chapters 8 and 9)."""

import hashlib
import io
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F

from focalbook.anchors import AnchorSettings
from focalbook.boxes import encode
from focalbook.losses import sigmoid_focal_loss
from focalbook.matching import IGNORED, match
from focalbook.retinanet import RetinaNet
from focalbook.scenes import TRAIN, SceneSettings, render

LOSSES = {
    "cross-entropy": dict(alpha=-1, gamma=0.0),
    "balanced cross-entropy": dict(alpha=0.75, gamma=0.0),
    "focal loss": dict(alpha=0.25, gamma=2.0),
}
"""The three losses by name, as settings of ``sigmoid_focal_loss``: the paper's best alpha for each (tables 1a, 1b)."""

PULSE = 25
"""Steps between two looks at the loss (for the progress bar, the checkpoint and a loss that is no number): looking at
every step would make a GPU wait for the CPU."""


@dataclass(frozen=True)
class TrainSettings:
    """All that decides a run beside its loss and its seed.

    ``steps`` steps on ``batch`` fresh scenes each; AdamW, its learning rate on a one-cycle schedule with peak ``lr``;
    ``channels``, ``depth`` and ``prior`` of the ``RetinaNet``; the scenes and the anchors. Raises ``ValueError`` for
    a setting that cannot train. Explained in chapter 9.
    """

    steps: int = 600
    batch: int = 8
    lr: float = 1e-2
    channels: int = 24
    depth: int = 1
    prior: float = 0.01
    scenes: SceneSettings = SceneSettings()
    anchors: AnchorSettings = AnchorSettings()

    def __post_init__(self):
        for name, least in (("steps", 1), ("batch", 1), ("channels", 8), ("depth", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer that is at least {least}, got {value!r}")
        if self.channels % 8:
            raise ValueError(
                f"channels must be a multiple of 8, the size of a normalisation group, got {self.channels}"
            )
        if not self.lr > 0:
            raise ValueError(f"lr must be positive, got {self.lr}")


class Run(NamedTuple):
    """A finished training: the ``model``, and ``losses``, the total training loss of every step, a list of floats
    (chapter 9)."""

    model: RetinaNet
    losses: list


def new_model(seed=0, settings=TrainSettings()):
    """An untrained ``RetinaNet``, float32, on the CPU; ``seed`` alone decides its weights. Explained in chapter 8."""
    return RetinaNet(
        len(settings.scenes.classes),
        settings.scenes.size,
        settings.anchors,
        channels=settings.channels,
        depth=settings.depth,
        prior=settings.prior,
        generator=torch.Generator().manual_seed(seed),
    )


def class_targets(labels, classes):
    """Targets of a one-against-all classifier from matched ``labels`` (B, A): one-hot (B, A, ``classes``) bool, all
    False for background; and (B, A) bool, which anchors count (all but the ignored). Explained in chapter 7."""
    return labels[..., None] == torch.arange(classes, device=labels.device), labels != IGNORED


def detection_loss(logits, deltas, matches, anchors, alpha, gamma):
    """Classification and box loss of a batch: two scalars, each divided by the batch's number of positive anchors.

        L_cls = sum of FL over all anchors that are not ignored / max(1, positives)
        L_box = sum of smooth L1 (beta 0.1) over the deltas of the positive anchors / max(1, positives)

    ``logits`` (B, A, K), ``deltas`` (B, A, 4), ``matches`` for the same B and A, ``anchors`` (A, 4) in pixels,
    ``alpha`` and ``gamma`` as in ``sigmoid_focal_loss``. The divisor counts positives, not anchors, because nearly all
    anchors are easy negatives (Lin et al. 2017, section 4.1), and it counts them over the whole batch, so a scene
    without objects trains too. Explained in chapter 8.
    """
    targets, counts = class_targets(matches.labels, logits.shape[-1])
    positive = matches.labels >= 0
    normaliser = positive.sum().clamp(min=1)
    losses = sigmoid_focal_loss(logits, targets, alpha, gamma)
    errors = F.smooth_l1_loss(deltas, encode(matches.boxes, anchors).to(deltas.dtype), beta=0.1, reduction="none")
    classification = (losses * counts[..., None]).sum() / normaliser
    regression = (errors * positive[..., None]).sum() / normaliser
    return classification, regression


def batch_loss(model, indices, settings, alpha, gamma):
    """Total loss of ``model`` on the training scenes ``indices``: render, match, predict, compare (chapter 9)."""
    weight = model.stem[0].weight
    images, boxes, labels = render(indices, TRAIN, settings.scenes, weight.device, weight.dtype)
    logits, deltas = model(images)
    return sum(detection_loss(logits, deltas, match(model.anchors, boxes, labels), model.anchors, alpha, gamma))


def train(
    loss="focal loss", seed=0, settings=TrainSettings(), device=None, dtype=torch.float32, checkpoint=None, model=None
):
    """Train a RetinaNet on fresh scenes and return the ``Run``.

    ``loss``: a name from ``LOSSES``. ``seed``: int, decides the initial weights and which training scenes are seen,
    and with them everything. ``settings``: a ``TrainSettings``. ``device``: where; None is CUDA where present, else
    the CPU. ``dtype``: torch.float32, or torch.float64 for digits that hold on another machine. ``checkpoint``: a
    file to save to every few steps and to resume from; resuming ends with the same weights. ``model``: a
    ``RetinaNet`` to start from in place of ``new_model(seed, settings)``.

    Raises ``ValueError`` for an unknown loss, a device that is not there or another run's checkpoint, and
    ``FloatingPointError`` within ``PULSE`` steps of a loss that is not finite. A progress bar is shown to a person,
    never in stored outputs. Explained in chapter 9.
    """
    if loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be an integer that is at least 0, got {seed!r}")
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {device}, but torch sees no CUDA device: name 'cpu', or leave device out")
    model = (model or new_model(seed, settings)).to(device, dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, settings.steps)
    state = dict(model=model, optimizer=optimizer, schedule=schedule)
    identity = dict(loss=loss, seed=seed, dtype=str(dtype), settings=asdict(settings))
    losses = _resume(checkpoint, identity, state) if checkpoint and Path(checkpoint).exists() else []

    recent = []
    for step in _progress(range(len(losses), settings.steps), settings.steps, losses):
        first = (seed * settings.steps + step) * settings.batch
        total = batch_loss(model, range(first, first + settings.batch), settings, **LOSSES[loss])
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        schedule.step()
        recent.append(total.detach())
        if len(recent) == PULSE or step == settings.steps - 1:
            losses += torch.stack(recent).tolist()
            recent.clear()
            _require_finite(losses, settings.lr)
            if checkpoint:
                _save(checkpoint, identity, losses, state)
    return Run(model, losses)


def _require_finite(losses, lr):
    for step, value in enumerate(losses[-PULSE:], start=max(0, len(losses) - PULSE)):
        if value - value != 0:  # true for NaN and for both infinities
            raise FloatingPointError(
                f"the loss is {value} at step {step}: lower lr (it is {lr:g}), or start at a prior below 0.5"
            )


def _progress(steps, total, losses):
    """The steps, behind a bar with the last loss when a person watches: at a terminal or in a notebook, unless
    FOCALBOOK_QUIET is set, as it is while outputs are stored or validated."""
    watched = (sys.stderr.isatty() or "ipykernel" in sys.modules) and not os.environ.get("FOCALBOOK_QUIET")
    if not watched:
        yield from steps
        return
    from tqdm import tqdm

    with tqdm(steps, initial=total - len(steps), total=total, unit="step") as bar:
        for step in bar:
            yield step
            if losses:
                bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)


def _save(path, identity, losses, state):
    """Write beside, then rename: an interruption leaves the old checkpoint or the new one, never half of one."""
    path = Path(path)
    beside = path.with_name(path.name + ".part")
    content = io.BytesIO()
    torch.save(dict(identity=identity, losses=losses, **{k: v.state_dict() for k, v in state.items()}), content)
    beside.write_bytes(hashlib.sha256(content.getvalue()).digest() + content.getvalue())
    os.replace(beside, path)


def _resume(path, identity, state):
    """Load the checkpoint into ``state`` and return the losses so far."""
    content = Path(path).read_bytes()
    digest, content = content[:32], content[32:]
    if hashlib.sha256(content).digest() != digest:  # torch.load accepts a file with flipped bytes
        raise ValueError(f"checkpoint {path} is no checkpoint of this book, or is damaged: delete it")
    saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    differing = [key for key in identity if saved["identity"][key] != identity[key]]
    if differing:
        raise ValueError(
            f"checkpoint {path} belongs to a run with another {differing[0]}: delete it or name another file"
        )
    for key, part in state.items():
        part.load_state_dict(saved[key])
    return saved["losses"]
