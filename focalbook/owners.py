"""Who owns the loss of a detector that is being trained? (chapter 14)"""

from typing import Any

import torch

from focalbook.evaluation import answers
from focalbook.imbalance import GROUPS, cumulative_share, group_of, loss_and_gradient, shares
from focalbook.retinanet import RetinaNet
from focalbook.scenes import VALIDATION
from focalbook.training import LOSSES, TrainSettings


def owners_of(model: RetinaNet, settings: TrainSettings, count: int = 32) -> dict[str, dict[str, Any]]:
    """Who owns the loss of a model, and its gradient, on the first ``count`` validation scenes: a dict for JSON.

    For each of ``LOSSES``, whatever the model was trained with: the shares of the ``GROUPS`` in the loss and in the
    absolute gradient of the logits. For gamma 0, 0.5, 1 and 2: the cumulative share of the loss that the easiest
    0, 5, ..., 100% of the positives and of the negatives own (Lin et al. 2017b, figure 4). All in float64. Explained in
    chapter 14.
    """
    logits, targets = answers(model, settings, VALIDATION, count)
    groups = group_of(logits, targets)
    found: dict[str, dict[str, Any]] = {"shares": {}, "cumulative": {}}
    found["sizes"] = dict(zip(GROUPS, torch.bincount(groups.flatten(), minlength=3).tolist()))
    for name, setting in LOSSES.items():
        loss, gradient = loss_and_gradient(logits, targets, **setting)
        found["shares"][name] = {
            kind: {group: round(share, 6) for group, share in shares(values, groups).items()}
            for kind, values in (("loss", loss), ("gradient", gradient))
        }
    for gamma in (0.0, 0.5, 1.0, 2.0):
        loss, _ = loss_and_gradient(logits, targets, -1, gamma)
        found["cumulative"][f"{gamma:g}"] = {
            kind: _at_twentieths(cumulative_share(loss[part]))
            for kind, part in (("positives", targets), ("negatives", ~targets))
        }
    return found


def _at_twentieths(curve: torch.Tensor) -> list[float]:
    places = (torch.arange(1, 21) * len(curve) / 20).ceil().long().clamp(min=1) - 1
    return [0.0, *(round(value, 6) for value in curve[places].tolist())]
