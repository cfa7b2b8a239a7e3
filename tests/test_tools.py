"""The tools: what is stored when notebooks are executed, and the measurement of the renderer."""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

import bench  # noqa: E402
import execute  # noqa: E402
import throughput  # noqa: E402
import verify  # noqa: E402

from focalbook import plots  # noqa: E402
from focalbook.losses import sigmoid_focal_loss  # noqa: E402
from focalbook.scenes import SceneSettings  # noqa: E402
from focalbook.training import TrainSettings  # noqa: E402


@pytest.fixture
def notebook(tmp_path):
    """Writes a notebook of these code cells and returns its path."""

    def write(*sources, **metadata):
        cells = [nbformat.v4.new_code_cell(source, id=f"cell-{n}") for n, source in enumerate(sources)]
        cells[0].metadata.update(metadata)
        path = tmp_path / "01-small.ipynb"
        path.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=cells)) + "\n", "utf-8")
        return path

    return write


def test_outputs_are_stored_and_a_second_time_nothing_changes(notebook):
    path = notebook("print(1 + 1)", "print(2)\nprint(3)", collapsed=True, tags=["any"])
    assert execute.execute(path) == ("01-small.ipynb: stored new outputs", True)
    stored = path.read_text("utf-8")
    cells = nbformat.reads(stored, as_version=4).cells
    assert [cell.outputs[0].text for cell in cells] == ["2\n", "2\n3\n"]
    assert cells[0].metadata == {} and "execution" not in stored.replace("execution_count", "")
    assert execute.execute(path) == ("01-small.ipynb: unchanged", True)
    assert path.read_text("utf-8") == stored


@pytest.mark.parametrize(
    "source, why",
    [
        ("print(1)\n1 / 0", "ZeroDivisionError"),
        ("import sys\nprint('oops', file=sys.stderr)", "cell 1 writes to stderr"),
        ("import os\nos._exit(1)", "not stored, a cell failed"),
    ],
    ids=["an error", "stderr", "a kernel that dies"],
)
def test_a_notebook_that_fails_keeps_what_was_stored(notebook, source, why):
    path = notebook(source)
    before = path.read_text("utf-8")
    message, good = execute.execute(path)
    assert not good and why in message
    assert path.read_text("utf-8") == before and list(path.parent.iterdir()) == [path]


def test_a_name_that_no_notebook_has_is_said(capsys):
    assert execute.main(["99"]) == 1
    assert "starts with 99" in capsys.readouterr().out


@pytest.fixture
def verified(notebook, monkeypatch):
    """Stores a notebook's outputs and verifies it; returns the exit status and the stamps."""

    def call(change=lambda text: text):
        path = notebook("print(1 + 1)", "print(3)")
        monkeypatch.setattr(verify, "BOOK", path.parent)
        monkeypatch.setattr(verify, "STAMPS", path.parent / "verified.json")
        monkeypatch.setattr(verify, "REPORT", path.parent / "report" / "verified.json")
        execute.execute(path)
        path.write_text(change(path.read_text("utf-8")), "utf-8")
        status = verify.main([])
        return status, json.loads(verify.STAMPS.read_text("utf-8")), json.loads(verify.REPORT.read_text("utf-8"))[0]

    return call


def test_what_holds_is_stamped(verified, capsys):
    status, stamps, report = verified()
    assert status == 0 and stamps["01-small"]["content"] and report["differences"] == {}
    assert (report["cells"], report["outputs"], report["pictures"]) == (2, 2, 0)
    assert "holds" in capsys.readouterr().out


def test_what_differs_is_shown_and_keeps_its_old_stamp(verified, capsys):
    status, stamps, report = verified(lambda text: text.replace('"2\\n"', '"5\\n"'))
    said = capsys.readouterr().out
    assert status == 1 and stamps == {} and list(report["differences"]) == ["Cell 0"]
    assert "differs" in said and "5" in said and "\x1b" not in said


def test_a_cell_that_was_never_run_does_not_hold(verified):
    def strip(text):
        content = json.loads(text)
        content["cells"][1].update(outputs=[], execution_count=None)
        return json.dumps(content)

    assert verified(strip)[0] == 1


def test_the_stamps_are_of_todays_notebooks():
    """make verify renews them; what was changed since is not verified."""
    stamps = json.loads(verify.STAMPS.read_text("utf-8"))
    today = {path.stem: verify.fingerprint(path) for path in verify.BOOK.glob("*.ipynb")}
    assert {name: stamp["content"] for name, stamp in stamps.items()} == today, "run make verify"


def test_the_renderer_and_the_training_step_are_measured(monkeypatch):
    monkeypatch.setattr(throughput, "SECONDS", 0.01)
    assert throughput.scenes_per_second(throughput.SETTINGS["default, 96 px"], "cpu", batch=2) > 0
    assert throughput.steps_per_second(throughput.SETTINGS["default, 96 px"], "cpu", batch=2) > 0
    tiny = TrainSettings(steps=2, batch=2, channels=8, scenes=SceneSettings(size=24, distractors=0))
    seconds, ap = throughput.seconds_and_ap(tiny, "cpu", scenes=4)
    assert seconds > 0 and 0 <= ap <= 1


def test_what_the_bench_compares_computes_the_same():
    x = torch.linspace(-6, 6, 50, dtype=torch.float64)
    t = (torch.arange(50) % 2).double()
    expected = sigmoid_focal_loss(x, t, reduction="sum")
    for name, loss in bench.variants().items():
        if not name.startswith("compiled") and name != "BCE with logits":
            torch.testing.assert_close(loss(x, t), expected, rtol=1e-10, atol=0)


def test_the_bench_measures_draws_and_prints(monkeypatch):
    every = bench.variants()
    few = {name: every[name] for name in (bench.BASE, "focalbook")}  # what is compiled takes minutes
    monkeypatch.setattr(bench, "variants", lambda: few)
    monkeypatch.setattr(bench, "SIZES", {"cpu": (1000,)})
    monkeypatch.setattr(bench, "SECONDS", 0)
    rows = bench.measure("cpu", "as usual")
    measured = {row["variant"]: row for row in rows}
    assert list(measured) == [bench.BASE, "focalbook", "limit"]
    assert measured[bench.BASE]["times"] == [1, 1, 1] and measured[bench.BASE]["kept"] == 24
    assert measured["focalbook"]["kept"] == 4 and measured["focalbook"]["peak"] >= 8
    assert all(row["milliseconds"] > 0 for row in rows)
    assert "1,000 logits" in bench.table(rows) and "focalbook" in bench.table(rows)
    figure = plt.figure()
    plots.show_speed(figure, rows)
    assert figure.axes[0].get_title() == "CPU, pages as usual"
    plt.close(figure)
