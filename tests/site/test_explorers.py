"""The explorers: in a real browser they read out what focalbook computes, and without scripts they are pictures."""

import gzip
import json
import re
from math import ceil

import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib")
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from contrast import contrast

from focalbook import experiments, plots
from focalbook.anchors import AnchorSettings, make_anchors, places_per_level
from focalbook.boxes import iou
from focalbook.evaluation import average_precision
from focalbook.imbalance import GROUPS, foreground_per_level, group_of, loss_and_gradient, shares
from focalbook.losses import balanced_cross_entropy, cross_entropy, focal_loss
from focalbook.matching import match
from focalbook.retinanet import Detections
from focalbook.scenes import TEST, Scenes, render
from focalbook.training import LOSSES
from tools import explorers
from tools.contents import ROOT
from tools.faults.pictures import drawing, pixels

SCRIPTS, DATA = ("loss", "explorer"), tuple(explorers.DATA)
FOLDER = ROOT / "book" / "_static" / "explorers"
NAMES = tuple(explorers.PICTURES)
SLIDERS = {
    "tiles": ["Side of the image, in pixels", "Objects"],
    "guess": ["p of every anchor", "Negatives to one positive"],
    "alpha": ["Class weight α", "pt of a hard example", "pt of an easy example"],
    "anchors": ["Center, from the left", "Center, from the top", "Width", "Height"],
    "precision": ["Score of at least"],
    "losses": ["Focusing γ", "Class weight α", "Probability pt"],
    "crowd": ["Negatives", "p of a negative", "p of the positive"],
    "optimizer": [
        "Background logits, mean",
        "Foreground logits, mean",
        "Spread of both",
        "Negatives to a positive",
    ],
    "detector": ["Score of at least", "Run"],
}
PAGES = {
    "tiles": "01-imbalance",
    "guess": "02-cross-entropy",
    "alpha": "03-balanced-cross-entropy",
    "anchors": "07-anchors",
    "precision": "10-average-precision",
    "losses": "04-focal-loss",
    "crowd": "04-focal-loss",
    "optimizer": "05-gradient",
    "detector": "11-verdict",
}
PLACES = list(PAGES.items())
PHONES, SCREENS = (320, 390), (600, 1280)
SAME = [(name, PAGES[name]) for name in ("losses", "detector")]  # for what the shared script does, alike for all


START = """async (form) => {
    form.reset();
    await new Promise((done) => setTimeout(done));
    form.dispatchEvent(new Event("input")); // drawn anew for the width that the page has by now
}"""


@pytest.fixture
def opened(visit, site):
    """Visits a page of the book, opened from its file."""
    return lambda page, **options: visit((site / "book" / f"{page}.html").as_uri(), **options)


@pytest.fixture
def explorer(visit, opened):
    """An explorer in its first state, on a page that is opened once for all tests."""

    def first(name, page=None, width=1280, **media):
        page, size = page or PAGES[name], dict(width=width, height=844)
        shown = visit.tab(page, has_touch=True)
        if shown.url == "about:blank":
            opened(page, name=page, has_touch=True, viewport=size)
            shown.add_style_tag(content="* { transition: none !important }")
        shown.set_viewport_size(size)
        shown.emulate_media(**{"media": "screen", "color_scheme": "light", **media})
        shown.locator(f"figure.explorer-{name} form").evaluate(START)
        return shown.locator(f"figure.explorer-{name}")

    return first


def drive(figure, label, steps):
    """Move a slider by the keyboard to the place so many steps above its lower end, from the nearer end. Returns its
    value."""
    slider = figure.get_by_role("slider", name=label, exact=True)
    low, high, step = (float(slider.get_attribute(name)) for name in ("min", "max", "step"))
    above = round((high - low) / step) - steps
    slider.press("Home" if steps < above else "End")
    for _ in range(min(steps, above)):
        figure.page.keyboard.press("ArrowRight" if steps < above else "ArrowLeft")
    return float(slider.input_value())


def read(figure):
    """All read-outs of an explorer, by row and column."""
    cells = figure.locator("[data-read]").evaluate_all(
        "cells => cells.map(cell => [cell.dataset.read, cell.dataset.value, cell.textContent])"
    )
    assert cells and all(text for _, _, text in cells)
    return {key: float(value) for key, value, _ in cells}


def test_there_is_a_script_and_a_picture_for_every_explorer():
    assert {path.stem for path in FOLDER.glob("*.svg")} == set(NAMES) == set(SLIDERS)
    assert {path.stem for path in FOLDER.glob("*.js")} == {*SCRIPTS, *(f"{name}-data" for name in DATA), *NAMES}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A folder into which all is stored anew."""
    folder = tmp_path_factory.mktemp("stored")
    with plt.rc_context():
        explorers.store(folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_up_to_date(name, stored):
    made, found = ((folder / f"{name}.svg").read_text("utf-8") for folder in (stored, FOLDER))
    (words, numbers), (drawn, drawn_numbers) = drawing(made), drawing(found)
    assert words == drawn, "python -m tools.explorers draws them again"
    np.testing.assert_allclose(numbers, drawn_numbers, atol=1e-3, rtol=0)
    np.testing.assert_array_equal(pixels(made), pixels(found))


def test_the_detectors_picture_shows_every_scene_once_for_each_detector_and_is_small():
    text = (FOLDER / "detector.svg").read_text("utf-8")
    scenes = np.split(plt.imread(FOLDER / "detector.png"), 4, axis=1)
    np.testing.assert_array_equal(pixels(text), scenes)
    assert re.findall(r'<use xlink:href="#scene-(\d)"', text) == [*"0123"] * len(explorers.DETECTORS)
    exact = np.split((torch.cat([*render(range(4), TEST).images], dim=2).permute(1, 2, 0)).numpy(), 4, axis=1)
    np.testing.assert_allclose(scenes, exact, atol=0.5 * explorers.STEP / 255 + 1e-6)
    assert len(gzip.compress(text.encode())) < 90_000


@pytest.mark.parametrize("name", DATA)
def test_data_are_up_to_date(stored, name):
    made, found = ((folder / f"{name}-data.js").read_text("utf-8") for folder in (stored, FOLDER))
    assert made == found, "python -m tools.explorers gathers them again"


def test_the_detectors_scenes_are_up_to_date(stored):
    np.testing.assert_array_equal(plt.imread(stored / "detector.png"), plt.imread(FOLDER / "detector.png"))


@pytest.mark.parametrize("name", NAMES)
def test_the_scripts_of_one_explorer_are_under_10_kb_compressed_and_each_file_under_10_kb_as_it_is(name):
    """What one explorer loads, the shared scripts, its own, and its data if it has any, together and compressed as a
    server sends it (gzip), is under 10 kB. Uncompressed, every file by itself is."""
    paths = [*(FOLDER / f"{shared}.js" for shared in SCRIPTS), FOLDER / f"{name}.js", *FOLDER.glob(f"{name}-data.js")]
    assert len(paths) == (4 if name in DATA else 3)
    contents = [path.read_bytes() for path in paths]
    assert max(map(len, contents)) < 10_000
    assert sum(len(gzip.compress(content)) for content in contents) < 10_000


def test_scripts_load_nothing():
    for path in FOLDER.glob("*.js"):
        text = path.read_text("utf-8")
        found = [word for word in ("import ", "import(", "fetch", "XMLHttp", "eval(", "innerHTML") if word in text]
        assert found == [], path.name


def test_colors_are_those_of_the_figures():
    text = (ROOT / "book" / "_static" / "book.css").read_text("utf-8")
    for name, color in plots.COLORS.items():
        assert f"--{name.replace(' ', '-')}: {color};" in text


def test_nothing_moves_by_itself():
    texts = [path.read_text("utf-8") for path in FOLDER.iterdir() if path.suffix in (".css", ".js")]
    assert not any(word in text for text in texts for word in ("transition", "animat", "setInterval", "requestAnim"))


@pytest.mark.parametrize("page", sorted(set(PAGES.values())))
def test_a_page_loads_the_scripts_of_its_explorers(site, page):
    text = (site / "book" / f"{page}.html").read_text("utf-8")
    scripts = re.findall(r'<script defer="defer" src="../_static/explorers/([\w-]+)\.js', text)
    own = [name for name, place in PLACES if place == page]
    assert scripts == [*SCRIPTS, *(f"{name}-data" for name in own if name in DATA), *own]
    assert "explorers/explorer.css" in text
    for name in own:
        assert re.search(rf'<figure class="explorer explorer-{name} .*?<figcaption>.*?Fig\. \d', text, re.DOTALL)


def test_only_pages_with_an_explorer_load_its_scripts(site):
    found = {path.stem for path in (site / "book").glob("*.html") if "_static/explorers/" in path.read_text("utf-8")}
    assert found == set(PAGES.values())


def test_the_losses_are_those_of_the_module(explorer):
    found = explorer("losses").page.evaluate("LOSSES")
    assert {loss["name"]: dict(alpha=loss["alpha"], gamma=loss["gamma"]) for loss in found} == LOSSES


def test_the_formula_holds_for_every_logit(explorer):
    x = np.concatenate([np.linspace(-60, 60, 241), [-745.0, 745.0, -1e4, 1e4]])
    page = explorer("losses").page
    for alpha, gamma in ((-1, 0.0), (0.75, 0.0), (0.25, 2.0), (0.5, 0.5), (0.0, 5.0)):
        for y in (0, 1):
            found = page.evaluate("([x, ...rest]) => x.map((x) => focal(x, ...rest))", [x.tolist(), y, alpha, gamma])
            logits = torch.from_numpy(x)
            loss, gradient = loss_and_gradient(logits, torch.full_like(logits, y), alpha, gamma)
            np.testing.assert_allclose([row["loss"] for row in found], loss, rtol=1e-12, atol=1e-300)
            np.testing.assert_allclose([row["gradient"] for row in found], gradient, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("side, objects", [(2, 0), (0, 0), (28, 19), (9, 4)])
def test_tiles_reads_out_what_focalbook_counts(explorer, side, objects):
    figure = explorer("tiles")
    side, objects = (drive(figure, *pair) for pair in zip(SLIDERS["tiles"], (side, objects)))
    found, settings, scenes = read(figure), AnchorSettings(), render(range(64))
    labels = match(make_anchors(96), scenes.boxes, scenes.labels).labels
    measured = foreground_per_level(labels, [places * 9 for places in places_per_level(96)]) / 64
    total, mean = len(make_anchors(int(side))), objects * measured.sum(0)
    assert found["all: anchors"] == total
    assert found["all: foreground"] == pytest.approx(mean[0].item())
    assert found["all: background to one"] == pytest.approx(((total - mean[0] - mean[2]) / mean[0]).item())
    for stride, places, (foreground, _, ignored) in zip(
        settings.strides, places_per_level(int(side)), measured.tolist()
    ):
        assert found[f"stride {stride}: anchors"] == 9 * places
        ratio = (9 * places - objects * (foreground + ignored)) / (objects * foreground) if foreground else np.inf
        assert found[f"stride {stride}: background to one"] == pytest.approx(ratio)


@pytest.mark.parametrize("p, n", [(135, 4), (0, 6), (190, 0), (20, 3)])
def test_guess_reads_out_what_focalbook_computes(explorer, p, n):
    figure = explorer("guess")
    p, n = (drive(figure, *pair) for pair in zip(SLIDERS["guess"], (p, n)))
    p, n, found = 10 ** (p / 50), (1, 9, 49, 99, 449, 999, 9999)[int(n)], read(figure)
    logits = torch.full((n + 1,), p, dtype=torch.float64).logit()
    values = loss_and_gradient(logits, torch.eye(n + 1, dtype=torch.float64)[0], -1, 0.0)
    for row, value in zip(("loss", "gradient"), values):
        assert found[f"{row}: the positive"] == pytest.approx(value[0].item(), rel=1e-6)
        assert found[f"{row}: the negatives"] == pytest.approx(value[1:].sum().item(), rel=1e-6)
        assert found[f"{row}: share of the positive"] == pytest.approx((value[0] / value.sum()).item(), rel=1e-6)


def test_guess_is_lowest_where_the_gradients_balance(explorer):
    figure = explorer("guess")
    p = 10 ** (drive(figure, "p of every anchor", 67) / 50)
    found = read(figure)
    assert p == pytest.approx(1 / 450, rel=0.03)
    assert found["gradient: share of the positive"] == pytest.approx(0.5, abs=0.01)
    assert found["loss: share of the positive"] == pytest.approx(0.86, abs=0.005)
    assert "lowest at 1/450" in figure.locator(".plot").text_content()


@pytest.mark.parametrize("alpha, hard, easy", [(74, 4, 44), (0, 0, 48), (98, 49, 0), (24, 9, 39)])
def test_alpha_reads_out_what_focalbook_computes(explorer, alpha, hard, easy):
    figure = explorer("alpha")
    alpha, *examples = (drive(figure, *pair) for pair in zip(SLIDERS["alpha"], (alpha, hard, easy)))
    found = read(figure)
    for column, y, weight in (("cross-entropy", 1, None), ("foreground", 1, alpha), ("background", 0, alpha)):
        losses = [balanced_cross_entropy(p if y else 1 - p, y, weight) for p in examples]
        for row, value in zip(("hard", "easy", "ratio"), (*losses, losses[0] / losses[1])):
            assert found[f"{row}: {column}"] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("x, y, w, h", [(0, 0, 0, 0), (13, 170, 116, 0), (30, 20, 26, 18), (170, 9, 9, 110)])
def test_anchors_reads_out_what_focalbook_matches(explorer, x, y, w, h):
    figure = explorer("anchors")
    x, y, w, h = (drive(figure, *pair) for pair in zip(SLIDERS["anchors"], (x, y, w, h)))
    found, anchors, settings = read(figure), make_anchors(96), AnchorSettings()
    box = torch.tensor([[[x - w / 2, y - h / 2, x + w / 2, y + h / 2]]], dtype=torch.float64)
    labels = match(anchors, box, torch.zeros(1, 1, dtype=torch.int64)).labels
    levels = [places * settings.per_place for places in places_per_level(96)]
    best = [level.max().item() for level in iou(box[0], anchors)[0].split(levels)]
    counts = foreground_per_level(labels, levels).tolist()
    for stride, top, (foreground, background, ignored) in zip(settings.strides, best, counts):
        assert found[f"stride {stride}: best IoU"] == pytest.approx(top, rel=1e-9)
        numbers = [found[f"stride {stride}: {kind}"] for kind in ("foreground", "background", "ignored")]
        assert numbers == [foreground, background, ignored]


@pytest.mark.parametrize("score, threshold", [(0, 0.5), (0, 0.75), (10, 0.5), (25, 0.5), (40, 0.75), (50, 0.5)])
def test_precision_reads_out_what_cocos_library_computes(explorer, score, threshold):
    pytest.importorskip("pycocotools")
    figure = explorer("precision")
    score = drive(figure, "Score of at least", score)
    figure.get_by_role("radio", name=str(threshold), exact=True).check()
    found, (truth, boxes) = read(figure), explorers.EXAMPLE
    scenes = Scenes(torch.zeros(2, 3, 96, 96), torch.tensor(truth).double(), torch.zeros(2, 2, dtype=torch.int64))
    kept = [torch.tensor([row for row in rows if row[4] >= score]).double().view(-1, 5) for rows in boxes]
    detections = [Detections(rows[:, :4], rows[:, 4], torch.zeros(len(rows), dtype=torch.int64)) for rows in kept]
    right = sum(
        sum(explorers.hits([[*row, 0] for row in rows.tolist()], [[*box, 0] for box in objects], threshold))
        for rows, objects in zip(kept, truth)
    )
    count = sum(map(len, kept))
    assert found["in the list: right"] == right and found["in the list: false"] == count - right
    assert found["in the list: precision"] == pytest.approx(right / count if count else np.nan, nan_ok=True)
    assert found["in the list: recall"] == right / 4
    expected = average_precision(detections, scenes, ["disc"])[f"AP{threshold * 100:.0f}"] if count else 0
    assert found["in the list: AP"] == pytest.approx(expected, abs=1e-9)


DRAGS = [  # what is dragged, the slider that follows, and how far to the right and down
    ("guess", ".dot", "p of every anchor", (-40, 0)),
    ("alpha", ".dot", "pt of a hard example", (40, 0)),
    ("losses", ".dot", "Probability pt", (-60, 0)),
    ("crowd", ".dot", "Negatives", (50, 0)),
    ("optimizer", ".bell.solid", "Foreground logits, mean", (60, 0)),
    ("anchors", ".object", "Center, from the top", (0, 40)),
    ("anchors", ".corner", "Width", (30, 30)),
    ("precision", ".dot", "Score of at least", (150, 40)),
]


@pytest.mark.parametrize("name, what, slider, way", DRAGS)
def test_what_can_be_dragged_sets_its_slider(explorer, name, what, slider, way):
    figure = explorer(name)
    control = figure.get_by_role("slider", name=slider, exact=True)
    before, said = float(control.input_value()), figure.locator(".says").text_content()
    point = figure.locator(f".plot {what}").first
    point.scroll_into_view_if_needed()
    box, mouse = point.bounding_box(), figure.page.mouse
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    mouse.move(x, y)
    mouse.down()
    mouse.move(x + way[0], y + way[1], steps=4)
    mouse.up()
    after = float(control.input_value())
    assert after != before and figure.locator(".says").text_content() != said
    mouse.move(x, y)  # it was let go
    assert float(control.input_value()) == after


@pytest.mark.parametrize("gamma, alpha, p", [(0, 20, 0), (5, 0, 49), (20, 5, 94), (13, 10, 30), (50, 15, 98)])
def test_losses_reads_out_what_focalbook_computes(explorer, gamma, alpha, p):
    figure = explorer("losses")
    gamma, alpha, p = (drive(figure, *pair) for pair in zip(SLIDERS["losses"], (gamma, alpha, p)))
    for side, (y, weight) in enumerate(((1, alpha), (0, alpha), (1, None))):
        figure.get_by_role("radio").nth(side).check()
        found = read(figure)
        true = p if y else 1 - p
        ce, fl = cross_entropy(true, y), focal_loss(true, y, weight, gamma)
        logit, label = torch.tensor([true], dtype=torch.float64).logit(), torch.tensor([y], dtype=torch.float64)
        ce_slope = loss_and_gradient(logit, label, -1, 0.0)[1].item()
        fl_slope = loss_and_gradient(logit, label, -1 if weight is None else weight, gamma)[1].item()
        for row, (one, other) in dict(loss=(ce, fl), gradient=(ce_slope, fl_slope)).items():
            assert found[f"{row}: cross-entropy"] == pytest.approx(one, rel=1e-6)
            assert found[f"{row}: focal loss"] == pytest.approx(other, rel=1e-6)
            assert found[f"{row}: CE / FL"] == (pytest.approx(one / other, rel=1e-6) if other else np.inf)


@pytest.mark.parametrize("n, easy, hard", [(0, 0, 0), (60, 4, 4), (100, 0, 48), (37, 48, 20), (80, 9, 0)])
def test_crowd_reads_out_what_focalbook_computes(explorer, n, easy, hard):
    figure = explorer("crowd")
    n, easy, hard = (drive(figure, *pair) for pair in zip(SLIDERS["crowd"], (n, easy, hard)))
    n, found = round(10 ** (n / 20)), read(figure)
    for name, setting in LOSSES.items():
        setting = {**setting, "alpha": None if setting["alpha"] == -1 else setting["alpha"]}
        positive, negative = focal_loss(hard, 1, **setting), focal_loss(easy, 0, **setting)
        total = positive + n * negative
        assert found[f"{name}: one positive"] == pytest.approx(positive / total, rel=1e-6, abs=1e-12)
        assert found[f"{name}: the crowd"] == pytest.approx(n * negative / total, rel=1e-6)
        assert found[f"{name}: outweighed by"] == pytest.approx(positive / negative, rel=1e-6)
        shown = figure.locator(f"[data-read='{name}: outweighed by']").text_content()
        assert int(shown.replace(",", "")) == ceil(positive / negative)


@pytest.mark.parametrize(
    "background, foreground, spread, n",
    [(30, 70, 13, 75), (0, 0, 0, 0), (120, 160, 28, 100), (34, 34, 4, 50), (80, 10, 20, 25)],
)
def test_optimizer_reads_out_what_focalbook_computes(explorer, background, foreground, spread, n):
    figure = explorer("optimizer")
    steps = zip(SLIDERS["optimizer"], (background, foreground, spread, n))
    background, foreground, spread, n = (drive(figure, *pair) for pair in steps)
    found, z = read(figure), (np.arange(1201) - 600) / 100
    logits = torch.from_numpy(np.stack([foreground + spread * z, background + spread * z]))
    labels = torch.tensor([[1], [0]]).expand_as(logits)
    counts = torch.tensor([[1.0], [round(10 ** (n / 25))]], dtype=torch.float64) * np.exp(-z * z / 2)
    for name, setting in LOSSES.items():
        pull = counts * loss_and_gradient(logits, labels, **setting)[1]
        for group, share in shares(pull, group_of(logits, labels)).items():
            assert found[f"{name}: {group}"] == pytest.approx(share, rel=1e-6, abs=1e-12)
    assert len(found) == len(LOSSES) * len(GROUPS)


@pytest.mark.parametrize("page", [page for name, page in PLACES if name == "detector"])
@pytest.mark.parametrize("score, run", [(0, 0), (20, 0), (45, 3), (62, 8), (70, 5)])
def test_detector_reads_out_what_the_records_hold(explorer, score, run, page):
    figure = explorer("detector", page)
    score, run = (drive(figure, *pair) for pair in zip(SLIDERS["detector"], (score, run)))
    scenes, found = render(range(4), TEST), read(figure)
    for name in explorers.DETECTORS:
        record = experiments.load_study("verdict")[name][int(run) - 1]
        rows = [[row for row in rows if row[4] > score - 1e-9] for rows in record["detections"]]
        hits = found[f"{name}: found"]
        shown = sum(map(len, rows))
        assert hits + found[f"{name}: false"] == shown
        assert found[f"{name}: precision"] == pytest.approx(hits / shown if shown else np.nan, nan_ok=True)
        assert found[f"{name}: recall"] == pytest.approx(hits / (scenes.labels >= 0).sum().item())
        drawn = figure.locator(".scenes p", has_text=name).evaluate(
            "p => { let n = 0; while ((p = p.nextElementSibling)?.tagName === 'svg')"
            " n += p.querySelectorAll('.hit, .false').length; return n }"
        )
        assert drawn == shown


@pytest.mark.parametrize("name", explorers.DETECTORS)
def test_a_hit_is_one_by_cocos_own_matching(name, capsys):
    coco, cocoeval = (pytest.importorskip(f"pycocotools.{part}") for part in ("coco", "cocoeval"))
    text = (FOLDER / "detector-data.js").read_text("utf-8")
    data = json.loads(text[text.index("{") : -2])

    def library(scenes):
        rows = [
            dict(image_id=image, category_id=label, bbox=[x1, y1, x2 - x1, y2 - y1], score=score, iscrowd=0)
            for image, found in enumerate(scenes)
            for x1, y1, x2, y2, score, label in found
        ]
        made = coco.COCO()
        made.dataset = dict(
            images=[dict(id=image) for image in range(4)],
            categories=[dict(id=label) for label in range(3)],
            annotations=[dict(row, id=id, area=row["bbox"][2] * row["bbox"][3]) for id, row in enumerate(rows, 1)],
        )
        made.createIndex()
        return made

    truth = library([[[*box, 1, label] for *box, label in rows] for rows in data["truth"]])
    for run in data["found"][name]:
        evaluation = cocoeval.COCOeval(truth, library([[row[:6] for row in rows] for rows in run]), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        matches = {
            number: int(match > 0)
            for found in evaluation.evalImgs
            if found
            for number, match in zip(found["dtIds"], found["dtMatches"][0])
        }
        assert [matches[number + 1] for number in range(len(matches))] == [row[6] for rows in run for row in rows]


@pytest.mark.parametrize("name, page", PLACES)
def test_every_control_has_its_name_and_the_result_is_said(explorer, name, page):
    figure = explorer(name, page)
    start = figure.locator(".says").text_content()
    for label in SLIDERS[name]:
        slider = figure.get_by_role("slider", name=label, exact=True)
        before, said = slider.get_attribute("aria-valuetext"), figure.locator(".says").text_content()
        slider.focus()
        figure.page.keyboard.press("PageUp")
        assert slider.get_attribute("aria-valuetext") != before
        assert figure.locator(".says").text_content() != said
    assert figure.get_by_role("slider").count() == len(SLIDERS[name])
    assert figure.locator("output.says").get_attribute("aria-live") == "polite"
    alt = figure.locator("> img").get_attribute("alt")
    assert len(alt) > 50 and figure.get_by_role("img", name=alt, exact=True).count() == 1
    figure.get_by_role("button", name="Back to the start").press("Enter")
    figure.locator(".says", has_text=start).wait_for()


def is_live(figure):
    """Whether the form stands in the picture's place. If not, the loaded picture itself stands there."""
    figure.scroll_into_view_if_needed()
    form, picture = figure.locator("form:visible").count() == 1, figure.locator("> img")
    if not form:
        picture.evaluate(
            "picture => picture.complete || new Promise((done) => (picture.onload = picture.onerror = done))"
        )
        assert picture.evaluate("picture => picture.naturalWidth") > 0
    assert form != picture.is_visible()
    return form


@pytest.mark.parametrize("name, page", PLACES)
def test_the_form_stands_in_the_pictures_place_and_without_scripts_the_picture(explorer, opened, name, page):
    figure = explorer(name, page)
    assert "live" in figure.get_attribute("class").split() and is_live(figure)
    assert "explorers-to-come" not in (figure.page.locator("html").get_attribute("class") or "")
    still = opened(page, scripts=False).locator(f"figure.explorer-{name}")
    assert not is_live(still) and still.locator("form").count() == 0


@pytest.mark.parametrize("name, page", SAME)
def test_in_print_there_is_the_picture_and_it_has_come(opened, name, page):
    shown = opened(page)
    figure = shown.locator(f"figure.explorer-{name}")
    assert figure.locator("> img").evaluate("picture => [picture.loading, picture.naturalWidth]") == ["lazy", 0]
    shown.evaluate("dispatchEvent(new Event('beforeprint'))")
    shown.emulate_media(media="print")
    picture = figure.locator("> img").evaluate(
        "async (picture) => { await picture.decode(); return [picture.loading, picture.naturalWidth > 0] }"
    )
    assert picture == ["eager", True] and not is_live(figure)


@pytest.mark.parametrize(
    "name, page, script",
    [
        *((name, page, name) for name, page in SAME),
        *((name, page, f"{name}-data") for name, page in SAME if name in DATA),
        *((name, page, script) for name, page in SAME[:1] for script in SCRIPTS),
    ],
)
def test_if_a_script_does_not_come_there_is_the_picture(visit, opened, name, page, script):
    with visit.tab("file").route(f"**/explorers/{script}.js*", lambda route: route.abort()):
        blocked = opened(page)
    assert not is_live(blocked.locator(f"figure.explorer-{name}"))
    others = [other for other, place in PLACES if place == page and other != name]
    assert all(is_live(blocked.locator(f"figure.explorer-{other}")) == (script not in SCRIPTS) for other in others)
    assert visit.complaints
    visit.complaints.clear()


@pytest.mark.parametrize("name, page", SAME)
def test_if_a_script_fails_there_is_the_picture(visit, opened, name, page):
    fails = "document.createElementNS = () => { throw new Error('no drawing') };"
    with visit.tab("file").add_init_script(fails):
        assert not is_live(opened(page).locator(f"figure.explorer-{name}"))
    later = opened(page).locator(f"figure.explorer-{name}")
    assert is_live(later)
    later.page.evaluate(f"() => {{ {fails} }}")
    later.get_by_role("slider").first.press("ArrowRight")
    assert not is_live(later)
    assert any("no drawing" in said for said in visit.complaints)
    visit.complaints.clear()


@pytest.mark.parametrize("width", (*PHONES, *SCREENS))
@pytest.mark.parametrize("name, page", PLACES)
def test_the_room_kept_for_a_form_is_about_its_height(explorer, name, page, width):
    figure = explorer(name, page, width)
    height = figure.locator("form").bounding_box()["height"]
    room = figure.evaluate(
        """(figure) => {
            const root = document.documentElement, form = figure.querySelector("form");
            root.classList.add("explorers-to-come");
            figure.classList.remove("live");
            form.hidden = true; // as before it came
            const room = getComputedStyle(figure, "::before").height;
            form.hidden = false;
            figure.classList.add("live");
            root.classList.remove("explorers-to-come");
            return parseFloat(room);
        }"""
    )
    assert room == pytest.approx(height, rel=0.15)


@pytest.mark.parametrize("width", (*PHONES, *SCREENS))
@pytest.mark.parametrize("name, page", PLACES)
def test_it_fits_the_page_and_a_finger(explorer, name, page, width):
    figure = explorer(name, page, width)
    for key in ("Home", "End"):
        for one in figure.get_by_role("slider").all():
            one.press(key)
        wide = figure.locator("form").evaluate(
            """(form) => {
                const end = (part) => part.getBoundingClientRect().right;
                const parts = [...form.querySelectorAll(".plot > *, table, .controls *, .says, button")];
                const wide = parts.filter((part) => end(part) > end(form.querySelector(".plot")) + 1);
                return wide.map((part) => part.outerHTML);
            }"""
        )
        assert wide == [], key
    document = figure.page.locator("html")
    with_it = document.evaluate("html => html.scrollWidth")
    without = figure.evaluate(
        """(figure) => {
            figure.hidden = true;
            const width = document.documentElement.scrollWidth;
            figure.hidden = false;
            return width;
        }"""
    )
    assert with_it == without
    for control in figure.locator("input[type=range], fieldset label, button").all():
        assert control.bounding_box()["height"] >= 44


@pytest.mark.parametrize("name, page", PAGES.items())
def test_a_finger_moves_a_slider(explorer, name, page):
    figure = explorer(name, page, 320)
    for label in SLIDERS[name]:
        slider = figure.get_by_role("slider", name=label, exact=True)
        slider.press("Home")
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()
        slider.tap(position=dict(x=box["width"] - 4, y=8))
        assert slider.input_value() == slider.get_attribute("max")


@pytest.mark.parametrize("theme", ("light", "dark"))
@pytest.mark.parametrize("name, page", PLACES)
def test_words_are_readable_in_the_light_and_in_the_dark(explorer, name, page, theme):
    figure = explorer(name, page, color_scheme=theme)
    figure.page.locator(f"html[data-theme={theme}]").wait_for()
    words = figure.evaluate(
        """(figure) => {
            const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
            const seen = (color) => {
                context.clearRect(0, 0, 1, 1);
                context.fillStyle = color;
                context.fillRect(0, 0, 1, 1);
                return [...context.getImageData(0, 0, 1, 1).data];
            };
            const ground = (one) => {
                const color = seen(getComputedStyle(one).backgroundColor);
                return color[3] || !one.parentElement ? color : ground(one.parentElement);
            };
            const plot = ".plot > svg text, .plot > div:not(.scenes) > svg text, .plot p";
            const words = `${plot}, form :is(th, td, label, legend, output, button)`;
            return [...figure.querySelectorAll(words)].filter((word) => word.textContent).map((word) => {
                const style = getComputedStyle(word);
                return [word.textContent, seen(word.tagName === "text" ? style.fill : style.color), ground(word)];
            });
        }"""
    )
    assert len(words) > 10
    for word, ink, ground in words:
        assert ink[3] == ground[3] == 255 and ground[:3] == {"light": [255] * 3, "dark": [18] * 3}[theme]
        assert contrast(*(np.array(color[:3]) / 255 for color in (ink, ground))) >= 4.5, word
