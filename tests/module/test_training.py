"""The training loss and the training loop."""

import functools
import math
import os
import sys
from dataclasses import replace

import pytest
import torch

from focalbook import cousins, mining, training
from focalbook.anchors import make_anchors
from focalbook.losses import sigmoid_focal_loss
from focalbook.matching import BACKGROUND, IGNORED, Matches, match
from focalbook.scenes import TRAIN, SceneSettings, render
from focalbook.training import (
    LOSSES,
    TrainSettings,
    batch_loss,
    batch_losses,
    class_targets,
    detection_loss,
    new_model,
    train,
)

TINY = TrainSettings(steps=6, batch=2, channels=8, scenes=SceneSettings(size=48, cell=24, distractors=2))
"""Fast, and all the same with objects, distractors and three levels."""


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


def run(**options):
    return train(**(dict(settings=TINY, device="cpu") | options))


@functools.cache
def undisturbed(dtype=torch.float32):
    """The run that others are held against, made once."""
    return run(dtype=dtype)


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
    without = Matches(*(part[[1, 1]] for part in matches))
    classification, regression = detection_loss(logits, deltas, without, anchors, -1, 0.0)
    every = -torch.nn.functional.logsigmoid(-logits)
    torch.testing.assert_close(classification, every.sum() / 2)  # one for each image: not by 1, and not by 0
    assert regression == 0
    (classification + regression).backward()
    assert (logits.grad > 0).all() and (deltas.grad == 0).all()


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


AT_A_TENTH = {
    "cross-entropy": [math.log(10), math.log(10 / 9)],
    "balanced cross-entropy": [3 / 4 * math.log(10), 1 / 4 * math.log(10 / 9)],
    "focal loss": [1 / 4 * 0.9**2 * math.log(10), 3 / 4 * 0.1**2 * math.log(10 / 9)],
}
"""The paper's formulas for a positive and for a negative at p = 0.1."""


@pytest.mark.parametrize("name", LOSSES)
def test_a_named_loss_at_a_probability_of_a_tenth_is_that_of_the_papers_formula(name):
    logits = torch.full((1, 2, 1), -math.log(9), dtype=torch.float64)
    matches = Matches(torch.tensor([[0, BACKGROUND]]), torch.zeros(1, 2, 4))
    losses = training.class_losses(logits, matches, **LOSSES[name])
    assert losses.flatten().tolist() == pytest.approx(AT_A_TENTH[name])


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
        return batch_losses(model, indices, *rest, **loss)

    monkeypatch.setattr(training, "batch_losses", watched)
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
    assert result.model is model and same_weights(model, undisturbed().model)


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
    with pytest.raises(ValueError, match="cross-entropy, balanced cross-entropy, focal loss, or a dict .* got 'hinge'"):
        run(loss="hinge")


@pytest.mark.parametrize(
    "setting, message",
    [
        (dict(steps=0), "steps must .* got 0"),
        (dict(steps=2.5), "steps must .* got 2.5"),
        (dict(batch=0), "batch must .* got 0"),
        (dict(channels=0), "channels must .* got 0"),
        (dict(channels=4), "channels must .* got 4"),
        (dict(channels=28), "channels must be a multiple of 8, .* got 28"),
        (dict(depth=-1), "depth must .* got -1"),
        (dict(lr=0), "lr must .* got 0"),
        (dict(lr=math.nan), "lr must .* got nan"),
    ],
)
def test_a_setting_that_cannot_train_is_named_with_its_value(setting, message):
    with pytest.raises(ValueError, match=message):
        TrainSettings(**setting)


def break_at(monkeypatch, step, broken):
    """Let ``batch_losses`` call ``broken`` on the true classification loss at this step (0 is the first)."""
    steps = iter(range(10**9))

    def patched(*arguments, **options):
        classification, regression = batch_losses(*arguments, **options)
        return (broken(classification) if next(steps) == step else classification), regression

    monkeypatch.setattr(training, "batch_losses", patched)


def count_calls(monkeypatch):
    """A list that gets an entry at every call of ``batch_losses``."""
    calls, counted = [], training.batch_losses
    monkeypatch.setattr(training, "batch_losses", lambda *rest, **loss: calls.append(0) or counted(*rest, **loss))
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
    whole = undisturbed(dtype)
    assert resumed.losses == whole.losses and same_weights(resumed.model, whole.model)


def test_a_checkpoint_does_not_change_a_run(tmp_path):
    with_one, without = run(checkpoint=tmp_path / "run.pt"), undisturbed()
    assert with_one.losses == without.losses and same_weights(with_one.model, without.model)


def test_a_finished_run_is_read_back_without_training(monkeypatch, tmp_path):
    first = run(checkpoint=str(tmp_path / "run.pt"))
    monkeypatch.setattr(training, "batch_losses", None)
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
def test_another_runs_checkpoint_is_refused_by_name(tmp_path, whole_checkpoint, change, name):
    checkpoint = tmp_path / "run.pt"
    checkpoint.write_bytes(whole_checkpoint)
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
    assert run(checkpoint=checkpoint).losses == undisturbed().losses


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


@pytest.mark.parametrize("seed", [-1, 0.5, None])
def test_a_seed_that_is_none_is_named(seed):
    with pytest.raises(ValueError, match="seed must be an integer that is at least 0"):
        train(seed=seed)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_a_device_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="device is cuda, but torch sees no CUDA device: name 'cpu'"):
        train(device="cuda")


# ---- the forms of the loss, and hard example mining ----


def mined_batch():
    """One image with a positive of each of two classes, an ignored anchor and five negatives, and one with nothing."""
    labels = torch.full((2, 8), BACKGROUND)
    labels[0, 0], labels[0, 1], labels[0, 3] = 1, 0, IGNORED
    logits = torch.randn(2, 8, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits[0, 3] = 9  # hard, were it not ignored
    return logits, Matches(labels, torch.zeros(2, 8, 4, dtype=torch.float64))


def test_the_focal_form_is_the_focal_loss_and_0_where_an_anchor_is_ignored():
    logits, matches = mined_batch()
    targets, counts = class_targets(matches.labels, 2)
    for setting in ({}, *LOSSES.values()):
        losses = training.class_losses(logits, matches, **setting)
        assert losses.shape == logits.shape and (losses[0, 3] == 0).all()
        assert torch.equal(losses, sigmoid_focal_loss(logits, targets, **setting) * counts[..., None])


FORMS = {
    "focal": lambda logits, targets, counts, *chosen: sigmoid_focal_loss(logits, targets, *chosen),
    "poly": lambda logits, targets, counts, *chosen: cousins.poly_focal_loss(logits, targets, *chosen),
    "asymmetric": lambda logits, targets, counts, *chosen: cousins.asymmetric_loss(logits, targets),
    "harmonized": lambda logits, targets, counts, *chosen: (
        # of the 15 anchors that count, with two classes each, two are positive
        cousins.gradient_harmonized_loss(logits, targets, counts[..., None]) * 2 / (15 * 2)
    ),
}


@pytest.mark.parametrize("chosen", [(), (0.5, 1.0)], ids=["defaults", "alpha and gamma"])
@pytest.mark.parametrize("form", training.FORMS)
def test_a_form_is_what_its_function_computes_and_alpha_and_gamma_reach_it(form, chosen):
    logits, matches = mined_batch()
    targets, counts = class_targets(matches.labels, 2)
    expected = FORMS[form](logits, targets, counts, *chosen) * counts[..., None]
    assert torch.equal(training.class_losses(logits, matches, *chosen, form=form), expected)


@pytest.mark.parametrize("images, examples", [(slice(0, 2), 15 * 2), (slice(1, 2), 8 * 2)], ids=["both", "no object"])
def test_the_harmonized_loss_of_a_batch_is_the_mean_over_the_examples_that_count(images, examples):
    logits, matches = mined_batch()
    logits, labels = logits[images], matches.labels[images]
    anchors = torch.tensor([[0, 0, 10, 10]] * 8, dtype=torch.float64)
    matches = Matches(labels, anchors.expand(len(labels), -1, -1))
    classification, _ = detection_loss(logits, torch.zeros(len(labels), 8, 4), matches, anchors, form="harmonized")
    targets, counts = class_targets(labels, 2)
    every = cousins.gradient_harmonized_loss(logits, targets, counts[..., None]) * counts[..., None]
    torch.testing.assert_close(classification, every.sum() / examples)


def test_an_ignored_anchor_is_in_no_bin_of_the_harmonized_loss():
    logits, matches = mined_batch()
    changed = logits.clone()
    changed[0, 3] = -9
    assert torch.equal(
        training.class_losses(changed, matches, form="harmonized"),
        training.class_losses(logits, matches, form="harmonized"),
    )


@pytest.mark.parametrize("form", training.FORMS)
@pytest.mark.parametrize("keep", [1, 3, 7, 100])
def test_with_hardest_exactly_those_take_part_that_mining_keeps(form, keep):
    logits, matches = mined_batch()
    every = training.class_losses(logits, matches, form=form)
    kept = mining.hardest(every.sum(-1), matches.labels != IGNORED, keep)
    losses = training.class_losses(logits, matches, form=form, hardest=keep)
    assert torch.equal(losses, every * kept[..., None])
    assert kept.sum(1).tolist() == [min(keep, 7), min(keep, 8)]


@pytest.mark.parametrize("ratio", [1, 3, 100])
def test_with_negatives_exactly_those_take_part_that_mining_keeps(ratio):
    logits, matches = mined_batch()
    every = training.class_losses(logits, matches, -1, 0.0)
    counts = matches.labels != IGNORED
    kept = mining.negatives_per_positive(every.sum(-1), counts, matches.labels >= 0, ratio)
    losses = training.class_losses(logits, matches, -1, 0.0, negatives=ratio)
    assert torch.equal(losses, every * kept[..., None])
    assert (losses[0, :2] > 0).all()  # the positives are always there
    assert (losses.sum(-1) > 0).sum(1).tolist() == [2 + min(2 * ratio, 5), min(ratio, 8)]


def test_an_anchor_that_mining_leaves_out_has_no_gradient():
    logits, matches = mined_batch()
    logits.requires_grad_()
    losses = training.class_losses(logits, matches, -1, 0.0, hardest=2)
    losses.sum().backward()
    assert torch.equal(logits.grad != 0, losses != 0) and (losses.sum(-1) > 0).sum() == 4


@pytest.mark.parametrize(
    "loss, message",
    [
        (dict(form="hinge"), "form must be one of focal, poly, asymmetric, harmonized, got 'hinge'"),
        (dict(hardest=0), "keep must be at least 1 .* got 0"),
        (dict(negatives=0), "ratio must be at least 1 .* got 0"),
        (dict(hardest=16, negatives=3), "hardest and negatives exclude each other, got 16 and 3: leave one out"),
        (dict(scale=0.0), "scale must be a positive, finite number, got 0.0"),
        (dict(scale=math.nan), "scale must be a positive, finite number, got nan"),
        (dict(scale=math.inf), "scale must be a positive, finite number, got inf"),
    ],
    ids=str,
)
def test_a_loss_that_cannot_be_is_named(loss, message):
    with pytest.raises(ValueError, match=message):
        training.class_losses(*mined_batch(), **loss)
    with pytest.raises(ValueError, match=message):
        run(loss=loss)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_given_by_its_arguments_is_the_named_one_to_the_bit(name):
    named, spelled = run(loss=name), run(loss=dict(LOSSES[name]))
    assert named.losses == spelled.losses and same_weights(named.model, spelled.model)


@pytest.mark.parametrize(
    "loss", [*(dict(form=form) for form in training.FORMS), dict(hardest=16), dict(negatives=3)], ids=str
)
def test_every_form_trains(loss):
    result = run(loss=loss)
    assert all(math.isfinite(value) for value in result.losses)
    assert not same_weights(result.model, new_model(0, TINY))


@pytest.mark.parametrize(
    "loss", [*(dict(form=form) for form in training.FORMS), dict(hardest=16), dict(negatives=3)], ids=str
)
def test_an_absurd_learning_rate_is_named_whatever_the_loss(loss):
    with pytest.raises(FloatingPointError, match=r"lower lr \(it is 1e\+30\)"):
        run(loss=loss, settings=replace(TINY, lr=1e30))


def test_a_checkpoint_of_another_loss_by_its_arguments_is_refused(tmp_path):
    run(loss=dict(hardest=16), checkpoint=tmp_path / "run.pt")
    assert run(loss=dict(hardest=16), checkpoint=tmp_path / "run.pt").losses  # its own is not
    with pytest.raises(ValueError, match="belongs to a run with another loss"):
        run(loss=dict(hardest=64), checkpoint=tmp_path / "run.pt")


# ---- wrong labels ----


def labels_with_noise(share, batches=400, settings=TINY):
    """Labels of 0, 1, 2 and padding of many batches, before and after: (batches, 8, 3) each."""
    before = torch.randint(-1, 3, (batches, 8, 3), generator=torch.Generator().manual_seed(5))
    settings = replace(settings, label_noise=share)
    after = [training._with_noise(part, range(8 * k, 8 * k + 8), settings) for k, part in enumerate(before)]
    return before, torch.stack(after)


@pytest.mark.parametrize("share", [0.1, 0.3, 1.0])
def test_about_the_asked_share_of_the_objects_gets_another_class(share):
    before, after = labels_with_noise(share)
    objects = before >= 0
    changed = (before != after) & objects
    assert changed.sum().item() / objects.sum().item() == pytest.approx(share, abs=0.02)
    assert set(after[objects].tolist()) == {0, 1, 2}
    steps = ((after - before) % 3)[changed]  # either wrong class as often as the other
    assert (steps == 1).double().mean().item() == pytest.approx(0.5, abs=0.05)


def test_a_padding_row_never_becomes_an_object():
    before, after = labels_with_noise(1.0)
    assert (before < 0).any() and torch.equal(before < 0, after < 0)


def test_the_same_batch_gets_the_same_noise_and_another_one_another():
    labels = torch.zeros(8, 3, dtype=torch.int64)
    settings = replace(TINY, label_noise=0.5)
    torch.manual_seed(1)
    first = training._with_noise(labels, range(16, 24), settings)
    torch.manual_seed(2)
    assert torch.equal(first, training._with_noise(labels, range(16, 24), settings))
    assert not torch.equal(first, training._with_noise(labels, range(24, 32), settings))
    assert (labels == 0).all()  # they are left as they were


def test_without_noise_the_labels_are_as_they_were():
    before, after = labels_with_noise(0.0, batches=3)
    assert torch.equal(before, after)
    assert run(settings=replace(TINY, label_noise=0.0)).losses == undisturbed().losses


def test_noise_in_scenes_of_one_class_is_refused():
    with pytest.raises(ValueError, match="label_noise"):  # there is no other class to give
        TrainSettings(label_noise=0.1, scenes=SceneSettings(classes=("disc",)))


def test_the_training_sees_the_wrong_labels_and_they_are_wrong_classes_of_the_same_boxes(monkeypatch):
    seen = []
    monkeypatch.setattr(training, "match", lambda anchors, *truth: seen.append(truth) or match(anchors, *truth))
    noisy = run(settings=replace(TINY, label_noise=1.0))
    clean = run()
    assert len(seen) == 12 and noisy.losses != clean.losses
    for (boxes, wrong), (true_boxes, true) in zip(seen[:6], seen[6:]):
        assert torch.equal(boxes, true_boxes) and torch.equal(wrong >= 0, true >= 0)
        assert (wrong != true)[true >= 0].all()


# ---- the optimizer, its schedule, and clipping ----


@pytest.mark.parametrize(
    "setting, message",
    [
        (dict(optimizer="adam"), "optimizer must be 'adamw' or 'sgd', got 'adam'"),
        (dict(clip=0), "clip must be a positive norm, .* got 0"),
        (dict(clip=-1.0), "clip must be a positive norm, .* got -1"),
        (dict(clip=math.nan), "clip must be a positive norm, .* got nan"),
        (dict(label_noise=-0.1), "label_noise must be a share between 0 and 1, got -0.1"),
        (dict(label_noise=1.1), "label_noise must be a share between 0 and 1, got 1.1"),
        (dict(label_noise=math.nan), "label_noise must be a share between 0 and 1, got nan"),
    ],
    ids=str,
)
def test_an_optimizer_a_clip_or_a_noise_that_cannot_be_is_named(setting, message):
    with pytest.raises(ValueError, match=message):
        TrainSettings(**setting)


def rates_and_momenta(monkeypatch, **settings):
    """The optimizers made in a run, and the learning rate and momentum of each step."""
    made, steps = [], []
    true = training._optimizer

    def watched(*arguments):
        optimizer, schedule = true(*arguments)
        made.append(optimizer)

        def note(optimizer, *rest):
            (group,) = optimizer.param_groups
            steps.append((group["lr"], group.get("momentum", group.get("betas", (None,))[0])))

        optimizer.register_step_pre_hook(note)
        return optimizer, schedule

    monkeypatch.setattr(training, "_optimizer", watched)
    run(settings=replace(TINY, steps=20, **settings))
    (optimizer,) = made
    return type(optimizer), *map(list, zip(*steps))


@pytest.mark.parametrize("optimizer, kind", [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_with_warm_up_the_rate_rises_to_its_peak_and_falls_to_nearly_nothing(monkeypatch, optimizer, kind):
    found, rates, _ = rates_and_momenta(monkeypatch, optimizer=optimizer, lr=0.01)
    assert found is kind
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(0.01) and 0 < peak < 10
    assert rates[: peak + 1] == sorted(rates[: peak + 1]) and rates[0] < 0.001
    assert rates[peak:] == sorted(rates[peak:], reverse=True) and rates[-1] < 1e-6


@pytest.mark.parametrize("optimizer, kind", [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_without_warm_up_the_first_step_has_the_full_rate_and_it_only_falls(monkeypatch, optimizer, kind):
    found, rates, _ = rates_and_momenta(monkeypatch, optimizer=optimizer, lr=0.01, warmup=False)
    assert found is kind
    assert rates[0] == 0.01 and rates == sorted(rates, reverse=True)
    expected = [0.005 * (1 + math.cos(math.pi * step / 20)) for step in range(20)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("warmup", [True, False])
def test_sgd_has_momentum_0_9_throughout(monkeypatch, warmup):
    _, _, momenta = rates_and_momenta(monkeypatch, optimizer="sgd", warmup=warmup)
    assert momenta == [0.9] * 20


def first_step(**settings):
    """Weights before and after one step, and the gradient of the total loss at the start: flat, float64."""
    settings = replace(TINY, steps=1, lr=0.1, **settings)
    model = new_model(0, settings).double()
    before = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    batch_loss(model, range(2), settings, **LOSSES["focal loss"]).backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    after = run(settings=settings, dtype=torch.float64).model
    return before, torch.nn.utils.parameters_to_vector(after.parameters()).detach(), gradient


def test_the_first_step_of_sgd_is_the_rate_times_gradient_and_weight_decay():
    before, after, gradient = first_step(optimizer="sgd", warmup=False)
    torch.testing.assert_close(after, before - 0.1 * (gradient + 1e-4 * before))


def test_clipping_shortens_the_gradient_to_the_norm_and_leaves_its_direction():
    before, after, gradient = first_step(optimizer="sgd", warmup=False, clip=0.01)
    assert gradient.norm() > 0.1
    torch.testing.assert_close(
        after, before - 0.1 * (0.01 * gradient / gradient.norm() + 1e-4 * before), rtol=1e-6, atol=1e-9
    )


def test_a_gradient_within_the_norm_is_not_clipped():
    free, clipped = undisturbed(), run(settings=replace(TINY, clip=1e6))
    assert free.losses == clipped.losses and same_weights(free.model, clipped.model)


def test_gradients_are_clipped_at_every_step_and_only_when_asked(monkeypatch):
    norms, clip = [], torch.nn.utils.clip_grad_norm_

    def watched(parameters, most, *rest):
        parameters = list(parameters)
        before = clip(parameters, most, *rest)
        norms.append((before.item(), torch.cat([p.grad.flatten() for p in parameters]).norm().item(), most))
        return before

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", watched)
    run()
    assert norms == []
    run(settings=replace(TINY, clip=0.05))
    assert len(norms) == 6 and {most for _, _, most in norms} == {0.05}
    assert all(before > 0.05 >= after - 1e-6 for before, after, _ in norms)


@pytest.mark.parametrize("change", [dict(optimizer="sgd"), dict(warmup=False), dict(clip=0.05)], ids=str)
def test_a_run_with_another_optimizer_resumes_to_the_same_bits_and_is_another_run(monkeypatch, tmp_path, change):
    settings, checkpoint = replace(TINY, **change), tmp_path / "run.pt"
    interrupt(monkeypatch, checkpoint, 3, settings=settings)
    resumed, whole = run(settings=settings, checkpoint=checkpoint), run(settings=settings)
    assert resumed.losses == whole.losses and same_weights(resumed.model, whole.model)
    assert whole.losses != undisturbed().losses
    with pytest.raises(ValueError, match="belongs to a run with another settings"):
        run(checkpoint=checkpoint)


# ---- the scale of the loss, and its parts ----


def test_a_scale_multiplies_the_classification_loss_and_leaves_the_box_loss():
    model, settings = new_model(0, TINY).double(), TINY
    whole = batch_losses(model, range(2), settings, alpha=-1, gamma=0.0)
    part = batch_losses(model, range(2), settings, alpha=-1, gamma=0.0, scale=0.3)
    assert part[0].item() == pytest.approx(0.3 * whole[0].item(), rel=1e-12)
    assert part[1].item() == whole[1].item() > 0


def test_a_run_tells_the_classification_loss_from_the_total():
    result = run(settings=replace(TINY, steps=3), dtype=torch.float64)
    classification, regression = batch_losses(new_model(0, TINY).double(), range(2), TINY, **LOSSES["focal loss"])
    assert result.classification[0] == classification.item()
    assert result.losses[0] == (classification + regression).item()
    assert all(0 < part < total for part, total in zip(result.classification, result.losses))


# ---- a look while training ----


def test_a_look_is_taken_before_every_step_and_at_the_end():
    looks = []
    run(settings=replace(TINY, steps=5), look=lambda step, model: looks.append(step))
    assert looks == [0, 1, 2, 3, 4, 5]


def test_a_look_sees_the_model_as_it_is_at_that_step_and_changes_nothing():
    seen = {}

    def look(step, model):
        seen[step] = {name: value.clone() for name, value in model.state_dict().items()}
        torch.rand(3)
        with torch.no_grad():
            model(torch.zeros(1, 3, 48, 48))

    looked, without = run(look=look), undisturbed()
    assert looked.losses == without.losses and same_weights(looked.model, without.model)
    for step, model in ((0, new_model(0, TINY)), (6, without.model)):
        assert all(torch.equal(seen[step][name], value) for name, value in model.state_dict().items())
    assert any(not torch.equal(seen[2][name], value) for name, value in seen[4].items())


def test_a_resumed_run_looks_only_at_what_is_left(monkeypatch, tmp_path):
    checkpoint = tmp_path / "run.pt"
    interrupt(monkeypatch, checkpoint, 3)
    monkeypatch.setattr(training, "PULSE", 2)
    looks = []
    run(checkpoint=checkpoint, look=lambda step, model: looks.append(step))
    assert looks == [2, 3, 4, 5, 6]
