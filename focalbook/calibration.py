"""Calibration: does a score of 0.8 mean that four in five of such answers are right? (chapter 15)"""

from typing import Any, NamedTuple

import torch

from focalbook.evaluation import answers
from focalbook.retinanet import RetinaNet
from focalbook.scenes import TEST, VALIDATION
from focalbook.training import TrainSettings


class Reliability(NamedTuple):
    """Per bin of equal width in p: ``count`` int64, mean ``confidence`` and ``frequency`` of the label 1, both float64
    and NaN in an empty bin (chapter 15)."""

    count: torch.Tensor  # type: ignore[assignment]  # because a tuple has a method of this name
    confidence: torch.Tensor
    frequency: torch.Tensor


def reliability(logits: torch.Tensor, targets: torch.Tensor, bins: int = 15, above: float = 0.05) -> Reliability:
    """The reliability diagram of probabilities p = sigmoid(logits) against labels 0 or 1 of the same shape.

    ``bins`` of equal width over [0, 1]. ``above``: answers with a lower p are left out; nearly all anchors of a
    detector are sure background, and would make any detector look calibrated. Returns a ``Reliability``. Raises
    ``ValueError`` for logits that are NaN, which no bin would count, and for other labels. Guo et al. 2017. Explained
    in chapter 15.
    """
    _require_answers(logits, targets)
    p = torch.sigmoid(logits.double()).flatten()
    kept = p > above
    p, hit = p[kept], targets.flatten()[kept].double()
    place = (p * bins).long().clamp(max=bins - 1)
    count = torch.bincount(place, minlength=bins)
    sums = [torch.zeros_like(count, dtype=torch.float64).index_add_(0, place, values) for values in (p, hit)]
    return Reliability(count, *(total / count for total in sums))


def expected_calibration_error(found: Reliability) -> float:
    """ECE: the gap between confidence and frequency, averaged over the answers; a float in [0, 1], NaN without answers.

    ``found``: a ``Reliability``. Explained in chapter 15.
    """
    gaps = (found.confidence - found.frequency).abs().nan_to_num()
    return ((found.count * gaps).sum() / found.count.sum()).item()


def fit_temperature(logits: torch.Tensor, targets: torch.Tensor, steps: int = 50) -> float:
    """The T > 0 for which sigmoid(logits / T) has the smallest cross-entropy against ``targets``: a float.

    Newton's method in 1 / T, where the cross-entropy is convex. Raises ``ValueError`` for logits that are not finite,
    for labels other than 0 and 1, and where no temperature is the best: for logits that are right without exception it
    is the smaller the better. Guo et al. 2017. Explained in chapter 15.
    """
    _require_answers(logits, targets)
    if not logits.isfinite().all():
        raise ValueError("logits must be finite to have a temperature, got an infinite one")
    x, t = logits.double().flatten(), targets.double().flatten()
    inverse = torch.ones((), dtype=torch.float64)
    for _ in range(steps):
        p = torch.sigmoid(inverse * x)
        step = (x * (p - t)).sum() / (x * x * p * (1 - p)).sum()
        inverse = (inverse - step).clamp(inverse / 2, inverse * 2)  # never beyond where the parabola is of use
    if not step.abs() < 1e-6 * inverse:
        raise ValueError("logits must be right and wrong now and then to have a temperature: none of them is the best")
    return (1 / inverse).item()


def _require_answers(logits: torch.Tensor, targets: torch.Tensor) -> None:
    if logits.shape != targets.shape or not logits.numel():
        shapes = f"{tuple(logits.shape)} and {tuple(targets.shape)}"
        raise ValueError(f"logits and targets must have one shape, with answers in it, got {shapes}")
    if logits.isnan().any():
        raise ValueError(
            f"logits must be numbers, got NaN in {int(logits.isnan().sum())} places: has the model diverged?"
        )
    other = targets[(targets != 0) & (targets != 1)]
    if len(other):
        raise ValueError(f"targets must be labels 0 or 1, got {other[0]:g}")


def calibrate(model: RetinaNet, settings: TrainSettings, count: int = 64) -> dict[str, Any]:
    """How reliable the scores of a model are on the first ``count`` test scenes: a dict for JSON, with the
    ``Reliability`` as it is ("raw") and with the "temperature" that fits the first validation scenes ("scaled").

    Explained in chapter 15.
    """
    fitted: dict[str, Any]
    fitted, inverse = {}, 1.0
    for collection in (VALIDATION, TEST):
        logits, targets = answers(model, settings, collection, count)
        if collection == VALIDATION:
            fitted["temperature"] = fit_temperature(logits, targets)
            inverse = 1 / fitted["temperature"]
    for name, factor in (("raw", 1.0), ("scaled", inverse)):
        found = reliability(factor * logits, targets)
        fitted[name] = {key: values.nan_to_num().tolist() for key, values in found._asdict().items()}
    return fitted
