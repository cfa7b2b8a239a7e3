"""The training loss and the training loop."""

import math
import os
import sys
from dataclasses import replace

import pytest
import torch

from focalbook import training
from focalbook.anchors import make_anchors
from focalbook.losses import sigmoid_focal_loss
from focalbook.matching import BACKGROUND, IGNORED, Matches, match
from focalbook.scenes import TRAIN, SceneSettings, render
from focalbook.training import LOSSES, TrainSettings, batch_loss, class_targets, detection_loss, new_model, train

TINY = TrainSettings(steps=6, batch=2, channels=8, scenes=SceneSettings(size=48, cell=24, distractors=2))
"""Fast, and all the same with objects, distractors and three levels."""


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


def run(**options):
    return train(**(dict(settings=TINY, device="cpu") | options))


# ---- targets and the loss of a batch ----


def test_targets_are_one_hot_and_ignored_anchors_do_not_count():
    targets, counts = class_targets(torch.tensor([[2, BACKGROUND, 0, IGNORED]]), 3)
    assert targets.int().tolist() == [[[0, 0, 1], [0, 0, 0], [1, 0, 0], [0, 0, 0]]]
    assert counts.tolist() == [[True, True, True, False]]


def planted_batch():
    """Two images, four anchors, two classes: two positives and one ignored in the first image, none in the second."""
    anchors = torch.tensor([[0, 0, 10, 10], [10, 0, 20, 10], [0, 10, 10, 20], [10, 10, 20, 20]], dtype=torch.float64)
    labels = torch.tensor([[0, 1, IGNORED, BACKGROUND], [BACKGROUND] * 4])
    matches = Matches(labels, anchors.expand(2, -1, -1))
    logits = torch.linspace(-3, 3, 16, dtype=torch.float64).view(2, 4, 2)
    return logits, torch.zeros(2, 4, 4, dtype=torch.float64), matches, anchors


def test_the_classification_loss_is_the_sum_over_the_batch_by_its_positives():
    logits, deltas, matches, anchors = planted_batch()
    classification, _ = detection_loss(logits, deltas, matches, anchors, 0.25, 2.0)
    targets = torch.zeros(2, 4, 2)
    targets[0, 0, 0] = targets[0, 1, 1] = 1
    every = sigmoid_focal_loss(logits, targets)
    every[0, 2] = 0  # ignored
    torch.testing.assert_close(classification, every.sum() / 2)


def test_the_box_loss_is_smooth_l1_of_the_positives_by_hand():
    logits, deltas, matches, anchors = planted_batch()
    deltas[0, 0, 0] = 0.05  # below beta = 0.1: 0.05^2 / 0.2 = 0.0125
    deltas[0, 1, 3] = -1.0  # above: 1 - 0.05 = 0.95
    deltas[0, 2:] = deltas[1] = 100.0  # neither ignored anchors nor background have a box
    _, regression = detection_loss(logits, deltas, matches, anchors, 0.25, 2.0)
    assert regression.item() == pytest.approx((0.0125 + 0.95) / 2)


def test_the_box_loss_aims_at_the_matched_box():
    logits, deltas, matches, anchors = planted_batch()
    boxes = matches.boxes.clone()
    boxes[0, 0] += torch.tensor([2.0, 0, 2, 0])  # a fifth of the anchor to the right
    _, off = detection_loss(logits, deltas, matches._replace(boxes=boxes), anchors, 0.25, 2.0)
    deltas[0, 0, 0] = 0.2
    _, on = detection_loss(logits, deltas, matches._replace(boxes=boxes), anchors, 0.25, 2.0)
    assert off.item() == pytest.approx((0.2 - 0.05) / 2) and on.item() == pytest.approx(0, abs=1e-12)


def test_an_ignored_anchor_has_no_gradient():
    logits, deltas, matches, anchors = planted_batch()
    logits.requires_grad_()
    sum(detection_loss(logits, deltas, matches, anchors, 0.25, 2.0)).backward()
    assert (logits.grad[0, 2] == 0).all() and (logits.grad[0, 3] != 0).all()


def test_a_batch_without_any_object_trains_on_its_background():
    logits, deltas, matches, anchors = planted_batch()
    logits.requires_grad_(), deltas.requires_grad_()
    without = Matches(*(part[1:] for part in matches))
    classification, regression = detection_loss(logits[1:], deltas[1:], without, anchors, -1, 0.0)
    torch.testing.assert_close(classification, -torch.nn.functional.logsigmoid(-logits[1]).sum())
    assert regression == 0
    (classification + regression).backward()
    assert (logits.grad[1] > 0).all() and (deltas.grad == 0).all()


def test_a_batch_of_no_images_has_loss_0():
    logits, deltas, matches, anchors = planted_batch()
    losses = detection_loss(logits[:0], deltas[:0], Matches(*(part[:0] for part in matches)), anchors, 0.25, 2.0)
    assert [loss.item() for loss in losses] == [0, 0]


def test_the_divisor_is_counted_over_the_batch_and_not_image_by_image():
    settings = replace(TINY, scenes=SceneSettings(size=48, cell=24, objects=(0, 2), distractors=1))
    model = new_model(0, settings).double()
    indices = range(6)
    _, boxes, labels = render(indices, TRAIN, settings.scenes)
    positives = (match(model.anchors, boxes, labels).labels >= 0).sum(1).tolist()
    assert 0 in positives and len(set(positives)) > 2  # else the two would agree
    with torch.no_grad():
        alone = [batch_loss(model, [index], settings, 0.25, 2.0).item() for index in indices]
        together = batch_loss(model, indices, settings, 0.25, 2.0).item()
    sums = sum(loss * max(1, count) for loss, count in zip(alone, positives))
    assert together == pytest.approx(sums / sum(positives), rel=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_the_named_losses_are_those_of_the_paper(name):
    assert (
        LOSSES[name]
        == {
            "cross-entropy": dict(alpha=-1, gamma=0),
            "balanced cross-entropy": dict(alpha=0.75, gamma=0),
            "focal loss": dict(alpha=0.25, gamma=2),
        }[name]
    )


# ---- the loop ----


def test_a_second_run_is_the_same_to_the_bit():
    torch.manual_seed(1)
    first = run()
    torch.manual_seed(2)
    second = run()
    assert first.losses == second.losses and same_weights(first.model, second.model)


def test_the_seed_decides_the_weights_and_the_scenes():
    assert not same_weights(new_model(0, TINY), new_model(1, TINY))
    start = new_model(0, TINY).state_dict()
    losses = []
    for seed in (0, 1):
        model = new_model(0, TINY)
        model.load_state_dict(start)
        losses.append(run(seed=seed, settings=replace(TINY, steps=1), model=model).losses[0])
    assert losses[0] != losses[1]


def test_every_step_sees_fresh_scenes_and_no_two_seeds_share_one(monkeypatch):
    seen = []

    def watched(model, indices, *rest, **loss):
        seen.extend(indices)
        return batch_loss(model, indices, *rest, **loss)

    monkeypatch.setattr(training, "batch_loss", watched)
    run(seed=0), run(seed=1), run(seed=2)
    assert len(seen) == len(set(seen)) == 3 * 6 * 2


def test_the_losses_differ_by_their_name():
    assert len({run(loss=name, settings=replace(TINY, steps=1)).losses[0] for name in LOSSES}) == 3


def test_there_is_one_finite_loss_for_every_step():
    result = run()
    assert len(result.losses) == 6 and all(isinstance(loss, float) and math.isfinite(loss) for loss in result.losses)


def test_the_first_loss_is_that_of_the_untrained_model():
    with torch.no_grad():
        expected = batch_loss(new_model(3, TINY), range(3 * 12, 3 * 12 + 2), TINY, **LOSSES["cross-entropy"])
    assert run(loss="cross-entropy", seed=3).losses[0] == expected.item()


def test_a_given_model_is_trained_in_place_of_a_new_one():
    model = new_model(0, TINY)
    result = run(model=model)
    assert result.model is model and same_weights(model, run().model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_weights_have_the_asked_dtype(dtype):
    assert {p.dtype for p in run(dtype=dtype, settings=replace(TINY, steps=1)).model.parameters()} == {dtype}


def test_float32_and_float64_start_from_the_same_weights():
    once = replace(TINY, steps=1)
    single, double = (run(dtype=dtype, settings=once).losses[0] for dtype in (torch.float32, torch.float64))
    assert single == pytest.approx(double, rel=1e-5)


def test_training_lowers_the_loss():
    losses = run(settings=replace(TINY, steps=60)).losses
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


# ---- errors ----


def test_an_unknown_loss_is_named_beside_the_known_ones():
    with pytest.raises(ValueError, match="cross-entropy, balanced cross-entropy, focal loss, got 'hinge'"):
        run(loss="hinge")


@pytest.mark.parametrize(
    "setting, message",
    [
        (dict(steps=0), "steps must .* got 0"),
        (dict(batch=0), "batch must .* got 0"),
        (dict(channels=0), "channels must .* got 0"),
        (dict(depth=-1), "depth must .* got -1"),
        (dict(lr=0), "lr must .* got 0"),
        (dict(lr=math.nan), "lr must .* got nan"),
    ],
)
def test_a_setting_that_cannot_train_is_named_with_its_value(setting, message):
    with pytest.raises(ValueError, match=message):
        TrainSettings(**setting)


def break_at(monkeypatch, step, broken):
    """Let ``batch_loss`` call ``broken`` on the true loss at this step (0 is the first)."""
    steps = iter(range(10**9))

    def patched(*arguments, **options):
        loss = batch_loss(*arguments, **options)
        return broken(loss) if next(steps) == step else loss

    monkeypatch.setattr(training, "batch_loss", patched)


def count_calls(monkeypatch):
    """A list that gets an entry at every call of ``batch_loss``."""
    calls, counted = [], training.batch_loss
    monkeypatch.setattr(training, "batch_loss", lambda *rest, **loss: calls.append(0) or counted(*rest, **loss))
    return calls


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_its_step(monkeypatch, tmp_path, value):
    checkpoint = tmp_path / "run.pt"
    break_at(monkeypatch, 2, lambda loss: loss * 0 + value)
    with pytest.raises(FloatingPointError, match=f"loss is {value} at step 2"):
        run(checkpoint=checkpoint)
    assert not checkpoint.exists()  # a run that went wrong is not for resuming


def test_a_loss_that_is_not_finite_is_noticed_within_a_pulse(monkeypatch):
    monkeypatch.setattr(training, "PULSE", 2)
    break_at(monkeypatch, 1, lambda loss: loss * math.nan)
    calls = count_calls(monkeypatch)
    with pytest.raises(FloatingPointError, match="at step 1"):
        run()
    assert len(calls) == 2


def test_an_absurd_learning_rate_is_named():
    with pytest.raises(FloatingPointError, match=r"lower lr \(it is 1e\+30\)"):
        run(settings=replace(TINY, lr=1e30))


# ---- checkpoints ----


class Interruption(KeyboardInterrupt):
    """A person's Ctrl+C, told apart from a real one."""


def interrupt(monkeypatch, checkpoint, step, **options):
    """Run with a checkpoint every 2 steps until the step breaks off."""

    def stop(loss):
        raise Interruption

    with monkeypatch.context() as patch:
        patch.setattr(training, "PULSE", 2)
        break_at(patch, step, stop)
        with pytest.raises(Interruption):
            run(checkpoint=checkpoint, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("step", [2, 3, 5])
def test_an_interrupted_run_resumes_to_the_same_bits(monkeypatch, tmp_path, step, dtype):
    checkpoint = tmp_path / "run.pt"
    interrupt(monkeypatch, checkpoint, step, dtype=dtype)
    calls = count_calls(monkeypatch)
    resumed = run(checkpoint=checkpoint, dtype=dtype)
    assert len(calls) == 6 - step // 2 * 2  # it did not start again
    whole = run(dtype=dtype)
    assert resumed.losses == whole.losses and same_weights(resumed.model, whole.model)


def test_a_checkpoint_does_not_change_a_run(tmp_path):
    with_one, without = run(checkpoint=tmp_path / "run.pt"), run()
    assert with_one.losses == without.losses and same_weights(with_one.model, without.model)


def test_a_finished_run_is_read_back_without_training(monkeypatch, tmp_path):
    first = run(checkpoint=str(tmp_path / "run.pt"))
    monkeypatch.setattr(training, "batch_loss", None)
    second = run(checkpoint=str(tmp_path / "run.pt"))
    assert first.losses == second.losses and same_weights(first.model, second.model)


def test_an_interruption_before_the_first_pulse_leaves_no_checkpoint(monkeypatch, tmp_path):
    interrupt(monkeypatch, tmp_path / "run.pt", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change, name",
    [
        (dict(loss="cross-entropy"), "loss"),
        (dict(seed=1), "seed"),
        (dict(dtype=torch.float64), "dtype"),
        (dict(settings=replace(TINY, lr=0.5)), "settings"),
        (dict(settings=replace(TINY, scenes=replace(TINY.scenes, noise=0.0))), "settings"),
    ],
)
def test_another_runs_checkpoint_is_refused_by_name(tmp_path, change, name):
    checkpoint = tmp_path / "run.pt"
    run(checkpoint=checkpoint)
    with pytest.raises(ValueError, match=f"run.pt belongs to a run with another {name}"):
        run(checkpoint=checkpoint, **change)


@pytest.fixture(scope="module")
def whole_checkpoint(tmp_path_factory):
    """The bytes of a checkpoint."""
    path = tmp_path_factory.mktemp("whole") / "run.pt"
    run(checkpoint=path)
    return path.read_bytes()


def flip_a_bit(content):
    """Deep in the weights, where torch.load itself does not notice."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:1],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content + b"0",
        lambda content: b"garbage " * 100,
        flip_a_bit,
    ],
    ids=["empty", "one byte", "half", "last byte lost", "a byte more", "garbage", "a bit flipped"],
)
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path, whole_checkpoint, damage):
    checkpoint = tmp_path / "run.pt"
    checkpoint.write_bytes(damage(whole_checkpoint))
    with pytest.raises(ValueError, match="run.pt is no checkpoint of this book, or is damaged"):
        run(checkpoint=checkpoint)


def test_an_interruption_while_saving_leaves_the_checkpoint_before(monkeypatch, tmp_path):
    checkpoint = tmp_path / "run.pt"
    interrupt(monkeypatch, checkpoint, 3)
    before = checkpoint.read_bytes()

    def stop(*arguments):
        raise Interruption

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        with pytest.raises(Interruption):
            run(checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before
    assert run(checkpoint=checkpoint).losses == run().losses


# ---- progress ----


def test_nothing_is_shown_where_outputs_are_stored(monkeypatch, capsys):
    monkeypatch.setenv("FOCALBOOK_QUIET", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    run()
    assert capsys.readouterr() == ("", "")


def test_a_person_at_a_terminal_sees_a_bar(monkeypatch, capsys):
    pytest.importorskip("tqdm")
    monkeypatch.delenv("FOCALBOOK_QUIET", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    run()
    out, err = capsys.readouterr()
    assert out == "" and "6/6" in err


def test_the_anchors_of_a_new_model_are_those_of_its_settings():
    assert torch.equal(new_model(0, TINY).anchors, make_anchors(48))


@pytest.mark.parametrize(
    "settings", [dict(steps=2.5), dict(batch=0), dict(channels=28), dict(channels=4), dict(depth=-1)], ids=str
)
def test_a_setting_that_cannot_train_is_named(settings):
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=f"{name} must be .* got {value}"):
        TrainSettings(**settings)


@pytest.mark.parametrize("seed", [-1, 0.5, None])
def test_a_seed_that_is_none_is_named(seed):
    with pytest.raises(ValueError, match="seed must be an integer that is at least 0"):
        train(seed=seed)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_a_device_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="device is cuda, but torch sees no CUDA device: name 'cpu'"):
        train(device="cuda")
