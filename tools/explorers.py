"""Draw the pictures that stand in an explorer's place where no script runs: its first state, by the module itself.
And gather what explorers show that no script computes: four scenes, and what two detectors recorded on them; how many
anchors answer for an object.

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
from focalbook.anchors import AnchorSettings, make_anchors, places_per_level
from focalbook.boxes import iou
from focalbook.imbalance import foreground_per_level, loss_and_gradient
from focalbook.losses import focal_loss
from focalbook.matching import IGNORED, match
from focalbook.scenes import TEST, SceneSettings, render
from focalbook.training import LOSSES
from tasks import ROOT

FOLDER = ROOT / "book" / "_static" / "explorers"
PICTURES = {  # inches; draw_NAME draws
    "tiles": (7, 3.6),
    "guess": (7, 3.6),
    "alpha": (7, 3.6),
    "losses": (7, 3.6),
    "crowd": (7, 3.6),
    "optimizer": (7, 5),
    "anchors": (5, 5),
    "precision": (7, 5.6),
    "detector": (8, 4.6),
}
DETECTORS = ("cross-entropy", "focal loss")
SCENES, SIDE = 4, 96
OBJECT = plots.COLORS["cross-entropy"]  # in drawings without a loss
EXAMPLE = (  # of chapter 10: the objects of two images, and the detections with their scores
    [[[10.0, 10, 30, 30], [50, 50, 80, 80]], [[20.0, 20, 40, 40], [60, 10, 80, 30]]],
    [
        [[11.0, 10, 31, 30, 0.95], [10, 16, 30, 34, 0.80], [60, 5, 75, 20, 0.70]],
        [[21.0, 21, 41, 41, 0.90], [66, 10, 86, 30, 0.60]],
    ],
)
STEP = 16  # of a scene's pixels, as they are shown: finer ones are noise, and most of the bytes


def draw_tiles(figure, side=96, objects=1):
    image, tiles = figure.subplots(1, 2)
    count, half, found = len(make_anchors(side)), side / 2, counted()
    image.add_patch(plt.Rectangle((256 - half, 256 - half), side, side, fc=plots.INK + "20", ec=plots.INK))
    image.add_patch(plt.Rectangle((256 - half + 0.42 * (side - 15),) * 2, 15, 15, fc=OBJECT))
    image.set_title(f"{objects} object in {side} × {side} pixels", loc="left", fontsize=10)
    size = 512 / np.sqrt(count)
    for line in np.arange(0, 512, size):
        tiles.add_patch(plt.Rectangle((line, 0), 0.8 * size, 512, fc=plots.INK + "60", lw=0))
        tiles.axhline(line, color="white", linewidth=0.5)
    lit = size * np.sqrt(sum(found["foreground"]))
    tiles.add_patch(plt.Rectangle((0.42 * (512 - lit),) * 2, lit, lit, fc=OBJECT, zorder=3))
    tiles.set_title(f"one tile for each of {count:,} anchors", loc="left", fontsize=10)
    for axes in (image, tiles):
        axes.set(xlim=(0, 512), ylim=(512, 0), aspect="equal")
        axes.set_axis_off()


def draw_guess(figure, p=10**-1.3, n=449):
    axes = figure.subplots()
    grid = np.geomspace(1e-4, 10**-0.1, 196)
    positive, negatives = focal_loss(grid, 1, None, 0), n * focal_loss(grid, 0, None, 0)
    best = 1 / (n + 1)

    def total(p):
        return focal_loss(p, 1, None, 0) + n * focal_loss(p, 0, None, 0)

    most = 5 * np.ceil(4 * total(best) / 5)
    axes.plot(grid, positive, color=plots.INK, linewidth=1.5)
    axes.plot(grid, negatives, "--", color=plots.INK, linewidth=1.5)
    axes.plot(grid, total(grid), color=plots.INK, linewidth=3)
    axes.plot([best, best], [0, total(best)], color=plots.INK, linewidth=1)
    axes.axvline(p, color=plots.INK, linestyle=":", linewidth=1)
    axes.plot(p, total(p), "o", color=plots.INK, markersize=8)
    axes.text(best, total(best) + 1.5, f"lowest at 1/{n + 1}", ha="center")
    axes.text(0.7, 3.2, "the positive", ha="right")
    axes.text(1.1e-4, 0.7, "the negatives")
    axes.set(xscale="log", xlim=(1e-4, 10**-0.1), ylim=(0, most))
    axes.set(xlabel="p, the same for every anchor", ylabel="loss of the image (nats)")


def draw_alpha(figure, alpha=0.75, hard=0.05, easy=0.95):
    axes = figure.subplots()
    p_t = np.linspace(0.01, 0.99, 197)
    kinds = (
        ("cross-entropy", None, 1, "-", "cross-entropy"),
        ("balanced cross-entropy", alpha, 1, "-", "foreground, α"),
        ("balanced cross-entropy", alpha, 0, "--", "background, 1 − α"),
    )
    for above, (name, weight, y, style, text) in zip((1.5, 1, 1), kinds):
        color = plots.COLORS[name]

        def loss(p, y=y, weight=weight):
            return focal_loss(p if y else 1 - p, y, weight, 0)

        axes.plot(p_t, loss(p_t), style, color=color)
        axes.plot([hard, easy], loss(np.array([hard, easy])), "o", color=color, markersize=7)
        axes.text(1.01, loss(0.99) * above, text, color=color, va="center")
    for p in (hard, easy):
        axes.axvline(p, color=plots.INK, linestyle=":", linewidth=1)
    axes.set(yscale="log", xlim=(0, 1), ylim=(1e-4, 10))
    axes.set(xlabel="hard  ←  probability of the true class  →  easy", ylabel="loss (nats)")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])


def draw_anchors(figure, box=(39.5, 41.5, 56.5, 54.5)):
    axes = figure.subplots()
    truth, anchors = torch.tensor([[box]], dtype=torch.float64), make_anchors(SIDE)
    labels = match(anchors, truth, torch.zeros(1, 1, dtype=torch.int64)).labels[0]
    overlap = iou(truth[0], anchors)[0]
    plots.draw_boxes(axes, anchors[labels == IGNORED], plots.INK, ":", 0.6)
    plots.draw_boxes(axes, anchors[labels >= 0], plots.COLORS["focal loss"], "-", 0.8)
    plots.draw_boxes(axes, anchors[overlap >= overlap.max() * (1 - 1e-6)], plots.COLORS["focal loss"], "-", 2.5)
    axes.add_patch(plt.Rectangle(box[:2], box[2] - box[0], box[3] - box[1], fc=OBJECT + "40", ec=OBJECT, lw=2))
    axes.add_patch(plt.Rectangle((0, 0), SIDE, SIDE, fc="none", ec=plots.INK))
    axes.set(xlim=(-1, SIDE + 1), ylim=(SIDE + 1, -1), aspect="equal")
    axes.set_axis_off()


def draw_precision(figure, threshold=0.5):
    above, below = figure.subfigures(2, height_ratios=(1.1, 1))
    (truth, found), color = EXAMPLE, plots.COLORS["focal loss"]
    rows = []
    for axes, objects, boxes in zip(above.subplots(1, 2), truth, found):
        axes.add_patch(plt.Rectangle((0, 0), SIDE, SIDE, fc=plots.INK + "20"))
        plots.draw_boxes(axes, torch.tensor(objects), plots.INK, "--", 0.8)
        scored = [[*box, 0] for box in boxes]
        for (*box, score), hit in zip(boxes, hits(scored, [[*box, 0] for box in objects], threshold)):
            plots.draw_boxes(axes, torch.tensor([box]), *((color, "-", 1.5) if hit else (OBJECT, ":", 2)))
            low = score == 0.8 or box[1] < 10  # the second box on one object, or no room above
            y, side = (box[3] + 2, "top") if low else (box[1] - 2, "bottom")
            axes.text(box[0], y, f"{score:.2f}", fontsize=8, va=side)
            rows.append((score, hit))
        axes.set(xlim=(0, SIDE), ylim=(SIDE, 0), aspect="equal")
        axes.set_axis_off()
    right = np.cumsum([hit for _, hit in sorted(rows, reverse=True)])
    precision, recall = right / np.arange(1, len(rows) + 1), right / sum(map(len, truth))
    grid, axes = np.arange(101) / 100, below.subplots()
    heights = [max(precision[recall >= point], default=0) for point in grid]
    axes.step(grid, heights, where="pre", color=color)
    axes.fill_between(grid, heights, step="pre", color=color, alpha=0.3, lw=0)
    axes.plot(recall, precision, "o:", color=color, lw=1, markersize=6)
    for rank, place in enumerate(zip(recall, precision), start=1):
        axes.annotate(str(rank), place, xytext=(6, 5), textcoords="offset points")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.12))


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


def counted(scenes=64):
    """What the tiles' explorer shows of the anchors, by level: foreground and ignored ones an object, on average."""
    settings = AnchorSettings()
    _, boxes, labels = render(range(scenes))
    levels = [places * settings.per_place for places in places_per_level(SIDE)]
    found = foreground_per_level(match(make_anchors(SIDE), boxes, labels).labels, levels).T.tolist()
    foreground, _, ignored = ([count / scenes for count in level] for level in found)
    return dict(strides=settings.strides, foreground=foreground, ignored=ignored)


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
    for name, (constant, gather, source) in DATA.items():
        text = json.dumps(gather(), separators=(",", ":"))
        head = f"// Made by tools/explorers.py from {source}"
        Path(folder, f"{name}-data.js").write_text(f"{head}\nconst {constant} = {text};\n", "utf-8")


DATA = {  # by explorer: the name of the constant, what it holds, and what that is
    "tiles": ("COUNTED", counted, "64 scenes of one object: anchors of each level, an object, on average."),
    "detector": (
        "DETECTIONS",
        detections,
        "the verdict's records: x1, y1, x2, y2, score, class, and 1 for a hit.",
    ),
}


if __name__ == "__main__":
    store()
