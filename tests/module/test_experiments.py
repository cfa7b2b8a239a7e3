"""The studies as their records tell them: which runs there are, what was chosen, what is stale, who gained how much."""

import json
import math
from dataclasses import replace

import pandas as pd
import pytest
from small_studies import CHOICE, TINY, VERSIONS, crafted, edited, prefer, save_all

from focalbook import experiments
from focalbook.experiments import (
    chosen,
    chosen_rung,
    differences,
    judged,
    load_again,
    load_study,
    mean_ap,
    plan_of,
    runs,
    sources_of,
    stale,
    table,
    table_again,
)
from focalbook.platelets import Fold
from focalbook.records import checksum, load, path_of, save
from focalbook.scenes import TEST
from focalbook.sources import SOURCES, sources_hash
from focalbook.studies import AGAIN, CLAIMS_AGAIN, FIRST, LADDER, SECOND, Arm, Claim, Study

pytestmark = pytest.mark.usefixtures("plans")


def test_a_study_is_loaded_arm_by_arm_and_seed_after_seed():
    save_all("choice")
    found = load_study("choice")
    assert tuple(found) == VERSIONS
    assert [(r["seed"], r["settings"]["lr"]) for r in found["focal loss, alpha 0.75"]] == [
        (100, 0.01), (100, 0.02), (101, 0.01), (101, 0.02)
    ]  # fmt: skip


# ---- the choice of the version and of the learning rate ----


def test_each_loss_gets_the_version_and_the_rate_with_the_best_mean_over_the_seeds():
    save_all("choice", ap=prefer)
    assert chosen("cross-entropy") == ("cross-entropy", 0.01)
    assert chosen("focal loss") == ("focal loss, alpha 0.75", 0.02)


def test_a_loss_does_not_get_what_is_best_for_another():
    save_all("choice", ap=lambda version, lr, seed: {"cross-entropy": 0.9}.get(version, 0.1) if lr == 0.02 else 0.2)
    assert chosen("cross-entropy") == ("cross-entropy", 0.02)
    assert chosen("focal loss")[1] == 0.01


def test_a_version_that_diverged_is_not_chosen():
    save_all("choice", ap=lambda version, lr, seed: 0.0 if lr == 0.01 else 0.01)
    assert chosen("focal loss")[1] == 0.02


def test_nothing_is_chosen_while_a_run_is_missing():
    save_all("choice")
    path_of(*CHOICE).unlink()
    with pytest.raises(FileNotFoundError, match=path_of(*CHOICE).name):
        chosen("focal loss")


def test_the_verdict_is_run_at_the_chosen_rates_seed_after_seed():
    save_all("choice", ap=prefer)
    assert runs("verdict") == [
        (family, lr, seed) for seed in (0, 1) for family, lr in (("cross-entropy", 0.01), ("focal loss", 0.02))
    ]


def test_a_study_can_take_its_rates_from_another_choice_and_its_versions_from_the_first(plans):
    plans["halved"] = replace(plans["verdict"], seeds=(100, 101), lrs=(0.01, 0.02))
    plans["verdict"] = replace(plans["verdict"], rates_from="halved")
    save_all("choice", ap=prefer)
    save_all("halved", ap=lambda family, lr, seed: 0.5 + (0.1 if (family == "focal loss") == (lr == 0.01) else 0))
    assert {(family, lr) for family, lr, _ in runs("verdict")} == {("cross-entropy", 0.02), ("focal loss", 0.01)}
    assert plan_of("halved", "focal loss", 0.01)[0] == dict(alpha=0.75, gamma=2.0)


def test_the_rates_of_a_study_are_run_by_every_arm():
    assert runs("choice") == [(arm, lr, seed) for seed in (100, 101) for arm in VERSIONS for lr in (0.01, 0.02)]


def test_an_arm_is_run_at_the_chosen_rate_times_its_factor():
    save_all("choice", ap=prefer)
    assert runs("ways") == [("faster", pytest.approx(0.06), 0), ("other loss", 0.02, 0), ("less prior", 0.01, 0)]


def test_an_arm_without_a_loss_takes_the_chosen_version_and_one_with_a_loss_its_own():
    save_all("choice", ap=prefer)
    losses = {arm: plan_of("ways", arm, lr)[0] for arm, lr, _ in runs("ways")}
    assert losses == {
        "faster": dict(alpha=0.75, gamma=2.0),
        "other loss": dict(form="poly"),
        "less prior": dict(alpha=-1, gamma=0.0),
    }


def test_the_rate_and_the_changes_of_an_arm_reach_its_settings_and_nothing_else_does():
    save_all("choice")
    assert plan_of("ways", "faster", 0.06)[1] == replace(TINY, lr=0.06)
    assert plan_of("ways", "less prior", 0.01)[1] == replace(TINY, lr=0.01, prior=0.5, optimizer="sgd", clip=1.0)


# ---- staleness ----


def test_a_run_without_a_record_is_stale():
    save_all("choice")
    path_of(*CHOICE).unlink()
    assert stale("choice") == [CHOICE[1:]]


def test_todays_records_are_not_stale(plans):
    save_all(*plans)
    assert [stale(study) for study in plans] == [[], [], []]


def test_changed_code_makes_all_records_stale(copied_sources):
    save_all("choice")
    assert stale("choice") == []
    path = copied_sources / "losses.py"
    path.write_text(path.read_text("utf-8") + "\nADDED = 1\n", "utf-8")
    assert stale("choice") == runs("choice")


@pytest.mark.parametrize(
    "change",
    [
        dict(settings=replace(TINY, batch=3)),
        dict(settings=replace(TINY, scenes=replace(TINY.scenes, noise=0.0))),
        dict(settings=replace(TINY, optimizer="sgd")),
        dict(settings=replace(TINY, label_noise=0.1)),
        dict(scenes=3),
        dict(collection=TEST),
        dict(dtype="float64"),
        dict(drawn=1),
        dict(owners=(0, 3)),
        dict(by_scene=True),
        dict(calibration=True),
    ],
    ids=lambda change: " ".join(f"{key} {str(value)[-40:]}" for key, value in change.items()),
)
def test_a_changed_plan_makes_all_records_stale(plans, change):
    save_all("choice")
    plans["choice"] = replace(plans["choice"], **change)
    assert stale("choice") == runs("choice")


def test_a_changed_arm_makes_its_own_records_stale(plans):
    save_all("choice", "ways")
    arms = plans["ways"].arms
    for arm, change in (("other loss", dict(loss=dict(form="asymmetric"))), ("less prior", dict(changes={}))):
        plans["ways"] = replace(plans["ways"], arms=arms | {arm: replace(arms[arm], **change)})
        assert [task[0] for task in stale("ways")] == [arm]


def test_a_new_choice_makes_the_records_that_rest_on_it_stale():
    save_all("choice")
    assert chosen("focal loss") == ("focal loss, alpha 0.25", 0.01)
    save_all("verdict")
    for seed in (100, 101):
        save(crafted("choice", "focal loss, alpha 0.75", 0.01, seed, ap=0.9))  # the same rate, another version
    assert stale("verdict") == [("focal loss", 0.01, 0), ("focal loss", 0.01, 1)]


def test_an_edited_record_is_refused_and_not_merely_stale():
    save_all("choice")
    path = path_of(*CHOICE)
    path.write_text(edited(path.read_text("utf-8")), "utf-8")
    with pytest.raises(ValueError, match="seed100"):
        stale("choice")


def test_the_code_that_reads_the_images_of_a_study_counts_too(plans):
    plans["verdict"] = replace(plans["verdict"], reader=("coco", "turns"))
    assert sources_of("choice") == sources_hash()
    assert sources_of("verdict") == sources_hash((*SOURCES, "coco", "turns")) != sources_hash()


# ---- scenes on which objects are missed ----


def rung_for(plans, *scores):
    """The rung and its steps that are chosen where cross-entropy has these AP50, after 2400 and after 4800 steps."""
    steps = (2400, 4800)
    arms = [f"{rung}, {count} steps" for rung in LADDER for count in steps]
    plans["choice"] = replace(plans["choice"], arms=dict.fromkeys(arms, Arm(dict(gamma=0.0), "plain")), lrs=(0.01,))
    by_arm = dict(zip(arms, (score for pair in scores for score in pair)))
    save_all("choice", ap=lambda arm, lr, seed: by_arm[arm] + (seed - 100.5) / 50)
    found = chosen_rung("choice")
    return list(LADDER.values()).index(found["scenes"]) + 1, found["steps"]


@pytest.mark.parametrize(
    "scores, rung, steps",
    [
        (
            ((0.9, 0.95), (0.60, 0.75), (0.5, 0.65), (0.2, 0.4)),
            2,
            4800,
        ),  # the first within the band
        (((0.9, 0.95), (0.73, 0.75), (0.5, 0.65), (0.2, 0.4)), 2, 2400),
        (((0.9, 0.95), (0.80, 0.90), (0.3, 0.45), (0.2, 0.4)), 3, 4800),  # none within the band: the nearest to .65
        (((0.3, 0.32), (0.20, 0.22), (0.1, 0.15), (0.1, 0.1)), 1, 2400),
    ],
)
def test_the_rung_is_chosen_by_the_written_rule(plans, scores, rung, steps):
    assert rung_for(plans, *scores) == (rung, steps)


def test_the_scenes_of_a_study_are_those_of_the_rung_and_its_arms_changes_come_on_top(plans, monkeypatch):
    rung = dict(scenes=LADDER["rung 2"], steps=2400)
    monkeypatch.setattr(experiments, "chosen_rung", lambda study: rung if study == "difficulty" else {})
    arms = {"less prior": Arm(dict(gamma=0.0), "cross-entropy", dict(prior=0.5))}
    plans["ways"] = replace(plans["ways"], arms=arms, scenes_from="difficulty")
    _, settings = plan_of("ways", "less prior", 0.02)
    assert (settings.scenes, settings.steps, settings.prior) == (LADDER["rung 2"], 2400, 0.5)


# ---- one table, differences, and the claims ----


def test_the_table_has_a_row_for_each_run_with_its_scores():
    save_all("choice", ap=lambda version, lr, seed: lr * seed / 10)
    found = table("choice")
    assert len(found) == len(runs("choice")) == 12
    row = found[(found["arm"] == VERSIONS[1]) & (found["lr"] == 0.02) & (found["seed"] == 101)].iloc[0]
    assert (row["like"], row["AP"], row["AP75"]) == ("focal loss", pytest.approx(0.202), pytest.approx(0.202))
    assert math.isnan(row["recall"]) and not row["diverged"]


def test_a_run_that_diverged_is_in_the_table_with_0():
    save_all("choice")
    record = load(*CHOICE) | {"diverged": "the loss is nan", "recall": 0.0}
    save(dict(record, checksum=checksum(record)))
    (row,) = [row for row in table("choice").itertuples() if row.diverged]
    assert (row.arm, row.recall) == (CHOICE[1], 0.0)


def test_a_table_of_a_study_with_a_missing_run_is_refused():
    save_all("choice")
    path_of(*CHOICE).unlink()
    with pytest.raises(FileNotFoundError, match="make it again with"):
        table("choice")


TABLE = pd.DataFrame(
    [("a", seed, 0.5 + seed / 10) for seed in (0, 1)]
    + [("b", seed, 0.25 + seed / 5) for seed in (1, 0)]
    + [("c", 7, 0.5), ("d", 0, math.nan), ("d", 1, 0.5)],
    columns=["arm", "seed", "AP"],
)


def test_differences_are_paired_by_seed_whatever_their_order():
    assert differences(TABLE, "a", "b").tolist() == pytest.approx([0.25, 0.15])


def test_a_difference_in_folds_is_one_of_each_fold_the_mean_over_its_seeds(plans):
    folded = {
        f"{arm}, fold {fold}": Arm(dict(gamma=0.0), f"{arm}, fold {fold}", dict(scenes=Fold(fold)))
        for fold in range(2)
        for arm in "ab"
    }
    plans["choice"] = replace(plans["choice"], arms=folded, lrs=(0.01,))
    scores = {"a, fold 0": (0.5, 0.7), "b, fold 0": (0.2, 0.2), "a, fold 1": (0.1, 0.3), "b, fold 1": (0.3, 0.5)}
    save_all("choice", ap=lambda arm, lr, seed: scores[arm][seed - 100])
    found = table("choice")
    assert set(found["arm"]) == set(found["like"]) == {"a", "b"} and sorted(found["fold"]) == [0] * 4 + [1] * 4
    assert differences(found, "a", "b").tolist() == pytest.approx([0.4, -0.2])
    with pytest.raises(ValueError, match="AP75 of a or b is NaN"):
        differences(found.assign(AP75=found["AP75"].where(found["seed"] > 100)), "a", "b", "AP75")


@pytest.mark.parametrize(
    "rival, message",
    [("c", r"a and c must have the same seeds, one run each, got \[0, 1\] and \[7\]"), ("d", "AP of a or d is NaN")],
)
def test_differences_of_what_does_not_pair_up_are_refused(rival, message):
    with pytest.raises(ValueError, match=message):
        differences(TABLE, "a", rival)


CLAIM = Claim("Focal loss is better", "verdict", "focal loss", "cross-entropy", "AP", "yes")


@pytest.mark.parametrize(
    "gains, margin, holds",
    [
        ((0.10, 0.11, 0.12, 0.13), None, True),
        ((-0.10, -0.11, -0.12, -0.13), None, False),  # it differs, but the wrong way
        ((0.3, -0.2, 0.3, -0.2), None, False),
        ((0.001, -0.002, 0.001, -0.001), 0.01, True),
        ((0.3, -0.2, 0.3, -0.2), 0.01, False),
    ],
)
def test_a_claim_holds_by_its_corrected_p_alone(plans, gains, margin, holds):
    plans["verdict"] = replace(plans["verdict"], seeds=(0, 1, 2, 3))
    save_all("choice")
    save_all("verdict", ap=lambda family, lr, seed: 0.5 + (gains[seed] if family == "focal loss" else 0))
    (row,) = judged([replace(CLAIM, margin=margin)]).itertuples()
    assert row.holds is holds and row.mean == pytest.approx(sum(gains) / 4) and row.low <= row.mean <= row.high


def test_several_claims_are_corrected_together(plans):
    plans["verdict"] = replace(plans["verdict"], seeds=(0, 1, 2, 3))
    save_all("choice")
    save_all("verdict", ap=lambda family, lr, seed: 0.5 + (0.1 + seed / 30 if family == "focal loss" else 0))
    alone, together = judged([CLAIM]), judged([CLAIM, CLAIM, CLAIM])
    assert together["corrected"][0] == pytest.approx(3 * alone["p"][0])
    assert alone["corrected"][0] == alone["p"][0]


def test_a_claim_whose_runs_are_under_way_is_not_judged_and_counts_in_the_correction(plans):
    plans["verdict"] = replace(plans["verdict"], seeds=(0, 1, 2, 3))
    plans["ways"] = replace(plans["ways"], under_way=True)
    save_all("choice")
    save_all("verdict", ap=lambda family, lr, seed: 0.5 + (0.1 + seed / 30 if family == "focal loss" else 0))
    found = judged([CLAIM, replace(CLAIM, study="ways"), replace(CLAIM, margin=0.5)])
    assert found["corrected"][0] == pytest.approx(3 * found["p"][0]) and math.isnan(found["p"][1])
    assert found["holds"].tolist() == [True, None, True]


# ---- gains, and their interval ----


@pytest.mark.parametrize("aps", [[], [0.5, math.nan]])
def test_nothing_is_chosen_by_an_ap_that_is_none(aps):
    records = [{"AP": {"AP": ap}, "settings": {"lr": 0.01}} for ap in aps]
    with pytest.raises(ValueError, match="records must have an AP at lr 0.01 to be compared by"):
        mean_ap(records, 0.01)


# ---- the studies that were made again on a GPU ----


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """A study of two arms, recorded in another folder: writes the runs given as (arm, seed, AP)."""
    monkeypatch.setattr(experiments, "AGAIN", {"again": Study("Again?", {"a": Arm(), "b": Arm()}, seeds=(5, 6, 7, 8))})
    monkeypatch.setattr(experiments, "RECORDS", tmp_path / "records")
    path = tmp_path / "measured" / "gpu-studies.json"

    def write(*runs, study="again"):
        parts = {
            f"{arm} {seed}": {"study": study, "arm": arm, "seed": seed, "AP": {"AP": ap, "AP50": ap}, "recall": 1.0}
            for arm, seed, ap in runs
        }
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"parts": parts}))
        return path

    return write


def test_what_was_made_again_is_a_table_of_the_seeds_with_every_arm(measured):
    measured(("b", 6, 0.2), ("a", 6, 0.4), ("a", 7, 0.9), ("b", 5, 0.1), ("a", 5, 0.3))
    made = load_again("again")
    assert [[run["seed"] for run in made[arm]] for arm in "ab"] == [[5, 6], [5, 6]]
    runs = table_again("again")
    assert list(runs) == ["arm", "seed", "AP", "AP50", "recall"] and len(runs) == 4
    assert differences(runs, "a", "b") == pytest.approx([0.2, 0.2])


def test_claims_are_judged_by_what_was_made_again(measured):
    measured(*((arm, seed, ap) for seed in (5, 6, 7, 8) for arm, ap in (("a", 0.5 + seed / 100), ("b", 0.2))))
    claim = Claim("a is higher", "again", "a", "b", "AP", "yes")
    (row,) = judged([claim], table_again).to_dict("records")
    assert row["holds"] and row["mean"] == pytest.approx(0.365)


def test_what_was_made_again_is_missing_or_broken_by_name(measured):
    with pytest.raises(FileNotFoundError, match="there is no .*gpu-studies.json: git checkout has it"):
        load_again("again")
    path = measured(("a", 5, 0.3), ("c", 5, 0.3))
    for content in (path.read_text(), "{", "[]", '{"parts": [1]}', '{"parts": {"x": 1}}'):
        path.write_text(content)
        with pytest.raises(ValueError, match="gpu-studies.json is broken: git checkout has it"):
            load_again("again")


def test_the_recorded_studies_made_again_have_seeds_of_their_own_and_what_was_planned():
    used = {seed for study in (FIRST | SECOND).values() for seed in study.seeds}
    for name, study in AGAIN.items():
        assert not used & set(study.seeds)
        made = load_again(name)
        seeds = [run["seed"] for run in made["focal loss"]]
        assert seeds == list(study.seeds[: len(seeds)]) and len(seeds) >= 20
    assert {claim.study for claim in CLAIMS_AGAIN} == set(AGAIN)
