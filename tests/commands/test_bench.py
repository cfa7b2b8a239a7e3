"""The measurements: what they compare is the same, and they end with numbers."""

import matplotlib.pyplot as plt
import torch

from focalbook import plots
from focalbook.losses import sigmoid_focal_loss
from focalbook.scenes import SceneSettings
from focalbook.training import TrainSettings
from tools import bench, throughput


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


def test_what_is_replayed_has_times_and_keeps_nothing_of_its_own(monkeypatch):
    monkeypatch.setattr(bench, "recorded", lambda run: run)  # in place of a CUDA graph
    monkeypatch.setattr(bench, "SECONDS", 0)
    few = {name: loss for name, loss in bench.variants().items() if name in (bench.BASE, "focalbook")}
    rows = bench.measured("cpu", "replayed", 1000, few)
    assert [row["variant"] for row in rows] == [bench.BASE, "focalbook", "limit"]
    assert all(row["milliseconds"] > 0 and "kept" not in row and row["pages"] == "replayed" for row in rows)
