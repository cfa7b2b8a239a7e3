"""The contract of ``softmax_focal_loss``: 50-digit values and slopes, every type, shape, transform and refusal."""

import functools
import math

import mpmath
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from focalbook.losses import sigmoid_focal_loss
from focalbook.softmax import softmax_focal_loss

GAMMAS = (0, 0.5, 1, 1.5, 2, 5)
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
REDUCTIONS = ("none", "mean", "sum")
ALPHA = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)


def examples(*shape, classes=3, seed=0):
    """Random logits (N, K, ...) and classes (N, ...), some of them ignored."""
    generator = torch.Generator().manual_seed(seed)
    n, *rest = shape
    x = 3 * torch.randn(n, classes, *rest, generator=generator, dtype=torch.float64)
    t = torch.randint(classes, shape, generator=generator)
    return x, t.masked_fill(torch.rand(shape, generator=generator) < 0.1, -100)


X, T = examples(12)
summed = functools.partial(softmax_focal_loss, reduction="sum")


def value_and_slope(loss, x=X, t=T):
    x = x.detach().clone().requires_grad_()
    value = loss(x, t)
    (slope,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), slope


def same(found, want, rtol=1e-12, atol=0.0):
    torch.testing.assert_close(found, want, rtol=rtol, atol=atol, check_dtype=False)


# ---- values and slopes ----

# Exact in float32, one row an example: equal, sure and right, sure and wrong, two rivals, far apart, far from 0.
ROWS = [[0, 0, 0, 0], [0.5, -1.25, 2, 0], [12, 0, -3, 1], [-12, 0, 3, 1], [40, 39.5, 0, -40], [1000, 1000.5, 996, 990]]
ROWS += [[-700, 0, -30, 5], [30, -30, 0, 1], [88, 0, 0, 0], [-1e4, 1e4, 9e3, 0], [0, 0, -103, -750], [17, -17, 16, 3]]


@functools.cache
def exact(gamma):
    """FL, its slopes and z for every row and every true class, without weights, as 50-digit numbers."""
    found = []
    with mpmath.workdps(60):  # ten to spare
        for row in ROWS:
            powers = [mpmath.exp(mpmath.mpf(x)) for x in row]
            total = mpmath.fsum(powers)
            for t, power in enumerate(powers):
                rest = mpmath.fsum(powers[:t] + powers[t + 1 :])
                p_t, q, ce = power / total, rest / total, mpmath.log1p(rest / power)
                weight = q ** mpmath.mpf(gamma)
                factor = weight * (1 + mpmath.mpf(gamma) * p_t * ce / q)
                slopes = [factor * (-q if j == t else other / total) for j, other in enumerate(powers)]
                found.append((weight * ce, slopes, mpmath.log(power / rest)))
    return found


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("dtype, rel", [(torch.float64, 1e-12), (torch.float32, 5e-6)], ids=str)
def test_value_and_slope_agree_with_50_digits(dtype, rel, gamma):
    x = torch.tensor(ROWS, dtype=dtype).repeat_interleave(4, 0)
    loss, slope = value_and_slope(functools.partial(softmax_focal_loss, gamma=gamma), x, torch.arange(4).repeat(12))
    rounding, tiny = torch.finfo(dtype).eps if dtype == torch.float32 else 0, torch.finfo(dtype).tiny
    for row, got, got_slopes, (want, want_slopes, z) in zip(x.tolist(), loss.tolist(), slope.tolist(), exact(gamma)):
        # In float32 a difference of far logits is rounded by more than the tolerance, and each power of e with it.
        allowed = rel + (1 + gamma) * rounding * abs(float(z))
        assert abs(got - want) <= allowed * want + tiny
        for x_j, one, other in zip(row, got_slopes, want_slopes, strict=True):
            assert abs(one - other) <= (allowed + rounding * (max(row) - x_j)) * abs(other) + tiny


def test_with_gamma_0_it_is_cross_entropy_with_its_mean_and_weights():
    for shape in ((7,), (4, 5), (2, 3, 4)):
        x, t = examples(*shape)
        for reduction in REDUCTIONS:
            for alpha in (None, ALPHA):
                settings = dict(reduction=reduction, ignore_index=-100)
                want = value_and_slope(functools.partial(F.cross_entropy, weight=alpha, **settings), x, t)
                found = value_and_slope(functools.partial(softmax_focal_loss, alpha=alpha, gamma=0, **settings), x, t)
                same(found, want, atol=1e-14)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_of_two_classes_it_is_the_sigmoid_loss_of_the_difference(gamma):
    x = 5 * torch.randn(50, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = torch.arange(50) % 2
    want = sigmoid_focal_loss(x[:, 1] - x[:, 0], t, 0.25, gamma)
    same(softmax_focal_loss(x, t, [0.75, 0.25], gamma), want)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_it_is_the_formula_at_moderate_logits(gamma):
    x, t = examples(30, seed=2)
    x, t = x[t >= 0], t[t >= 0]
    p_t = x.softmax(1)[torch.arange(len(t)), t]
    same(softmax_focal_loss(x, t, ALPHA, gamma), -ALPHA[t] * (1 - p_t) ** gamma * p_t.log(), rtol=1e-10)


def test_what_all_logits_have_in_common_changes_nothing():
    x = torch.tensor([[0.0, 20.0, -3.5], [2.25, 1.0, -30.0]])
    t = torch.tensor([1, 0])
    same(softmax_focal_loss(x + 4096, t), softmax_focal_loss(x, t), rtol=0)


def test_the_slopes_of_an_example_add_up_to_nothing():
    _, slope = value_and_slope(softmax_focal_loss)
    assert slope.sum(1).abs().max() < 1e-15


# ---- derivatives ----


@pytest.mark.parametrize("gamma", GAMMAS)
def test_first_and_second_derivatives_agree_with_finite_differences(gamma):
    x, t = examples(2, 3)
    for reduction in REDUCTIONS if gamma == 2 else ("none",):
        function = functools.partial(softmax_focal_loss, targets=t, alpha=ALPHA, gamma=gamma, reduction=reduction)
        assert torch.autograd.gradcheck(function, x.requires_grad_())
        assert torch.autograd.gradgradcheck(function, x)


def test_the_weights_can_be_learned():
    x, t = examples(4)
    for reduction in REDUCTIONS:
        function = functools.partial(softmax_focal_loss, x, t, reduction=reduction)
        assert torch.autograd.gradcheck(function, ALPHA.clone().requires_grad_())


# ---- types and extremes ----


@pytest.mark.parametrize("gamma", (*GAMMAS, 100))
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_value_slope_and_second_derivative_are_finite_for_every_finite_logit(dtype, gamma):
    top = torch.finfo(dtype).max
    values = [0, 1, -1, 20, -20, 90, -90, 800, -800, 1e4, -1e4, top, -top]
    x = torch.cartesian_prod(*[torch.tensor(values, dtype=dtype)] * 3).requires_grad_()
    t, heaviest = torch.zeros(len(x), dtype=torch.int64), 1e3 if dtype == torch.float16 else 1e6
    loss = softmax_focal_loss(x, t, [heaviest, 0, 0], gamma)
    (slope,) = torch.autograd.grad(loss, x, torch.ones_like(loss), create_graph=True)
    (second,) = torch.autograd.grad(slope[:, 0], x, torch.ones_like(loss))
    assert loss.isfinite().all() or dtype == torch.float16  # there a loss of 65504 times a weight has no number
    assert slope.isfinite().all() and second.isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_hopeless_example_still_learns(dtype):
    top = torch.finfo(dtype).max
    for row in ([-1e4, 1e4, 0], [-top, top, 0]):
        _, slope = value_and_slope(softmax_focal_loss, torch.tensor([row], dtype=dtype), torch.tensor([0]))
        assert slope.tolist() == [[-1, 1, 0]]


def test_minus_infinity_takes_a_class_out_of_the_choice():
    x = X[:3].clone()
    x[:, 1] = -math.inf
    value, slope = value_and_slope(softmax_focal_loss, x, torch.tensor([0, 2, 0]))
    want, two = value_and_slope(softmax_focal_loss, x[:, [0, 2]], torch.tensor([0, 1, 0]))
    same((value, slope[:, [0, 2]]), (want, two))
    assert not slope[:, 1].any()
    lost, slope = value_and_slope(softmax_focal_loss, x, torch.tensor([1, 1, 1]))
    assert lost.isfinite().all() and (lost > 1e29).all() and slope.isfinite().all()


def test_an_ignored_example_costs_nothing_and_moves_nothing_even_if_it_is_nan():
    x, t = X.clone(), T.clone()
    x[3], t[3] = math.nan, -100
    x[4], t[4] = math.inf, -100
    keep = torch.arange(12)[:, None].expand_as(x) != 3
    value, slope = value_and_slope(softmax_focal_loss, x, t)
    assert value[3:5].tolist() == [0, 0] and not slope[3:5].any()
    same(slope[keep[:, 0] & (t >= 0)], value_and_slope(softmax_focal_loss)[1][keep[:, 0] & (t >= 0)])
    same(softmax_focal_loss(x, t, reduction="mean"), softmax_focal_loss(x, t)[t >= 0].mean())


def test_any_class_may_be_ignored():
    same(softmax_focal_loss(X, T.clamp(min=0), ignore_index=0)[T > 0], softmax_focal_loss(X, T)[T > 0])
    assert not softmax_focal_loss(X, T.clamp(min=0), ignore_index=0)[T <= 0].any()


def test_a_nan_logit_that_counts_stays_one():
    value = softmax_focal_loss(torch.tensor([[math.nan, 1.0], [0.0, 1.0]]), torch.tensor([1, 1]))
    assert value[0].isnan() and value[1].isfinite()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_float32_rounded_once_and_float32_when_reduced(dtype):
    x = X.to(dtype)
    single = value_and_slope(softmax_focal_loss, x.float())
    half = value_and_slope(softmax_focal_loss, x)
    assert all(torch.equal(one, other.to(dtype)) for one, other in zip(half, single, strict=True))
    for reduction in ("mean", "sum"):
        loss = softmax_focal_loss(x, T, reduction=reduction)
        assert loss.dtype == torch.float32 and loss == softmax_focal_loss(x.float(), T, reduction=reduction)
    with torch.autocast("cpu", dtype=dtype):
        assert all(softmax_focal_loss(x, T, reduction=reduction).dtype == torch.float32 for reduction in REDUCTIONS)


def test_a_float32_loss_knows_how_sure_a_right_answer_is():
    """Where cross-entropy by log_softmax has rounded p_t to 1: from a margin of about 17 on."""
    x, t = torch.tensor([[30.0, 0.0, 0.0]]), torch.tensor([0])
    assert F.cross_entropy(x, t) == 0
    assert softmax_focal_loss(x, t, gamma=0).item() == pytest.approx(2 * math.exp(-30), rel=1e-5)


@pytest.mark.parametrize("targets", [torch.int32, torch.int16, torch.int8, torch.uint8], ids=str)
def test_any_integers_are_classes(targets):
    t = T.clamp(min=0)
    assert torch.equal(softmax_focal_loss(X, t.to(targets)), softmax_focal_loss(X, t))


# ---- shapes and refusals ----


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 1, 3, 2), (0,), (2, 0)])
def test_classes_lie_along_dimension_1_and_the_rest_is_kept(shape):
    x, t = examples(*shape)
    value, slope = value_and_slope(softmax_focal_loss, x, t)
    assert value.shape == t.shape and slope.shape == x.shape
    rows = value_and_slope(softmax_focal_loss, x.movedim(1, -1).reshape(-1, 3), t.reshape(-1))
    same(value.reshape(-1), rows[0])
    same(slope.movedim(1, -1).reshape(-1, 3), rows[1])


def test_one_example_needs_no_batch():
    same(softmax_focal_loss(X[0], T[0]), softmax_focal_loss(X, T)[0])


def test_nothing_sums_to_zero_and_has_no_mean():
    x, t = X[:0], T[:0]
    assert summed(x, t) == 0 and softmax_focal_loss(x, t, reduction="mean").isnan()
    assert softmax_focal_loss(X, torch.full_like(T, -100), reduction="mean").isnan()


def test_the_arguments_are_left_as_they_were():
    x, t, alpha = X.clone(), T.clone(), ALPHA.clone()
    value_and_slope(functools.partial(summed, alpha=alpha), x, t)
    assert torch.equal(x, X) and torch.equal(t, T) and torch.equal(alpha, ALPHA)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(targets=torch.zeros(3, dtype=torch.int64)), r"inputs and targets must .* got \(2, 3\) and \(3,\)"),
        (dict(targets=torch.zeros(2, 3, dtype=torch.int64)), r"inputs and targets must .* got \(2, 3\) and \(2, 3\)"),
        (dict(inputs=torch.zeros(3)), r"inputs and targets must .* got \(3,\) and \(2,\)"),
        (dict(inputs=torch.zeros(())), r"inputs and targets must .* got \(\) and \(2,\)"),
        (dict(inputs=torch.zeros(2, 1)), r"inputs must have logits of at least two classes, got 1"),
        (dict(inputs=torch.zeros(2, 3, dtype=torch.int64)), r"inputs must be logits .* got torch\.int64"),
        (dict(inputs=torch.zeros(2, 3).to(torch.float8_e4m3fn)), r"inputs must be logits .* got torch\.float8"),
        (dict(targets=torch.zeros(2)), r"targets must be classes as integers, got torch\.float32: take the argmax"),
        (dict(targets=torch.zeros(2, dtype=torch.bool)), r"targets must be classes as integers, got torch\.bool"),
        (dict(targets=torch.tensor([0, 3])), r"targets must be classes from 0 to 2, got 3: leave .* ignore_index"),
        (dict(targets=torch.tensor([-1, 0])), r"targets must be classes from 0 to 2, got -1"),
        (dict(targets=torch.tensor([255, 0], dtype=torch.uint8)), r"targets must be classes from 0 to 2, got 255"),
        (dict(alpha=0.25), r"alpha must hold 3 numbers, one weight a class, got 0\.25"),
        (dict(alpha=[1.0, 2.0]), r"alpha must hold 3 numbers, one weight a class, got \[1\.0, 2\.0\]"),
        (dict(alpha=torch.ones(2, 2)), r"alpha must hold 3 numbers, .* got \[\[1\.0, 1\.0\], \[1\.0, 1\.0\]\]"),
        (dict(alpha="abc"), r"alpha must hold 3 numbers, one weight a class, got 'abc'"),
        (dict(alpha=[1.0, -1.0, 1.0]), r"alpha must hold finite weights of at least 0, got \[1\.0, -1\.0, 1\.0\]"),
        (dict(alpha=[1.0, math.nan, 1.0]), r"alpha must hold finite weights .* got \[1\.0, nan, 1\.0\]"),
        (dict(gamma=-2), r"gamma must .* got -2"),
        (dict(gamma=math.nan), r"gamma must .* got nan"),
        (dict(reduction="average"), r"reduction must .* got 'average'"),
    ],
)
def test_a_wrong_argument_is_named_with_its_value(arguments, message):
    with pytest.raises(ValueError, match=message) as told:
        softmax_focal_loss(**(dict(inputs=torch.zeros(2, 3), targets=torch.zeros(2, dtype=torch.int64)) | arguments))
    assert "\n" not in str(told.value)


# ---- where others call it ----


class Module(torch.nn.Module):
    def forward(self, x, t):
        return softmax_focal_loss(x, t, [0.2, 1.0, 3.0], reduction="mean")


def compiled():
    torch.compiler.reset()
    for alpha in (None, ALPHA):
        function = functools.partial(summed, alpha=alpha)
        found = value_and_slope(torch.compile(function, backend="aot_eager", fullgraph=True))
        same(found, value_and_slope(function))


def exported():
    for strict in (True, False):
        same(torch.export.export(Module(), (X, T), strict=strict).module()(X, T), Module()(X, T))
    shapes = dict(x={0: torch.export.Dim("n", min=2)}, t={0: torch.export.Dim("n", min=2)})
    dynamic = torch.export.export(Module(), (X, T), dynamic_shapes=shapes).module()
    same(dynamic(X[:5], T[:5]), Module()(X[:5], T[:5]))


def vectorized():
    rows, classes = torch.stack([X, X + 1, 2 * X]), torch.stack([T, T.flip(0), T])
    for reduction in REDUCTIONS:
        function = functools.partial(softmax_focal_loss, alpha=ALPHA, reduction=reduction)
        want = torch.stack([function(*pair) for pair in zip(rows, classes)])
        same(torch.vmap(function)(rows, classes), want)
        want = torch.stack([function(row, T) for row in rows])
        same(torch.vmap(function, in_dims=(0, None))(rows, T), want)
    one_by_one = torch.vmap(softmax_focal_loss)(X, T)  # each example by itself, without a batch
    same(one_by_one, softmax_focal_loss(X, T))
    found = torch.vmap(torch.func.grad(summed))(rows, classes)
    same(found, torch.stack([value_and_slope(summed, *pair)[1] for pair in zip(rows, classes)]))


def twice_derived():
    x = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(summed(x, T), x, create_graph=True)
    want = torch.stack([torch.autograd.grad(part, x, retain_graph=True)[0] for part in slope.flatten()])
    for found in (torch.func.hessian(summed)(X, T), torch.func.jacrev(torch.func.grad(summed))(X, T)):
        same(found.reshape(want.shape), want, atol=1e-15)


def derived_forward():
    direction = torch.linspace(-1, 1, X.numel(), dtype=torch.float64).reshape(X.shape)
    _, found = torch.func.jvp(lambda x: summed(x, T), (X,), (direction,))
    same(found, (value_and_slope(summed)[1] * direction).sum())


def traced():
    same(make_fx(summed)(X, T)(X, T), summed(X, T))
    mode = FakeTensorMode()
    x = mode.from_tensor(X).requires_grad_()
    softmax_focal_loss(x, mode.from_tensor(T)).sum().backward()
    assert x.grad.shape == X.shape
    assert softmax_focal_loss(X.to("meta"), T.to("meta")).shape == T.shape


def to_onnx():
    from onnx.reference import ReferenceEvaluator

    program = torch.onnx.export(Module().eval(), (X, T), dynamo=True, verbose=False)
    names = [value.name for value in program.model.graph.inputs]
    (found,) = ReferenceEvaluator(program.model_proto).run(None, dict(zip(names, (X.numpy(), T.numpy()), strict=True)))
    same(torch.as_tensor(np.asarray(found)), Module()(X, T), 1e-6)


def on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    found = [part.cpu() for part in value_and_slope(functools.partial(summed, alpha=ALPHA), X.cuda(), T.cuda())]
    same(found, list(value_and_slope(functools.partial(summed, alpha=ALPHA))))
    assert softmax_focal_loss(X.cuda(), torch.full_like(T, 7).cuda()).isnan().all()


PLACES = [compiled, exported, vectorized, twice_derived, derived_forward, traced, to_onnx, on_a_gpu]


@pytest.mark.filterwarnings("ignore")  # torch's, about its own older parts
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_it_works_where_the_sigmoid_loss_does(place):
    place()


def test_a_target_outside_never_gives_a_number_where_nobody_can_look():
    t = torch.tensor([7, 1])
    torch.compiler.reset()
    for function in (torch.vmap(softmax_focal_loss), torch.compile(softmax_focal_loss, backend="aot_eager")):
        value = function(X[:2], t)
        assert value[0].isnan() and value[1].isfinite()


# ---- the common wrong ways, each with what gives it away ----


def mean_first(x, t, alpha, gamma):
    ce = F.cross_entropy(x, t)
    return (1 - torch.exp(-ce)) ** gamma * ce


def weight_in_the_exponent(x, t, alpha, gamma):
    ce = F.cross_entropy(x, t, alpha, reduction="none")
    return ((1 - torch.exp(-ce)) ** gamma * ce).sum() / alpha[t].sum()


def weight_by_place(x, t, alpha, gamma):
    loss = softmax_focal_loss(x, t, gamma=gamma)
    return (alpha.repeat(len(t))[: len(t)] * loss).sum() / alpha[t].sum()


def softmax_twice(x, t, alpha, gamma):
    return softmax_focal_loss(x.softmax(1), t, alpha, gamma, "mean")


def every_class_asked(x, t, alpha, gamma):
    return sigmoid_focal_loss(x, F.one_hot(t, 3), -1, gamma).sum(1).mean()


@pytest.mark.parametrize(
    "wrong", [mean_first, weight_in_the_exponent, weight_by_place, softmax_twice, every_class_asked]
)
def test_a_common_wrong_way_gives_another_number(wrong):
    x, t = X[T >= 0], T[T >= 0]
    right = softmax_focal_loss(x, t, ALPHA, 2.0, "mean")
    assert abs(wrong(x, t, ALPHA, 2.0) / right - 1) > 0.05


def test_the_mean_first_knows_no_hard_example():
    """Sorted into easy and hard or mixed: the slope of each example is cross-entropy's, times one number for all."""
    x, t = X[T >= 0], T[T >= 0]
    _, slope = value_and_slope(lambda x, t: mean_first(x, t, None, 2.0), x, t)
    _, plain = value_and_slope(F.cross_entropy, x, t)
    ratios = (slope / plain).flatten()
    same(ratios, ratios[:1].expand_as(ratios), rtol=1e-9)


def test_a_weight_in_the_exponent_makes_a_heavy_class_look_harder():
    x, t = torch.tensor([[2.0, 0.0, 0.0]], dtype=torch.float64), torch.tensor([0])
    ce = F.cross_entropy(x, t)
    assert (1 - torch.exp(-3 * ce)) ** 2 / (1 - torch.exp(-ce)) ** 2 > 5
