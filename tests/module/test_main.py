"""The command: what it says, and that it refuses in one line."""

import json
import math
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
import torch
from PIL import Image

from focalbook import __main__ as command
from focalbook import detector, distributed, trees
from focalbook.__main__ import main

SMALL = ["--size", "32", "--steps", "1", "--batch", "2", "--device", "cpu"]


@pytest.fixture
def folder(tmp_path):
    """Ten pictures of noise with a box each, and two kinds of things."""
    rng = np.random.default_rng(0)
    for number in range(10):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    return write(tmp_path, {number: number % 2 for number in range(10)})


def write(folder, kinds, names=("disc", "square")):
    """A box in each of these images, a dict from its number to the place of its kind."""
    content = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in range(10)],
        "annotations": [
            {"id": number, "image_id": number, "category_id": kind, "bbox": [8, 8, 16, 16]}
            for number, kind in kinds.items()
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
    }
    (folder / "annotations.json").write_text(json.dumps(content), "utf-8")
    return folder


def refused(arguments, capsys):
    """What the command says on the error output, which must be one line."""
    with pytest.raises(SystemExit, match="^1$"):
        main(arguments)
    said = capsys.readouterr().err
    assert re.fullmatch("focalbook: [^\n]+\n", said)
    return said[len("focalbook: ") : -1]


# ---- what it says ----


def test_the_command_trains_on_a_folder_and_judges(folder, capsys):
    content = json.loads((folder / "annotations.json").read_text())
    content["annotations"][0]["iscrowd"] = 1
    (folder / "annotations.json").write_text(json.dumps(content))
    main(["--data", str(folder), *SMALL])
    out = capsys.readouterr().out
    assert "8 images to train on and 2 held out" in out and "left out: crowd 1 (first: 0.png: 1)\n" in out
    assert "on 2 images not seen: " in out and "disc" in out and "square" in out


def test_of_several_processes_only_the_first_speaks(folder, capsys, monkeypatch):
    monkeypatch.setattr(distributed, "world", lambda: 2)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed.dist, "all_reduce", lambda value: value.mul_(2))
    main(["--data", str(folder), *SMALL])
    assert capsys.readouterr() == ("", "")


def held_out(folder):
    data = command.CocoFolder(folder, 32)
    return [int(data._at(index, 1).name.split(".")[0]) for index in range(data.held_out)]


def test_a_class_without_an_object_to_judge_by_has_no_ap(folder, capsys):
    held = held_out(folder)
    main(["--data", str(write(folder, {number: int(number not in held) for number in range(10)})), *SMALL])
    out = capsys.readouterr().out
    assert re.search(r"on 2 images not seen: AP \d\.\d{3}, AP50 \d\.\d{3}, AP75 \d\.\d{3}\n  AP \d\.\d{3}  disc\n", out)
    assert "\n  no AP, as these images hold none  square\n" in out and "nan" not in out.lower()


def test_without_any_object_to_judge_by_there_is_no_ap(folder, capsys):
    held = held_out(folder)
    main(["--data", str(write(folder, {number: 0 for number in range(10) if number not in held})), *SMALL])
    out = capsys.readouterr().out
    assert "on 2 images not seen: no AP, as they hold no object: there is nothing to judge by" in out
    assert out.count("\n  no AP, as these images hold none  ") == 2 and "nan" not in out.lower()


def test_names_beyond_the_terminals_letters_are_spelled_out(folder):
    write(folder, {number: number % 2 for number in range(10)}, ("Stra\u00dfe", "\u72ac"))
    done = subprocess.run(
        [sys.executable, "-m", "focalbook", "--data", str(folder), *SMALL],
        capture_output=True,
        text=True,
        env={"PYTHONIOENCODING": "ascii", "PYTHONPATH": ".", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert r"Stra\xdfe" in done.stdout and r"\u72ac" in done.stdout


# ---- what it finds ----


@pytest.fixture
def checkpoint(folder, capsys):
    """Of a run that finds something in every picture, as its scores are still near the start."""
    main(["--data", str(folder), *SMALL, "--checkpoint", str(folder / "run.pt")])
    capsys.readouterr()
    return str(folder / "run.pt")


def test_it_finds_tells_and_draws_in_the_photos_own_pixels(folder, checkpoint, tmp_path, capsys):
    Image.new("RGB", (90, 60), (200, 0, 0)).save(folder / "red.jpg")
    photos, to = [str(folder / "red.jpg"), str(folder / "1.png")], str(tmp_path / "to")
    main(["detect", *photos, "--checkpoint", checkpoint, "--score", "0.001", "--to", to])
    lines = capsys.readouterr().out.splitlines()
    heads = [line for line in lines if not line.startswith("  ")]
    assert [line.split(":")[0] for line in heads] == photos
    assert re.fullmatch(r".*: [1-9]\d* found, drawn in .*red\.png", heads[0])
    assert all(re.fullmatch(r"  0\.\d{3}  (disc|square)  (\d+\.\d ?){4}", line) for line in set(lines) - set(heads))
    with Image.open(tmp_path / "to" / "red.png") as drawn:
        assert drawn.size == (90, 60) and len(set(drawn.get_flattened_data())) > 1
    with Image.open(folder / "1.png") as drawn:
        assert drawn.size == (32, 32)


def test_as_json_it_tells_the_same(folder, checkpoint, tmp_path, capsys):
    arguments = ["detect", str(folder / "1.png"), "--checkpoint", checkpoint, "--score", "0.001", "--to", str(tmp_path)]
    with pytest.raises(SystemExit):  # it would be drawn over itself
        main([*arguments[:-1], str(folder)])
    arguments[-1] += "/to"
    capsys.readouterr()
    main(arguments)
    said = capsys.readouterr().out.splitlines()[1:]
    main([*arguments, "--json"])
    (one,) = json.loads(capsys.readouterr().out)
    assert one["photo"] == str(folder / "1.png") and one["drawn"] == str(tmp_path / "to" / "1.png")
    again = [
        f"  {o['score']:.3f}  {o['class']}  {' '.join(f'{side:.1f}' for side in o['box'])}" for o in one["objects"]
    ]
    assert again and again == said


def test_a_photo_that_is_none_is_named_and_does_not_hold_up_the_others(folder, checkpoint, tmp_path, capsys):
    photos = [str(folder / name) for name in ("lost.jpg", "annotations.json", "1.png")]
    with pytest.raises(SystemExit, match="^1$"):
        main(["detect", *photos, "--checkpoint", checkpoint, "--to", str(tmp_path / "to")])
    out, err = capsys.readouterr()
    assert out.startswith(f"{photos[2]}: ") and (tmp_path / "to" / "1.png").exists()
    assert re.fullmatch(
        r"focalbook: photo .*lost.jpg is left out: image unreadable: No such file or directory\n"
        r"focalbook: photo .*annotations.json is left out: image unreadable: no picture that Pillow knows\n",
        err,
    )


@pytest.mark.parametrize(
    "photos, said",
    [(["1.png"], "where it lies itself: name another folder"), (["1.png", "to/1.jpg"], "where .*1.jpg goes too: name")],
)
def test_no_photo_is_drawn_over_another_or_itself(folder, photos, said, capsys, monkeypatch):
    monkeypatch.setattr(command, "load", None)
    to = str(folder) if len(photos) == 1 else str(folder / "to")
    told = refused(["detect", *(str(folder / name) for name in photos), "--checkpoint", "run.pt", "--to", to], capsys)
    assert re.search(said, told)


@pytest.mark.parametrize("score", ["-0.1", "1", "nan"])
def test_a_score_that_none_can_pass_is_refused(folder, score, capsys):
    told = refused(["detect", str(folder / "1.png"), "--checkpoint", "run.pt", "--score", score], capsys)
    assert told == f"score must be at least 0 and below 1, got {float(score):g}"


def test_a_checkpoint_that_is_none_is_named(folder, capsys):
    for name in ("1.png", "lost.pt"):
        told = refused(["detect", str(folder / "1.png"), "--checkpoint", str(folder / name)], capsys)
        assert name in told


def test_a_photo_that_no_memory_holds_is_one_line(folder, checkpoint, capsys, monkeypatch):
    monkeypatch.setattr(detector, "squared", lambda *arguments: torch.zeros(2**60))
    told = refused(["detect", str(folder / "1.png"), "--checkpoint", checkpoint], capsys)
    assert told == "out of memory: the photo is too large"


# ---- what it refuses ----


@pytest.mark.parametrize("value", ["", " ", "\t"])
@pytest.mark.parametrize("option, cure", [("data", "to train on rendered scenes"), ("checkpoint", "to keep none")])
def test_an_empty_place_is_no_place(option, cure, value, capsys, monkeypatch):
    monkeypatch.setattr(command, "train", None)
    said = refused([f"--{option}", value, "--steps", "1"], capsys)
    assert said == f"{option} must name a place, got {value!r}: leave --{option} out {cure}"


def test_a_folder_that_is_none_is_named(folder, capsys):
    for name in ("nowhere", "0.png", "annotations.json", "n" * 300):
        said = refused(["--data", str(folder / name)], capsys)
        assert name in said and ("has no annotations.json: name the folder that holds it" in said or len(name) == 300)


@pytest.mark.parametrize("name", ["images", "0.png/run.pt"])
def test_a_checkpoint_that_cannot_be_one_is_named(folder, name, capsys):
    (folder / "images").mkdir()
    said = refused(["--data", str(folder), *SMALL, "--checkpoint", str(folder / name)], capsys)
    assert str(folder / name.split("/")[0]) in said


OUT_OF_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has a total capacity of 8 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    OSError(12, "Cannot allocate memory"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_a_lack_of_memory_is_one_line_with_its_cure(folder, error, capsys, monkeypatch):
    def fail(*args):
        raise error

    monkeypatch.setattr(command, "train", fail)
    assert refused(["--batch", "64"], capsys) == "out of memory: lower --batch (it is 64)"
    said = refused(["--data", str(folder), "--size", "32"], capsys)
    assert said == "out of memory: lower --batch (it is 8) or --size (it is 32)"


def test_a_square_that_no_memory_holds_is_one_line(folder, capsys):
    said = refused(["--data", str(folder), "--size", str(2**22), "--device", "cpu"], capsys)
    assert said == f"out of memory: lower --batch (it is 8) or --size (it is {2**22})"


def test_an_error_that_nobody_expects_keeps_its_traceback(monkeypatch):
    def fail(*args):
        raise error

    monkeypatch.setattr(command, "train", fail)
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), TypeError("int"), ZeroDivisionError()):
        with pytest.raises(type(error)):
            main([])


def test_a_package_that_is_not_installed_is_named(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    said = refused(["--data", str(folder), *SMALL], capsys)
    assert "PIL" in said and said.endswith(": install pillow, pycocotools, tqdm and pyyaml beside focalbook")


def test_trees_that_are_not_installed_come_with_their_own_cure(tmp_path, capsys, monkeypatch):
    def none(name):
        raise PackageNotFoundError(name)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trees, "distribution", none)
    said = refused(["--data", "trees", *SMALL], capsys)
    assert said == "the trees are not installed: python -m pip install --no-deps deepforest==2.1.0"


def test_an_error_of_several_lines_is_said_in_one(capsys, monkeypatch):
    def fail(*args):
        raise ValueError("one\ntwo")

    monkeypatch.setattr(command, "train", fail)
    assert refused([], capsys) == "one two"


def test_a_loss_that_is_no_number_is_one_line(folder, capsys):
    said = refused(["--data", str(folder), *SMALL[:2], "--steps", "9", "--lr", "1e30", "--device", "cpu"], capsys)
    assert "lower lr" in said and not math.isnan(len(said))
