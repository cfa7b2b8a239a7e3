"""The style of the figures, and scenes with boxes. Needs matplotlib."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from focalbook.retinanet import Detections

if TYPE_CHECKING:
    from IPython import get_ipython  # which IPython makes a builtin

COLORS = {"cross-entropy": "#b4530f", "balanced cross-entropy": "#7c57cf", "focal loss": "#0b7a77"}
"""One color a loss, in every figure, told apart with color blindness; readable on white, and inverted in the dark."""

INK = "#5a6472"
"""Axes and text: a gray that is readable on white, and in the dark inverted."""

BOX_COLORS = ("#ffd23f", "#4cc9f0", "#ff70a6")
"""One color a class for boxes drawn over a scene."""


def use_style() -> None:
    """Set the book's figure style; in a notebook, also ask for SVG with stable bytes. Call it once, at the top."""
    plt.rcParams.update(
        {
            "figure.figsize": (7, 3.6),
            "figure.constrained_layout.use": True,
            "figure.constrained_layout.wspace": 0.06,  # or the ticks of two panels read as one number
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "axes.titlecolor": INK,
            "axes.titlesize": 11,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": plt.cycler(color=list(COLORS.values()) + [INK]),
            "axes.grid": True,
            "grid.color": INK,
            "grid.alpha": 0.2,
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "legend.frameon": False,
            "legend.labelcolor": INK,
            "lines.linewidth": 2,
            "font.size": 10,
            "image.interpolation": "none",
            "savefig.facecolor": "none",
            "svg.fonttype": "path",
            "svg.hashsalt": "focalbook",
        }
    )
    try:
        get_ipython()
    except NameError:
        return
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    set_matplotlib_formats("svg", metadata={"Date": None})


def steady(values: ArrayLike, digits: int = 3) -> NDArray[np.float64]:
    """``values`` rounded to so many significant digits, float64 of the same shape: for drawing what a training gave.

    A figure's bytes are compared, and the last bits of a trained number differ between machines. Three digits are finer
    than a line is wide.
    """
    values = np.asarray(values, dtype=np.float64)
    return np.array([float(f"{value:.{digits}g}") for value in values.flat]).reshape(values.shape)


def show_scene(
    axes: Axes,
    image: torch.Tensor,
    boxes: torch.Tensor | tuple[()] = (),
    labels: torch.Tensor | None = None,
    texts: Sequence[str] | None = None,
    style: str = "-",
) -> None:
    """Draw one scene and boxes on it.

    ``image`` (3, H, W) in [0, 1]. ``boxes`` (N, 4) in pixels. ``labels`` (N,): class indices, coloring the boxes; an
    entry of -1 is padding and is left out. ``texts``: N short strings, written beside the boxes. ``style``: the line.
    """
    axes.imshow(image.float().permute(1, 2, 0).cpu().numpy(), extent=(0, image.shape[2], image.shape[1], 0))
    axes.set_axis_off()
    if len(boxes):
        _draw_boxes(
            axes, torch.as_tensor(boxes).tolist(), [0] * len(boxes) if labels is None else labels.tolist(), texts, style
        )


TEXT = 8  # points, of what is written beside a box
# Points above a picture into which such a text may reach. Without them the texts of two boxes near its top swap places.
ROOM = 4


def _draw_boxes(
    axes: Axes,
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int],
    texts: Sequence[str] | None = None,
    style: str = "-",
) -> None:
    taken: list[tuple[float, float]] = []
    for number, (box, label) in enumerate(zip(boxes, labels)):
        if label < 0:
            continue
        x1, y1, x2, y2 = (round(value, 2) for value in box)  # as in ``steady``: no last bits in the figure's bytes
        color = BOX_COLORS[label % len(BOX_COLORS)]
        axes.add_patch(plt.Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=color, lw=1.5, ls=style))
        if texts is not None:
            taken.append(_place_of_text(axes, (x1, y1, x2, y2), texts[number], taken))
            ground = {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 1}
            axes.text(*taken[-1], texts[number], color=color, fontsize=TEXT, va="top", bbox=ground)


def _place_of_text(
    axes: Axes, box: tuple[float, float, float, float], text: str, taken: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    """Where the upper left corner of a box's text goes: above the box, below, or in it at the top, where no text stands
    yet; if one stands in each of these places, in the box at the bottom."""
    axes.apply_aspect()  # or the axes are as wide as the figure lets them be, not as the picture is
    x1, y1, x2, y2 = box
    right, bottom = axes.get_xlim()[1], axes.get_ylim()[0]
    point = right / (axes.bbox.width * 72 / axes.figure.dpi)  # in pixels of the picture
    width, height = (0.65 * len(text) * TEXT + 2) * point, (TEXT + 4) * point
    x = max(0.0, min(x1, right - width))
    for y in (y1 - height, y2 + 2 * point, y1 + 2 * point, y2 - height):
        inside = -ROOM * point <= y <= bottom - height
        if inside and all(abs(x - left) >= width or abs(y - top) >= height for left, top in taken):
            break
    return round(x, 2), round(y, 2)


def draw_boxes(axes: Axes, boxes: torch.Tensor, color: str = INK, style: str = "-", width: float = 1.5) -> None:
    """Draw the outlines of ``boxes`` (N, 4), in pixels, all in one color and one line ``style`` of this ``width``."""
    for x1, y1, x2, y2 in boxes.tolist():
        axes.add_patch(plt.Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=color, lw=width, ls=style))


def show_tiles(axes: Axes, labels: torch.Tensor) -> None:
    """Draw every anchor of one pyramid level as a tile, three by three at each place, and rule the places (chapter 1).

    ``labels``: int64 from ``matching.match``, those of a square level with nine anchors a place. Foreground is pink, an
    ignored anchor dark gray, background pale.
    """
    side = round((len(labels) / 9) ** 0.5)
    tiles = labels.view(side, side, 3, 3).transpose(1, 2).reshape(3 * side, 3 * side)
    shades = to_rgba_array([(BOX_COLORS[2], 1), (INK, 0.8), (INK, 0.13)])  # read at 0, -2 and -1
    axes.imshow(shades[tiles.clamp(max=0)])
    ticks = np.arange(-0.5, 3 * side, 3)
    axes.set(xticks=ticks, yticks=ticks, xticklabels=[], yticklabels=[])
    axes.tick_params(length=0)


def show_retinanet(
    axes: Axes,
    image: Sequence[int],
    stem: Sequence[int],
    stages: Sequence[Sequence[int]],
    levels: Sequence[Sequence[int]],
    heads: Sequence[str],
) -> None:
    """Draw a RetinaNet's parts as boxes, joined by arrows: backbone, pyramid and subnets from left to right.

    ``image``, ``stem``: shapes (channels, rows, columns). ``stages``, ``levels``: one such shape a pyramid level, fine
    to coarse. ``heads``: texts, one a subnet; every subnet reads all levels.
    """
    top = len(levels) - 1
    axes.set(xlim=(-0.1, 8.6), ylim=(-2.4, top + 0.75))
    axes.set_axis_off()

    def box(x: float, y: float, text: str, width: float = 2.1, height: float = 0.6) -> None:
        axes.add_patch(plt.Rectangle((x, y - height / 2), width, height, fc=INK + "20", ec=INK, lw=1.2))
        axes.text(x + width / 2, y, text, ha="center", va="center", fontsize=8.5)

    def arrow(start: tuple[float, float], end: tuple[float, float], style: str = "-|>") -> None:
        axes.annotate("", end, start, arrowprops=dict(arrowstyle=style, color=INK, lw=1, shrinkA=0, shrinkB=0))

    def sized(name: str, shape: Sequence[int]) -> str:
        return f"{name}\n" + " × ".join(map(str, shape))

    for x, text in ((1.05, "backbone"), (4.05, "feature pyramid"), (7.25, "shared subnets")):
        axes.text(x, top + 0.45, text, ha="center", va="bottom", fontweight="bold")
    box(0, -2, sized("image", image))
    box(0, -1, sized("stem", stem))
    for lower in range(-2, top):
        arrow((1.05, lower + 0.3), (1.05, lower + 0.7))
    for level, (stage, pyramid) in enumerate(zip(stages, levels)):
        box(0, level, sized(f"stage {level + 1}", stage))
        box(3, level, sized(f"level {level + 1}", pyramid))
        arrow((2.1, level), (3, level))
        arrow((5.1, level), (5.5, level), "-")
        if level:
            arrow((4.05, level - 0.3), (4.05, level - 0.7))
    arrow((5.5, 0), (5.5, top), "-")
    for number, text in enumerate(heads):
        y = top - (number + 0.5) * top / len(heads)
        arrow((5.5, y), (6, y))
        box(6, y, text, width=2.5, height=0.8)


def show_truth_and_detections(
    axes: Axes,
    image: torch.Tensor,
    boxes: torch.Tensor,
    labels: torch.Tensor,
    detections: Detections,
    score: float = 0.3,
) -> None:
    """Draw one scene, its ground truth dashed in white, and the ``Detections`` above ``score`` with their scores."""
    show_scene(axes, image)
    kept = detections.scores > score
    scores = [f"{value:.2f}" for value in detections.scores[kept].tolist()]
    _draw_boxes(axes, detections.boxes[kept].tolist(), detections.labels[kept].tolist(), scores)
    draw_boxes(axes, boxes[labels >= 0], "white", "--", width=1)


def show_difference(
    axes: Axes, row: float, values: Sequence[float] | np.ndarray, interval: tuple[float, float], color: str
) -> None:
    """Draw differences as points on a ``row``, their mean with an ``interval`` (low, high), and the line at zero."""
    axes.axvline(0, color=INK, linewidth=1)
    axes.plot(values, [row] * len(values), "o", color=color, alpha=0.45, markersize=5)
    axes.hlines(row + 0.2, *interval, color=color, linewidth=3)
    axes.plot(sum(values) / len(values), row + 0.2, "D", color=color, markersize=7)


def show_runs(
    axes: Axes, place: float, values: Sequence[float] | np.ndarray, interval: tuple[float, float], color: str
) -> None:
    """Draw runs as points above a ``place`` on the horizontal axis, their mean with an ``interval`` (low, high)."""
    axes.plot([place] * len(values), values, "o", color=color, alpha=0.35, markersize=4)
    axes.vlines(place, *interval, color=color, linewidth=3)
    axes.plot(place, sum(values) / len(values), "D", color=color, markersize=6)


def show_speed(figure: Figure, rows: Sequence[dict[str, Any]]) -> None:
    """Draw how many times faster than torchvision's formula each variant is, against the number of logits.

    ``rows``: those of ``tools.bench``, one panel for each device and way of handing out memory (chapter 18).
    """
    ours, theirs = COLORS["focal loss"], COLORS["cross-entropy"]
    styles = {
        "limit": (INK, ":", ""),
        "compiled focalbook": (ours, "--", "D"),
        "focalbook": (ours, "-", "o"),
        "BCE with logits": (INK, "-", "^"),
        "compiled torchvision's formula": (theirs, "--", "s"),
        "torchvision's formula": (theirs, "-", ""),
        "stable rewrite": (INK, "--", "v"),
    }
    groups = list(dict.fromkeys((row["device"], row["pages"]) for row in rows))
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for panel, group in zip(panels, groups):
        for variant, (color, line, marker) in styles.items():
            mine = [row for row in rows if (row["device"], row["pages"], row["variant"]) == (*group, variant)]
            if not mine:
                continue
            logits, times = [row["logits"] for row in mine], [row["times"] for row in mine]
            low, middle, high = zip(*times)
            panel.plot(logits, middle, color=color, linestyle=line, marker=marker, markersize=5, label=variant)
            panel.fill_between(logits, low, high, color=color, alpha=0.15, lw=0)
        panel.set(xscale="log", yscale="log", xlabel="logits", title=f"{group[0].upper()}, pages {group[1]}")
        panel.xaxis.set_minor_locator(NullLocator())
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_minor_locator(NullLocator())
        panel.yaxis.set_major_formatter("{x:g}")
    panels[0].set_ylabel("times faster, forward and backward")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
