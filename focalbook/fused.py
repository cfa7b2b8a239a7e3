"""The focal loss and its slope in one pass over a GPU's memory, as a kernel in Triton (chapter 18).

On a GPU, torch's own operations each read and write whole arrays, some forty of them for one loss. This kernel reads
every logit and every label once, and writes the slope and the loss, or one partial sum for each ``BLOCK`` of losses.
The formula is that of ``losses``; what the kernel does not take, such as derivatives of higher order, stays there.
Triton comes with torch on Linux. It is imported when a loss is first computed on a GPU.
"""

import warnings
from functools import cache

import torch

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

BLOCK = 1024
"""Logits that one program of the kernel works on."""

if triton:

    @triton.jit
    def _kernel(
        inputs,
        targets,
        losses,
        slopes,
        count,
        alpha: tl.float64,
        rest: tl.float64,
        gamma: tl.float64,
        slack: tl.float64,
        power: tl.constexpr,
        total: tl.constexpr,
        dtype: tl.constexpr,
        largest: tl.constexpr,
        tiny: tl.constexpr,
        block: tl.constexpr,
    ):
        place = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
        inside = place < count
        x = tl.load(inputs + place, mask=inside, other=0).to(dtype)
        t = tl.load(targets + place, mask=inside, other=0).to(dtype)

        # Comparisons in place of minimum and maximum, which drop a NaN.
        x = tl.where(x > largest, largest, tl.where(x < -largest, -largest, x))
        off = tl.full((), slack, dtype)
        fit = tl.where(t < 0, 0.0, tl.where(t > 1, 1.0, t))
        t = tl.where((t >= -off) & (t <= 1 + off), fit, float("nan"))

        # e^-|x|. In float32 a GPU's exponential loses digits with the size of its argument: take out powers of 2, by
        # ln 2 in two parts of which the first has so few digits that its products are exact.
        y = tl.where(x < 0, x, -x)
        y = tl.where(y < -1000, -1000.0, y)
        if dtype == tl.float32:
            twos = tl.floor(y * 1.4426950408889634 + 0.5)
            e = tl.exp(y - twos * 0.693359375 + twos * 2.12194440054690583e-4) * tl.exp2(twos)
        else:
            e = tl.exp(y)

        # ln(1 + e) = 2 artanh(s) with s = e / (2 + e) up to 1/3, as a series in s^2
        s = e / (2 + e)
        series = tl.zeros_like(s)
        terms: tl.constexpr = 8 if dtype == tl.float32 else 18
        for k in tl.static_range(terms):
            series = series * (s * s) + 1.0 / (2 * (terms - k) - 1)
        log1p = 2 * s * series

        large = 1 / (1 + e)
        small = e * large
        p, not_p = tl.where(x < 0, small, large), tl.where(x < 0, large, small)
        ce = log1p + tl.where(x < 0, -t * x, (1 - t) * x)
        q = t * not_p + (1 - t) * p
        q = tl.where(q < tiny, tiny, q)
        weight = tl.full((), alpha, dtype) * t + tl.full((), rest, dtype) * (1 - t)
        if power == 1:
            weight = weight * q
        elif power == 2:
            weight = weight * (q * q)
        elif power != 0:  # in float64, because a rounding of the exponent counts |gamma ln q| times
            weight = weight * tl.exp(tl.full((), gamma, tl.float64) * tl.log(q.to(tl.float64))).to(dtype)
        modulation = tl.full((), gamma, dtype) * (1 - 2 * t) * (p * not_p / q) * ce
        tl.store(slopes + place, weight * ((1 - t) * p - t * not_p + modulation), mask=inside)
        loss = weight * ce
        if total:
            tl.store(losses + tl.program_id(0), tl.sum(tl.where(inside, loss, 0.0), axis=0))
        else:
            tl.store(losses + place, loss, mask=inside)


def fused_loss_and_slope(
    x: torch.Tensor, t: torch.Tensor, alpha: float, gamma: float, total: bool, dtype: torch.dtype, slack: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Focal loss, or its sum if ``total``, and its slope toward the logits, without a graph.

    ``x``: logits; ``t``: labels of the same shape, in any real type. Both lie on one GPU. ``alpha``, ``gamma``: as in
    ``sigmoid_focal_loss``. ``dtype``: torch.float32 or torch.float64, the type computed in and returned. ``slack``: how
    far a label may lie outside of [0, 1] and count as a rounding; further out, its loss and slope are NaN. Explained in
    chapter 18.
    """
    x, t = x.contiguous(), t.contiguous()
    slope = torch.empty_like(x, dtype=dtype)
    blocks = -(-x.numel() // BLOCK)
    loss = slope.new_empty(blocks) if total else torch.empty_like(slope)
    if blocks:
        limits, kind = torch.finfo(dtype), {torch.float32: tl.float32, torch.float64: tl.float64}[dtype]
        weights = (1.0, 1.0) if alpha == -1 else (float(alpha), float(1 - alpha))
        power = int(gamma) if gamma in (0, 1, 2) else -1
        with torch.cuda.device_of(x):  # Triton starts its kernels on the current device
            _kernel[(blocks,)](
                *(x, t, loss, slope, x.numel(), *weights, float(gamma), slack),
                *(power, total, kind, limits.max, limits.tiny, BLOCK),
            )
    return loss.sum() if total else loss, slope


@cache
def runs_on(device: torch.device) -> bool:
    """Whether the kernel runs on this device, found out by a first run (chapter 18).

    Without Triton, or where Triton cannot compile, it does not, and the loss is computed by torch's operations: the
    same numbers, slower. The latter is told by a warning.
    """
    if triton is None:
        return False
    try:
        logit = torch.zeros(1, device=device)
        fused_loss_and_slope(logit, logit, 0.25, 2.0, False, torch.float32, 0.0)
    except Exception as error:  # whatever a compiler or a driver may say
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        message = f"Triton does not run on {device}, so the loss is computed without its kernel: {reason}"
        warnings.warn(message, stacklevel=2)
        return False
    return True
