"""``sigmoid_focal_loss`` in the places where others call theirs: one answer on every path, and a table of the paths.

The page of the module (book/api.md) shows the table; ``python tests/module/test_drop_in.py`` prints it anew.
"""

import functools
import math
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from focalbook import losses  # noqa: E402
from focalbook.losses import sigmoid_focal_loss  # noqa: E402
from tasks import ROOT  # noqa: E402

X = torch.tensor([-3.0, -0.5, 0.0, 2.0, 9.0], dtype=torch.float64)
T = torch.tensor([0.0, 1.0, 0.25, 0.0, 1.0], dtype=torch.float64)
summed = functools.partial(sigmoid_focal_loss, reduction="sum")


def value_and_slope(loss, x=X, t=T):
    x = x.clone().requires_grad_()
    value = loss(x, t)
    (slope,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), slope


def same(found, want, rtol=1e-12):
    torch.testing.assert_close(found, want, rtol=rtol, atol=0, check_dtype=False)


def second_derivative():
    x = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(summed(x, T), x, create_graph=True)
    return torch.autograd.grad(slope.sum(), x)[0]


@contextmanager
def others_warnings_aside():
    """torch calls its own older parts deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Module(torch.nn.Module):
    def forward(self, x, t):
        return summed(x, t)


# ---- the table: each row is a place, and what proves what is said of it ----


def under_autocast():
    for dtype in (torch.float16, torch.bfloat16):
        with torch.autocast("cpu", dtype=dtype):
            for reduction in ("none", "mean", "sum"):
                found = sigmoid_focal_loss(X.to(dtype), T.to(dtype), reduction=reduction)
                assert found.dtype == torch.float32
                same(found, sigmoid_focal_loss(X.to(dtype).float(), T, reduction=reduction).float(), 1e-6)


def in_half_precision():
    for dtype in (torch.float16, torch.bfloat16):
        assert sigmoid_focal_loss(X.to(dtype), T.to(dtype)).dtype == dtype
        for reduction in ("mean", "sum"):
            found = sigmoid_focal_loss(X.to(dtype), T.to(dtype), reduction=reduction)
            assert found.dtype == torch.float32
            same(found, sigmoid_focal_loss(X.to(dtype).float(), T, reduction=reduction).float(), 1e-6)


def in_8_bits():
    with pytest.raises(ValueError, match="inputs must be logits in float64, .* got torch.float8_e4m3fn"):
        sigmoid_focal_loss(X.to(torch.float8_e4m3fn), T)


def scripted():
    with others_warnings_aside():
        compiled = torch.jit.script(sigmoid_focal_loss)
    for alpha, gamma in ((0.25, 2.0), (-1.0, 0.5), (0.5, 0.0)):
        for reduction in ("none", "mean", "sum"):
            settings = (alpha, gamma, reduction)
            found, want = (
                value_and_slope(lambda x, t, loss=loss, settings=settings: loss(x, t, *settings))
                for loss in (compiled, sigmoid_focal_loss)
            )
            same(found, want)
    assert compiled(X.half(), T.half(), 0.25, 2.0, "sum").dtype == torch.float32
    with pytest.raises(Exception, match="reduction must be 'none', 'mean' or 'sum', got average"):
        compiled(X, T, 0.25, 2.0, "average")


def compiled():
    torch.compiler.reset()
    same(value_and_slope(torch.compile(summed, backend="aot_eager", fullgraph=True)), value_and_slope(summed))


def exported():
    for strict in (True, False):
        same(torch.export.export(Module(), (X, T), strict=strict).module()(X, T), summed(X, T))
    shapes = dict(x={0: torch.export.Dim("n", min=2)}, t={0: torch.export.Dim("n", min=2)})
    dynamic = torch.export.export(Module(), (X, T), dynamic_shapes=shapes).module()
    same(dynamic(X[:3], T[:3]), summed(X[:3], T[:3]))


def to_onnx():
    from onnx.reference import ReferenceEvaluator

    with others_warnings_aside():
        program = torch.onnx.export(Module().eval(), (X, T), dynamo=True, verbose=False)
    names = [value.name for value in program.model.graph.inputs]
    (found,) = ReferenceEvaluator(program.model_proto).run(None, dict(zip(names, (X.numpy(), T.numpy()), strict=True)))
    same(torch.as_tensor(found), summed(X, T), 1e-6)


def vectorized():
    rows = torch.stack([X, X + 1])
    same(torch.func.vmap(summed, in_dims=(0, None))(rows, T), torch.stack([summed(row, T) for row in rows]))
    found = torch.func.vmap(torch.func.grad(summed), in_dims=(0, None))(rows, T)
    same(found, torch.stack([value_and_slope(summed, row)[1] for row in rows]))


def twice_derived():
    want = second_derivative()
    same(torch.func.hessian(summed)(X, T).diagonal(), want)
    same(torch.func.jacrev(torch.func.grad(summed))(X, T).diagonal(), want)


def derived_forward():
    direction = torch.linspace(-1, 1, len(X), dtype=torch.float64)
    _, found = torch.func.jvp(lambda x: summed(x, T), (X,), (direction,))
    same(found, value_and_slope(summed)[1] @ direction)
    _, found = torch.func.jvp(lambda t: summed(X, t), (T,), (direction,))
    labels = T.clone().requires_grad_()
    same(found, torch.autograd.grad(summed(X, labels), labels)[0] @ direction)
    same(torch.func.jacfwd(sigmoid_focal_loss)(X, T).diagonal(), value_and_slope(summed)[1])


def derived_forward_twice():
    with pytest.raises(NotImplementedError, match="use torch.func.hessian, or jacrev"):
        torch.func.jacfwd(torch.func.jacfwd(summed))(X, T)


def traced():
    same(make_fx(summed)(X, T)(X, T), summed(X, T))
    same(make_fx(torch.func.grad(summed))(X, T)(X, T), value_and_slope(summed)[1])
    mode = FakeTensorMode()
    x, t = mode.from_tensor(X).requires_grad_(), mode.from_tensor(T)
    loss = sigmoid_focal_loss(x, t)
    loss.sum().backward()
    assert loss.shape == x.grad.shape == X.shape


def on_meta():
    found = sigmoid_focal_loss(X.to("meta"), T.to("meta"), reduction="sum")
    assert found.device.type == "meta" and found.shape == ()


def checkpointed():
    same(value_and_slope(lambda x, t: checkpoint(summed, x, t, use_reentrant=False)), value_and_slope(summed))


def on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    found = [part.cpu() for part in value_and_slope(summed, X.cuda(), T.cuda())]
    same(found, list(value_and_slope(summed)))


def in_torchvisions_retinanet():
    """The recipe of chapter 21, as it stands and scripted."""
    try:
        from torchvision.models.detection import retinanet, retinanet_resnet50_fpn
    except (ImportError, RuntimeError) as error:  # a torchvision made for another torch has no operators
        pytest.skip(f"needs a torchvision that imports: {error}")
    with pytest.MonkeyPatch.context() as patched, others_warnings_aside():
        patched.setattr(retinanet, "sigmoid_focal_loss", sigmoid_focal_loss)
        model = retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=4)
        images, objects = [torch.rand(3, 64, 64)], torch.tensor([[5.0, 5, 30, 30]])
        targets = [{"boxes": objects, "labels": torch.tensor([1])}]
        want = model(images, targets)
        found, _ = torch.jit.script(model)(images, targets)
        for name, loss in want.items():
            same(found[name], loss, 1e-5)


WORKS = {
    "eager, on a CPU": ("yes", lambda: value_and_slope(summed)),
    "on a GPU": ("yes; a label outside its range gives NaN", on_a_gpu),
    "float16 and bfloat16": ("yes: float32 inside; reduced losses come in float32", in_half_precision),
    "float8": ("no: one line says which types it takes", in_8_bits),
    "`torch.autocast`": ("yes: float32 comes back, as from torchvision's", under_autocast),
    "`torch.compile`": ("yes, in one graph", compiled),
    "`torch.jit.script`": ("yes, by autograd: exact, and slower", scripted),
    "torchvision's RetinaNet, scripted or not": ("yes", in_torchvisions_retinanet),
    "`torch.export`": ("yes, strict or not, with dynamic shapes", exported),
    "ONNX (`dynamo=True`)": ("yes", to_onnx),
    "`make_fx`, fake tensors": ("yes", traced),
    "the meta device": ("yes", on_meta),
    "`torch.utils.checkpoint`": ("yes", checkpointed),
    "`torch.func.vmap`, `grad`, `jacrev`": ("yes", vectorized),
    "second derivatives, `hessian`": ("yes", twice_derived),
    "`torch.func.jvp`, `jacfwd`": ("yes, toward labels too", derived_forward),
    "`jacfwd` of `jacfwd`": ("no, an error of one line: torch alone would return zeros", derived_forward_twice),
}


def table():
    """The rows as Markdown."""
    lines = [
        "| under | does it work? |",
        "| --- | --- |",
        *(f"| {place} | {says} |" for place, (says, _) in WORKS.items()),
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("place", WORKS)
def test_the_loss_works_where_the_table_says_so(place):
    WORKS[place][1]()


def test_the_page_of_the_module_shows_the_table():
    page = (ROOT / "book" / "api.md").read_text("utf-8")
    assert table() in page, "python tests/module/test_drop_in.py prints it anew"


# ---- one answer on every path ----


def with_graph(x, t):
    """Loss and slope of a call whose slope can be differentiated again."""
    x = x.clone().requires_grad_()
    value = sigmoid_focal_loss(x, t)
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    return value.detach(), slope.detach()


def by_script(x, t):
    with others_warnings_aside():
        return value_and_slope(torch.jit.script(sigmoid_focal_loss), x, t)


def beside_a_soft_label(x, t):
    value, slope = value_and_slope(
        sigmoid_focal_loss, torch.cat([x, x.new_zeros(1)]), torch.cat([t, t.new_tensor([0.5])])
    )
    return value[:-1], slope[:-1]


PATHS = {
    "eager": functools.partial(value_and_slope, sigmoid_focal_loss),
    "beside a soft label": beside_a_soft_label,
    "compiled": lambda x, t: value_and_slope(torch.compile(sigmoid_focal_loss, backend="aot_eager"), x, t),
    "open to a second derivative": with_graph,
    "scripted": by_script,
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_right_answer_at_infinity_costs_nothing_and_a_wrong_one_the_most_there_is(path, dtype):
    x = torch.tensor([-math.inf, math.inf, math.inf, -math.inf], dtype=dtype)
    t = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=dtype)
    value, slope = PATHS[path](x, t)
    assert value[:2].tolist() == [0, 0] and value[2:].isfinite().all() and (value[2:] > 1e37).all()
    assert slope[:2].abs().tolist() == [0, 0]
    if path != "scripted":  # there autograd sees the logit clamped
        assert slope[2:].tolist() == [0.75, -0.25]


@pytest.mark.parametrize("path", PATHS)
def test_a_label_that_is_a_rounding_outside_counts_as_0_or_1(path):
    x = torch.tensor([1.0, -2.0, 3.0])
    near, exact = torch.tensor([1.0000001, -1e-8, 0.9]), torch.tensor([1.0, 0.0, 0.9])
    for found, want in zip(PATHS[path](x, near), PATHS[path](x, exact), strict=True):
        assert torch.equal(found, want)


@pytest.mark.parametrize("label", [-1.0, 255.0, 1.01, -0.01, math.nan, math.inf])
@pytest.mark.parametrize("path", PATHS)
def test_a_label_outside_never_gives_a_number(path, label):
    x, t = torch.tensor([0.5, -0.5]), torch.tensor([label, 0.0])
    if path in ("compiled", "scripted"):  # nothing to look at yet
        value, _ = PATHS[path](x, t)
        assert value[0].isnan() and value[1].isfinite()
    else:
        with pytest.raises(ValueError, match="targets must be labels in"):
            PATHS[path](x, t)


def test_a_nan_logit_stays_one_on_every_path():
    for path in PATHS.values():
        value, _ = path(torch.tensor([math.nan, 1.0]), torch.tensor([0.0, 1.0]))
        assert value[0].isnan() and value[1].isfinite()


def test_booleans_are_hard_labels_without_a_look(monkeypatch):
    want = value_and_slope(summed, X, (T > 0.5).double())
    monkeypatch.setattr(losses, "_are_hard", lambda *look: pytest.fail("it looked"))
    for found, right in zip(value_and_slope(summed, X, T > 0.5), want, strict=True):
        assert torch.equal(found, right)


@pytest.mark.parametrize("kind", [torch.tensor, lambda value: torch.tensor(value, dtype=torch.float64)])
def test_alpha_and_gamma_may_be_tensors_without_dimensions_and_gradient(kind):
    assert torch.equal(sigmoid_focal_loss(X, T, kind(0.5), kind(1.5)), sigmoid_focal_loss(X, T, 0.5, 1.5))


def test_the_first_scale_of_a_float16_training_reaches_the_gradient():
    """A GradScaler begins with 65536, which float16 does not hold: the loss that is scaled must come in float32."""
    layer = torch.nn.Linear(16, 80)
    features = torch.randn(2000, 16, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.float16):
        logits = layer(features)
        loss = sigmoid_focal_loss(logits, torch.zeros(logits.shape, dtype=torch.bool), reduction="sum")
    (loss / logits.numel() * 65536).backward()
    assert loss.isfinite() and layer.bias.grad.isfinite().all() and layer.bias.grad.all()


if __name__ == "__main__":
    print(table())
