"""Records: written whole, read with care, stale when the code behind them changes. A few runs of three steps are the
only training here."""

import json
import math
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from focalbook import calibration, evaluation, experiments, owners, records, sources, training
from focalbook.calibration import fit_temperature, reliability
from focalbook.experiments import bootstrap_interval, chosen, load_study, main, plan_of, runs, stale
from focalbook.matching import match
from focalbook.records import load, path_of, save
from focalbook.retinanet import Detections
from focalbook.scenes import TEST, VALIDATION, SceneSettings, render
from focalbook.sources import SOURCES, sources_hash
from focalbook.studies import Arm, Study
from focalbook.training import LOSSES, PULSE, Run, TrainSettings, class_targets, new_model

TINY = TrainSettings(steps=3, batch=2, channels=8, scenes=SceneSettings(size=24, distractors=0))
FAMILIES = {
    "cross-entropy": {"cross-entropy": dict(alpha=-1, gamma=0.0)},
    "focal loss": {f"focal loss, alpha {alpha:g}": dict(alpha=alpha, gamma=2.0) for alpha in (0.25, 0.75)},
}
VERSIONS = ("cross-entropy", "focal loss, alpha 0.25", "focal loss, alpha 0.75")
CHOICE = ("choice", "focal loss, alpha 0.25", 0.01, 100)
"""A run of the first study."""


HASHES = {}


def remembered_hash():
    """``sources_hash``, parsing the same text only once."""
    texts = tuple((Path(sources.__file__).parent / f"{name}.py").read_bytes() for name in SOURCES)
    if texts not in HASHES:
        HASHES[texts] = sources_hash()
    return HASHES[texts]


class OneProcess:
    """A pool of processes without the processes: each task in turn, here."""

    def __init__(self, workers, mp_context, initializer):
        assert workers >= 1

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    map = staticmethod(map)


@pytest.fixture(autouse=True)
def plans(monkeypatch, tmp_path):
    """Small studies, and an empty folder for their records."""
    small = dict(settings=TINY, scenes=2)
    studies = {
        "choice": Study(
            "Which?",
            {version: Arm(loss) for versions in FAMILIES.values() for version, loss in versions.items()},
            seeds=(100, 101),
            collection=VALIDATION,
            lrs=(0.01, 0.02),
            **small,
        ),
        "verdict": Study(
            "Better?",
            {family: Arm(like=family) for family in FAMILIES},
            seeds=(0, 1),
            dtype="float64",
            drawn=1,
            **small,
        ),
        "ways": Study(
            "How?",
            {
                "faster": Arm(like="focal loss", factor=3.0),
                "other loss": Arm(dict(form="poly"), like="focal loss"),
                "less prior": Arm(like="cross-entropy", changes=dict(prior=0.5, optimizer="sgd", clip=1.0)),
            },
            seeds=(0,),
            **small,
        ),
    }
    monkeypatch.setattr(experiments, "STUDIES", studies)
    monkeypatch.setattr(experiments, "VERSIONS", FAMILIES)
    monkeypatch.setattr(experiments, "sources_hash", remembered_hash)
    monkeypatch.setattr(experiments, "ProcessPoolExecutor", OneProcess)  # others would know the true studies
    for module in (experiments, records):
        monkeypatch.setattr(module, "RECORDS", tmp_path / "records")
    return studies


def crafted(study, arm, lr, seed, ap=0.5):
    """A record as a run would have left it, without the run."""
    plan = experiments.STUDIES[study]
    loss, settings = plan_of(study, arm, lr)
    record = {
        "study": study,
        "arm": arm,
        "loss": loss,
        "seed": seed,
        "settings": asdict(settings),
        "collection": plan.collection,
        "scenes": plan.scenes,
        "dtype": plan.dtype,
        "sources": remembered_hash(),
        "seconds": 7,
        "AP": {"AP": ap, "AP50": ap, "AP75": ap},
        "training loss": [1.5, 0.5],
        "detections": [[]] * plan.drawn,
        "owners": {"0": {}} if plan.owners else {},
        "calibration": {"raw": {}} if plan.calibration else {},
    }
    record = json.loads(json.dumps(record))
    return dict(record, checksum=records.checksum(record))


def save_all(*studies, ap=lambda arm, lr, seed: 0.5):
    for study in studies:
        for task in runs(study):
            save(crafted(study, *task, ap(*task)))


@pytest.fixture
def copied_sources(monkeypatch, tmp_path):
    """A copy of the package's files that the hash reads in place of them."""
    folder = shutil.copytree(Path(sources.__file__).parent, tmp_path / "focalbook")
    monkeypatch.setattr(sources, "__file__", str(folder / "sources.py"))
    return folder


# ---- saving and loading ----


def test_what_is_saved_is_loaded():
    record = crafted(*CHOICE)
    save(record)
    assert load(*CHOICE) == record


def test_every_run_has_its_own_place(plans):
    save_all("choice")
    places = [path_of(study, *task) for study in plans for task in runs(study)]
    assert len(set(places)) == len(places) == 3 * 2 * 2 + 2 * 2 + 3
    assert not any(" " in str(place.relative_to(records.RECORDS)) for place in places)


def test_a_missing_record_is_named_with_its_cure():
    with pytest.raises(FileNotFoundError, match=r"focal-loss-alpha-0\.25-lr0\.01-seed7\.json: .* make evidence"):
        load("choice", "focal loss, alpha 0.25", 0.01, 7)


def edit(text):
    assert '"AP": 0.5' in text
    return text.replace('"AP": 0.5', '"AP": 0.6')


@pytest.mark.parametrize(
    "damage",
    [
        edit,
        lambda text: text.replace('"seed": 100', '"seed": 101'),
        lambda text: text.replace('"study": "choice",', ""),
        lambda text: text.replace('"checksum"', '"chequesum"'),
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: "{}",
        lambda text: "null",
    ],
    ids=["AP edited", "seed edited", "entry removed", "no checksum", "half", "empty", "list", "no entries", "null"],
)
def test_a_broken_or_edited_record_is_refused_by_name(damage):
    save(crafted(*CHOICE))
    path = path_of(*CHOICE)
    before = path.read_text("utf-8")
    assert damage(before) != before
    path.write_text(damage(before), "utf-8")
    with pytest.raises(ValueError, match=r"focal-loss-alpha-0\.25-lr0\.01-seed100\.json is broken or was edited"):
        load(*CHOICE)


def test_a_record_that_is_no_text_is_refused_by_name():
    path = path_of(*CHOICE)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"seed100\.json is broken"):
        load(*CHOICE)


@pytest.mark.parametrize(
    "other", [("choice", CHOICE[1], 0.01, 101), ("choice", CHOICE[1], 0.02, 100), ("choice", VERSIONS[2], 0.01, 100)]
)
def test_another_runs_record_in_a_runs_place_is_refused(other):
    save(crafted(*CHOICE))
    shutil.copy(path_of(*CHOICE), path_of(*other))
    with pytest.raises(ValueError, match=rf"{path_of(*other).name} is broken or was edited"):
        load(*other)


def test_another_layout_of_the_same_json_is_the_same_record():
    record = crafted(*CHOICE)
    save(record)
    path_of(*CHOICE).write_text(json.dumps(record, indent=7), "utf-8")
    assert load(*CHOICE) == record


def test_an_interruption_while_saving_leaves_the_record_before(monkeypatch):
    before = crafted(*CHOICE, ap=0.1)
    save(before)

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        save(crafted(*CHOICE, ap=0.9))
    assert load(*CHOICE) == before


def test_a_study_is_loaded_arm_by_arm_and_seed_after_seed():
    save_all("choice")
    found = load_study("choice")
    assert tuple(found) == VERSIONS
    assert [(r["seed"], r["settings"]["lr"]) for r in found["focal loss, alpha 0.75"]] == [
        (100, 0.01), (100, 0.02), (101, 0.01), (101, 0.02)
    ]  # fmt: skip


# ---- the choice of the version and of the learning rate ----


def prefer(version, lr, seed):
    """Cross-entropy does best at 0.01, focal loss with alpha 0.75 at 0.02: in the mean, but neither with seed 100 nor
    in the best of their seeds."""
    good = (version, lr) in (("cross-entropy", 0.01), ("focal loss, alpha 0.75", 0.02))
    return {(True, 100): 0.3, (False, 100): 0.7, (True, 101): 0.6, (False, 101): 0.0}[good, seed]


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
        dict(owners=True),
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
    path.write_text(edit(path.read_text("utf-8")), "utf-8")
    with pytest.raises(ValueError, match="seed100"):
        stale("choice")


# ---- the command line ----


def lines(capsys):
    return capsys.readouterr().out.strip().splitlines()


def test_check_names_what_is_missing_and_fails(capsys):
    assert main(["--check"]) == 1
    assert "missing or stale: choice focal loss, alpha 0.25 0.01 100" in lines(capsys)


def test_check_passes_when_all_is_there(capsys, plans):
    save_all(*plans)
    assert main(["--check"]) == 0
    assert "whole and fresh" in capsys.readouterr().out


def test_check_names_an_edited_record_and_fails(capsys, plans):
    save_all(*plans)
    path = path_of("verdict", "focal loss", 0.01, 1)
    path.write_text(edit(path.read_text("utf-8")), "utf-8")
    assert main(["--check"]) == 1
    assert path.name in capsys.readouterr().out


def test_check_of_one_study_does_not_mind_the_others(capsys):
    save_all("choice")
    assert main(["--check", "choice"]) == 0
    assert main(["--check"]) == 1


def test_a_study_that_rests_on_a_choice_not_made_yet_is_refused_in_one_line(capsys):
    assert main(["--check", "verdict"]) == 1
    (line,) = lines(capsys)
    assert line.startswith(f"there is no record {path_of('choice', 'cross-entropy', 0.01, 100)}")


def test_the_list_says_what_each_study_asks_and_how_much_of_it_is_made(capsys, plans):
    save_all("choice", "ways")
    path_of("ways", "other loss", 0.01, 0).unlink()
    assert main(["--list"]) == 0
    found = lines(capsys)
    for line, (study, made) in zip(found, {"choice": "12 of  12", "verdict": "0 of   4", "ways": "2 of   3"}.items()):
        assert line.split()[0] == study and f" {made} runs made" in line and line.endswith(plans[study].question)
    assert len(found) == 3


def test_the_list_counts_the_runs_of_a_study_of_which_some_are_missing(capsys):
    save_all("choice")
    path_of(*CHOICE).unlink()
    main(["--list", "choice"])
    assert " 11 of  12 runs made" in capsys.readouterr().out


def test_the_list_names_every_study_before_the_first_run_is_made(capsys, plans):
    assert main(["--list"]) == 0
    assert [line.split()[0] for line in lines(capsys)] == list(plans)


def test_the_list_of_one_study_leaves_the_others_out(capsys):
    assert main(["--list", "choice"]) == 0
    assert len(lines(capsys)) == 1


@pytest.mark.parametrize("options", [[], ["--list"], ["--check"], ["--replay"]], ids=" ".join)
def test_an_unknown_study_is_refused_in_one_line_with_the_known_names(capsys, options):
    with pytest.raises(SystemExit) as refusal:
        main(["choice", "charm", *options])
    assert refusal.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.endswith("error: there is no study 'charm': choose from choice, verdict, ways")


# ---- making ----


@pytest.fixture
def made(monkeypatch):
    """Runs crafted in place of trained ones; a list of them."""
    tasks = []

    def run(study, *task):
        tasks.append((study, *task))
        return crafted(study, *task, prefer(*task) if study == "choice" else 0.5)

    monkeypatch.setattr(experiments, "run", run)
    monkeypatch.setattr(experiments, "expected_seconds", lambda study, arm: 120)
    monkeypatch.setattr(experiments, "_at_a_time", lambda: 2)
    return tasks


def test_all_studies_are_made_in_order_and_the_later_ones_use_what_the_first_one_chose(made):
    assert main([]) == 0
    assert made == [(study, *task) for study in ("choice", "verdict", "ways") for task in runs(study)]
    assert ("verdict", "focal loss", 0.02, 0) in made
    assert main(["--check"]) == 0


def test_finished_runs_are_not_made_again(made):
    save_all("choice", ap=prefer)
    save_all("verdict", "ways")
    missing = [CHOICE, ("verdict", "focal loss", 0.02, 1)]
    for task in missing:
        path_of(*task).unlink()
    assert main([]) == 0
    assert made == missing


def test_a_name_selects_its_study(made):
    save_all("choice")
    assert main(["ways"]) == 0
    assert made == [("ways", *task) for task in runs("ways")]


def test_an_interrupted_study_goes_on_where_it_stopped(monkeypatch):
    # Real runs, of three steps each.
    true_run, finished = experiments.run, []

    def interrupted(*task):
        if len(finished) == 5:
            raise KeyboardInterrupt
        finished.append(task)
        return true_run(*task)

    monkeypatch.setattr(experiments, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main(["choice"])
    before = {path: path.read_bytes() for path in records.RECORDS.rglob("*.json")}
    assert len(before) == 5 and stale("choice") == runs("choice")[5:]

    again = []
    monkeypatch.setattr(experiments, "run", lambda *task: again.append(task) or true_run(*task))
    assert main(["choice"]) == 0
    assert again == [("choice", *task) for task in runs("choice")[5:]] and stale("choice") == []
    assert all(path.read_bytes() == content for path, content in before.items())


def test_making_records_stops_at_a_broken_one_in_one_line(capsys, made):
    save_all("choice")
    path = path_of(*CHOICE)
    path.write_text("{", "utf-8")
    assert main([]) == 1
    assert lines(capsys)[-1].startswith(f"record {path} is broken")
    assert made == []


def test_a_study_is_not_made_before_what_it_rests_on(capsys, made):
    assert main(["verdict"]) == 1
    assert lines(capsys)[-1].startswith("there is no record ") and made == []


def test_the_progress_says_what_was_made_and_what_is_left(capsys, made, monkeypatch):
    clock = iter(range(0, 10**6, 60))  # a minute a run
    monkeypatch.setattr(experiments, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert main(["choice"]) == 0
    first, expected, study, *progress = lines(capsys)
    assert (
        str(records.RECORDS) in first and expected == "about 12 min in all" and study == "choice: 12 of 12 runs to make"
    )
    assert progress[0] == "  1/12 cross-entropy, lr 0.01, seed 100: AP 0.300, 7 s; about 11 min left"
    assert [line.split("about ")[1] for line in progress] == [f"{left} min left" for left in range(11, -1, -1)]


def test_the_progress_counts_only_what_is_to_be_made(capsys, made):
    save_all("choice")
    path_of(*CHOICE).unlink()
    assert main(["choice"]) == 0
    _, expected, study, line = lines(capsys)
    assert (
        expected == "about 1 min in all"
        and study == "choice: 1 of 12 runs to make"
        and line.startswith("  1/1 focal loss, alpha 0.25, lr 0.01, seed 100")
    )


def test_the_time_is_stated_for_runs_whose_learning_rate_is_not_chosen_yet(capsys, made):
    assert main([]) == 0
    everything = sum(len(runs(study)) for study in experiments.STUDIES)
    assert lines(capsys)[1] == f"about {everything} min in all"


def test_the_expected_time_of_a_run_grows_with_its_steps_and_is_measured_once(plans, monkeypatch):
    monkeypatch.setattr(experiments, "_SECONDS", {})
    first = experiments.expected_seconds("choice", "cross-entropy")
    assert 0 < first < 60
    plans["choice"] = replace(plans["choice"], settings=replace(TINY, steps=3 * TINY.steps))
    monkeypatch.setattr(experiments, "train", lambda *task: pytest.fail("measured again"))
    assert experiments.expected_seconds("choice", VERSIONS[1]) == pytest.approx(3 * first)


# ---- replaying and verifying ----


@pytest.fixture
def rewritten(copied_sources):
    """The studies recorded, and then the code changed."""
    save_all("choice", "verdict")
    path = copied_sources / "losses.py"
    path.write_text(path.read_text("utf-8") + "\nADDED = 1\n", "utf-8")


def test_records_whose_samples_agree_are_stamped_anew(rewritten, monkeypatch):
    replayed = []
    monkeypatch.setattr(experiments, "run", lambda *task: replayed.append(task) or load(*task))
    assert experiments.replay("choice")
    assert stale("choice") == [] and stale("verdict") == runs("verdict")
    assert replayed == [("choice", version, 0.01, 100) for version in VERSIONS]


def test_records_whose_samples_differ_stay_stale(rewritten, monkeypatch):
    def other(*task):
        record = load(*task)
        return dict(record, AP=dict(record["AP"], AP=record["AP"]["AP"] + (0.1 if task[1] == VERSIONS[2] else 0)))

    monkeypatch.setattr(experiments, "run", other)
    assert not experiments.replay("choice")
    assert stale("choice") == runs("choice")


def test_a_record_made_by_other_settings_is_not_replayed(plans, monkeypatch):
    save_all("choice")
    plans["choice"] = replace(plans["choice"], scenes=3)
    monkeypatch.setattr(experiments, "run", lambda *task: pytest.fail("it was replayed"))
    assert experiments.replay("choice")
    assert stale("choice") == runs("choice")


def test_a_missing_record_is_not_stamped(rewritten, monkeypatch):
    path_of(*CHOICE).unlink()
    monkeypatch.setattr(experiments, "run", load)
    assert experiments.replay("choice")
    assert stale("choice") == [CHOICE[1:]]


@pytest.mark.parametrize("differing, status", [(None, 0), ("verdict", 1)])
def test_the_command_replays_all_studies_and_fails_if_one_differs(rewritten, monkeypatch, differing, status, capsys):
    save_all("ways")

    def rerun(study, *task):
        record = load(study, *task)
        return dict(record, AP=dict.fromkeys(record["AP"], 0.9)) if study == differing else record

    monkeypatch.setattr(experiments, "run", rerun)
    assert main(["--replay"]) == status
    assert stale("choice") == [] and bool(stale("verdict")) == (differing == "verdict")


@pytest.mark.parametrize("differing, status", [(None, 0), ("choice", 1), ("verdict", 1)])
def test_the_command_verifies_a_sample_of_every_study_and_changes_nothing(monkeypatch, differing, status):
    save_all("choice", "verdict", "ways")
    before = {path: path.read_bytes() for path in records.RECORDS.rglob("*.json")}
    made = []

    def rerun(study, *task):
        made.append((study, *task))
        record = load(study, *task)
        return dict(record, AP=dict.fromkeys(record["AP"], 0.9)) if study == differing else record

    monkeypatch.setattr(experiments, "run", rerun)
    assert main(["--verify"]) == status
    assert {study for study, *_ in made} == set(experiments.STUDIES)  # also those after one that differs
    assert {path: path.read_bytes() for path in records.RECORDS.rglob("*.json")} == before


@pytest.mark.parametrize("arms", range(13))
def test_a_sample_is_the_first_run_of_at_most_four_arms(arms):
    tasks = [(f"arm {number}", lr, seed) for seed in (3, 4) for number in range(arms) for lr in (0.1, 0.2)]
    sample = experiments.sample_of(tasks)
    assert min(arms, 2) <= len(sample) <= min(arms, 4)
    assert len({task[0] for task in sample}) == len(sample)  # an arm each
    assert all(task[1:] == (0.1, 3) for task in sample)
    assert arms > 4 or len(sample) == arms


def test_a_sample_is_spread_over_the_arms():
    tasks = [(number, 0.1, 0) for number in range(100)]
    places = [task[0] for task in experiments.sample_of(tasks)]
    assert len(places) == 4 and places == sorted(places) and places[0] == 0 and places[-1] >= 75
    assert len(experiments.sample_of(tasks, most=10)) == 10


@pytest.mark.parametrize(
    "study, change, same",
    [
        ("choice", {}, True),
        ("choice", {"AP": 0.509}, True),
        ("choice", {"AP": 0.52}, False),
        ("choice", {"AP75": 0.48}, False),
        ("choice", {"training loss": [1.51, 0.5]}, True),
        ("choice", {"training loss": [1.5, 0.53]}, False),
        ("choice", {"training loss": [1.5]}, False),
        ("verdict", {"AP": 0.5009}, True),
        ("verdict", {"AP": 0.509}, False),
        ("verdict", {"training loss": [1.501, 0.5]}, True),
        ("verdict", {"training loss": [1.51, 0.5]}, False),
    ],
    ids=str,
)
def test_two_runs_agree_to_a_hundredth_in_float32_and_to_a_thousandth_in_float64(
    monkeypatch, capsys, study, change, same
):
    save_all("choice", "verdict")
    task = runs(study)[0]
    old = load(study, *task)
    new = dict(old, AP=old["AP"] | {k: v for k, v in change.items() if k in old["AP"]})
    new["training loss"] = change.get("training loss", old["training loss"])
    monkeypatch.setattr(experiments, "run", lambda *given: new if given == (study, *task) else pytest.fail("another"))
    assert experiments.agrees(study, *task) is same
    assert f"{study} {task[0]}" in capsys.readouterr().out


def test_a_run_that_diverges_where_its_record_does_not_differs(monkeypatch):
    save(crafted(*CHOICE, ap=0.0))
    monkeypatch.setattr(experiments, "run", lambda *task: dict(crafted(*task, ap=0.0), **{"training loss": []}))
    assert not experiments.agrees(*CHOICE)


# ---- a run's record ----


@pytest.fixture
def untrained(monkeypatch):
    """``train`` without the training: an untrained model and made-up losses; a list of what it was asked for."""
    asked = []

    def train(loss, seed, settings, device, dtype, look):
        asked.append((loss, seed, settings, dtype))
        model = new_model(seed, replace(settings, prior=0.4)).to(dtype)
        for step in (*range(0, settings.steps, PULSE), settings.steps):
            look(step, model)
        return Run(model, [3.0] * 25 + [1.0, 2.0])

    monkeypatch.setattr(experiments, "train", train)
    return asked


def test_a_run_follows_its_plan_and_its_record_says_so(untrained):
    save_all("choice", ap=prefer)
    record = experiments.run("verdict", "focal loss", 0.02, 1)
    loss, settings = plan_of("verdict", "focal loss", 0.02)
    assert loss == dict(alpha=0.75, gamma=2.0) and settings == replace(TINY, lr=0.02)
    assert untrained == [(loss, 1, settings, torch.float64)]
    assert [record[key] for key in ("study", "arm", "seed")] == ["verdict", "focal loss", 1]
    assert record["loss"] == loss and record["settings"] == json.loads(json.dumps(asdict(settings)))
    assert [record[key] for key in ("collection", "scenes", "dtype")] == [TEST, 2, "float64"]
    assert record["training loss"] == [3.0, 1.5]  # the mean of every pulse
    assert record["versions"]["torch"] == torch.__version__ and record["sources"] == sources_hash()
    assert len(record["detections"]) == 1 and record["detections"][0]
    assert record["owners"] == {} and record["calibration"] == {}  # nobody asked


def test_the_changes_of_an_arm_reach_the_training(untrained):
    save_all("choice")
    record = experiments.run("ways", "less prior", 0.01, 0)
    assert untrained[0][2:] == (replace(TINY, lr=0.01, prior=0.5, optimizer="sgd", clip=1.0), torch.float32)
    assert record["settings"]["optimizer"] == "sgd"


def test_a_run_is_judged_on_the_scenes_of_its_study(untrained, monkeypatch):
    asked, detect_scenes = [], experiments.detect_scenes
    monkeypatch.setattr(experiments, "detect_scenes", lambda *rest: asked.append(rest[1:]) or detect_scenes(*rest))
    save_all("choice")
    experiments.run(*CHOICE)
    experiments.run("verdict", "focal loss", 0.01, 0)
    assert asked == [(2, TINY.scenes, VALIDATION), (2, TINY.scenes, TEST)]


def test_a_runs_record_survives_its_file_and_is_fresh(untrained):
    save_all("choice")
    task = ("focal loss", 0.01, 1)
    record = experiments.run("verdict", *task)
    save(record)
    # As text, because the AP of a class without objects is NaN, which does not equal itself.
    assert json.dumps(load("verdict", *task), sort_keys=True) == json.dumps(record, sort_keys=True)
    assert task not in stale("verdict")


def test_a_second_run_leaves_the_same_record():
    # Trained, three steps.
    first, second = (experiments.run(*CHOICE) for _ in range(2))
    for record in (first, second):
        del record["seconds"], record["checksum"]
    assert json.dumps(first) == json.dumps(second)


# ---- a training that diverges ----


def test_a_training_that_diverges_is_a_result_and_not_lost(monkeypatch, capsys):
    message = "the loss is nan at step 17: lower lr"
    train = experiments.train

    def diverge(loss, seed, *rest, **options):
        if seed == 101:
            raise FloatingPointError(message)
        return train(loss, seed, *rest, **options)

    monkeypatch.setattr(experiments, "train", diverge)
    assert main(["choice"]) == 0
    assert stale("choice") == []
    found = load("choice", CHOICE[1], 0.01, 101)
    assert found["diverged"] == message
    assert found["AP"] == {"AP": 0.0, "AP50": 0.0, "AP75": 0.0} and found["training loss"] == []
    assert "diverged" not in load(*CHOICE)
    assert "seed 101: AP 0.000" in capsys.readouterr().out
    assert chosen("focal loss")  # the mean is over both seeds
    assert experiments.agrees("choice", CHOICE[1], 0.01, 101)  # a replay diverges too


def test_an_absurd_learning_rate_is_recorded_as_diverged(plans):
    plans["choice"] = replace(plans["choice"], lrs=(1e30,))
    record = experiments.run("choice", "cross-entropy", 1e30, 100)
    assert "lower lr" in record["diverged"] and record["AP"]["AP"] == 0


def test_weights_broken_by_the_last_step_are_recorded_as_diverged_whatever_the_study_asks(plans, monkeypatch):
    def breaking(model, settings, usual=training._optimizer):
        optimizer, schedule = usual(model, settings)
        optimizer.register_step_post_hook(lambda *_: model.stem[0].weight.data.fill_(math.nan))
        return optimizer, schedule

    monkeypatch.setattr(training, "_optimizer", breaking)
    plans["choice"] = replace(plans["choice"], settings=replace(TINY, steps=1), owners=True, calibration=True)
    record = experiments.run(*CHOICE)
    assert record["diverged"].startswith("a weight is not finite after step 0: lower lr") and record["AP"]["AP"] == 0


# ---- who owns the loss, and calibration ----


@pytest.fixture
def owned(plans, untrained):
    """The record's entry "owners" of a study that asks for it, with 130 steps."""
    plans["choice"] = replace(plans["choice"], owners=True, settings=replace(TINY, steps=130))
    return experiments.run(*CHOICE)["owners"]


def test_the_owners_are_recorded_at_the_start_in_the_middle_and_at_the_end(owned):
    assert list(owned) == ["0", "50", "130"]  # of the pulses, the one at or before the middle


def test_the_shares_of_the_owners_add_up_to_1(owned):
    for found in owned.values():
        assert list(found["shares"]) == list(LOSSES)
        for kinds in found["shares"].values():
            assert list(kinds) == ["loss", "gradient"]
            for shares in kinds.values():
                assert list(shares) == ["positives", "hard negatives", "easy negatives"]
                assert sum(shares.values()) == pytest.approx(1, abs=2e-6) and min(shares.values()) >= 0
        assert sum(found["sizes"].values()) % 3 == 0 and found["sizes"]["positives"] > 0


def test_the_cumulative_curves_rise_from_0_to_1(owned):
    for found in owned.values():
        assert list(found["cumulative"]) == ["0", "0.5", "1", "2"]
        for kinds in found["cumulative"].values():
            assert list(kinds) == ["positives", "negatives"]
            for curve in kinds.values():
                assert len(curve) == 21 and curve[0] == 0 and curve[-1] == 1
                assert all(a <= b for a, b in zip(curve, curve[1:]))
                assert all(value <= number / 20 + 1e-6 for number, value in enumerate(curve))  # the easy ones first


def test_the_losses_own_what_they_should():
    found = owners.owners_of(new_model(0, TINY), TINY)
    shares = {name: kinds["loss"]["positives"] for name, kinds in found["shares"].items()}
    assert shares["cross-entropy"] < shares["balanced cross-entropy"] < shares["focal loss"]


def test_the_owners_are_counted_on_validation_scenes_and_without_ignored_anchors():
    model = new_model(0, TINY)
    _, boxes, labels = render(range(32), VALIDATION, TINY.scenes)
    labels = match(model.anchors, boxes, labels).labels
    sizes = owners.owners_of(model, TINY)["sizes"]
    assert sizes["positives"] == (labels >= 0).sum()
    assert sum(sizes.values()) == 3 * (labels != -2).sum() < 3 * labels.numel()


def answers(model, collection):
    """Logits and targets of the anchors that count on the first 64 scenes of a collection."""
    images, boxes, labels = render(range(64), collection, TINY.scenes)
    with torch.no_grad():
        logits = model(images)[0]
    targets, counts = class_targets(match(model.anchors, boxes, labels).labels, 3)
    return logits[counts].double(), targets[counts]


def test_each_curve_is_that_of_its_own_outputs():
    model = new_model(0, TINY)
    curves = owners.owners_of(model, TINY, count=64)["cumulative"]["0"]
    logits, targets = answers(model, VALIDATION)
    for name, losses in (
        ("positives", torch.nn.functional.softplus(-logits[targets])),
        ("negatives", torch.nn.functional.softplus(logits[~targets])),
    ):
        losses, half = losses.sort().values, math.ceil(len(losses) / 2)
        assert curves[name][10] == pytest.approx((losses[:half].sum() / losses.sum()).item(), abs=1e-5)


@pytest.mark.parametrize(
    "length, places", [(1, [0] * 20), (3, [0] * 6 + [1] * 7 + [2] * 7), (40, list(range(1, 40, 2)))]
)
def test_a_curve_is_read_at_twentieths(length, places):
    curve = torch.arange(1, length + 1, dtype=torch.float64) / length
    assert owners._at_twentieths(curve) == [0, *(round((place + 1) / length, 6) for place in places)]


def test_looking_at_the_owners_does_not_change_a_run(plans):
    without = experiments.run(*CHOICE)
    plans["choice"] = replace(plans["choice"], owners=True)
    looked = experiments.run(*CHOICE)
    assert list(looked["owners"]) == ["0", "3"] and looked["training loss"] == without["training loss"]
    assert looked["AP"] == without["AP"]


def test_calibration_is_fitted_on_validation_scenes_and_reported_on_test_scenes():
    model = new_model(0, replace(TINY, prior=0.4))
    found = calibration.calibrate(model, TINY)
    temperature = fit_temperature(*answers(model, VALIDATION))
    assert found["temperature"] == pytest.approx(temperature, rel=1e-6)
    assert temperature != pytest.approx(fit_temperature(*answers(model, TEST)), rel=1e-4)
    logits, targets = answers(model, TEST)
    for name, scaled in (("raw", logits), ("scaled", logits / temperature)):
        expected = reliability(scaled, targets)
        assert found[name]["count"] == expected.count.tolist()
        for key in ("confidence", "frequency"):
            assert found[name][key] == pytest.approx(getattr(expected, key).nan_to_num().tolist(), abs=1e-6)
    assert found["raw"]["count"] != found["scaled"]["count"]
    assert found["raw"]["count"] != reliability(*answers(model, VALIDATION)).count.tolist()


def test_a_study_that_asks_for_calibration_records_it(plans, untrained):
    plans["choice"] = replace(plans["choice"], calibration=True)
    record = experiments.run(*CHOICE)
    assert set(record["calibration"]) == {"temperature", "raw", "scaled"}
    save(record)
    assert load(*CHOICE)["calibration"] == record["calibration"]


# ---- detections ----


def test_recorded_detections_come_back_to_a_hundredth():
    boxes = torch.tensor([[1.004, 2, 3, 4.5], [0, 0, 1, 1], [0, 0, 2, 2]], dtype=torch.float64)
    rows = evaluation.as_rows(Detections(boxes, torch.tensor([0.91, 0.4, 0.2]), torch.tensor([2, 0, 1])))
    assert rows == [[1.0, 2, 3, 4.5, 0.91, 2], [0, 0, 1, 1, 0.4, 0]]  # 0.2 is not worth drawing
    found = evaluation.as_detections(rows)
    assert found.boxes.tolist() == [[1.0, 2, 3, 4.5], [0, 0, 1, 1]] and found.labels.tolist() == [2, 0]


def test_no_recorded_detections_come_back_as_none():
    found = evaluation.as_detections([])
    assert found.boxes.shape == (0, 4) and found.scores.shape == (0,) and found.labels.dtype == torch.int64


# ---- the interval ----


def test_equal_values_leave_nothing_uncertain():
    assert bootstrap_interval([0.25] * 5) == (0.25, 0.25)


def test_the_interval_of_many_values_is_that_of_the_normal_distribution():
    values = [math.sin(k) for k in range(400)]  # standard deviation 1 / sqrt(2)
    low, high = bootstrap_interval(values)
    assert high - low == pytest.approx(2 * 1.96 * 0.5**0.5 / 400**0.5, rel=0.05)
    assert (low + high) / 2 == pytest.approx(sum(values) / 400, abs=0.005)


def test_more_confidence_takes_a_wider_interval():
    (a, b), (c, d) = (bootstrap_interval([1.0, 2, 4, 8], confidence) for confidence in (0.5, 0.99))
    assert c < a < b < d


def test_the_interval_is_the_same_every_time():
    assert bootstrap_interval([1.0, 2, 4]) == bootstrap_interval([1.0, 2, 4])


def test_gains_are_paired_by_seed_and_strangers_are_refused():
    def record(seed, ap):
        return {"seed": seed, "AP": {"AP": ap, "AP50": 2 * ap}}

    records = {"a": [record(0, 0.5), record(1, 0.25)], "b": [record(0, 0.25), record(1, 0.5)], "c": [record(7, 0.5)]}
    assert experiments.paired_gains(records, "a", "b").tolist() == [0.25, -0.25]
    assert experiments.paired_gains(records, "a", "b", "AP50").tolist() == [0.5, -0.5]
    with pytest.raises(ValueError, match=r"a and c must have the same seeds to be paired, got \[0, 1\] and \[7\]"):
        experiments.paired_gains(records, "a", "c")
