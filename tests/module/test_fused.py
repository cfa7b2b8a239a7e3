"""The kernel for GPUs keeps the contract of ``sigmoid_focal_loss``.

Each test runs in two places: on a GPU where there is one, and on a CPU by Triton's interpreter, which executes the
kernel's own lines one by one. conftest.py turns the interpreter on where there is no GPU.
"""

import os
import subprocess
import sys
import warnings

import pytest
import torch
from test_sigmoid_focal_loss import (
    EXACT_LABELS,
    GAMMAS,
    LAYOUTS,
    LOGITS,
    RELATIVE,
    assert_relative,
    exact_columns,
    forgiving,
    random_examples,
)
from torch.utils.flop_counter import FlopCounterMode

from focalbook import fused, losses
from focalbook.losses import sigmoid_focal_loss
from tasks import ROOT

CUDA = torch.cuda.is_available()
INTERPRETED = fused.triton is not None and fused.triton.knobs.runtime.interpret


@pytest.fixture(
    params=[
        pytest.param("cpu", marks=pytest.mark.skipif(not INTERPRETED, reason="needs Triton, set to interpret")),
        pytest.param("cuda", marks=pytest.mark.skipif(not CUDA, reason="needs a GPU")),
    ],
    ids=["interpreted", "gpu"],
)
def device(request, monkeypatch):
    """Where the kernel runs, and nothing but the kernel."""
    monkeypatch.setattr(losses, "_takes_the_kernel", lambda x: not losses._is_traced(x))
    monkeypatch.setattr(fused, "BLOCK", 128)  # so that small tensors have borders between the kernel's programs
    return request.param


def value_and_gradient(device, x, t, *arguments, upstream=1.0, **settings):
    """The loss on the device, and the gradient of ``upstream`` times it towards the logits, on the CPU."""
    x = x.detach().to(device).requires_grad_()
    loss = sigmoid_focal_loss(x, t.to(device), *arguments, **settings)
    (gradient,) = torch.autograd.grad(loss, x, torch.full_like(loss, upstream))
    return loss.detach().cpu(), gradient.cpu()


def by_operations(x, t, *arguments, **settings):
    """The same in float64 by torch's operations, without the kernel."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(losses, "_takes_the_kernel", lambda x: False)
        return value_and_gradient("cpu", x.double(), t.double(), *arguments, **settings)


@pytest.mark.parametrize("gamma, alpha", [*((gamma, 0.25) for gamma in (*GAMMAS, 0.1)), (2, -1), (0.5, 0), (5, 1)])
@pytest.mark.parametrize("dtype", RELATIVE, ids=str)
def test_value_and_gradient_agree_with_50_digits(device, dtype, alpha, gamma):
    x = torch.tensor(LOGITS, dtype=dtype).repeat(len(EXACT_LABELS))
    t = torch.tensor(EXACT_LABELS, dtype=dtype).repeat_interleave(len(LOGITS))
    loss, gradient = value_and_gradient(device, x, t, alpha, gamma)
    want, slope, pulls = exact_columns(alpha, gamma, EXACT_LABELS)
    assert_relative(loss, want, RELATIVE[dtype], dtype)
    assert_relative(gradient, slope, RELATIVE[dtype], dtype, scale=forgiving(slope, pulls))


@pytest.mark.parametrize("alpha", (-1, 0.9))
@pytest.mark.parametrize("gamma", (1.7, 2))
@pytest.mark.parametrize("dtype, rtol", [(torch.float64, 1e-12), (torch.float32, 2e-6)], ids=str)
def test_sum_and_mean_reduce_what_none_returns(device, dtype, rtol, gamma, alpha):
    x, t = random_examples(3, 211, labels="mixed", dtype=dtype)
    every, slope = value_and_gradient(device, x, t, alpha, gamma)
    for reduction, share in (("sum", 1), ("mean", 1 / x.numel())):
        loss, gradient = value_and_gradient(device, x, t, alpha, gamma, reduction=reduction, upstream=-3.0)
        assert loss.shape == () and loss.dtype == dtype
        torch.testing.assert_close(loss.double(), share * every.double().sum(), rtol=rtol, atol=0)
        torch.testing.assert_close(gradient, -3 * share * slope, rtol=rtol, atol=0)


@pytest.mark.parametrize("targets", [torch.bool, torch.uint8, torch.int32, torch.int64, torch.float16, torch.float64])
@pytest.mark.parametrize("logits", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_every_pair_of_types_is_computed_in_the_wider_one(device, logits, targets):
    x, t = random_examples(100, labels="hard")
    x, t = x.to(logits), t.to(targets)
    loss, gradient = value_and_gradient(device, x, t, reduction="sum")
    want, slope = by_operations(x, t, reduction="sum")
    inside = losses.WIDER[torch.promote_types(logits, targets)]
    assert loss.dtype == inside and gradient.dtype == logits
    assert_relative(loss, want, RELATIVE[inside])
    assert_relative(gradient, slope, max(RELATIVE[inside], torch.finfo(logits).eps), logits)
    every, _ = value_and_gradient(device, x, t)
    assert every.dtype == torch.promote_types(logits, targets)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_what_is_infinite_counts_as_the_largest_finite_number(device, dtype):
    top = torch.finfo(dtype).max
    x = torch.tensor([torch.inf, -torch.inf, torch.inf, -torch.inf, top, -top], dtype=dtype)
    t = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 0.0])
    loss, gradient = value_and_gradient(device, x, t, alpha=-1, reduction="none")
    assert loss[[0, 1, 4, 5]].tolist() == [0, 0, 0, 0]
    assert gradient.tolist() == [0, 0, 1, -1, 0, 0]
    assert (loss[2:4] > top / 2).all()


def test_a_label_outside_its_range_gives_nan_and_a_rounding_counts_as_the_end(device):
    t = torch.tensor([1.5, -0.1, torch.nan, 1.0000001, -1e-8, 0.5])
    loss, gradient = value_and_gradient(device, torch.zeros(6), t)
    assert loss.isnan().tolist() == gradient.isnan().tolist() == [True] * 3 + [False] * 3
    ends = value_and_gradient(device, torch.zeros(3), torch.tensor([1.0, 0.0, 0.5]))
    assert torch.equal(torch.stack((loss[3:], gradient[3:])), torch.stack(ends))
    assert value_and_gradient(device, torch.zeros(6), t, reduction="sum")[0].isnan()


def test_a_logit_that_is_nan_gives_nan(device):
    loss, gradient = value_and_gradient(device, torch.tensor([torch.nan, 0.0]), torch.tensor([0.0, 1.0]))
    assert loss.isnan().tolist() == gradient.isnan().tolist() == [True, False]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_in_memory_does_not_show(device, layout):
    x, t = (LAYOUTS[layout](part) for part in random_examples(4, 6, labels="mixed"))
    plain = value_and_gradient(device, x.contiguous(), t.contiguous())
    torch.testing.assert_close(value_and_gradient(device, x, t), plain, rtol=0, atol=0)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 129, 500])
def test_every_size_is_covered_to_its_end(device, size):
    x, t = random_examples(size, labels="mixed")
    want = by_operations(x, t)
    torch.testing.assert_close(value_and_gradient(device, x, t), want, rtol=1e-12, atol=0)
    total, _ = value_and_gradient(device, x, t, reduction="sum")
    torch.testing.assert_close(total, want[0].sum(), rtol=1e-12, atol=0)


def test_second_derivatives_learnable_labels_and_transforms_go_the_general_way(device):
    x, t = (part.to(device) for part in random_examples(40, labels="soft"))
    want = torch.func.hessian(lambda x: losses._loss_and_slope(x, t, 0.25, 2.0)[0].sum())(x)
    x.requires_grad_(), t.requires_grad_()
    loss = sigmoid_focal_loss(x, t, reduction="sum")
    first, towards_t = torch.autograd.grad(loss, (x, t), create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(second, want.diagonal(), rtol=1e-10, atol=0)
    torch.testing.assert_close(towards_t, losses._label_slope(x, t, 0.25, 2.0), rtol=1e-12, atol=0)
    each = torch.func.vmap(sigmoid_focal_loss)(x.view(4, 10), t.view(4, 10))
    torch.testing.assert_close(each.flatten(), losses._loss_and_slope(x, t, 0.25, 2.0)[0], rtol=1e-12, atol=0)


COMPILE = """
import torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from focalbook import fused

for logits, targets, inside, power, total in (
    ("fp32", "i1", torch.float32, 2, True),
    ("bf16", "fp32", torch.float32, -1, False),
    ("fp64", "i64", torch.float64, 1, True),
):
    outside = {torch.float32: "fp32", torch.float64: "fp64"}[inside]
    fixed = dict(power=power, total=total, dtype=getattr(fused.tl, str(inside)[6:]), block=fused.BLOCK)
    fixed |= dict(largest=torch.finfo(inside).max, tiny=torch.finfo(inside).tiny)
    pointers = dict(inputs=logits, targets=targets, losses=outside, slopes=outside)
    types = {name: "*" + type for name, type in pointers.items()} | dict(count="i64")
    types |= dict.fromkeys(("alpha", "rest", "gamma", "slack"), "fp64") | dict.fromkeys(fixed, "constexpr")
    types = {name: types[name] for name in fused._kernel.arg_names}
    places = {(list(types).index(name),): value for name, value in fixed.items()}
    source = ASTSource(fn=fused._kernel, signature=types, constexprs=places)
    assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"]
print("compiled")
"""


@pytest.mark.skipif(fused.triton is None, reason="needs Triton")
def test_the_kernel_compiles_for_a_gpu_that_is_not_here(tmp_path):
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", COMPILE], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout == "compiled\n", done.stderr


@pytest.mark.skipif(not CUDA, reason="needs a GPU")
def test_a_gpu_takes_the_kernel_and_a_traced_graph_does_not():
    x = torch.zeros(3, device="cuda")
    assert fused.runs_on(x.device) and losses._takes_the_kernel(x)
    with FlopCounterMode(display=False):
        assert not losses._takes_the_kernel(x)


def test_a_cpu_does_not_take_the_kernel_and_neither_does_what_only_stands_for_a_gpu():
    assert not losses._takes_the_kernel(torch.zeros(3))
    assert not losses._takes_the_kernel(torch.zeros(3, device="meta"))


def test_a_device_without_triton_or_without_its_compiler_goes_the_general_way(monkeypatch):
    here = torch.device("cpu")
    monkeypatch.setattr(fused, "triton", None)
    fused.runs_on.cache_clear()
    assert not fused.runs_on(here)

    def broken(*_):
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC")

    monkeypatch.setattr(fused, "triton", object())
    monkeypatch.setattr(fused, "fused_loss_and_slope", broken)
    fused.runs_on.cache_clear()
    with pytest.warns(
        UserWarning, match="Triton does not run on cpu, .* without its kernel: Failed to find C compiler"
    ):
        assert not fused.runs_on(here)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not fused.runs_on(here)  # told once
    fused.runs_on.cache_clear()
