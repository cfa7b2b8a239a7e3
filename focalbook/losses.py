"""Cross-entropy, balanced cross-entropy and focal loss: on probabilities in NumPy, on logits in torch.

The NumPy functions read like the text (chapters 2, 3 and 4). ``sigmoid_focal_loss`` is what a detector trains with
(chapters 5, 8 and 9); its arguments are torchvision's. One formula covers all three losses:

    FL(p_t) = -alpha_t (1 - p_t)^gamma ln p_t,   p_t = p if y = 1 else 1 - p   (Lin et al. 2017b, eq. 5)

gamma = 0 makes it balanced cross-entropy, no alpha besides makes it cross-entropy.
"""

import math
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch._C._functorch import TransformType
from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import _get_current_dispatch_mode, is_traceable_wrapper_subclass


def _p_t(p: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], np.ndarray]:
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


def _check_alpha_gamma(alpha: float | None, gamma: float, off: int | None) -> None:
    """``off`` is the value of alpha that switches the class weight off: None in NumPy, -1 in torch."""
    # A tensor is refused: gradients toward it would be lost in silence.
    if not (alpha is off or isinstance(alpha, Real) and (alpha == off or 0 <= alpha <= 1)):
        raise ValueError(f"alpha must lie in [0, 1], or be {off} for no class weight, got {alpha!r}")
    if not (isinstance(gamma, Real) and 0 <= gamma < math.inf):
        raise ValueError(f"gamma must be a finite number of at least 0, got {gamma!r}")


def _alpha_t(alpha: float | None, y: np.ndarray) -> NDArray[np.float64] | float:
    """Class weight: alpha for y = 1, 1 - alpha for y = 0; 1 without alpha."""
    return 1.0 if alpha is None else np.where(y == 1, alpha, 1 - alpha)


def cross_entropy(p: ArrayLike, y: ArrayLike) -> NDArray[np.float64] | np.float64:
    """Binary cross-entropy of each example, CE(p_t) = -ln p_t.

    ``p``: predicted probabilities of class 1 in [0, 1], scalar or array. ``y``: labels 0 or 1, of a shape that
    broadcasts with ``p``. Returns float64 in nats, of the broadcast shape; inf where p_t is exactly 0, never NaN.
    Raises ``ValueError`` for values outside these ranges and for shapes that do not fit. Explained in chapter 2.

    >>> round(float(cross_entropy(0.95, 1)), 4)
    0.0513
    """
    return focal_loss(p, y, alpha=None, gamma=0.0)


def balanced_cross_entropy(p: ArrayLike, y: ArrayLike, alpha: float | None = 0.25) -> NDArray[np.float64] | np.float64:
    """Balanced cross-entropy of each example, -alpha_t ln p_t (Lin et al. 2017b, eq. 3).

    ``alpha``: weight of class 1 in [0, 1]; class 0 gets 1 - alpha; None for no weight. ``p``, ``y``, result and
    errors as for ``cross_entropy``. Explained in chapter 3.

    >>> round(float(balanced_cross_entropy(0.95, 1, alpha=0.25)), 4)
    0.0128
    """
    return focal_loss(p, y, alpha=alpha, gamma=0.0)


def focal_loss(
    p: ArrayLike, y: ArrayLike, alpha: float | None = 0.25, gamma: float = 2.0
) -> NDArray[np.float64] | np.float64:
    """Focal loss of each example, FL(p_t) = -alpha_t (1 - p_t)^gamma ln p_t (Lin et al. 2017b, eq. 5).

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


CHUNK = 2**18
"""Logits worked on at a time on a CPU."""


def sigmoid_focal_loss(
    inputs: torch.Tensor, targets: torch.Tensor, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "none"
) -> torch.Tensor:
    """Focal loss on logits, a drop-in for ``torchvision.ops.sigmoid_focal_loss``.

    ``inputs``: logits x, a floating tensor of any shape; p = sigmoid(x). ``targets``: labels t of the same shape, 0 or
    1, or soft labels between (then 1 - p_t = p + t - 2 p t, and alpha_t = alpha t + (1 - alpha)(1 - t)); integers
    and booleans are converted; booleans are known to be 0 or 1 without a look. ``alpha``: weight of class 1 in [0, 1],
    or -1 for none. ``gamma``: at least 0. Both may be tensors without dimensions and gradient. ``reduction``: "none",
    "mean" or "sum"; a detector divides the sum by its positives itself (chapter 8).

    Returns nats: the shape of ``inputs`` for "none", else a scalar. Computed in the wider of the two types, half
    precision in float32, and returned in it, but for "none" from half precision outside of autocast, which is returned
    as it came. Values, gradients and second derivatives are finite for every finite logit; an infinite logit counts as
    the largest finite one. A label that is a rounding outside of [0, 1] counts as 0 or 1. For the backward pass, one
    number a logit is kept. The page of the module lists what it works under: autocast, ``torch.func``,
    ``torch.compile``, ``torch.jit.script`` and others.

    Raises ``ValueError`` for shapes that differ, an unknown reduction, alpha outside [0, 1] other than -1, gamma below
    0, either of them not a number, logits that are no floating numbers or are in 8 bits, and labels outside [0, 1].
    Where a look at the labels would make a GPU wait, or there is nothing to look at yet (compiled, exported, scripted),
    such a label makes its loss NaN instead. Explained in chapters 4, 5 and 17.
    """
    if torch.jit.is_scripting():
        return _scripted(inputs, targets, alpha, gamma, reduction)
    else:
        return _checked(inputs, targets, alpha, gamma, reduction)


def _checked(inputs: torch.Tensor, targets: torch.Tensor, alpha: float, gamma: float, reduction: str) -> torch.Tensor:
    """``sigmoid_focal_loss`` where Python runs."""
    if inputs.shape != targets.shape:
        raise ValueError(
            f"inputs and targets must have one shape, got {tuple(inputs.shape)} and {tuple(targets.shape)}"
        )
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    if inputs.dtype not in WIDER:
        raise ValueError(f"inputs must be logits in float64, float32, float16 or bfloat16, got {inputs.dtype}")
    alpha, gamma = _number(alpha), _number(gamma)
    _check_alpha_gamma(alpha, gamma, off=-1)
    function = _FocalLoss if torch.compiler.is_compiling() else _WithTangents
    loss, _ = function.apply(inputs, targets, alpha, gamma, reduction != "none")
    if reduction == "mean":
        loss = loss / inputs.numel()
    device = inputs.device.type
    if reduction == "none" and not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        return loss.to(torch.promote_types(inputs.dtype, targets.dtype))
    return loss


WIDER = {
    torch.float64: torch.float64,
    torch.float32: torch.float32,
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
}
"""Floating types, each with the one that it is computed in: half precision loses small losses before they are summed,
at the prior pi = .01 most of the total."""


def _number(value: Any) -> Any:
    """A tensor without dimensions and gradient as the number that it holds; anything else as it is."""
    plain = isinstance(value, torch.Tensor) and value.dim() == 0 and not value.requires_grad
    return value.item() if plain else value


def _scripted(inputs: torch.Tensor, targets: torch.Tensor, alpha: float, gamma: float, reduction: str) -> torch.Tensor:
    """``sigmoid_focal_loss`` for ``torch.jit.script``, left to autograd: exact in both tails, and slower."""
    half = inputs.dtype == torch.float16 or inputs.dtype == torch.bfloat16
    x, t = inputs, targets.to(inputs.dtype)
    if half:
        x, t = inputs.float(), targets.float()
    x = x.clamp(-3e38, 3e38)
    slack = 4e-3 if half else 4.8e-7
    t = t.clamp(0.0, 1.0).masked_fill((t < -slack) | (t > 1 + slack) | t.isnan(), float("nan"))
    ce = -(t * F.logsigmoid(x) + (1 - t) * F.logsigmoid(-x))
    q = (t * torch.sigmoid(-x) + (1 - t) * torch.sigmoid(x)).clamp(min=1.2e-38)
    loss = q**gamma * ce
    if alpha >= 0:
        loss = (alpha * t + (1 - alpha) * (1 - t)) * loss
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction != "none":
        raise ValueError("reduction must be 'none', 'mean' or 'sum', got " + reduction)
    return loss.to(inputs.dtype)


def _inner_dtype(inputs: torch.Tensor, targets: torch.Tensor) -> torch.dtype:
    """The type computed in: the wider of the two, and float32 for half precision."""
    return WIDER[torch.promote_types(inputs.dtype, targets.dtype)]


def _prepared(x: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are finite, and labels in [0, 1]: a rounding outside counts as inside, and anything else is NaN."""
    dtype, slack = _inner_dtype(x, t), _slack(t)
    largest = torch.finfo(dtype).max
    x, t = x.to(dtype).clamp(-largest, largest), t.to(dtype)
    return x, t.clamp(0, 1).masked_fill(~((t >= -slack) & (t <= 1 + slack)), torch.nan)


def _slack(t: torch.Tensor) -> float:
    """How far a label may lie outside of [0, 1] and count as a rounding."""
    if not t.is_floating_point():
        return 0.0
    # Wide labels are often made of narrower ones: 1.0000001 is the float32 above 1.
    return 4 * max(torch.finfo(t.dtype).eps, torch.finfo(torch.float32).eps)


class _Parts(NamedTuple):
    """What loss and slopes are made of, for logits x and labels t in [0, 1], open to further differentiation.

    p = sigmoid(x) and 1 - p; q = 1 - p_t = t (1 - p) + (1 - t) p; CE = -t ln p - (1 - t) ln(1 - p); alpha_t.
    """

    p: torch.Tensor
    not_p: torch.Tensor
    q: torch.Tensor
    ce: torch.Tensor
    alpha_t: torch.Tensor | float


def _parts(x: torch.Tensor, t: torch.Tensor, alpha: float) -> _Parts:
    negative = x < 0
    # Autograd's slope of |x| is wrong at 0; and below -1e3, where e^-|x| is 0 in any type, none must overflow.
    e = torch.exp(torch.where(negative, x, -x).clamp(min=-1e3) if torch.is_grad_enabled() else -x.abs())
    large = 1 / (1 + e)
    small = e * large  # without the cancellation of 1 - large
    p, not_p = torch.where(negative, small, large), torch.where(negative, large, small)
    ce = torch.log1p(e) + torch.where(negative, -t * x, (1 - t) * x)
    # For gamma < 1 the power has an infinite slope at 0, and infinity times 0 is NaN: stay a hair above.
    q = (t * not_p + (1 - t) * p).clamp(min=torch.finfo(x.dtype).tiny)
    return _Parts(p, not_p, q, ce, 1.0 if alpha == -1 else alpha * t + (1 - alpha) * (1 - t))


def _loss_and_slope(x: torch.Tensor, t: torch.Tensor, alpha: float, gamma: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Focal loss and its slope dFL/dx for labels t in [0, 1], both open to further differentiation, from chapter 17:

    FL     = alpha_t q^gamma CE
    dFL/dx = alpha_t q^gamma [ (1 - t) p - t (1 - p) + gamma (1 - 2 t) p (1 - p) / q CE ]
    """
    x, t = _prepared(x, t)
    p, not_p, q, ce, alpha_t = _parts(x, t, alpha)
    weight = alpha_t * q**gamma
    slope = weight * ((1 - t) * p - t * not_p + gamma * (1 - 2 * t) * (p * not_p / q) * ce)
    return weight * ce, slope


def _label_slope(x: torch.Tensor, t: torch.Tensor, alpha: float, gamma: float) -> torch.Tensor:
    """The slope of the loss toward the label, dFL/dt, for labels that are learned:

    dFL/dt = q^gamma (dalpha_t/dt CE - alpha_t x) + gamma q^(gamma - 1) (1 - 2 p) alpha_t CE
    """
    x, t = _prepared(x, t)
    p, not_p, q, ce, alpha_t = _parts(x, t, alpha)
    rise = 0.0 if alpha == -1 else 2 * alpha - 1
    slope = q**gamma * (rise * ce - alpha_t * x)
    return slope + gamma * q ** (gamma - 1) * (not_p - p) * alpha_t * ce if gamma else slope


def _hard_loss_and_slope(
    x: torch.Tensor, t: torch.Tensor, alpha: float, gamma: float, loss: torch.Tensor, slope: torch.Tensor
) -> None:
    """The same for labels 0 and 1, without a graph, written into ``loss`` and ``slope``.

    With the sign s = 1 - 2 t: q = sigmoid(s x), p_t = 1 - q and CE = max(s x, 0) - ln(1 - min(q, p_t)), which is one
    sigmoid and one logarithm in all.
    """
    sign = torch.mul(t, -2, out=slope).add_(1)
    sx = sign * x
    q = torch.sigmoid(sx)
    p_t = 1 - q
    ce = sx.clamp_(0, torch.finfo(x.dtype).max).sub_(torch.minimum(q, p_t, out=loss).neg_().log1p_())
    weight = sign if alpha == -1 else sign.clamp_(-alpha, 1 - alpha)  # s alpha_t
    weight.mul_(torch.pow(q, gamma, out=loss))
    torch.mul(weight, ce, out=loss).abs_()
    weight.mul_(q.addcmul_(p_t, ce, value=gamma))  # dFL/dx = s alpha_t q^gamma (q + gamma p_t CE)


def _are_hard(t: torch.Tensor, slack: float, work: torch.Tensor) -> bool:
    """Whether all labels are 0 or 1, by a look at them that uses ``work``. Raises ``ValueError`` for labels that lie
    outside of [0, 1] by more than a rounding."""
    low, high = (end.item() for end in torch.addcmul(t, t, t, value=-1, out=work).aminmax())  # t - t^2
    if not low >= 0:  # NaN included
        bad = t[~((t >= -slack) & (t <= 1 + slack))]
        if len(bad):
            raise ValueError(f"targets must be labels in [0, 1], got {bad[0]:g}: leave such examples out")
    return low == high == 0


def _can_look(x: torch.Tensor) -> bool:
    """Whether the numbers are at hand: not on a GPU, which would have to wait, and not while a graph is traced."""
    return not _is_traced(x) and x.device.type == "cpu"


def _is_traced(x: torch.Tensor) -> bool:
    """Whether a graph is being traced, or the tensor stands for others: there are no numbers yet."""
    if torch.compiler.is_compiling():
        return True
    return isinstance(x, FakeTensor) or is_traceable_wrapper_subclass(x) or _get_current_dispatch_mode() is not None


def _takes_the_kernel(x: torch.Tensor) -> bool:
    """Whether one kernel computes loss and slope: on a GPU that runs it."""
    if x.device.type != "cuda" or _is_traced(x):
        return False
    from focalbook.fused import runs_on  # not before: it brings Triton

    return runs_on(x.device)


class _FocalLoss(torch.autograd.Function):
    """Focal loss, or its sum if ``total``, with the slope found on the way: the backward pass is one product."""

    @staticmethod
    def forward(
        inputs: torch.Tensor, targets: torch.Tensor, alpha: float, gamma: float, total: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        dtype, slack, known = _inner_dtype(inputs, targets), _slack(targets), targets.dtype == torch.bool
        if _takes_the_kernel(inputs):
            from focalbook.fused import fused_loss_and_slope

            return fused_loss_and_slope(inputs, targets, alpha, gamma, total, dtype, slack)
        if not _can_look(inputs):
            loss, slope = _loss_and_slope(inputs, targets, alpha, gamma)
            return loss.sum() if total else loss, slope
        # In chunks, so that every pass but the first finds its numbers in the cache; the sum needs no array of losses.
        slope = torch.empty_like(inputs, dtype=dtype, memory_format=torch.contiguous_format)
        loss = slope.new_empty(min(CHUNK, inputs.numel())) if total else torch.empty_like(slope)
        flat_inputs, flat_targets, flat_slope, flat_loss = (v.reshape(-1) for v in (inputs, targets, slope, loss))
        added = 0.0
        for start in range(0, inputs.numel(), CHUNK):
            end = min(start + CHUNK, inputs.numel())
            x, t = flat_inputs[start:end].to(dtype), flat_targets[start:end].to(dtype)
            chunk = flat_loss[: end - start] if total else flat_loss[start:end], flat_slope[start:end]
            if known or _are_hard(t, slack, chunk[0]):
                _hard_loss_and_slope(x, t, alpha, gamma, *chunk)
            else:
                for out, soft in zip(chunk, _loss_and_slope(x, flat_targets[start:end], alpha, gamma)):
                    out.copy_(soft)
            if total:
                added += chunk[0].sum().item()
        return torch.tensor(added, dtype=dtype) if total else loss, slope

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
        x, t, ctx.alpha, ctx.gamma, ctx.total = inputs
        ctx.save_for_backward(x, t, output[1])
        ctx.save_for_forward(x, t)
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)  # no array of zeros in place of the slope's gradient

    @staticmethod
    def backward(
        ctx: Any, grad: torch.Tensor | None, _: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None, None]:
        if grad is None:
            return None, None, None, None, None
        x, t, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # a derivative of the derivative is asked for
            _, slope = _loss_and_slope(x, t, ctx.alpha, ctx.gamma)
        to_x = (grad * slope).to(x.dtype) if ctx.needs_input_grad[0] else None
        learned = ctx.needs_input_grad[1]
        to_t = (grad * _label_slope(x, t, ctx.alpha, ctx.gamma)).to(t.dtype) if learned else None
        return to_x, to_t, None, None, None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        x: torch.Tensor,
        t: torch.Tensor,
        alpha: float,
        gamma: float,
        total: bool,
    ) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[int, int]]:
        x, t = (
            part.expand(info.batch_size, *part.shape) if dim is None else part.movedim(dim, 0)
            for part, dim in zip((x, t), in_dims)
        )
        loss, slope = _WithTangents.apply(x, t, alpha, gamma, False)
        return (loss.flatten(1).sum(1) if total else loss, slope), (0, 0)


class _WithTangents(_FocalLoss):
    """The same with forward derivatives, which the compiler does not take."""

    @staticmethod
    def jvp(
        ctx: Any, to_x: torch.Tensor | None, to_t: torch.Tensor | None, *_: None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        if sum(level.key() == TransformType.Jvp for level in retrieve_all_functorch_interpreters()) > 1:
            # Torch would take the outer one for 0, in silence, of any function of its own.
            raise NotImplementedError("a forward derivative of a forward derivative: use torch.func.hessian, or jacrev")
        x, t = ctx.saved_tensors
        loss, slope = _loss_and_slope(x, t, ctx.alpha, ctx.gamma)
        change = torch.zeros_like(loss)
        if to_x is not None:
            change = change + slope * to_x
        if to_t is not None:
            change = change + _label_slope(x, t, ctx.alpha, ctx.gamma) * to_t
        return change.sum() if ctx.total else change, None
