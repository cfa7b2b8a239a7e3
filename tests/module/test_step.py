"""A training step never makes a GPU wait, and may be recorded and replayed: what of that can be seen without a GPU.

The meta device computes nothing and has no numbers to give. So whatever would have to wait for a number, or copy one
from the CPU on the way, shows on it as it would on a GPU.
"""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from focalbook import training
from focalbook.scenes import SceneSettings, render
from focalbook.training import FORMS, LOSSES, PULSE, TrainSettings, new_model, train

CUDA = torch.cuda.is_available()
SMALL = TrainSettings(
    steps=PULSE + 2, batch=2, channels=8, scenes=SceneSettings(size=48, distractors=1, objects=(0, 2))
)
TERMS = {form: dict(form=form) for form in FORMS} | dict(hardest=dict(hardest=8), negatives=dict(negatives=3))


class Kernels(TorchDispatchMode):
    """Counts the kernels that are started, and collects the operations with a tensor on either side."""

    def __init__(self):
        super().__init__()
        self.waits, self.count = [], 0

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        found = operation(*arguments, **(options or {}))
        tensors = [part for part in tree_leaves((arguments, options, found)) if isinstance(part, torch.Tensor)]
        places = {part.device.type for part in tensors}
        if len(places) > 1:
            self.waits.append(str(operation))
        self.count += "meta" in places and not operation.is_view and "empty" not in str(operation)
        return found


class Literals(TorchFunctionMode):
    """Collects the tensors that are made on the device from Python's numbers: a copy that no operation shows."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_function__(self, function, types, arguments=(), options=None):
        found = function(*arguments, **(options or {}))
        made = function in (torch.tensor, torch.as_tensor) and not isinstance(arguments[0], torch.Tensor)
        if made and found.device.type == "meta":
            self.waits.append(function.__name__)
        return found


@contextlib.contextmanager
def watched():
    """Within it, what makes a GPU wait is collected in ``waits``, and kernels are counted in ``count``. A look at a
    number, or a selection whose size is one, the meta device refuses itself."""
    found = SimpleNamespace()
    with Kernels() as kernels, Literals() as literals:
        yield found
    found.waits, found.count = kernels.waits + literals.waits, kernels.count


@pytest.mark.parametrize(
    "fault",
    [
        lambda x: x * torch.tensor([1.0, 2.0], device=x.device),
        lambda x: x * torch.ones(2).to(x.device),
        lambda x: x.copy_(torch.ones(2)),
        lambda x: x[x > 0],
        lambda x: x.sum().item(),
        lambda x: x.nonzero(),
        lambda x: bool(x.any()),
    ],
)
def test_the_watch_sees_what_makes_a_gpu_wait(fault):
    x = torch.ones(2, device="meta")
    try:
        with watched() as watch:
            fault(x)
    except (RuntimeError, NotImplementedError):
        return
    assert watch.waits


@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
def test_nothing_from_rendering_to_the_gradients_makes_a_gpu_wait(terms):
    gradients = training._Gradients(new_model(0, SMALL).to("meta"), SMALL, terms)
    indices = torch.zeros(SMALL.batch, dtype=torch.int64, device="meta")
    gradients(indices)  # constants are copied once
    with watched() as watch:
        losses = gradients(indices)
    assert losses.shape == (2,) and watch.waits == []


def test_a_batch_of_the_default_setting_starts_few_kernels():
    render(range(8), device="meta")
    with watched() as watch:
        render(range(8), device="meta")
    assert watch.waits == ["aten._to_copy.default"]  # the indices, which a GPU does not wait for
    assert watch.count <= 200


def test_indices_in_a_tensor_give_the_same_bits_as_a_range():
    one, other = (training._Gradients(new_model(0, SMALL), SMALL, LOSSES["focal loss"]) for _ in range(2))
    assert torch.equal(one(range(4, 6)), other(torch.arange(4, 6)))
    for ours, theirs in zip(one.model.parameters(), other.model.parameters()):
        assert torch.equal(ours.grad, theirs.grad)


def test_only_what_is_the_same_for_every_batch_is_recorded(monkeypatch):
    gpu, noisy = torch.device("cuda"), TrainSettings(label_noise=0.1)
    own = TrainSettings(scenes=SimpleNamespace(classes=("one", "two"), size=96))
    assert training._replays(gpu, SMALL)
    assert not any(training._replays(*pair) for pair in ((torch.device("cpu"), SMALL), (gpu, noisy), (gpu, own)))
    monkeypatch.setattr(training.distributed, "world", lambda: 2)
    assert not training._replays(gpu, SMALL)


class PlayedGraph:
    """In place of a CUDA graph: it runs again what was recorded, into the tensors that the recording left."""

    def __init__(self, work, parameters):
        self.work, self.parameters = work, parameters
        self.found = work()
        self.gradients = [parameter.grad for parameter in parameters]
        self.played = 0

    def replay(self):
        self.played += 1
        for place, value in zip(tree_leaves(self.found), tree_leaves(self.work()), strict=True):
            place.copy_(value)
        for parameter, place in zip(self.parameters, self.gradients, strict=True):
            if place is not None:
                parameter.grad = place.copy_(parameter.grad)


@pytest.mark.parametrize("ahead", [2, 6, 64])
def test_a_replayed_training_is_the_training(monkeypatch, ahead):
    """With a stand-in for the graphs: every line but those that record is the one that a GPU runs."""
    plain = train("focal loss", 3, SMALL, "cpu")
    model, graphs = new_model(3, SMALL), []

    def recorded(work):
        graphs.append(PlayedGraph(work, list(model.parameters())))
        return graphs[-1].found, graphs[-1]

    monkeypatch.setattr(training, "AHEAD", ahead)
    monkeypatch.setattr(training, "_replays", lambda *_: True)
    monkeypatch.setattr(training._Replay, "_recorded", staticmethod(recorded))
    replayed = train("focal loss", 3, SMALL, "cpu", model=model)
    rendering, learning = graphs
    assert (rendering.played, learning.played) == (-(-SMALL.steps // (ahead // SMALL.batch)), SMALL.steps)
    assert replayed.losses == plain.losses
    for ours, theirs in zip(replayed.model.parameters(), plain.model.parameters()):
        assert torch.equal(ours, theirs)


@pytest.mark.skipif(not CUDA, reason="needs a GPU")
@pytest.mark.parametrize("kind", ["_Gradients", "_Replay"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
def test_no_step_makes_a_gpu_wait(terms, optimizer, kind):
    settings = TrainSettings(**{**vars(SMALL), "optimizer": optimizer, "clip": 1.0})
    model = new_model(0, settings).cuda()
    update, schedule = training._optimizer(model, settings)
    gradients = getattr(training, kind)(model, settings, terms)

    def step(number):
        gradients(range(2 * number, 2 * number + 2))
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        update.step()
        schedule.step()

    for number in range(2):
        step(number)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(2, 5):
            step(number)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(not CUDA, reason="needs a GPU")
@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
def test_a_gpu_replays_the_training_that_it_would_run_kernel_by_kernel(terms, monkeypatch):
    replayed = train(terms, 0, SMALL, "cuda", torch.float64)
    monkeypatch.setattr(training, "_replays", lambda *_: False)
    plain = train(terms, 0, SMALL, "cuda", torch.float64)
    torch.testing.assert_close(torch.tensor(replayed.losses), torch.tensor(plain.losses), rtol=1e-6, atol=0)
    cpu = train(terms, 0, SMALL, "cpu", torch.float64)
    torch.testing.assert_close(torch.tensor(plain.losses), torch.tensor(cpu.losses), rtol=1e-6, atol=0)
