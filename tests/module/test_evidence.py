"""The evidence: the command line, making and replaying, a run's record. A few runs of three steps are the only training
here."""

import errno
import itertools
import json
import math
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch
from small_studies import CHOICE, TINY, VERSIONS, crafted, edited, prefer, save_all

from focalbook import evidence, records, training
from focalbook.calibration import calibrate
from focalbook.evidence import main
from focalbook.experiments import chosen, plan_of, runs, stale
from focalbook.owners import owners_of
from focalbook.records import load, path_of, save
from focalbook.scenes import TEST, VALIDATION
from focalbook.sources import sources_hash
from focalbook.studies import LADDER
from focalbook.training import Run, new_model

pytestmark = pytest.mark.usefixtures("plans")


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
    path.write_text(edited(path.read_text("utf-8")), "utf-8")
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


@pytest.mark.parametrize("options", [[], ["--list"], ["--check"], ["--replay"], ["--verify"]], ids=" ".join)
def test_an_unknown_study_is_refused_in_one_line_with_the_known_names(capsys, options):
    with pytest.raises(SystemExit) as refusal:
        main(["choice", "charm", *options])
    assert refusal.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.endswith("error: there is no study 'charm': choose from choice, verdict, ways")


@pytest.mark.parametrize("pair", itertools.combinations(["--list", "--check", "--replay", "--verify"], 2), ids=" ".join)
def test_the_options_exclude_each_other(capsys, pair):
    with pytest.raises(SystemExit) as refusal:
        main([*pair, "choice"])
    assert refusal.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].endswith(f"error: argument {pair[1]}: not allowed with argument {pair[0]}")


# ---- making ----


@pytest.fixture
def made(monkeypatch):
    """Runs crafted in place of trained ones; a list of them."""
    tasks = []

    def run(study, *task):
        tasks.append((study, *task))
        return crafted(study, *task, prefer(*task) if study == "choice" else 0.5)

    monkeypatch.setattr(evidence, "run", run)
    monkeypatch.setattr(evidence, "expected_seconds", lambda study, arm: 120)
    monkeypatch.setattr(evidence, "_at_a_time", lambda: 2)
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
    true_run, finished = evidence.run, []

    def interrupted(*task):
        if len(finished) == 5:
            raise KeyboardInterrupt
        finished.append(task)
        return true_run(*task)

    monkeypatch.setattr(evidence, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main(["choice"])
    before = {path: path.read_bytes() for path in records.RECORDS.rglob("*.json")}
    assert len(before) == 5 and stale("choice") == runs("choice")[5:]

    again = []
    monkeypatch.setattr(evidence, "run", lambda *task: again.append(task) or true_run(*task))
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


@pytest.mark.parametrize(
    "error, why",
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full: make room"),
        (PermissionError(errno.EACCES, "Permission denied", "x.json"), "x.json cannot be written"),
        (BrokenProcessPool("a child was killed"), "a run was killed. Is there enough memory?"),
    ],
)
def test_making_records_stops_in_one_line_at_what_it_cannot_help(monkeypatch, capsys, error, why):
    def stop(studies):
        raise error

    monkeypatch.setattr(evidence, "_make_all", stop)
    assert main([]) == 1
    (said,) = lines(capsys)
    assert said.startswith("stopped, what was made stays: ") and why in said


def test_a_study_is_not_made_before_what_it_rests_on(capsys, made):
    assert main(["verdict"]) == 1
    assert lines(capsys)[-1].startswith("there is no record ") and made == []


def test_the_progress_says_what_was_made_and_what_is_left(capsys, made, monkeypatch):
    clock = iter(range(0, 10**6, 60))  # a minute a run
    monkeypatch.setattr(evidence, "time", SimpleNamespace(monotonic=lambda: next(clock)))
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
    everything = sum(len(runs(study)) for study in evidence.STUDIES)
    assert lines(capsys)[1] == f"about {everything} min in all"


@pytest.mark.parametrize("free, runs", [(80e9, 16), (7e9, 3), (1e9, 1)])
def test_a_gpu_gets_as_many_runs_as_cores_and_memory_allow(free, runs, monkeypatch):
    monkeypatch.setattr(evidence.os, "cpu_count", lambda: 16)
    assert torch.cuda.is_available() or evidence._at_a_time() == 16
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int(free), int(80e9)))
    assert evidence._at_a_time() == runs


def test_the_expected_time_of_a_run_grows_with_its_steps_and_is_measured_once(plans, monkeypatch):
    monkeypatch.setattr(evidence, "_SECONDS", {})
    first = evidence.expected_seconds("choice", "cross-entropy")
    assert 0 < first < 60
    plans["choice"] = replace(plans["choice"], settings=replace(TINY, steps=3 * TINY.steps))
    monkeypatch.setattr(evidence, "train", lambda *task: pytest.fail("measured again"))
    assert evidence.expected_seconds("choice", VERSIONS[1]) == pytest.approx(3 * first)


@pytest.fixture
def pictures(plans, monkeypatch):
    """One of the studies reads pictures that are not here."""
    monkeypatch.delenv("FOCALBOOK_PLATELETS", raising=False)
    plans["verdict"] = replace(plans["verdict"], reader=("platelets",))
    return (
        "verdict: left out, its pictures are not here: name their folder by FOCALBOOK_PLATELETS (chapter 22 says how)"
    )


def test_a_study_without_its_pictures_is_left_out_with_a_line_and_the_others_are_made(pictures, made, capsys):
    save_all("choice", ap=prefer)
    assert main([]) == 1
    assert {study for study, *_ in made} == {"ways"} and pictures in lines(capsys)
    assert main(["--check", "ways"]) == 0


def test_a_study_without_its_pictures_is_neither_made_again_nor_stamped(pictures, rewritten, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(evidence, "run", lambda *task: made.append(task[0]) or load(*task))
    assert main(["--verify", "choice", "verdict"]) == 0
    assert set(made) == {"choice"} and pictures in lines(capsys)
    assert main(["--replay", "verdict"]) == 1
    assert stale("verdict") == runs("verdict") and pictures in lines(capsys)


def test_with_its_pictures_it_is_made(pictures, made, monkeypatch, capsys):
    monkeypatch.setenv("FOCALBOOK_PLATELETS", "somewhere")
    assert main([]) == 0 and "verdict" in {study for study, *_ in made}
    assert pictures not in lines(capsys)


def test_a_study_under_way_is_named_and_only_what_it_has_is_checked_and_made_again(plans, capsys, monkeypatch):
    plans["verdict"] = replace(plans["verdict"], under_way=True)
    plans["ways"] = replace(plans["ways"], under_way=True)
    del plans["choice"]  # what is checked last would be missing
    monkeypatch.setattr(
        evidence, "runs", lambda study: missing() if study == "ways" else [("a", 0.1, 0), ("b", 0.1, 0)]
    )
    monkeypatch.setattr(evidence, "stale", lambda study: [("b", 0.1, 0)])
    path_of("verdict", "a", 0.1, 0).parent.mkdir(parents=True)
    path_of("verdict", "a", 0.1, 0).touch()
    assert main(["--check"]) == 0
    assert lines(capsys)[:2] == ["under way: verdict, 1 runs made", "under way: ways, 0 runs made"]
    made = []
    monkeypatch.setattr(evidence, "agrees", lambda *task: made.append(task) or True)
    assert main(["--verify"]) == 0 and made == [("verdict", "a", 0.1, 0)]
    path_of("verdict", "b", 0.1, 0).touch()
    assert main(["--check"]) == 1 and lines(capsys)[-1] == "missing or stale: verdict b 0.1 0"


def missing():
    raise FileNotFoundError


def test_where_the_scenes_are_not_chosen_yet_it_is_that_of_the_dearest(plans, monkeypatch):
    dearest = list(LADDER.values())[-1]
    monkeypatch.setattr(evidence, "_SECONDS", {(dearest, TINY.batch, "float32"): 0.01})
    plans["ways"] = replace(plans["ways"], scenes_from="choice")
    assert evidence.expected_seconds("ways", "faster") == pytest.approx(1.1 * 4800 * 0.01)


def test_an_interrupt_ends_the_runs_under_way(monkeypatch):
    monkeypatch.setattr(evidence, "ProcessPoolExecutor", ProcessPoolExecutor)
    with pytest.raises(KeyboardInterrupt):
        with evidence._workers() as pool:
            under_way = pool.submit(time.sleep, 3600)
            while not under_way.running():
                time.sleep(0.1)
            raise KeyboardInterrupt
    assert not multiprocessing.active_children()


# ---- replaying and verifying ----


@pytest.fixture
def rewritten(copied_sources):
    """The studies recorded, and then the code changed."""
    save_all("choice", "verdict")
    path = copied_sources / "losses.py"
    path.write_text(path.read_text("utf-8") + "\nADDED = 1\n", "utf-8")


def test_records_whose_samples_agree_are_stamped_anew(rewritten, monkeypatch):
    replayed = []
    monkeypatch.setattr(evidence, "run", lambda *task: replayed.append(task) or load(*task))
    assert evidence.replay("choice")
    assert stale("choice") == [] and stale("verdict") == runs("verdict")
    assert replayed == [("choice", version, 0.01, 100) for version in VERSIONS]


def test_records_whose_samples_differ_stay_stale(rewritten, monkeypatch):
    def other(*task):
        record = load(*task)
        return dict(record, AP=dict(record["AP"], AP=record["AP"]["AP"] + (0.1 if task[1] == VERSIONS[2] else 0)))

    monkeypatch.setattr(evidence, "run", other)
    assert not evidence.replay("choice")
    assert stale("choice") == runs("choice")


def test_a_record_made_by_other_settings_is_not_replayed(plans, monkeypatch):
    save_all("choice")
    plans["choice"] = replace(plans["choice"], scenes=3)
    monkeypatch.setattr(evidence, "run", lambda *task: pytest.fail("it was replayed"))
    assert evidence.replay("choice")
    assert stale("choice") == runs("choice")


def test_a_missing_record_is_not_stamped(rewritten, monkeypatch):
    path_of(*CHOICE).unlink()
    monkeypatch.setattr(evidence, "run", load)
    assert evidence.replay("choice")
    assert stale("choice") == [CHOICE[1:]]


@pytest.mark.parametrize("differing, status", [(None, 0), ("verdict", 1)])
def test_the_command_replays_all_studies_and_fails_if_one_differs(rewritten, monkeypatch, differing, status, capsys):
    save_all("ways")

    def rerun(study, *task):
        record = load(study, *task)
        return dict(record, AP=dict.fromkeys(record["AP"], 0.9)) if study == differing else record

    monkeypatch.setattr(evidence, "run", rerun)
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

    monkeypatch.setattr(evidence, "run", rerun)
    assert main(["--verify"]) == status
    assert {study for study, *_ in made} == set(evidence.STUDIES)  # also those after one that differs
    assert {path: path.read_bytes() for path in records.RECORDS.rglob("*.json")} == before


@pytest.mark.parametrize("arms", range(13))
def test_a_sample_is_the_first_run_of_at_most_four_arms(arms):
    tasks = [(f"arm {number}", lr, seed) for seed in (3, 4) for number in range(arms) for lr in (0.1, 0.2)]
    sample = evidence.sample_of(tasks)
    assert min(arms, 2) <= len(sample) <= min(arms, 4)
    assert len({task[0] for task in sample}) == len(sample)  # an arm each
    assert all(task[1:] == (0.1, 3) for task in sample)
    assert arms > 4 or len(sample) == arms


def test_a_sample_is_spread_over_the_arms():
    tasks = [(number, 0.1, 0) for number in range(100)]
    places = [task[0] for task in evidence.sample_of(tasks)]
    assert len(places) == 4 and places == sorted(places) and places[0] == 0 and places[-1] >= 75
    assert len(evidence.sample_of(tasks, most=10)) == 10


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
    monkeypatch.setattr(evidence, "run", lambda *given: new if given == (study, *task) else pytest.fail("another"))
    assert evidence.agrees(study, *task) is same
    assert f"{study} {task[0]}" in capsys.readouterr().out


def test_a_run_that_diverges_where_its_record_does_not_differs(monkeypatch):
    save(crafted(*CHOICE, ap=0.0))
    monkeypatch.setattr(evidence, "run", lambda *task: dict(crafted(*task, ap=0.0), **{"training loss": []}))
    assert not evidence.agrees(*CHOICE)


# ---- a run's record ----


@pytest.fixture
def untrained(monkeypatch):
    """``train`` without the training: an untrained model and made-up losses; a list of what it was asked for."""
    asked = []

    def train(loss, seed, settings, device, dtype, look):
        asked.append((loss, seed, settings, dtype))
        model = new_model(seed, replace(settings, prior=0.4)).to(dtype)
        for step in range(settings.steps + 1):
            look(step, model)
        return Run(model, [3.0] * 25 + [1.0, 2.0], [2.0] * 25 + [0.5, 1.0])

    monkeypatch.setattr(evidence, "train", train)
    return asked


def test_a_run_follows_its_plan_and_its_record_says_so(untrained):
    save_all("choice", ap=prefer)
    record = evidence.run("verdict", "focal loss", 0.02, 1)
    loss, settings = plan_of("verdict", "focal loss", 0.02)
    assert loss == dict(alpha=0.75, gamma=2.0) and settings == replace(TINY, lr=0.02)
    assert untrained == [(loss, 1, settings, torch.float64)]
    assert [record[key] for key in ("study", "arm", "seed")] == ["verdict", "focal loss", 1]
    assert record["loss"] == loss and record["settings"] == json.loads(json.dumps(asdict(settings)))
    assert [record[key] for key in ("collection", "scenes", "dtype")] == [TEST, 2, "float64"]
    assert record["training loss"] == [3.0, 1.5]  # the mean of every pulse
    assert record["classification loss"] == [2.0, 0.75]
    assert record["versions"]["torch"] == torch.__version__ and record["sources"] == sources_hash()
    assert len(record["detections"]) == 1 and record["detections"][0]
    assert record["owners"] == {} and record["calibration"] == {}  # nobody asked


def test_the_changes_of_an_arm_reach_the_training(untrained):
    save_all("choice")
    record = evidence.run("ways", "less prior", 0.01, 0)
    assert untrained[0][2:] == (replace(TINY, lr=0.01, prior=0.5, optimizer="sgd", clip=1.0), torch.float32)
    assert record["settings"]["optimizer"] == "sgd"


def test_a_run_is_judged_on_the_scenes_of_its_study(untrained, monkeypatch):
    asked, detect_scenes = [], evidence.detect_scenes
    monkeypatch.setattr(evidence, "detect_scenes", lambda *rest: asked.append(rest[1:]) or detect_scenes(*rest))
    save_all("choice")
    evidence.run(*CHOICE)
    evidence.run("verdict", "focal loss", 0.01, 0)
    assert asked == [(2, TINY.scenes, VALIDATION), (2, TINY.scenes, TEST)]


def test_a_runs_record_survives_its_file_and_is_fresh(untrained):
    save_all("choice")
    task = ("focal loss", 0.01, 1)
    record = evidence.run("verdict", *task)
    save(record)
    # As text, because the AP of a class without objects is NaN, which does not equal itself.
    assert json.dumps(load("verdict", *task), sort_keys=True) == json.dumps(record, sort_keys=True)
    assert task not in stale("verdict")


def test_a_second_run_leaves_the_same_record():
    # Trained, three steps.
    first, second = (evidence.run(*CHOICE) for _ in range(2))
    for record in (first, second):
        del record["seconds"], record["checksum"]
    assert json.dumps(first) == json.dumps(second)


# ---- a training that diverges ----


def test_a_training_that_diverges_is_a_result_and_not_lost(monkeypatch, capsys):
    message = "the loss is nan at step 17: lower lr"
    train = evidence.train

    def diverge(loss, seed, *rest, **options):
        if seed == 101:
            raise FloatingPointError(message)
        return train(loss, seed, *rest, **options)

    monkeypatch.setattr(evidence, "train", diverge)
    assert main(["choice"]) == 0
    assert stale("choice") == []
    found = load("choice", CHOICE[1], 0.01, 101)
    assert found["diverged"] == message
    assert found["AP"] == {"AP": 0.0, "AP50": 0.0, "AP75": 0.0} and found["training loss"] == []
    assert "diverged" not in load(*CHOICE)
    assert "seed 101: AP 0.000" in capsys.readouterr().out
    assert chosen("focal loss")  # the mean is over both seeds
    assert evidence.agrees("choice", CHOICE[1], 0.01, 101)  # a replay diverges too


def test_an_absurd_learning_rate_is_recorded_as_diverged(plans):
    plans["choice"] = replace(plans["choice"], lrs=(1e30,))
    record = evidence.run("choice", "cross-entropy", 1e30, 100)
    assert "lower lr" in record["diverged"] and record["AP"]["AP"] == record["recall"] == 0


def test_weights_broken_by_the_last_step_are_recorded_as_diverged_whatever_the_study_asks(plans, monkeypatch):
    def breaking(model, settings, usual=training._optimizer):
        optimizer, schedule = usual(model, settings)
        optimizer.register_step_post_hook(lambda *_: model.stem[0].weight.data.fill_(math.nan))
        return optimizer, schedule

    monkeypatch.setattr(training, "_optimizer", breaking)
    plans["choice"] = replace(plans["choice"], settings=replace(TINY, steps=1), owners=(0, 1), calibration=True)
    record = evidence.run(*CHOICE)
    assert record["diverged"].startswith("a weight is not finite after step 0: lower lr") and record["AP"]["AP"] == 0


# ---- who owns the loss, and calibration ----


def untrained_model(settings):
    """The model of the fixture ``untrained`` in the run ``CHOICE``."""
    return new_model(CHOICE[-1], replace(settings, prior=0.4))


def test_the_owners_are_recorded_at_the_steps_that_are_asked_for(plans, untrained):
    settings = replace(TINY, steps=130)
    plans["choice"] = replace(plans["choice"], owners=(0, 7, 130), settings=settings)
    owned = evidence.run(*CHOICE)["owners"]
    assert list(owned) == ["0", "7", "130"]
    assert owned["130"] == json.loads(json.dumps(owners_of(untrained_model(settings), settings)))


def test_looking_at_the_owners_does_not_change_a_run(plans):
    without = evidence.run(*CHOICE)
    plans["choice"] = replace(plans["choice"], owners=(0, 3))
    looked = evidence.run(*CHOICE)
    assert list(looked["owners"]) == ["0", "3"] and looked["training loss"] == without["training loss"]
    assert looked["AP"] == without["AP"]


def test_a_study_can_record_what_became_of_each_scene(plans, untrained):
    plans["choice"] = replace(plans["choice"], by_scene=True)
    record = evidence.run(*CHOICE)
    assert len(record["by scene"]) == 2
    for scene in record["by scene"]:
        ((label, score, overlap, best),) = scene["objects"]
        assert label in (0, 1, 2) and 0 <= score <= 1 and (overlap == 0 or 0.5 <= overlap <= best) and best <= 1
        assert len(scene["false"]) <= 5 and scene["false"] == sorted(scene["false"], reverse=True)
    save(record)
    assert CHOICE[1:] not in stale("choice")


def test_a_study_that_asks_for_calibration_records_it(plans, untrained):
    plans["choice"] = replace(plans["choice"], calibration=True)
    record = evidence.run(*CHOICE)
    assert record["calibration"] == json.loads(json.dumps(calibrate(untrained_model(TINY), TINY)))
    save(record)
    assert load(*CHOICE)["calibration"] == record["calibration"]
