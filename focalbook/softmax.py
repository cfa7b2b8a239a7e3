"""Softmax focal loss, for classes of which each example has exactly one (chapter 23).

It is the sigmoid one, asked another question. Let z be the logit of the true class against all others together,

    z = x_t - ln sum_{j != t} e^{x_j},   so that   p_t = softmax(x)_t = sigmoid(z)

then FL = -alpha_t (1 - p_t)^gamma ln p_t is ``sigmoid_focal_loss`` of z with the label 1. Its slope is that of
cross-entropy times one factor:

    dFL/dx_j = alpha_t (1 - p_t)^gamma [ 1 - gamma p_t ln p_t / (1 - p_t) ] (p_j - [j = t])
"""

from collections.abc import Sequence

import torch

from focalbook.losses import WIDER, _can_look, sigmoid_focal_loss

LARGEST = 1e30
"""A logit beyond this, or infinite, counts as this: differences, weights and sums have to fit into float32."""


def softmax_focal_loss(
    inputs: torch.Tensor,
    targets: torch.Tensor,
    alpha: torch.Tensor | Sequence[float] | None = None,
    gamma: float = 2.0,
    reduction: str = "none",
    ignore_index: int = -100,
) -> torch.Tensor:
    """Focal loss on logits of K classes that exclude each other; with gamma = 0, ``torch.nn.functional.cross_entropy``.

    ``inputs``: logits, floating, of shape (N, K), (N, K, ...) as for images, or (K,). ``targets``: the true classes,
    integers from 0 to K - 1, of the same shape without K. ``alpha``: K weights of at least 0, one a class, or None
    for none. ``gamma``: at least 0. ``reduction``: "none", "sum", or "mean", which divides the sum by the weights of
    the true classes, without alpha by their number. ``ignore_index``: a target that takes no part: its loss is 0 and
    its logits, be they NaN, have no slope.

    Returns nats: the shape of ``targets`` for "none", else a scalar; the mean of nothing is NaN. Half precision is
    computed in float32 and returned in it, but for "none" outside of autocast, which is returned as it came. Values,
    gradients and second derivatives are finite for every finite logit and for weights up to a million. An infinite
    logit counts as a large one that has no slope: minus infinity takes a class out of the choice.

    Raises ``ValueError`` for shapes that do not fit, fewer than two classes, an unknown reduction, targets that are no
    integers or outside their range, weights that are negative, no numbers or not K, gamma below 0, and logits that are
    no floating numbers or are in 8 bits. Where a look at the targets would make a GPU wait, or there is nothing to look
    at yet (compiled, exported, inside ``torch.func``), a target outside makes its loss NaN instead. Explained in
    chapter 23.
    """
    classes = _checked(inputs, targets, reduction)
    x, t = inputs.to(WIDER[inputs.dtype]), targets.long()
    ignored = t == ignore_index
    outside = ~ignored & ((t < 0) | (t >= classes))
    if _at_hand(t) and outside.any():
        raise ValueError(
            f"targets must be classes from 0 to {classes - 1}, got {t[outside][0].item()}: "
            "leave such examples out by ignore_index"
        )
    t = t.clamp(0, classes - 1)
    z = _logit_of_the_true_class(x, t, ignored)
    loss = sigmoid_focal_loss(z, torch.ones_like(z, dtype=torch.bool), alpha=-1, gamma=gamma)
    weight = torch.ones_like(z) if alpha is None else _weights(alpha, classes, z)[t]
    weight = weight.masked_fill(ignored, 0).masked_fill(outside, torch.nan)
    loss = weight * loss
    if reduction != "none":
        return loss.sum() if reduction == "sum" else loss.sum() / weight.sum()
    device = inputs.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return loss if autocast else loss.to(inputs.dtype)


def _checked(inputs: torch.Tensor, targets: torch.Tensor, reduction: str) -> int:
    """The number of classes, once shapes and types fit."""
    if inputs.dtype not in WIDER:
        raise ValueError(f"inputs must be logits in float64, float32, float16 or bfloat16, got {inputs.dtype}")
    if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        raise ValueError(f"targets must be classes as integers, got {targets.dtype}: take the argmax of one-hot rows")
    shape = tuple(inputs.shape)
    if shape[:1] + shape[2:] != tuple(targets.shape) if len(shape) > 1 else targets.dim() or not shape:
        raise ValueError(
            "inputs and targets must have shapes (N, K, ...) and (N, ...), or (K,) and (), "
            f"got {shape} and {tuple(targets.shape)}"
        )
    classes = shape[min(1, len(shape) - 1)]
    if classes < 2:
        raise ValueError(f"inputs must have logits of at least two classes, got {classes} in shape {shape}")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    return classes


def _at_hand(numbers: torch.Tensor) -> bool:
    """Whether these can be looked at: on a CPU, and neither traced nor inside a transform."""
    return _can_look(numbers) and not torch._C._functorch.is_functorch_wrapped_tensor(numbers)


def _weights(alpha: torch.Tensor | Sequence[float], classes: int, like: torch.Tensor) -> torch.Tensor:
    """The class weights (K,), in the type and on the device of ``like``."""
    try:
        weights = torch.as_tensor(alpha, dtype=like.dtype, device=like.device)
    except (TypeError, ValueError):
        weights = like.new_empty(())
    if weights.shape != (classes,):
        given = alpha.tolist() if isinstance(alpha, torch.Tensor) else alpha  # on one line
        raise ValueError(f"alpha must hold {classes} numbers, one weight a class, got {given!r}")
    if _at_hand(weights) and not ((weights >= 0) & weights.isfinite()).all():
        raise ValueError(f"alpha must hold finite weights of at least 0, got {weights.tolist()}")
    return weights


def _logit_of_the_true_class(x: torch.Tensor, t: torch.Tensor, ignored: torch.Tensor) -> torch.Tensor:
    """z = x_t - ln sum_{j != t} e^{x_j}, of the shape of ``t``; that of equal logits where ``ignored``."""
    classes = min(1, x.dim() - 1)
    t, x = t.unsqueeze(classes), x.masked_fill(ignored.unsqueeze(classes), 0)
    # The slope passes where the value is cut, and stops at infinity alone.
    x = x.detach().clamp(-LARGEST, LARGEST) + (x - x.detach()).masked_fill(x.isinf(), 0)
    true, others = x.gather(classes, t), x.scatter(classes, t, -torch.inf)
    # Measured from the largest of them, so that no digits go to what all logits have in common.
    most = others.detach().amax(classes, keepdim=True)
    return (true - most - (others - most).logsumexp(classes, keepdim=True)).squeeze(classes)
