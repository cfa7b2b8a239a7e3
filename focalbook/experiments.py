"""The studies as their records tell them: which runs there are, what was chosen, who gained how much (chapter 11)."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from focalbook.intervals import equivalence, holm, paired_interval
from focalbook.platelets import Fold
from focalbook.records import RECORDS, Record, load, path_of
from focalbook.sources import SOURCES, sources_hash
from focalbook.studies import AGAIN, CLAIMS, LADDER, STUDIES, Claim
from focalbook.training import TrainSettings


def runs(study: str) -> list[tuple[str, float, int]]:
    """Every (arm, lr, seed) of a study, seed after seed (chapter 11)."""
    plan = STUDIES[study]
    rates = {
        arm: spec.lrs or plan.lrs or (spec.factor * chosen(spec.like, plan.rates_from)[1],)
        for arm, spec in plan.arms.items()
    }
    return [(arm, lr, seed) for seed in plan.seeds for arm in plan.arms for lr in rates[arm]]


def chosen(family: str, study: str = "choice") -> tuple[str, float]:
    """The arm and the learning rate with the highest mean AP, of those of a family of losses in a ``study`` that
    chooses: its name and a float (chapter 11)."""
    plan = STUDIES[study]
    candidates = [(arm, lr) for arm, spec in plan.arms.items() if spec.like == family for lr in spec.lrs or plan.lrs]
    return max(candidates, key=lambda run: mean_ap([load(study, run[0], run[1], seed) for seed in plan.seeds], run[1]))


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
    loss = spec.loss or plan_of(plan.rates_from, *chosen(spec.like, plan.rates_from))[0]
    return loss, replace(settings_of(study, arm), lr=lr)


def settings_of(study: str, arm: str) -> TrainSettings:
    """The ``TrainSettings`` of an arm, but for its learning rate (chapter 11)."""
    plan = STUDIES[study]
    rung = chosen_rung(plan.scenes_from) if plan.scenes_from else {}
    return replace(plan.settings, **rung, **plan.arms[arm].changes)


def chosen_rung(study: str = "difficulty") -> dict[str, Any]:
    """Scenes and steps where plain cross-entropy misses objects, as fields of ``TrainSettings``, by the rule that is
    written beside ``studies.LADDER``, from the records of this ``study`` (chapter 11)."""
    runs = table(study)
    scores = runs.groupby("arm")["AP50"].mean()
    long = {rung: scores[f"{rung}, 4800 steps"] for rung in LADDER}
    fits = [rung for rung, score in long.items() if 0.5 <= score <= 0.8]
    rung = fits[0] if fits else min(long, key=lambda rung: abs(long[rung] - 0.65))
    settled = scores[f"{rung}, 2400 steps"] >= long[rung] - 0.03
    return {"scenes": LADDER[rung], "steps": 2400 if settled else 4800}


def load_study(study: str) -> dict[str, list[Record]]:
    """All records of a study: a dict from arm to the list of its records, seed after seed (chapter 11)."""
    records: dict[str, list[Record]] = {arm: [] for arm in STUDIES[study].arms}
    for arm, lr, seed in runs(study):
        records[arm].append(load(study, arm, lr, seed))
    return records


def table(study: str) -> pd.DataFrame:
    """The runs of a study as one tidy table, a row a run: its arm and the family of that ("like"), learning rate and
    seed; where the images come in folds, the fold that it was judged on, which the arm then does not name; AP, AP50,
    AP75, recall at one false detection a scene, the AP of each class ("AP disc"), in [0, 1]; and whether it diverged,
    which counts as 0. What an older record does not tell is NaN (chapter 11).

    Raises ``FileNotFoundError`` where a run is missing.
    """
    rows = []
    for arm, lr, seed in runs(study):
        record, spec = load(study, arm, lr, seed), STUDIES[study].arms[arm]
        row = {"arm": arm, "like": spec.like, "lr": lr, "seed": seed, **record["AP"]}
        scenes = spec.changes.get("scenes")
        if isinstance(scenes, Fold):
            row |= {key: row[key].removesuffix(f", fold {scenes.judge}") for key in ("arm", "like")}
            row["fold"] = scenes.judge
        row["recall"] = record.get("recall", math.nan)
        row |= {f"AP {name}": score for name, score in record.get("AP by class", {}).items()}
        rows.append(row | {"diverged": "diverged" in record})
    return pd.DataFrame(rows)


def load_again(study: str) -> dict[str, list[Record]]:
    """What ``tools.gpu`` recorded of a study of ``studies.AGAIN`` on a GPU: a dict from arm to its runs, seed after
    seed, of the seeds with which every arm was run (chapter 16).

    Raises ``FileNotFoundError`` where nothing is recorded and ``ValueError`` for a broken record, with the file's name.
    """
    path = RECORDS.parent / "measured" / "gpu-studies.json"
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: git checkout has it, and make gpu makes one where there is a GPU")
    arms: dict[str, dict[int, Record]] = {arm: {} for arm in AGAIN[study].arms}
    try:
        for run in json.loads(path.read_text("utf-8"))["parts"].values():
            if run["study"] == study:
                arms[run["arm"]][run["seed"]] = run
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} is broken: git checkout has it") from None
    seeds = sorted(set.intersection(*map(set, arms.values())))
    return {arm: [made[seed] for seed in seeds] for arm, made in arms.items()}


def table_again(study: str) -> pd.DataFrame:
    """The runs of ``load_again`` as a tidy table like ``table``: arm, seed, AP, AP50, AP75 and recall (chapter 16)."""
    return pd.DataFrame(
        {"arm": arm, "seed": run["seed"], **run["AP"], "recall": run["recall"]}
        for arm, made in load_again(study).items()
        for run in made
    )


def differences(runs: pd.DataFrame, ours: str, rival: str, score: str = "AP") -> NDArray[np.float64]:
    """What the arm ``ours`` scores above the arm ``rival`` in a ``table``, seed by seed: float64 (seeds,).

    Where the images come in folds it is fold by fold, (folds,), each the mean over its seeds: two seeds share the
    images of a fold, so that they are no two observations. Raises ``ValueError`` where the two were not run once each
    with the same seeds, or a score is NaN. Explained in chapter 11.
    """
    unit = ["fold", "seed"] if "fold" in runs else ["seed"]
    ours_by_run, rival_by_run = (runs[runs["arm"] == arm].set_index(unit)[score] for arm in (ours, rival))
    if not ours_by_run.index.is_unique or sorted(ours_by_run.index) != sorted(rival_by_run.index):
        seeds = sorted(ours_by_run.index), sorted(rival_by_run.index)
        raise ValueError(f"{ours} and {rival} must have the same seeds, one run each, got {seeds[0]} and {seeds[1]}")
    found = ours_by_run - rival_by_run
    if found.isna().any():
        raise ValueError(f"{score} of {ours} or {rival} is NaN: there was nothing to judge by")
    return found.groupby(unit[0]).mean().to_numpy(np.float64)  # in the order of the seeds, or of the folds


def judged(claims: Sequence[Claim] = CLAIMS, runs_of: Callable[[str], pd.DataFrame] = table) -> pd.DataFrame:
    """The primary claims and what came of them, a row a claim: its words, its study, what was expected, the mean
    difference with its interval, p, p "corrected" for all of them, and whether it "holds" by that alone.

    ``runs_of``: what gives the runs of a study, ``table`` or, for ``studies.CLAIMS_AGAIN``, ``table_again``. The
    correction is Holm's. While the study of a claim is under way the claim has NaN and None, and the correction of
    the others is Bonferroni's, p times the number of all claims, which is never less strict. Explained in chapter 11.
    """
    rows: list[dict[str, Any]] = []
    for claim in claims:
        row: dict[str, Any] = {"claim": claim.text, "study": claim.study, "expected": claim.expected}
        if not (STUDIES | AGAIN)[claim.study].under_way:
            found = differences(runs_of(claim.study), claim.ours, claim.rival, claim.score)
            interval = paired_interval(found)
            p = interval.p if claim.margin is None else equivalence(found, claim.margin)
            row |= {**interval._asdict(), "p": p}
        rows.append(row)
    judged = pd.DataFrame(rows, columns=["claim", "study", "expected", "mean", "low", "high", "p"])
    all_there = judged["p"].notna().all()
    judged["corrected"] = holm(judged["p"].tolist()) if all_there else (judged["p"] * len(claims)).clip(upper=1)
    judged["holds"] = [
        None if math.isnan(p) else bool(p < 0.05 and (claim.margin is not None or mean > 0))
        for claim, p, mean in zip(claims, judged["corrected"], judged["mean"])
    ]
    return judged


def stale(study: str) -> list[tuple[str, float, int]]:
    """Runs (arm, lr, seed) of a study whose record is missing, or was made by other code or settings than today's.

    Explained in chapter 11.
    """
    today = sources_of(study)
    return [run for run in runs(study) if not (as_planned(study, *run) and load(study, *run)["sources"] == today)]


def sources_of(study: str) -> str:
    """The hash of all code that determines the results of a study (chapter 11)."""
    reader = STUDIES[study].reader
    return sources_hash((*SOURCES, *reader)) if reader else sources_hash()


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
    found = (
        len(record.get("detections", ())),
        sorted(map(int, record.get("owners", ()))),
        bool(record.get("calibration")),
        bool(record.get("by scene")),
    )
    return "diverged" in record or found == (plan.drawn, sorted(plan.owners), plan.calibration, plan.by_scene)
