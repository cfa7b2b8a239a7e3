"""Cross-entropy, balanced cross-entropy and focal loss: on probabilities in NumPy, on logits in torch.

The NumPy functions read like the text (chapters 2, 3 and 4). ``sigmoid_focal_loss`` is what a detector trains with
(chapters 5, 8 and 9); its arguments are torchvision's. One formula covers all three losses:

    FL(p_t) = -alpha_t (1 - p_t)^gamma ln p_t,   p_t = p if y = 1 else 1 - p   (Lin et al. 2017, eq. 5)

gamma = 0 makes it balanced cross-entropy, no alpha besides makes it cross-entropy.
"""

import numpy as np
import torch
import torch.nn.functional as F


def _p_t(p, y):
    """Probability of the true class, p_t = p if y = 1 else 1 - p, after checking both; broadcast, float64."""
    p, y = np.asarray(p, dtype=np.float64), np.asarray(y)
    inside = (p >= 0) & (p <= 1)  # False for NaN too
    if not inside.all():
        raise ValueError(f"p must be probabilities in [0, 1], got {p[~inside].flat[0]:g}; logits need a sigmoid first")
    binary = (y == 0) | (y == 1)
    if not np.all(binary):
        raise ValueError(f"y must be labels 0 or 1, got {y[~binary].flat[0]}")
    try:
        p, y = np.broadcast_arrays(p, y)
    except ValueError:
        raise ValueError(f"p and y must have shapes that fit each other, got {p.shape} and {y.shape}") from None
    return np.where(y == 1, p, 1 - p), y


def _check_alpha_gamma(alpha, gamma, off):
    """``off`` is the value of alpha that switches the class weight off: None in NumPy, -1 in torch."""
    if alpha != off and not (alpha is not None and 0 <= alpha <= 1):
        raise ValueError(f"alpha must lie in [0, 1], or be {off} for no class weight, got {alpha}")
    if not gamma >= 0:
        raise ValueError(f"gamma must be at least 0, got {gamma}")


def _alpha_t(alpha, y):
    """Class weight: alpha for y = 1, 1 - alpha for y = 0; 1 without alpha."""
    return 1.0 if alpha is None else np.where(y == 1, alpha, 1 - alpha)


def cross_entropy(p, y):
    """Binary cross-entropy of each example, CE(p_t) = -ln p_t.

    ``p``: predicted probabilities of class 1 in [0, 1], scalar or array. ``y``: labels 0 or 1, of a shape that
    broadcasts with ``p``. Returns float64 in nats, of the broadcast shape; inf where p_t is exactly 0, never NaN.
    Raises ``ValueError`` for values outside these ranges and for shapes that do not fit. Explained in chapter 2.

    >>> round(float(cross_entropy(0.95, 1)), 4)
    0.0513
    """
    return focal_loss(p, y, alpha=None, gamma=0.0)


def balanced_cross_entropy(p, y, alpha=0.25):
    """Balanced cross-entropy of each example, -alpha_t ln p_t (Lin et al. 2017, eq. 3).

    ``alpha``: weight of class 1 in [0, 1]; class 0 gets 1 - alpha; None for no weight. ``p``, ``y``, result and
    errors as for ``cross_entropy``. Explained in chapter 3.

    >>> round(float(balanced_cross_entropy(0.95, 1, alpha=0.25)), 4)
    0.0128
    """
    return focal_loss(p, y, alpha=alpha, gamma=0.0)


def focal_loss(p, y, alpha=0.25, gamma=2.0):
    """Focal loss of each example, FL(p_t) = -alpha_t (1 - p_t)^gamma ln p_t (Lin et al. 2017, eq. 5).

    ``alpha``: weight of class 1 in [0, 1], or None for no weight. ``gamma``: focusing parameter, at least 0; at 0 the
    modulating factor is 1. ``p``, ``y``, result and errors as for ``cross_entropy``. Explained in chapter 4.

    >>> f"{focal_loss(0.95, 1):.4g}"
    '3.206e-05'
    """
    _check_alpha_gamma(alpha, gamma, off=None)
    p_t, y = _p_t(p, y)
    weight = _alpha_t(alpha, y) * (1 - p_t) ** gamma
    with np.errstate(divide="ignore", invalid="ignore"):
        # A weight of exactly 0 (alpha at its ends) silences the example, an infinite cross-entropy included.
        loss = np.where(weight == 0, 0.0, weight * -np.log(p_t))
    return loss + 0.0  # turns -0.0 into 0.0, and an array without dimensions into a scalar


def sigmoid_focal_loss(inputs, targets, alpha=0.25, gamma=2.0, reduction="none"):
    """Focal loss on logits, a drop-in for ``torchvision.ops.sigmoid_focal_loss``.

    ``inputs``: logits x, a floating tensor of any shape; p = sigmoid(x). ``targets``: labels t of the same shape, 0 or
    1, or soft labels between (then 1 - p_t = p + t - 2 p t, and alpha_t = alpha t + (1 - alpha)(1 - t)); integers
    and booleans are converted. ``alpha``: weight of class 1 in [0, 1], or -1 for none. ``gamma``: at least 0.
    ``reduction``: "none", "mean" or "sum"; a detector divides the sum by its positives itself (chapter 8).

    Returns nats in the wider of the two types: the shape of ``inputs`` for "none", else a scalar. Half precision is
    computed in float32. Values and gradients stay finite for every finite logit, for 0 < gamma < 1 too. Raises
    ``ValueError`` for shapes that differ, an unknown reduction, alpha outside [0, 1] other than -1, gamma below 0, or
    integer logits. Explained in chapters 4 and 5.
    """
    if inputs.shape != targets.shape:
        raise ValueError(
            f"inputs and targets must have one shape, got {tuple(inputs.shape)} and {tuple(targets.shape)}"
        )
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    if not inputs.is_floating_point():
        raise ValueError(f"inputs must be logits in a floating type, got {inputs.dtype}")
    _check_alpha_gamma(alpha, gamma, off=-1)
    result = torch.promote_types(inputs.dtype, targets.dtype)
    # Half precision loses small losses before they are summed: at the prior pi = .01 most of the total. float32 inside.
    x = inputs.float() if result in (torch.float16, torch.bfloat16) else inputs
    t = targets.to(torch.promote_types(x.dtype, targets.dtype))

    loss = -(t * F.logsigmoid(x) + (1 - t) * F.logsigmoid(-x))  # CE, exact in both tails
    if gamma > 0:
        not_p_t = t * torch.sigmoid(-x) + (1 - t) * torch.sigmoid(x)  # 1 - p_t, without the cancellation of 1 - p
        # For gamma < 1 the power has an infinite slope at 0, and infinity times 0 is NaN: stay a hair above.
        loss = not_p_t.clamp(min=torch.finfo(x.dtype).tiny) ** gamma * loss
    if alpha != -1:
        loss = (alpha * t + (1 - alpha) * (1 - t)) * loss  # alpha_t
    return {"none": lambda: loss, "mean": loss.mean, "sum": loss.sum}[reduction]().to(result)
