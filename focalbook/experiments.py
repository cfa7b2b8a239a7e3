"""The studies as their records tell them: which runs there are, what was chosen, who gained how much (chapter 11)."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from focalbook.records import Record, load, path_of
from focalbook.sources import sources_hash
from focalbook.studies import STUDIES, VERSIONS
from focalbook.training import TrainSettings


def runs(study: str) -> list[tuple[str, float, int]]:
    """Every (arm, lr, seed) of a study, seed after seed (chapter 11)."""
    plan = STUDIES[study]
    rates = {
        arm: plan.lrs or (spec.factor * chosen_rate(spec.like, plan.rates_from),) for arm, spec in plan.arms.items()
    }
    return [(arm, lr, seed) for seed in plan.seeds for arm in plan.arms for lr in rates[arm]]


def chosen(family: str) -> tuple[str, float]:
    """The version and the learning rate of a family of losses with the highest mean AP in the study "choice": its name
    and a float (chapter 11)."""
    choice = STUDIES["choice"]
    candidates = [(version, lr) for version in VERSIONS[family] for lr in choice.lrs]
    return max(
        candidates, key=lambda run: mean_ap([load("choice", run[0], run[1], seed) for seed in choice.seeds], run[1])
    )


def chosen_rate(family: str, study: str = "choice") -> float:
    """The learning rate with which a family of losses has the highest mean AP in a ``study`` that chooses: a float.

    In "choice" it is chosen together with the version, elsewhere for the version chosen there (chapter 11).
    """
    if study == "choice":
        return chosen(family)[1]
    plan = STUDIES[study]
    return max(plan.lrs, key=lambda lr: mean_ap([load(study, family, lr, seed) for seed in plan.seeds], lr))


def mean_ap(records: Sequence[Record], lr: float) -> float:
    """Mean AP of the ``records`` with this learning rate, a float in [0, 1] (chapter 11).

    Raises ``ValueError`` where there is none or an AP is NaN: a choice by it would be one by chance.
    """
    mean = float(np.mean([record["AP"]["AP"] for record in records if record["settings"]["lr"] == lr] or [np.nan]))
    if math.isnan(mean):
        raise ValueError(f"records must have an AP at lr {lr:g} to be compared by, got none or NaN")
    return mean


def plan_of(study: str, arm: str, lr: float) -> tuple[dict[str, Any], TrainSettings]:
    """What decides a run beside its seed: the arguments of ``class_losses``, and the ``TrainSettings`` (chapter 11)."""
    plan, spec = STUDIES[study], STUDIES[study].arms[arm]
    loss = spec.loss or VERSIONS[spec.like][chosen(spec.like)[0]]
    return loss, replace(plan.settings, lr=lr, **spec.changes)


def load_study(study: str) -> dict[str, list[Record]]:
    """All records of a study: a dict from arm to the list of its records, seed after seed (chapter 11)."""
    records: dict[str, list[Record]] = {arm: [] for arm in STUDIES[study].arms}
    for arm, lr, seed in runs(study):
        records[arm].append(load(study, arm, lr, seed))
    return records


def stale(study: str) -> list[tuple[str, float, int]]:
    """Runs (arm, lr, seed) of a study whose record is missing, or was made by other code or settings than today's.

    Explained in chapter 11.
    """
    today = sources_hash()
    return [run for run in runs(study) if not (as_planned(study, *run) and load(study, *run)["sources"] == today)]


def planned(study: str, arm: str, lr: float) -> Record:
    """The part of a record that the study decides, as JSON gives it back (chapter 11)."""
    plan = STUDIES[study]
    loss, settings = plan_of(study, arm, lr)
    part = {
        "loss": loss,
        "settings": asdict(settings),
        "collection": plan.collection,
        "scenes": plan.scenes,
        "dtype": plan.dtype,
    }
    return json.loads(json.dumps(part))


def as_planned(study: str, arm: str, lr: float, seed: int) -> bool:
    """Whether a run has a record, made by the settings that the study has today (chapter 11)."""
    if not path_of(study, arm, lr, seed).exists():
        return False
    plan, record, wanted = STUDIES[study], load(study, arm, lr, seed), planned(study, arm, lr)
    if wanted != {key: record[key] for key in wanted}:
        return False
    found = (len(record.get("detections", ())), bool(record.get("owners")), bool(record.get("calibration")))
    return "diverged" in record or found == (plan.drawn, plan.owners, plan.calibration)


def paired_gains(
    records: Mapping[str, Sequence[Record]], arm: str, other: str, score: str = "AP"
) -> NDArray[np.float64]:
    """What ``arm`` scores above ``other``, seed by seed: float64 (seeds,), in AP of [0, 1].

    ``records``: from ``load_study``. ``score``: "AP", "AP50" or "AP75". Raises ``ValueError`` where the seeds of the
    two do not pair up. Explained in chapter 11.
    """
    seeds, other_seeds = ([record["seed"] for record in records[name]] for name in (arm, other))
    if seeds != other_seeds:
        raise ValueError(f"{arm} and {other} must have the same seeds to be paired, got {seeds} and {other_seeds}")
    return np.array([a["AP"][score] - b["AP"][score] for a, b in zip(records[arm], records[other])])


def bootstrap_interval(
    values: ArrayLike, confidence: float = 0.95, draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of ``values`` (N,): (low, high), for seeds as paired differences.

    ``draws`` means of N values drawn with replacement; the middle ``confidence`` of them. Raises ``ValueError`` for
    values that are not finite, or none. Explained in chapter 11.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"values must be finite numbers, at least one, got {values.tolist()}")
    means = np.random.default_rng(seed).choice(values, (draws, len(values))).mean(axis=1)
    tail = (1 - confidence) / 2
    return tuple(np.quantile(means, [tail, 1 - tail]).tolist())
