"""Do the digits of a training hold on another machine, whose sums round differently?"""

import pytest
import torch
from torch import nn

from focalbook import reproducibility
from focalbook.reproducibility import perturbation_drift, scenes_hash
from focalbook.scenes import SceneSettings
from focalbook.training import Run, TrainSettings

SMALL = TrainSettings(steps=200, batch=2, channels=8, scenes=SceneSettings(size=48, cell=24, distractors=2))


@pytest.mark.slow
def test_a_weight_changed_by_1e_14_leaves_the_loss_after_200_steps_within_1e_10():
    assert 0 < perturbation_drift(SMALL) < 1e-10  # above 0, or the change never arrived


@pytest.fixture
def started(monkeypatch):
    """The models that a training was started from; none is trained, and the losses are made up."""
    models, losses = [], iter([4.0, 3.0])

    def untrained(loss, seed, settings, device, dtype, model):
        models.append(model)
        return Run(model, [9.0, next(losses)], [0.0, 0.0])

    monkeypatch.setattr(reproducibility, "train", untrained)
    return models


def test_the_drift_is_the_relative_difference_of_the_last_losses(started):
    assert perturbation_drift(SMALL) == 0.25


def test_the_two_trainings_start_one_weight_apart(started):
    perturbation_drift(SMALL, change=1e-3)
    first, second = (model.state_dict() for model in started)
    assert [name for name in first if not torch.equal(first[name], second[name])] == ["stem.0.weight"]
    change = (second["stem.0.weight"] - first["stem.0.weight"]).flatten()
    assert change[0].item() == pytest.approx(1e-3) and (change[1:] == 0).all()


def test_the_activation_replaces_every_silu(started):
    perturbation_drift(SMALL, activation=nn.ReLU)
    for model in started:
        kinds = {type(part) for part in model.modules()}
        assert nn.ReLU in kinds and nn.SiLU not in kinds


def test_a_training_repeated_without_a_change_does_not_drift():
    assert perturbation_drift(TrainSettings(steps=2, batch=1, channels=8, scenes=SMALL.scenes), change=0.0) == 0


def test_the_hash_of_scenes_sees_pixels_boxes_and_labels_and_not_the_last_bits():
    scenes = SMALL.scenes.batch(range(2), dtype=torch.float64)
    found = scenes_hash(scenes)
    assert len(found) == 16 and found == scenes_hash(scenes._replace(images=scenes.images + 1e-15))
    changed = [
        scenes._replace(images=scenes.images + 2e-5),
        scenes._replace(boxes=scenes.boxes + 1e-12),
        scenes._replace(labels=scenes.labels + 1),
        SMALL.scenes.batch(range(1, 3), dtype=torch.float64),
    ]
    assert len({found, *map(scenes_hash, changed)}) == 5
