"""Draw the pictures that stand in an explorer's place where no script runs: its first state, by the module itself.
And gather what the detector's explorer shows: four scenes, and what two detectors recorded on them.

python -m tools.explorers stores them in book/_static/explorers; a test says when they are out of date.
"""

import base64
import json
import re
from io import BytesIO, StringIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.ticker import NullLocator
from PIL import Image

from focalbook import experiments, plots
from focalbook.boxes import iou
from focalbook.imbalance import loss_and_gradient
from focalbook.losses import focal_loss
from focalbook.scenes import TEST, SceneSettings, render
from focalbook.training import LOSSES
from tasks import ROOT

FOLDER = ROOT / "book" / "_static" / "explorers"
PICTURES = {"losses": (7, 3.6), "crowd": (7, 3.6), "optimizer": (7, 5), "detector": (8, 4.6)}  # inches; draw_NAME draws
DETECTORS = ("cross-entropy", "focal loss")
SCENES, SIDE = 4, 96
STEP = 16  # of a scene's pixels, as they are shown: finer ones are noise, and most of the bytes


def draw_losses(figure, p=0.95):
    axes = figure.subplots()
    p_t = np.linspace(0.005, 0.995, 199)
    dots = []
    for name, setting in (("cross-entropy", (None, 0)), ("focal loss", (0.25, 2))):
        dots.append(focal_loss(p, 1, *setting))
        axes.plot(p_t, focal_loss(p_t, 1, *setting), color=plots.COLORS[name])
        axes.text(1.01, focal_loss(0.995, 1, *setting), name, color=plots.COLORS[name], va="center")
    axes.plot([p, p], dots, color=plots.INK, linewidth=1)
    for name, dot in zip(("cross-entropy", "focal loss"), dots):
        axes.plot(p, dot, "o", color=plots.COLORS[name], markersize=7)
    axes.text(p - 0.02, dots[1] / 10, f"{dots[0] / dots[1]:.0f} times less", ha="right", va="center")
    axes.axvline(p, color=plots.INK, linestyle=":", linewidth=1)
    axes.set(yscale="log", xlim=(0, 1), ylim=(1e-10, 10))
    axes.set(xlabel="hard  ←  probability of the true class  →  easy", ylabel="loss (nats)")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])


def draw_crowd(figure, p=0.05, n=1000):
    axes = figure.subplots()
    count = np.geomspace(1, 1e5, 2)
    axes.axhline(1, color=plots.INK, linewidth=1.5)
    axes.axvline(n, color=plots.INK, linestyle=":", linewidth=1)
    for name, setting in LOSSES.items():
        setting = {**setting, "alpha": None if setting["alpha"] == -1 else setting["alpha"]}
        ratio, color = focal_loss(p, 0, **setting) / focal_loss(p, 1, **setting), plots.COLORS[name]
        axes.plot(count, count * ratio, color=color)
        axes.plot(n, n * ratio, "o", color=color, markersize=7)
        axes.text(1.2e5, 1e5 * ratio, name, color=color, va="center")
        place, sides = ((-4, 4), ("right", "bottom")) if name == "cross-entropy" else ((4, -4), ("left", "top"))
        own = dict(xytext=place, textcoords="offset points", ha=sides[0], va=sides[1], color=color)
        axes.annotate(f"{np.ceil(1 / ratio):.0f}", (1 / ratio, 1), **own)
    axes.text(1.3, 2e3, "the crowd owns more")
    axes.text(8e4, 3e-4, "the positive owns more", ha="right")
    axes.set(xscale="log", yscale="log", xlim=(1, 1e5), ylim=(1e-4, 1e4))
    axes.set(xlabel="number of easy negatives", ylabel="loss of the crowd / loss of the positive")
    axes.set_xticks(10.0 ** np.arange(6))
    axes.set_yticks(10.0 ** np.arange(-4, 5, 2))


def draw_optimizer(figure, background=-5.0, foreground=-1.0, spread=1.5, n=1000):
    above, *bands = figure.subplots(4, sharex=True, height_ratios=(0.8, 1, 1, 1))
    z = torch.linspace(-6, 6, 73, dtype=torch.float64)  # one of the background's logits is 0
    bell = torch.exp(-z * z / 2)
    logits = torch.stack([foreground + spread * z, background + spread * z])
    labels = torch.tensor([[1.0], [0.0]]).double().expand_as(logits)
    counts = torch.tensor([[1.0], [n]]).double() * bell
    for x, shade in zip(logits, (0.45, 0.1)):
        above.fill_between(x, bell, color=plots.INK, alpha=shade, linewidth=0)
        above.plot(x, bell, color=plots.INK, linewidth=1)
    above.text(background, 1.05, f"{n} × background", ha="right")
    above.text(foreground, 1.05, "foreground", ha="left")
    above.set_title("how the logits lie", loc="left", fontsize=10)
    above.set(yticks=[], ylim=(0, 1.3))
    masses = []
    for setting in LOSSES.values():
        mass = counts * loss_and_gradient(logits, labels, **setting)[1]
        masses.append(mass / mass.sum())
    high, low = max(mass[0].max() for mass in masses), max(mass[1].max() for mass in masses)
    room = 0.3 * (high + low)
    for axes, (name, color), mass in zip(bands, plots.COLORS.items(), masses):
        axes.fill_between(logits[0], mass[0], color=color, linewidth=0)
        for part, shade in ((logits[1] > -1e-9, 0.6), (logits[1] < 1e-9, 0.32)):
            axes.fill_between(logits[1][part], -mass[1][part], color=color, alpha=shade, linewidth=0)
        for x, y in zip(logits, mass * torch.tensor([[1.0], [-1.0]])):
            axes.plot(x, y, color=color, linewidth=1.5)
        own = dict(textcoords="offset points", ha="right")
        axes.annotate(f"positives {mass[0].sum():.1%}", (12, 0), (0, 4), va="bottom", **own)
        axes.annotate(f"negatives {mass[1].sum():.1%}", (12, 0), (0, -4), va="top", **own)
        axes.set_title(name, loc="left", fontsize=10, color=color)
        axes.set(yticks=[], xlim=(-12, 12), ylim=(-max(low * 1.05, room), max(high * 1.05, room)))
        axes.axhline(0, color=plots.INK, linewidth=0.5)
    for axes in (above, *bands):
        axes.axvline(0, color=plots.INK, linestyle=":", linewidth=1)
        axes.spines[["left", "bottom"]].set_visible(axes is bands[-1])
        axes.spines["left"].set_visible(False)
        axes.grid(False)
        axes.tick_params(length=3 if axes is bands[-1] else 0)
    bands[-1].set_xlabel("logit")
    bands[-1].set_xticks(range(-12, 13, 4))


def draw_detector(figure, score=0.5):
    scenes, data = np.split(pixels(), SCENES, axis=1), detections()
    for row, name in zip(figure.subplots(2, SCENES), DETECTORS):
        for axes, image, truth, found in zip(row, scenes, data["truth"], data["found"][name][0]):
            axes.imshow(image, extent=(0, SIDE, SIDE, 0))
            axes.set_axis_off()
            plots.draw_boxes(axes, torch.tensor([box[:4] for box in truth]), "white", "--", 0.8)
            for number, (*box, chance, label, hit) in enumerate(row for row in found if row[4] >= score):
                wider = torch.tensor([box]) + (1 + 2 * number) * torch.tensor([-1, -1, 1, 1])
                plots.draw_boxes(axes, wider, *(("#4cc9f0", "-", 1.5) if hit else ("#ff70a6", ":", 2)))
                (x1, y1, x2, y2), ground = wider[0].tolist(), dict(facecolor="black", alpha=0.6, lw=0, pad=1)
                x, side = (x2, "right") if x1 + x2 > SIDE else (x1, "left")
                high, low = y1 < 10, y2 > SIDE - 10  # no room above, or below: else by turns
                line = 7 * (number if high or low else number // 2)
                above = low or (not high and number % 2 == 0)
                y, place = (y1 - 2 - line, "bottom") if above else (y2 + 2 + line, "top")
                text = f"{data['classes'][label]} {chance:.2f}"
                axes.text(x, y, text, color="white", fontsize=7, ha=side, va=place, bbox=ground)
        row[0].set_title(name, color=plots.COLORS[name], loc="left")


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
    """What the detector's explorer shows: the objects of the scenes, and for every run the rows with a 1 for a hit."""
    scenes = render(range(SCENES), TEST)
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
    """The scenes beside each other, (96, 384, 3) uint8, rounded to what an eye can tell."""
    values = (torch.cat(list(render(range(SCENES), TEST).images), dim=2).permute(1, 2, 0) * 255).numpy()
    return (np.round(values / STEP) * STEP).clip(0, 255).astype(np.uint8)


def png(image):
    content = BytesIO()
    Image.fromarray(image).save(content, "png", optimize=True)
    return content.getvalue()


def share_images(svg):
    """An SVG of matplotlib's with every image packed small and stored once, however often it is drawn."""
    images = {}

    def share(image):
        packed, place = re.search(r'base64,(.*?)".* (transform=".*?")', image[0], re.DOTALL).groups()
        if packed not in images:
            data = png(np.asarray(Image.open(BytesIO(base64.b64decode(packed))).convert("RGB")))
            images[packed] = (
                f'<image id="scene-{len(images)}" width="{SIDE}" height="{SIDE}" style="image-rendering: pixelated"'
                f' xlink:href="data:image/png;base64,{base64.b64encode(data).decode()}"/>'
            )
        return f'<use xlink:href="#scene-{list(images).index(packed)}" {place}/>'

    drawn = re.sub(r"<image .*?/>", share, svg, flags=re.DOTALL)
    return drawn.replace("<defs>", "\n  ".join(["<defs>", *images.values()]), 1)


def store(folder=FOLDER):
    """Draw every picture into ``folder``. An image within may be packed into other bytes on another machine."""
    plots.use_style()
    for name, size in PICTURES.items():
        figure = plt.figure(figsize=size)
        globals()[f"draw_{name}"](figure)
        for axes in figure.axes:
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_minor_locator(NullLocator())
        drawn = StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
        plt.close(figure)
        Path(folder, f"{name}.svg").write_text(share_images(drawn.getvalue()), "utf-8", newline="\n")
    Path(folder, "detector.png").write_bytes(png(pixels()))
    text = json.dumps(detections(), separators=(",", ":"))
    head = "// Made by tools/explorers.py from the verdict's records: x1, y1, x2, y2, score, class, and 1 for a hit."
    Path(folder, "detector-data.js").write_text(f"{head}\nconst DETECTIONS = {text};\n", "utf-8")


if __name__ == "__main__":
    store()
