"""Past one process: two of them, started by torchrun, on the CPU."""

import importlib
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

import focalbook
from focalbook import distributed
from focalbook.__main__ import main
from focalbook.scenes import SceneSettings
from focalbook.training import TrainSettings, train

SETTINGS = TrainSettings(
    steps=20, batch=4, channels=8, clip=1.0, scenes=SceneSettings(size=48, objects=(0, 2), distractors=1)
)
"""Fast, with unequal numbers of objects in the two halves of a batch."""

WORKER = """
import os, signal, sys
from pathlib import Path
import torch
from focalbook import distributed, training
from test_distributed import SETTINGS

folder = Path(sys.argv[1])
first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
training.PULSE = 5
counted = training.batch_losses

def trained(name, dies_at):
    calls = []

    def batch_losses(*rest, **loss):
        calls.append(rest)
        if len(calls) == dies_at and distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return counted(*rest, **loss)

    training.batch_losses = batch_losses
    run = training.train("focal loss", 0, SETTINGS, "cpu", torch.float64, folder / f"{name}.pt")
    result = dict(weights=run.model.state_dict(), losses=run.losses, calls=len(calls), batch=len(calls[0][1]))
    torch.save(result, folder / f"{name}{distributed.rank()}")

with distributed.joined("cpu"):
    if first:
        trained("undisturbed", dies_at=0)
    trained("killed", dies_at=13 if first else 0)
"""

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")


def torchrun(*command, processes=2, restarts=0):
    """What torchrun and its processes print, and the exit status; nothing is listened to from outside."""
    options = ["--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
    paths = [Path(focalbook.__file__).parent.parent, Path(__file__).parent, *filter(None, [os.getenv("PYTHONPATH")])]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, paths)), OMP_NUM_THREADS="1")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *options, *map(str, command)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    return done.stdout + done.stderr, done.returncode


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def runs_of_two(tmp_path_factory):
    """What two processes end with, in one launch: a run from start to end, and one of which a process is killed."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "worker.py").write_text(WORKER)
    printed, status = torchrun(folder / "worker.py", folder, restarts=1)
    assert status == 0, printed
    return {name: [torch.load(folder / f"{name}{rank}") for rank in range(2)] for name in ("undisturbed", "killed")}


@pytest.fixture
def undisturbed(runs_of_two):
    """The run from start to end, of each process."""
    return runs_of_two["undisturbed"]


@pytest.mark.slow
def test_two_processes_end_where_one_ends_on_the_joined_batch(undisturbed):
    alone = train("focal loss", 0, SETTINGS, "cpu", torch.float64)
    for run in undisturbed:
        assert run["batch"] == 2 and run["calls"] == 20
        assert run["losses"] == pytest.approx(alone.losses, rel=1e-9)
        for name, values in alone.model.state_dict().items():
            torch.testing.assert_close(run["weights"][name], values, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_all_processes_have_the_same_weights_to_the_bit(undisturbed):
    first, second = undisturbed
    assert same(first["weights"], second["weights"]) and first["losses"] == second["losses"]


@pytest.mark.slow
def test_a_killed_process_is_started_again_and_ends_with_the_same_weights(runs_of_two, undisturbed):
    for run, whole in zip(runs_of_two["killed"], undisturbed):
        assert run["calls"] == 10  # it began again at the checkpoint of step 10
        assert same(run["weights"], whole["weights"]) and run["losses"] == whole["losses"]


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_refused_in_one_line():
    printed, status = torchrun("-m", "focalbook", "--batch", "3", "--steps", "1", "--device", "cpu")
    assert status != 0
    lines = [line for line in printed.splitlines() if line.startswith("focalbook:")]
    assert set(lines) == {"focalbook: batch must be a multiple of 2, the number of processes, got 3"}
    assert "__main__.py" not in printed  # no traceback of ours


# ---- alone ----


def test_alone_everything_stays_as_it_is():
    assert (distributed.world(), distributed.rank()) == (1, 0)
    value, indices = torch.ones(3, requires_grad=True), range(5)
    assert distributed.total(value) is value and distributed.share(indices) == indices
    (value * 2).sum().backward()
    gradient = value.grad
    distributed.sum_gradients([value])
    assert value.grad is gradient and value.grad.tolist() == [2, 2, 2]
    with distributed.joined("cpu"):
        assert distributed.world() == 1


# ---- as started by torchrun, in a process of this test ----


@pytest.fixture
def launched(monkeypatch):
    """The one process of a group. The store is torchrun's, which outlives a restart."""
    store = torch.distributed.HashStore()
    monkeypatch.setattr(distributed.dist, "is_torchelastic_launched", lambda: True)
    module = importlib.import_module("torch.distributed.rendezvous")  # hidden by a function of its name
    monkeypatch.setattr(module, "rendezvous", lambda url: iter([(store, 0, 1)]))
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "1")
    for name in ("LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.setenv(name, "0")
    return store


def test_the_group_is_left_at_the_end_and_at_an_error(launched):
    for error in (None, ZeroDivisionError):
        with pytest.raises(error) if error else nullcontext(), distributed.joined("cpu"):
            assert torch.distributed.is_initialized() and torch.distributed.get_backend() == "gloo"
            assert distributed.world() == 1
            if error:
                raise error
        assert not torch.distributed.is_initialized()


@pytest.fixture
def groups(monkeypatch):
    """What would be joined, as (backend, options)."""
    calls = []
    monkeypatch.setattr(distributed.dist, "init_process_group", lambda *names, **rest: calls.append((*names, rest)))
    monkeypatch.setattr(distributed.dist, "destroy_process_group", lambda: None)
    return calls


def test_after_a_restart_on_one_machine_what_the_dead_have_stored_is_not_seen(launched, groups, monkeypatch):
    for count in ("0", "1"):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", count)
        with distributed.joined("cpu"):
            pass
    (_, first), (_, second) = groups
    first["store"].set("address", "of the dead")
    assert first["store"].check(["address"]) and not second["store"].check(["address"])
    assert (second["rank"], second["world_size"]) == (0, 1)


def test_on_several_machines_the_store_is_torchruns(launched, groups, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with distributed.joined("cpu"):
        pass
    assert groups[0][1]["store"] is launched


def test_every_process_of_a_machine_has_its_own_gpu(launched, groups, monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    for own in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", own)
        with distributed.joined():
            pass
    assert chosen == [0, 1] and [backend for backend, _ in groups] == ["nccl"] * 2
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match="nproc-per-node must be at most 2"), distributed.joined():
        pass


# ---- as seen by one of two processes, without the other ----


@pytest.fixture
def one_of_two(monkeypatch):
    """The sums are as if the other process had the same."""
    monkeypatch.setattr(distributed, "world", lambda: 2)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed.dist, "all_reduce", lambda value: value.mul_(2))


def test_the_processes_take_different_scenes_and_leave_none_out(one_of_two, monkeypatch):
    second = distributed.share(range(8, 16))
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    assert sorted([*second, *distributed.share(range(8, 16))]) == list(range(8, 16))
    with pytest.raises(ValueError, match="batch must be a multiple of 2, the number of processes, got 3"):
        distributed.share(range(3))


def test_gradients_are_summed_and_frozen_weights_left_alone(one_of_two):
    model, frozen = torch.nn.Linear(3, 2), torch.nn.Parameter(torch.ones(2))
    model(torch.ones(1, 3)).sum().backward()
    distributed.sum_gradients([*model.parameters(), frozen])
    assert model.weight.grad.tolist() == [[2] * 3] * 2 and model.bias.grad.tolist() == [2, 2] and frozen.grad is None


@pytest.mark.parametrize(
    "loss, settings", [(dict(form="harmonized"), {}), ("focal loss", dict(label_noise=0.1))], ids=["loss", "noise"]
)
def test_what_needs_the_whole_batch_is_refused(one_of_two, loss, settings):
    with pytest.raises(ValueError, match="label_noise and form 'harmonized' .* one process"):
        train(loss, settings=TrainSettings(**settings), device="cpu")


def test_a_checkpoint_that_one_process_does_not_see_is_refused(one_of_two, monkeypatch, tmp_path):
    monkeypatch.setattr(distributed.dist, "all_reduce", lambda value: value.add_(25))  # the other is at step 25
    with pytest.raises(ValueError, match="run.pt differs between processes"):
        train(settings=SETTINGS, device="cpu", checkpoint=tmp_path / "run.pt")


def test_only_the_first_process_shows_progress_and_writes_the_checkpoint(one_of_two, monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("FOCALBOOK_QUIET", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    once = TrainSettings(steps=1, batch=2, channels=8, scenes=SETTINGS.scenes)
    train(settings=once, device="cpu", checkpoint=tmp_path / "run.pt")
    assert list(tmp_path.iterdir()) == [] and capsys.readouterr() == ("", "")


# ---- the command ----


@pytest.fixture
def small_command(monkeypatch):
    """Judged on few scenes."""
    monkeypatch.setattr("focalbook.__main__.SCENES", 4)


def test_the_command_trains_and_judges(small_command, capsys, tmp_path):
    checkpoint = tmp_path / "run.pt"
    command = ["--steps", "2", "--batch", "2", "--device", "cpu", "--float64", "--loss", "cross-entropy"]
    main([*command, "--checkpoint", str(checkpoint)])
    out = capsys.readouterr().out
    settings = TrainSettings(steps=2, batch=2)
    losses = train("cross-entropy", 0, settings, "cpu", torch.float64).losses
    assert f"loss {losses[0]:.3f} at the first step, {losses[1]:.3f} at the last\n" in out
    assert "on 4 images not seen: AP 0." in out and "triangle" in out and checkpoint.exists()


@pytest.mark.parametrize("arguments, message", [(["--batch", "0"], "batch must be"), (["--lr", "0"], "lr must be")])
def test_the_command_says_what_is_wrong_in_one_line(small_command, arguments, message, capsys):
    with pytest.raises(SystemExit, match="^1$"):
        main(arguments)
    assert re.fullmatch(f"focalbook: {message} [^\n]*\n", capsys.readouterr().err)
