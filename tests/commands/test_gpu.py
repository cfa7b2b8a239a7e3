"""make gpu, tried without a GPU: every stage on toy sizes, and the command that runs, stops and resumes them."""

import json
import multiprocessing
import os
import shutil
import threading
from concurrent.futures import Future
from multiprocessing.pool import ThreadPool
from types import SimpleNamespace

import pytest
import torch

from focalbook.studies import STUDIES
from focalbook.training import TrainSettings, new_model
from tools import bench
from tools.gpu import __main__ as command
from tools.gpu import stages
from tools.gpu.stages import STAGES, Stage, close


class InThisProcess:
    """In place of a pool of processes."""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, work, *arguments):
        done = Future()
        done.set_result(work(*arguments))
        return done


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Workers without processes of their own, little time, and the declared studies as they were."""
    declared = dict(STUDIES)
    monkeypatch.setattr(stages, "ProcessPoolExecutor", InThisProcess)
    context = SimpleNamespace(Pool=ThreadPool, Barrier=threading.Barrier)
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: context)
    monkeypatch.setattr(bench, "SECONDS", 0)
    monkeypatch.setattr(bench, "ROUNDS", 2)
    yield
    STUDIES.clear()
    STUDIES.update(declared)


def made(stage, out, *options):
    """Run a stage in this process; its exit status and its record."""
    status = command.main([stage, "--inside", "--out", str(out), "--device", "cpu", "--tiny", *options])
    return status, json.loads((out / f"gpu-{stage}.json").read_text())


# ---- the stages ----


def agree(parts):
    return all(part["agree"] for part in parts.values())


def has_raced(parts):
    (found,) = parts.values()
    assert [row["variant"] for row in found["rows"]] == [bench.BASE, "focalbook", "limit"]
    return found["kernel"] == "torch's operations" and found["times the floor"] > 0


def has_trained(parts):
    ((name, record),) = parts.items()
    return name.startswith("focus or scale, again") and record["AP"]["AP"] >= 0 and record["seed"] == 2000


def are_the_same_scenes(parts):
    (compared, alike, begun) = parts.values()
    assert compared["agree"] and alike == {"scenes": 4, "numbers": 4 * 3 * 24**2, "differing": 0}
    return len(begun["losses"]) == stages.TOY.steps and len(begun["scenes"]) == 16


HOLDS = {
    "scenes": are_the_same_scenes,
    "loss": has_raced,
    "step": lambda parts: len(parts) == 6 and all(rate > 0 for rate in parts.values()),
    "chapters": agree,
    "studies": has_trained,
}


@pytest.mark.parametrize("stage", HOLDS)
def test_every_stage_answers_on_toy_sizes(stage, tmp_path):
    status, record = made(stage, tmp_path)
    assert status == 0 and record["failed"] == {} and HOLDS[stage](record["parts"])
    assert set(record["seconds"]) == set(record["parts"])
    assert record["made"]["device"] == "CPU" and record["made"]["tiny"] and len(record["made"]["sources"]) == 16


def test_scenes_that_differ_do_not_agree(monkeypatch):
    settings = stages.TOY.scenes
    true = type(settings).batch

    def off(self, indices, seed, device, dtype):
        scenes = true(self, indices, seed, "cpu", dtype)
        return scenes._replace(images=scenes.images + 2e-9) if device == "cpu" else scenes

    monkeypatch.setattr(type(settings), "batch", off)
    found = stages.compared(settings, 2, torch.device("cpu"))
    assert not found["agree"] and found["largest difference of a pixel"] == pytest.approx(2e-9, rel=1e-3)


def test_the_tests_of_a_file_are_run_and_counted(tmp_path):
    file = tmp_path / "test_some.py"
    tests = "def test_on_a_gpu(): pass\n\ndef test_cuda_fails(): assert 1 == 2\n\ndef test_else(): assert False\n"
    file.write_text("import pytest\n\n@pytest.mark.skip\ndef test_gpu_too(): pass\n\n" + tests)
    found = stages.tested(str(file))
    assert (found["tests"], found["skipped"]) == (3, 1)
    assert found["failed"] == {"test_cuda_fails": ["assert 1 == 2"]}
    with pytest.raises(RuntimeError, match="no test ran: "):
        stages.tested(str(tmp_path / "test_none.py"))


def test_the_files_of_the_stage_tests_are_there():
    assert all((command.ROOT / f"tests/module/test_{name}.py").exists() for name in stages.FILES)


@pytest.mark.parametrize(
    "source, told",
    [("print(1)", "1\n"), ("print(1)\n2 + 3", "1\n5"), ("x = 4", ""), ("print()", "\n"), ("a * 2", "14")],
)
def test_a_cell_tells_what_it_prints_and_the_value_of_its_last_line(source, told):
    assert stages.told_by(source, "a cell", {"a": 7}) == told


def test_a_chapter_that_tells_something_else_does_not_agree(monkeypatch):
    true = stages.told_by
    monkeypatch.setattr(stages, "told_by", lambda *cell: true(*cell) + "!")
    found = stages.executed("02-cross-entropy", "cpu")
    assert not found["agree"] and found["identical"] == 0 and found["shown"] > 3


@pytest.mark.parametrize(
    "stored, found, agree",
    [
        ("AP 0.597, so", "AP 0.599, so", True),
        ("AP 0.597, so", "AP 0.697, so", False),
        ("AP 0.597, so", "AP 0.597, and", False),
        ("loss 828.20 and 0.1", "loss 829.00 and 0.2", True),
        ("3 of 4", "4 of 4", True),
        ("3 of 4", "5 of 4", False),
        ("True", "False", False),
        ("1e-3", "1.2e-3", False),
    ],
)
def test_printed_texts_agree_by_their_words_and_numbers(stored, found, agree):
    assert close(stored, found) == agree


def test_the_rival_has_the_books_parts_and_first_weights():
    try:
        from tools.gpu import rival
    except (ImportError, RuntimeError) as error:  # a torchvision made for another torch has no operators
        pytest.skip(f"needs a torchvision that imports: {error}")
    settings = TrainSettings(steps=2, batch=2)
    theirs, ours = rival.rival(0, settings).eval(), new_model(0, settings)
    images = settings.scenes.batch(range(2)).images
    prepared, _ = theirs.transform(list(images))
    outputs = theirs.head(list(theirs.backbone(prepared.tensors).values()))
    torch.testing.assert_close((outputs["cls_logits"], outputs["bbox_regression"]), ours(images), rtol=0, atol=1e-5)
    assert torch.equal(theirs.anchor_generator(prepared, None)[1], ours.anchors.float())
    trained = rival.train_rival(0, settings, "cpu")
    assert 0 <= rival.judged(trained, 2, settings, "cpu") <= 1


# ---- the command ----


@pytest.fixture
def toy(monkeypatch):
    """A stage with three parts, of which the second fails as long as ``broken`` holds something."""
    asked, broken = [], [ValueError("no memory\nmore")]

    def answer(name):
        asked.append(name)
        if name == "two" and broken:
            raise broken[0]
        return {"name": name}

    def parts(device, tiny, done):
        for name in ("one", "two", "three"):
            yield name, lambda name=name: answer(name)

    monkeypatch.setitem(STAGES, "toy", Stage("Anything?", 60, parts))
    return SimpleNamespace(asked=asked, broken=broken)


def test_a_part_that_fails_is_named_and_made_again_while_the_others_stay(toy, tmp_path, capsys):
    status, record = made("toy", tmp_path)
    assert status == 1 and set(record["parts"]) == {"one", "three"}
    assert record["failed"] == {"two": "ValueError: no memory"}
    assert "two: failed, ValueError: no memory" in capsys.readouterr().out
    toy.broken.clear()
    toy.asked.clear()
    status, record = made("toy", tmp_path)
    assert status == 0 and toy.asked == ["two"] and set(record["parts"]) == {"one", "two", "three"}
    assert record["failed"] == {}


def test_answers_of_other_code_or_a_broken_file_are_made_again(toy, tmp_path, monkeypatch, capsys):
    toy.broken.clear()
    made("toy", tmp_path)
    monkeypatch.setattr(command, "sources_hash", lambda modules: "0" * 16)
    toy.asked.clear()
    assert made("toy", tmp_path)[1]["made"]["sources"] == "0" * 16 and len(toy.asked) == 3
    assert "another device, torch, code or size" in capsys.readouterr().out
    for content in ("{", "[]", '{"made": {}}'):
        (tmp_path / "gpu-toy.json").write_text(content)
        assert set(made("toy", tmp_path)[1]["parts"]) == {"one", "two", "three"}


def test_without_a_gpu_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command.main([]) == 1
    assert capsys.readouterr().out.count("\n") == 1


def test_an_unknown_stage_is_named(capsys):
    with pytest.raises(SystemExit):
        command.main(["lots"])
    assert "there is no stage 'lots': choose from tests, scenes, loss" in capsys.readouterr().err


def test_a_stage_runs_in_a_process_of_its_own_and_ends_with_its_time(tmp_path, capfd):
    options = ["--out", str(tmp_path), "--device", "cpu", "--tiny"]
    assert command.main(["scenes", *options]) == 0
    assert json.loads((tmp_path / "gpu-scenes.json").read_text())["parts"]
    assert command.main(["scenes", *options, "--seconds", "0"]) == 1
    assert "its time is up; what was written stays" in capfd.readouterr().out
    assert json.loads((tmp_path / "gpu-scenes.json").read_text())["parts"]


# ---- several processes on one card ----


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_the_card_is_shared_by_a_service_that_ends_with_the_work(monkeypatch, tmp_path):
    log, control = tmp_path / "log", tmp_path / "nvidia-cuda-mps-control"
    control.write_text(f'#!/bin/sh\necho "$CUDA_MPS_PIPE_DIRECTORY $@" >> {log}\n[ "$1" ] || cat >> {log}\n')
    control.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with stages.shared() as there:
        place = os.environ["CUDA_MPS_PIPE_DIRECTORY"]
        assert there and log.read_text() == f"{place} -d\n"
    assert log.read_text() == f"{place} -d\n{place} \nquit\n" and "CUDA_MPS_PIPE_DIRECTORY" not in os.environ


def test_where_there_is_no_such_service_processes_take_turns(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    with stages.shared() as there:
        assert not there


# ---- what a GPU answered ----


def recorded(stage):
    return json.loads((command.OUT / f"gpu-{stage}.json").read_text())


def test_all_recorded_answers_are_of_one_card():
    (device,) = {recorded(stage)["made"]["device"] for stage in STAGES}
    assert device.startswith("NVIDIA")


@pytest.mark.parametrize("stage", STAGES)
def test_the_recorded_answers_are_whole(stage):
    record = recorded(stage)
    assert record["parts"] and record["failed"] == {} and not record["made"]["tiny"]
    answers = record["parts"].values()
    if stage == "tests":
        assert set(record["parts"]) == set(stages.FILES)
        assert all(not found["failed"] and not found["skipped"] for found in answers)
    assert all(found["agree"] for found in answers if isinstance(found, dict) and "agree" in found)
