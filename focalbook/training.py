"""Training: one loss for the whole batch, one loop (chapters 8 and 9)."""

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from focalbook import allocator, checkpoints, distributed, mining
from focalbook.anchors import AnchorSettings
from focalbook.boxes import encode
from focalbook.cousins import asymmetric_loss, gradient_harmonized_loss, poly_focal_loss
from focalbook.losses import sigmoid_focal_loss
from focalbook.matching import IGNORED, Matches, match
from focalbook.retinanet import RetinaNet
from focalbook.scenes import TRAIN, DataSet, SceneSettings

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

    ``steps`` steps on ``batch`` fresh scenes each; ``optimizer`` "adamw", or "sgd" with momentum 0.9; its learning
    rate on a one-cycle schedule with peak ``lr``, or without ``warmup`` from ``lr`` down along a cosine; gradients cut
    to the norm ``clip``, if any. ``channels``, ``depth`` and ``prior`` of the ``RetinaNet``; ``scenes``, the data set:
    a ``SceneSettings``, or another ``DataSet`` such as a ``CocoFolder``; the anchors; ``label_noise``, the share of
    objects that are given a wrong class. Raises ``ValueError`` for a setting that cannot train. Explained in chapter 9.
    """

    steps: int = 600
    batch: int = 8
    lr: float = 1e-2
    channels: int = 24
    depth: int = 1
    prior: float = 0.01
    scenes: DataSet = SceneSettings()
    anchors: AnchorSettings = AnchorSettings()
    optimizer: str = "adamw"
    warmup: bool = True
    clip: float | None = None
    label_noise: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("channels", 8), ("depth", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer that is at least {least}, got {value!r}")
        if self.channels % 8:
            raise ValueError(
                f"channels must be a multiple of 8, the size of a normalization group, got {self.channels}"
            )
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be a positive, finite number, got {self.lr}")
        if self.optimizer not in ("adamw", "sgd"):
            raise ValueError(f"optimizer must be 'adamw' or 'sgd', got {self.optimizer!r}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be a positive norm, or None for no clipping, got {self.clip}")
        if not 0 <= self.label_noise <= 1:
            raise ValueError(f"label_noise must be a share between 0 and 1, got {self.label_noise}")
        if self.label_noise and len(self.scenes.classes) < 2:
            raise ValueError("label_noise needs at least two classes to confuse, got one")


class Run(NamedTuple):
    """A finished training: the ``model``, and of every step the total training loss in ``losses`` and the part of it
    that is classification in ``classification``, lists of floats; the rest is the box loss (chapter 9)."""

    model: RetinaNet
    losses: list[float]
    classification: list[float]


def new_model(seed: int = 0, settings: TrainSettings = TrainSettings()) -> RetinaNet:
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


def class_targets(labels: torch.Tensor, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets of a one-against-all classifier from matched ``labels`` (B, A): one-hot (B, A, ``classes``) bool, all
    False for background; and (B, A) bool, which anchors count (all but the ignored). Explained in chapter 7."""
    return labels[..., None] == torch.arange(classes, device=labels.device), labels != IGNORED


def _harmonized(
    logits: torch.Tensor, targets: torch.Tensor, counts: torch.Tensor, alpha: float, gamma: float
) -> torch.Tensor:
    losses = gradient_harmonized_loss(logits, targets, counts[..., None])
    # GHM divides by all examples, detection_loss by the positives.
    return losses * targets.any(dim=-1).sum().clamp(min=1) / (counts.sum() * logits.shape[-1])


FORMS: dict[str, Callable[..., torch.Tensor]] = {
    "focal": lambda logits, targets, counts, alpha, gamma: sigmoid_focal_loss(logits, targets, alpha, gamma),
    "poly": lambda logits, targets, counts, alpha, gamma: poly_focal_loss(logits, targets, alpha, gamma),
    "asymmetric": lambda logits, targets, counts, alpha, gamma: asymmetric_loss(logits, targets),
    "harmonized": _harmonized,
}
"""Classification losses of every output: focal loss, with both cross-entropies as special cases, and its cousins."""


def class_losses(
    logits: torch.Tensor,
    matches: Matches,
    alpha: float = 0.25,
    gamma: float = 2.0,
    form: str = "focal",
    hardest: int | None = None,
    negatives: int | None = None,
    scale: float = 1.0,
) -> torch.Tensor:
    """Classification loss of every output, (B, A, K) in nats, 0 where an anchor takes no part.

    ``logits`` (B, A, K); ``matches`` for the same B and A; ``alpha`` and ``gamma`` as in ``sigmoid_focal_loss``, or
    another of the ``FORMS`` with its own defaults. Ignored anchors take no part; with ``hardest`` only so many of the
    hardest anchors of each image do, with ``negatives`` only so many negatives for each positive (``mining``). All is
    multiplied by ``scale``, and the box loss is not: a scale below 1 gives classification less weight beside it. Raises
    ``ValueError`` for an unknown form, for both ways of mining at once, and for a scale that is not positive. Explained
    in chapters 8 and 11.
    """
    targets, counts = class_targets(matches.labels, logits.shape[-1])
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    if hardest is not None and negatives is not None:
        raise ValueError(f"hardest and negatives exclude each other, got {hardest} and {negatives}: leave one out")
    if not 0 < scale < math.inf:
        raise ValueError(f"scale must be a positive, finite number, got {scale}")
    losses = FORMS[form](logits, targets, counts, alpha, gamma)
    if hardest is not None:
        counts = mining.hardest(losses.sum(dim=-1), counts, hardest)
    if negatives is not None:
        counts = mining.negatives_per_positive(losses.sum(dim=-1), counts, matches.labels >= 0, negatives)
    return losses * (scale * counts[..., None].to(losses))


def detection_loss(
    logits: torch.Tensor, deltas: torch.Tensor, matches: Matches, anchors: torch.Tensor, *args: Any, **loss: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Classification and box loss of a batch: two scalars, each divided by the batch's number of positive anchors::

        L_cls = (FL, summed over all anchors not ignored) / max(B, positives)
        L_box = (smooth L1, summed over the deltas of positives) / max(B, positives)

    With e the size of an error, smooth L1 is e^2 / (2 beta) up to beta and e - beta / 2 beyond: no kink at 0, and a
    full pull on all that matters, since deltas are small. Beta is 0.1, as in detectron2's RetinaNet by default
    (config/defaults.py, line 468, at 02b5c4e); torchvision's takes L1 (detection/retinanet.py, line 245, 0.28).

    ``logits`` (B, A, K), ``deltas`` (B, A, 4), ``matches`` for the same B and A, ``anchors`` (A, 4) in pixels; what
    follows goes to ``class_losses``: alpha and gamma. The divisor counts positives, not anchors, because nearly all
    anchors are easy negatives (Lin et al. 2017b, section 4.1), and it counts them over the whole batch. It is at least
    the number of images: divided by 1, a batch without any object would have a hundred times the loss of its neighbors
    (chapter 22). Where processes train together (``distributed``), the batch is that of all of them, and the two
    scalars are this process's part. Explained in chapters 8 and 20.
    """
    positive = matches.labels >= 0
    normalizer = distributed.total(positive.sum()).clamp(min=max(1, len(positive) * distributed.world()))
    errors = F.smooth_l1_loss(deltas, encode(matches.boxes, anchors).to(deltas.dtype), beta=0.1, reduction="none")
    classification = class_losses(logits, matches, *args, **loss).sum() / normalizer
    regression = (errors * positive[..., None]).sum() / normalizer
    return classification, regression


def batch_loss(
    model: RetinaNet, indices: Sequence[int], settings: TrainSettings, *args: Any, **loss: Any
) -> torch.Tensor:
    """Total loss of ``model`` on the training scenes, or images, ``indices``: render, match, predict, compare; ``loss``
    as in ``class_losses`` (chapter 9)."""
    classification, regression = batch_losses(model, indices, settings, *args, **loss)
    return classification + regression


def batch_losses(
    model: RetinaNet, indices: Sequence[int], settings: TrainSettings, *args: Any, **loss: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """The two parts of ``batch_loss``, classification and box loss (chapter 9)."""
    return _losses_on(model, *_matched(model, indices, settings), *args, **loss)


def _matched(model: RetinaNet, indices: Any, settings: TrainSettings) -> tuple[torch.Tensor, Matches]:
    """The images of a batch, and what each anchor of the model is there to find."""
    images, boxes, labels = settings.scenes.batch(indices, TRAIN, model.device, model.dtype)
    return images, match(model.anchors, boxes, _with_noise(labels, indices, settings))


def _losses_on(
    model: RetinaNet, images: torch.Tensor, matches: Matches, *args: Any, **loss: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    logits, deltas = model(images)
    return detection_loss(logits, deltas, matches, model.anchors, *args, **loss)


def _with_noise(labels: torch.Tensor, indices: Sequence[int], settings: TrainSettings) -> torch.Tensor:
    """Give a share of the objects another class, drawn anew for every batch but the same again for the same one."""
    if settings.label_noise == 0:
        return labels
    draw = torch.Generator().manual_seed(int(indices[0]))
    wrong = torch.rand(labels.shape, generator=draw).to(labels.device, non_blocking=True) < settings.label_noise
    classes = len(settings.scenes.classes)
    shift = torch.randint(1, classes, labels.shape, generator=draw).to(labels.device, non_blocking=True)
    others = (labels + shift) % classes
    return torch.where(wrong & (labels >= 0), others, labels)


def train(
    loss: str | dict[str, Any] = "focal loss",
    seed: int = 0,
    settings: TrainSettings = TrainSettings(),
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    checkpoint: str | Path | None = None,
    model: RetinaNet | None = None,
    look: Callable[[int, RetinaNet], None] | None = None,
) -> Run:
    """Train a RetinaNet on fresh scenes and return the ``Run``.

    ``loss``: a name from ``LOSSES``, or arguments of ``class_losses`` as a dict. ``seed``: int, decides the initial
    weights and which training scenes are seen, and with them everything. ``settings``: a ``TrainSettings``.
    ``device``: where; None is CUDA where present, else
    the CPU. ``dtype``: torch.float32, or torch.float64 for digits that hold on another machine. ``checkpoint``: a
    file to save to every few steps and to resume from; resuming ends with the same weights. ``model``: a
    ``RetinaNet`` to start from in place of ``new_model(seed, settings)``. ``look``: called as look(step, model) before
    every step and after the last, to measure without touching.

    Within ``distributed.joined`` the processes share each batch, give each other their sums, and all return the run
    of one process on the whole batch; the first one alone shows progress and writes the checkpoint, which all must see.

    Raises ``ValueError`` for an unknown loss, a device that is not there, another run's checkpoint or a batch that the
    processes cannot share, and ``FloatingPointError`` within ``PULSE`` steps of a loss that is not finite. A progress
    bar is shown to a person, never in stored outputs. Explained in chapters 9 and 20.
    """
    if not isinstance(loss, dict) and loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, or a dict for class_losses, got {loss!r}")
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be an integer that is at least 0, got {seed!r}")
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {device}, but torch sees no CUDA device: name 'cpu', or leave device out")
    allocator.keep_freed_memory()
    model = (model or new_model(seed, settings)).to(device, dtype)
    optimizer, schedule = _optimizer(model, settings)
    state = dict(model=model, optimizer=optimizer, schedule=schedule)
    identity = dict(loss=loss, seed=seed, dtype=str(dtype), settings=asdict(settings))
    losses = _resume(checkpoint, identity, state) if checkpoint and Path(checkpoint).exists() else []
    recent, terms = [], LOSSES[loss] if isinstance(loss, str) else loss
    _require_together(terms, settings, checkpoint, torch.tensor(len(losses), device=device))
    gradients = (_Replay if _replays(device, settings) else _Gradients)(model, settings, terms)

    for step in _progress(range(len(losses), settings.steps), settings.steps, losses):
        if look:
            look(step, model)
        first = (seed * settings.steps + step) * settings.batch
        recent.append(gradients(distributed.share(range(first, first + settings.batch))))
        distributed.sum_gradients(model.parameters())
        if settings.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        schedule.step()
        if len(recent) == PULSE or step == settings.steps - 1:
            losses += distributed.total(torch.stack(recent)).tolist()
            recent.clear()
            _require_finite(losses, model, settings.lr)
            if checkpoint and distributed.rank() == 0:
                _save(checkpoint, identity, losses, state)
    if look:
        look(settings.steps, model)
    return Run(model, *map(list, zip(*losses)))


class _Gradients:
    """Called with the indices of a batch, it leaves the gradients in the parameters and returns the total loss and its
    classification part, (2,)."""

    def __init__(self, model: RetinaNet, settings: TrainSettings, terms: dict[str, Any]) -> None:
        self.model, self.settings, self.terms = model, settings, terms

    def __call__(self, indices: Any) -> torch.Tensor:
        return self.of(*batch_losses(self.model, indices, self.settings, **self.terms))

    def of(self, classification: torch.Tensor, regression: torch.Tensor) -> torch.Tensor:
        total = classification + regression
        self.model.zero_grad()
        total.backward()
        return torch.stack([total, classification]).detach()


AHEAD = 64
"""Scenes that are rendered at a time for the next steps of a training on a GPU."""


class _Replay(_Gradients):
    """The same, recorded as two CUDA graphs: all kernels of a graph are then started by one call.

    A GPU is done with a small batch before its several hundred kernels have been started one by one, and half of these
    render and match. So one graph does that for several steps ahead, and the other one takes a step's part of it. A
    recorded kernel finds its numbers where they were: indices, images, matches, losses and gradients keep their places.
    """

    def __init__(self, model: RetinaNet, settings: TrainSettings, terms: dict[str, Any]) -> None:
        super().__init__(model, settings, terms)
        self.ahead = max(1, AHEAD // settings.batch)
        self.first = -1
        self.step = torch.zeros(1, dtype=torch.int64, device=model.device)
        self.indices = torch.zeros(self.ahead * settings.batch, dtype=torch.int64, device=model.device)
        self.scenes, self.rendering = self._recorded(lambda: _matched(model, self.indices, settings))
        self.losses, self.learning = self._recorded(lambda: self.of(*_losses_on(model, *self._part(), **terms)))

    @staticmethod
    def _recorded(work: Callable[[], Any]) -> tuple[Any, torch.cuda.CUDAGraph]:
        """What the work returns, in its place, and the graph that renews it."""
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(here)
        graph = torch.cuda.CUDAGraph()
        # Sizes never change, so cuDNN may try its ways to convolve, once.
        with torch.backends.cudnn.flags(True, benchmark=True, deterministic=torch.backends.cudnn.deterministic):
            with torch.cuda.stream(aside):  # what a first run makes, such as compiled kernels, must be there before
                for _ in range(3):
                    work()
            here.wait_stream(aside)
            with torch.cuda.graph(graph):
                found = work()
        return found, graph

    def _part(self) -> tuple[torch.Tensor, Matches]:
        """Images and matches of this step's batch, out of those that were rendered ahead."""
        images, (labels, boxes) = self.scenes
        images, labels, boxes = (
            part.view(self.ahead, -1, *part.shape[1:]).index_select(0, self.step)[0] for part in (images, labels, boxes)
        )
        return images, Matches(labels, boxes)

    def __call__(self, indices: Any) -> torch.Tensor:
        step = (indices[0] - self.first) // self.settings.batch
        if self.first < 0 or step == self.ahead:
            self.first, step = indices[0], 0
            torch.arange(self.first, self.first + len(self.indices), out=self.indices)
            self.rendering.replay()
        self.step.fill_(step)
        self.learning.replay()
        return self.losses.clone()


def _replays(device: torch.device, settings: TrainSettings) -> bool:
    """Whether a batch's work lies on one GPU, and is the same for every batch but for the indices of its scenes."""
    alike = isinstance(settings.scenes, SceneSettings) and settings.label_noise == 0
    return device.type == "cuda" and distributed.world() == 1 and alike


def _optimizer(
    model: RetinaNet, settings: TrainSettings
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """The optimizer and the schedule of its learning rate."""
    if settings.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(
            model.parameters(), lr=settings.lr, momentum=0.9, weight_decay=1e-4, fused=True
        )
    else:
        optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=1e-4, fused=True)
    if settings.warmup:
        cycle = settings.optimizer == "adamw"  # SGD's momentum stays the paper's
        return optimizer, torch.optim.lr_scheduler.OneCycleLR(
            optimizer, settings.lr, settings.steps, cycle_momentum=cycle
        )
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)


def _require_together(
    terms: dict[str, Any], settings: TrainSettings, checkpoint: str | Path | None, steps: torch.Tensor
) -> None:
    """What is known of a whole batch, or a run, must be known to each of the processes that share it."""
    if distributed.world() > 1 and (settings.label_noise or terms.get("form") == "harmonized"):
        raise ValueError("label_noise and form 'harmonized' look at a whole batch: train them in one process")
    if distributed.total(steps) != steps * distributed.world():
        raise ValueError(f"checkpoint {checkpoint} differs between processes: put it where every machine sees it")


def _require_finite(losses: list[list[float]], model: RetinaNet, lr: float) -> None:
    """Looked at every ``PULSE`` steps; the weights too, because the last step may break them after its loss."""
    cure = f"lower lr (it is {lr:g}), or start at a prior below 0.5"
    for step, (value, _) in enumerate(losses[-PULSE:], start=max(0, len(losses) - PULSE)):
        if value - value != 0:  # true for NaN and for both infinities
            raise FloatingPointError(f"the loss is {value} at step {step}: {cure}")
    if not torch.stack([weight.isfinite().all() for weight in model.parameters()]).all():
        raise FloatingPointError(f"a weight is not finite after step {len(losses) - 1}: {cure}")


def _progress(steps: range, total: int, losses: list[list[float]]) -> Iterator[int]:
    """The steps, behind a bar with the last loss when a person watches: at a terminal or in a notebook, unless
    FOCALBOOK_QUIET is set, as it is while outputs are stored or validated."""
    watched = (sys.stderr.isatty() or "ipykernel" in sys.modules) and not os.environ.get("FOCALBOOK_QUIET")
    if not watched or distributed.rank() > 0:
        yield from steps
        return
    from tqdm import tqdm

    with tqdm(steps, initial=total - len(steps), total=total, unit="step") as bar:
        for step in bar:
            yield step
            if losses:
                bar.set_postfix(loss=f"{losses[-1][0]:.3f}", refresh=False)


def _save(path: str | Path, identity: dict[str, Any], losses: list[list[float]], state: dict[str, Any]) -> None:
    parts = {key: part.state_dict() for key, part in state.items()}
    checkpoints.save(path, dict(identity=identity, losses=losses, **parts))


def _resume(path: str | Path, identity: dict[str, Any], state: dict[str, Any]) -> list[list[float]]:
    """Load the checkpoint into ``state`` and return the two losses of each step so far."""
    saved = checkpoints.read(path)
    differing = [key for key in identity if saved["identity"][key] != identity[key]]
    if differing:
        raise ValueError(
            f"checkpoint {path} belongs to a run with another {differing[0]}: delete it or name another file"
        )
    for key, part in state.items():
        part.load_state_dict(saved[key])
    return saved["losses"]
