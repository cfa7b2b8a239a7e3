"""The studies: every run that the book reports, written down before it was made (chapter 11).

A study is a few arms, each a loss and what it changes in the study's settings, and the seeds that each arm is run with.
Choosing happens in two studies alone, on validation scenes and over seeds that no other study uses: in "choice" each
loss gets the learning rate, and the class weight or the number of mined anchors where it has one, with the highest mean
AP, and in "choice at batch 4" the learning rate for smaller batches. All other studies report on test scenes.
"""

from dataclasses import dataclass, field
from typing import Any

from focalbook.scenes import TEST, VALIDATION, SceneSettings
from focalbook.training import LOSSES, TrainSettings


@dataclass(frozen=True)
class Arm:
    """One line of a study: ``loss``, as arguments of ``training.class_losses``, and ``changes``, fields of the study's
    ``TrainSettings`` that differ. ``like``: the family of ``VERSIONS`` whose chosen learning rate it takes, ``factor``
    times; without a ``loss``, also its chosen loss. Explained in chapter 11.
    """

    loss: dict[str, Any] = field(default_factory=dict)
    like: str = ""
    changes: dict[str, Any] = field(default_factory=dict)
    factor: float = 1.0


@dataclass(frozen=True)
class Study:
    """Runs that belong together: each of ``arms`` with each of ``seeds``, in ``dtype``, all else as in ``settings``;
    each judged on the first ``scenes`` scenes of the ``collection``.

    ``question``: what it is there to answer. ``lrs``: peak learning rates that every arm is run with; without them each
    arm takes the one chosen for the family it is ``like`` in the study ``rates_from``. ``drawn``: of how many scenes
    the detections are recorded. ``owners``: whether it is recorded who owns the loss at the start, in the middle and at
    the end; ``calibration``: whether the scores of the trained model are compared with how often they are right.
    Explained in chapter 11.
    """

    question: str
    arms: dict[str, Arm]
    seeds: tuple[int, ...]
    collection: int = TEST
    lrs: tuple[float, ...] = ()
    rates_from: str = "choice"
    settings: TrainSettings = TrainSettings()
    dtype: str = "float32"
    scenes: int = 256
    drawn: int = 0
    owners: bool = False
    calibration: bool = False


FAMILIES = {
    "cross-entropy": {"cross-entropy": dict(alpha=-1, gamma=0.0)},
    "balanced cross-entropy": {
        f"balanced cross-entropy, alpha {alpha:g}": dict(alpha=alpha, gamma=0.0) for alpha in (0.75, 0.9, 0.99)
    },
    "focal loss": {f"focal loss, alpha {alpha:g}": dict(alpha=alpha, gamma=2.0) for alpha in (0.25, 0.5, 0.75)},
    "OHEM, hardest": {f"OHEM, {keep} hardest": dict(alpha=-1, gamma=0.0, hardest=keep) for keep in (64, 256)},
    "OHEM, 1 to 3": {"OHEM, 1 to 3": dict(alpha=-1, gamma=0.0, negatives=3)},
}
"""The losses that compete, and the versions of each that are chosen from."""


COUSINS = {
    "poly": {"poly": dict(form="poly")},
    "asymmetric": {"asymmetric": dict(form="asymmetric")},
    "harmonized": {"harmonized": dict(form="harmonized")},
}
"""Relatives of focal loss (``cousins``): chosen like the others, but not part of the verdict."""

VERSIONS = FAMILIES | COUSINS
"""All that is chosen from."""


def _map_point(size: int, objects: int) -> SceneSettings:
    """A point of the map: scenes of this size with so many objects each, everything else as in the severe setting."""
    return SceneSettings(size=size, objects=(objects, objects))


MAP = {
    "96 px, 10 objects": _map_point(96, 10),
    "96 px, 4 objects": _map_point(96, 4),
    "96 px, 2 objects": _map_point(96, 2),
    "96 px, 1 object": _map_point(96, 1),
    "144 px, 1 object": _map_point(144, 1),
    "240 px, 1 object": _map_point(240, 1),
}
"""From mild to severe imbalance, by the number of objects and by the size of the scene (chapter 13)."""

TABLE_1B = ((0.0, 0.75), (0.1, 0.75), (0.2, 0.75), (0.5, 0.5), (1.0, 0.25), (2.0, 0.25), (5.0, 0.25))
"""The paper's gammas, each with its best alpha there (Lin et al. 2017b, table 1b)."""

STUDIES = {
    "choice": Study(
        question="Which learning rate, and which version, serves each loss best?",
        arms={name: Arm(loss) for versions in VERSIONS.values() for name, loss in versions.items()},
        seeds=(100, 101),
        collection=VALIDATION,
        lrs=(0.003, 0.01, 0.03, 0.1),
    ),
    "verdict": Study(
        question="Does focal loss find small objects better than what it replaces?",
        arms={family: Arm(like=family) for family in FAMILIES},
        seeds=tuple(range(10)),
        dtype="float64",
        drawn=4,
    ),
    "owners": Study(
        question="Who owns the loss and its gradient, at the start, in the middle and at the end?",
        arms={family: Arm(like=family) for family in LOSSES},
        seeds=(0, 1, 2),
        dtype="float64",
        owners=True,
    ),
    "choice at batch 4": Study(
        question="Which learning rate serves each loss at half the batch?",
        arms={family: Arm(like=family) for family in LOSSES},
        seeds=(100, 101),
        collection=VALIDATION,
        lrs=(0.003, 0.01, 0.03, 0.1),
        settings=TrainSettings(batch=4),
    ),
    "map": Study(
        question="How does the gain depend on the imbalance?",
        arms={
            f"{family}, {point}": Arm(like=family, changes=dict(scenes=scenes))
            for point, scenes in MAP.items()
            for family in LOSSES
        },
        seeds=tuple(range(5)),
        settings=TrainSettings(batch=4),
        rates_from="choice at batch 4",
    ),
    "alpha": Study(
        question="Which class weight does balanced cross-entropy want? (the paper's table 1a)",
        arms={
            f"alpha {alpha:g}": Arm(dict(alpha=alpha, gamma=0.0), like="balanced cross-entropy")
            for alpha in (0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999)
        },
        seeds=tuple(range(5)),
    ),
    "gamma": Study(
        question="How much focus is enough? (the paper's table 1b)",
        arms={f"gamma {gamma:g}": Arm(dict(alpha=alpha, gamma=gamma), like="focal loss") for gamma, alpha in TABLE_1B},
        seeds=tuple(range(5)),
    ),
    "prior": Study(
        question="Who diverges without the prior, and do clipping and warm-up hide it?",
        arms={
            f"{family}, pi {prior:g}, {how}": Arm(like=family, changes=dict(prior=prior, optimizer="sgd", **crutches))
            for family in ("cross-entropy", "focal loss")
            for prior in (0.5, 0.1, 0.01, 0.001)
            for how, crutches in (("bare", dict(warmup=False)), ("with crutches", dict(warmup=True, clip=1.0)))
        },
        seeds=(0, 1),
        lrs=(0.01,),  # the paper's, for SGD
    ),
    "calibration": Study(
        question="Do the scores mean what they say?",
        arms={family: Arm(like=family) for family in LOSSES},
        seeds=tuple(range(5)),
        calibration=True,
    ),
    "length": Study(
        question="Does the gain stay when the training is shorter or longer?",
        arms={
            f"{family}, {steps} steps": Arm(like=family, changes=dict(steps=steps))
            for family in LOSSES
            for steps in (300, 1200)  # 600 is the study "calibration"
        },
        seeds=tuple(range(5)),
    ),
    "learning rate": Study(
        question="How much does each loss mind the wrong learning rate?",
        arms={
            f"{family}, {factor:g} times": Arm(like=family, factor=factor)
            for family in LOSSES
            for factor in (0.1, 3.0, 10.0)  # 1 is the study "calibration"
        },
        seeds=(0, 1, 2),
    ),
    "label noise": Study(
        question="What if some objects carry the wrong class?",
        arms={
            f"{family}, 30% wrong": Arm(like=family, changes=dict(label_noise=0.3))
            for family in LOSSES  # none wrong is the study "calibration"
        },
        seeds=(0, 1, 2),
    ),
    "cousins": Study(
        question="Do relatives of focal loss do better?",
        arms={family: Arm(like=family) for family in COUSINS},  # focal loss itself is in the study "calibration"
        seeds=tuple(range(5)),
    ),
}
"""In the order in which they are run: what a study chooses, the later ones use."""
