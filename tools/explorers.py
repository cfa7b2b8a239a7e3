"""Draw the pictures that stand in an explorer's place where no script runs: its first state, by the module itself.
And gather what the detector's explorer shows: four scenes, and what two detectors recorded on them.

python tools/explorers.py stores them in book/_static/explorers; a test says when they are out of date.
"""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.ticker import NullLocator

from focalbook import experiments, plots
from focalbook.boxes import iou
from focalbook.evaluation import as_detections
from focalbook.imbalance import loss_and_gradient
from focalbook.losses import focal_loss
from focalbook.scenes import TEST, SceneSettings, render
from focalbook.training import LOSSES

FOLDER = Path(__file__).resolve().parent.parent / "book" / "_static" / "explorers"


def draw_losses(figure, p=0.95):
    axes = figure.subplots()
    p_t = np.linspace(0.005, 0.995, 199)
    for name, setting in (("cross-entropy", (None, 0)), ("focal loss", (0.25, 2))):
        axes.plot(p_t, focal_loss(p_t, 1, *setting), color=plots.COLOURS[name])
        axes.plot(p, focal_loss(p, 1, *setting), "o", color=plots.COLOURS[name], markersize=7)
        axes.text(1.01, focal_loss(0.995, 1, *setting), name, color=plots.COLOURS[name], va="center")
    axes.axvline(p, color=plots.INK, linestyle=":", linewidth=1)
    axes.set(yscale="log", xlim=(0, 1.2), ylim=(1e-10, 10))
    axes.set(xlabel="probability of the true class", ylabel="loss (nats)")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])


def draw_crowd(figure, p=0.05, n=1000):
    axes = figure.subplots()
    count = np.geomspace(1, 1e5, 2)
    for name, setting in LOSSES.items():
        setting = {**setting, "alpha": None if setting["alpha"] == -1 else setting["alpha"]}
        ratio = focal_loss(p, 0, **setting) / focal_loss(p, 1, **setting)
        axes.plot(count, count * ratio, color=plots.COLOURS[name])
        axes.plot(n, n * ratio, "o", color=plots.COLOURS[name], markersize=7)
        axes.text(1.2e5, 1e5 * ratio, name, color=plots.COLOURS[name], va="center")
    axes.axhline(1, color=plots.INK, linewidth=1)
    axes.axvline(n, color=plots.INK, linestyle=":", linewidth=1)
    axes.text(1.3, 2e3, "the crowd owns more")
    axes.text(8e4, 3e-4, "the positive owns more", ha="right")
    axes.set(xscale="log", yscale="log", xlim=(1, 4e6), ylim=(1e-4, 1e4))
    axes.set(xlabel="easy negatives", ylabel="loss of the crowd / loss of the positive")
    axes.set_xticks(10.0 ** np.arange(6))


def draw_optimiser(figure, background=-5.0, foreground=-1.0, spread=1.5, n=1000):
    above, below = figure.subplots(2, sharex=True, height_ratios=(1, 3))
    z = torch.linspace(-6, 6, 81, dtype=torch.float64)
    bell = torch.exp(-z * z / 2)
    logits = torch.stack([foreground + spread * z, background + spread * z])
    labels = torch.tensor([[1.0], [0.0]]).double().expand_as(logits)
    counts = torch.tensor([[1.0], [n]]).double() * bell
    for x, shade in zip(logits, (0.45, 0.1)):
        above.fill_between(x, bell, color=plots.INK, alpha=shade, linewidth=0)
        above.plot(x, bell, color=plots.INK, linewidth=1)
    for name, setting in LOSSES.items():
        mass = counts * loss_and_gradient(logits, labels, **setting)[1]
        mass = mass / mass.sum() / (logits[0, 1] - logits[0, 0]) * torch.tensor([[1.0], [-1.0]])
        for x, y in zip(logits, mass):
            below.plot(x, y, color=plots.COLOURS[name])
            below.fill_between(x, y, color=plots.COLOURS[name], alpha=0.12, linewidth=0)
    above.text(background, 1.05, "background", ha="right")
    above.text(foreground, 1.05, "foreground", ha="left")
    above.set(yticks=[], ylim=(0, 1.3), ylabel="logits")
    below.set(yticks=[0], xlabel="logit", xlim=(-12, 12), ylabel="share of the gradient")
    below.annotate("pull of the positives", (11.5, 0), (0, 8), textcoords="offset points", ha="right")
    below.annotate("pull of the negatives", (11.5, 0), (0, -16), textcoords="offset points", ha="right")
    for place, (name, colour) in enumerate(plots.COLOURS.items()):
        below.text(5, (-0.7 - 0.1 * place) * abs(below.get_ylim()[0]), name, color=colour)
    for axes in (above, below):
        axes.axvline(0, color=plots.INK, linestyle=":", linewidth=1)


def draw_detector(figure, score=0.5):
    scenes = render(range(2), TEST)
    for row, name in zip(figure.subplots(2, 2), DETECTORS):
        rows = experiments.load_study("verdict")[name][0]["detections"]
        for axes, image, boxes, labels, found in zip(row, *scenes, rows):
            plots.show_truth_and_detections(axes, image, boxes, labels, as_detections(found), score - 1e-9)
        row[0].set_title(name, color=plots.COLOURS[name])


DETECTORS = ("cross-entropy", "focal loss")


def hits(rows, truth, overlap=0.5):
    """Which detections, rows of x1, y1, x2, y2, score, label, find an object, by COCO's rule: from the highest score
    down, each takes the object of its class that it overlaps most and that none has taken."""
    free, found = list(truth), {}
    for number, (*box, _, label) in sorted(enumerate(rows), key=lambda row: -row[1][4]):
        boxes = [row for row in free if row[4] == label]
        overlaps = iou(torch.tensor([box]), torch.tensor([row[:4] for row in boxes]).view(-1, 4))[0].tolist()
        best = max(overlaps, default=0)
        found[number] = best >= overlap
        if found[number]:
            free.remove(boxes[overlaps.index(best)])
    return [found[number] for number in range(len(rows))]


def detections():
    """What the detector's explorer shows: the objects of four scenes, and for every run the rows with a 1 for a hit."""
    scenes = render(range(4), TEST)
    truth = [
        [[*(round(value, 2) for value in box), int(label)] for box, label in zip(boxes.tolist(), labels) if label >= 0]
        for boxes, labels in zip(scenes.boxes, scenes.labels)
    ]
    records = experiments.load_study("verdict")
    found = {
        name: [
            [
                [[*row, int(hit)] for row, hit in zip(rows, hits(rows, objects))]
                for rows, objects in zip(record["detections"], truth)
            ]
            for record in records[name]
        ]
        for name in DETECTORS
    }
    return dict(classes=SceneSettings().classes, truth=truth, found=found)


def pixels():
    """The four scenes beside each other, (96, 384, 3) uint8."""
    return (torch.cat(list(render(range(4), TEST).images), dim=2).permute(1, 2, 0) * 255).round().byte().numpy()


PICTURES = {"losses": draw_losses, "crowd": draw_crowd, "optimiser": draw_optimiser, "detector": draw_detector}


SIZES = {"optimiser": (7, 4.2), "detector": (5, 5.2)}


def store(folder=FOLDER):
    """Draw every picture into ``folder``; the same on every machine."""
    plots.use_style()
    for name, draw in PICTURES.items():
        figure = plt.figure(figsize=SIZES.get(name, (7, 3.6)))
        draw(figure)
        for axes in figure.axes:
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_minor_locator(NullLocator())
        figure.savefig(Path(folder, f"{name}.svg"), metadata={"Date": None})
        plt.close(figure)
    plt.imsave(Path(folder, "detector.png"), pixels())
    text = json.dumps(detections(), separators=(",", ":"))
    head = "// Made by tools/explorers.py from the verdict's records: x1, y1, x2, y2, score, class, and 1 for a hit."
    Path(folder, "detector-data.js").write_text(f"{head}\nconst DETECTIONS = {text};\n", "utf-8")


if __name__ == "__main__":
    store()
