"""The explorers: in a real browser they read out what focalbook computes, and without scripts they are pictures."""

import json
import shutil
import sys
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib").use("Agg")
pytest.importorskip("sphinx")

import matplotlib.pyplot as plt  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

from focalbook import experiments, plots  # noqa: E402
from focalbook.imbalance import GROUPS, group_of, loss_and_gradient, shares  # noqa: E402
from focalbook.losses import cross_entropy, focal_loss  # noqa: E402
from focalbook.scenes import TEST, render  # noqa: E402
from focalbook.training import LOSSES  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "book" / "_ext")]

import explorers  # noqa: E402
from contrast import color, contrast  # noqa: E402

FOLDER = ROOT / "book" / "_static" / "explorers"
NAMES = tuple(explorers.PICTURES)
SLIDERS = {
    "losses": ["Focusing γ", "Class weight α", "Probability pt"],
    "crowd": ["Negatives", "p of a negative", "p of the positive"],
    "optimiser": [
        "Background logits, mean",
        "Foreground logits, mean",
        "Spread of both",
        "Negatives to a positive",
    ],
    "detector": ["Score of at least", "Run"],
}
PAGE = """
```{{explorer}} {0}
:name: explorer-{0}
:alt: The picture of the explorer called {0}.

The caption of {0}.
```
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A small site with a page of all explorers and one of none, built by the book's directive."""
    source = tmp_path_factory.mktemp("explorers")
    shutil.copytree(ROOT / "book" / "_static", source / "book" / "_static")
    page = "# Explorers\n\n{numref}`explorer-losses`\n" + "".join(PAGE.format(name) for name in NAMES)
    (source / "index.md").write_text(page + "\n```{toctree}\nplain\n```\n", "utf-8")
    (source / "plain.md").write_text("# Plain\n\nA page without.\n", "utf-8")
    settings = dict(
        extensions=["myst_parser", "explorer"],
        html_static_path=["book/_static"],
        html_css_files=["book.css"],
        html_theme="basic",
        numfig=True,
    )
    out = source / "out"
    Sphinx(source, None, out, source / "trees", "html", settings, status=None, warningiserror=True).build()
    return out


@pytest.fixture
def visit(browser, site):
    """Opens the page from its file, in a new context with the given options; fails on what the console complains of."""
    complaints, contexts = [], []

    def open_page(**options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(request.url))
        page.goto((site / "index.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def drive(page, name, label, steps):
    """Move a slider by the keyboard to the place so many steps above its lower end, from the nearer end. Returns its
    value."""
    slider = page.locator(f"figure.explorer-{name}").get_by_role("slider", name=label, exact=True)
    low, high, step = (float(slider.get_attribute(name)) for name in ("min", "max", "step"))
    above = round((high - low) / step) - steps
    slider.press("Home" if steps < above else "End")
    for _ in range(min(steps, above)):
        page.keyboard.press("ArrowRight" if steps < above else "ArrowLeft")
    return float(slider.input_value())


def read(page, name):
    """All read-outs of an explorer, by row and column."""
    cells = page.locator(f"figure.explorer-{name} [data-read]").evaluate_all(
        "cells => cells.map(cell => [cell.dataset.read, cell.dataset.value, cell.textContent])"
    )
    assert cells and all(text for _, _, text in cells)
    return {key: float(value) for key, value, _ in cells}


def test_there_is_a_script_and_a_picture_for_every_explorer():
    assert {path.stem for path in FOLDER.glob("*.svg")} == set(NAMES) == set(SLIDERS)
    assert {path.stem for path in FOLDER.glob("*.js")} == {"explorer", "detector-data", *NAMES}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A folder into which all is stored anew."""
    folder = tmp_path_factory.mktemp("stored")
    with plt.rc_context():
        explorers.store(folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_up_to_date(name, stored):
    same = (stored / f"{name}.svg").read_bytes() == (FOLDER / f"{name}.svg").read_bytes()
    assert same, "python tools/explorers.py draws them again"


def test_the_detectors_scenes_and_detections_are_up_to_date(stored):
    made = (stored / "detector-data.js").read_text("utf-8")
    assert made == (FOLDER / "detector-data.js").read_text("utf-8"), "python tools/explorers.py gathers them again"
    np.testing.assert_array_equal(plt.imread(stored / "detector.png"), plt.imread(FOLDER / "detector.png"))


def test_scripts_are_small_and_load_nothing():
    for path in FOLDER.glob("*.js"):
        text = path.read_text("utf-8")
        assert len(text.encode()) < 10_000, path.name
        found = [word for word in ("import ", "import(", "fetch", "XMLHttp", "eval(", "innerHTML") if word in text]
        assert found == [], path.name


def test_colours_are_those_of_the_figures():
    text = (ROOT / "book" / "_static" / "book.css").read_text("utf-8")
    for name, colour in plots.COLOURS.items():
        assert f"--{name.replace(' ', '-')}: {colour};" in text


def test_nothing_moves_by_itself():
    texts = [path.read_text("utf-8") for path in FOLDER.iterdir() if path.suffix in (".css", ".js")]
    assert not any(word in text for text in texts for word in ("transition", "animat", "setInterval", "requestAnim"))


def test_only_pages_with_an_explorer_load_its_scripts(site):
    page, plain = ((site / f"{name}.html").read_text("utf-8") for name in ("index", "plain"))
    for name in ("explorer", *NAMES):
        assert f'defer="defer" src="_static/explorers/{name}.js' in page
    assert "explorers/explorer.css" in page and "explorers/" not in plain
    assert page.index("detector-data.js") < page.index("detector.js")
    assert '<figure class="explorer explorer-losses' in page and "Fig. 1" in page


def test_the_losses_are_those_of_the_module(visit):
    found = visit().evaluate("LOSSES")
    assert {loss["name"]: dict(alpha=loss["alpha"], gamma=loss["gamma"]) for loss in found} == LOSSES


def test_the_formula_holds_for_every_logit(visit):
    x = np.concatenate([np.linspace(-60, 60, 241), [-745.0, 745.0, -1e4, 1e4]])
    page = visit()
    for alpha, gamma in ((-1, 0.0), (0.75, 0.0), (0.25, 2.0), (0.5, 0.5), (0.0, 5.0)):
        for y in (0, 1):
            found = page.evaluate("([x, ...rest]) => x.map((x) => focal(x, ...rest))", [x.tolist(), y, alpha, gamma])
            logits = torch.from_numpy(x)
            loss, gradient = loss_and_gradient(logits, torch.full_like(logits, y), alpha, gamma)
            np.testing.assert_allclose([row["loss"] for row in found], loss, rtol=1e-12, atol=1e-300)
            np.testing.assert_allclose([row["gradient"] for row in found], gradient, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("gamma, alpha, p", [(0, 20, 0), (5, 0, 49), (20, 5, 94), (13, 10, 30), (50, 15, 98)])
def test_losses_reads_out_what_focalbook_computes(visit, gamma, alpha, p):
    page = visit()
    gamma, alpha, p = (drive(page, "losses", *pair) for pair in zip(SLIDERS["losses"], (gamma, alpha, p)))
    for side, (y, weight) in enumerate(((1, alpha), (0, alpha), (1, None))):
        page.locator("figure.explorer-losses").get_by_role("radio").nth(side).check()
        found = read(page, "losses")
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
def test_crowd_reads_out_what_focalbook_computes(visit, n, easy, hard):
    page = visit()
    n, easy, hard = (drive(page, "crowd", *pair) for pair in zip(SLIDERS["crowd"], (n, easy, hard)))
    n, found = round(10 ** (n / 20)), read(page, "crowd")
    for name, setting in LOSSES.items():
        setting = {**setting, "alpha": None if setting["alpha"] == -1 else setting["alpha"]}
        positive, negative = focal_loss(hard, 1, **setting), focal_loss(easy, 0, **setting)
        total = positive + n * negative
        assert found[f"{name}: one positive"] == pytest.approx(positive / total, rel=1e-6, abs=1e-12)
        assert found[f"{name}: the crowd"] == pytest.approx(n * negative / total, rel=1e-6)
        assert found[f"{name}: outweighed by"] == pytest.approx(positive / negative, rel=1e-6)
        shown = page.locator(f"figure.explorer-crowd [data-read='{name}: outweighed by']").text_content()
        assert int(shown.replace(",", "")) == ceil(positive / negative)


@pytest.mark.parametrize(
    "background, foreground, spread, n",
    [(30, 70, 13, 75), (0, 0, 0, 0), (120, 160, 28, 100), (34, 34, 4, 50), (80, 10, 20, 25)],
)
def test_optimiser_reads_out_what_focalbook_computes(visit, background, foreground, spread, n):
    page = visit()
    steps = zip(SLIDERS["optimiser"], (background, foreground, spread, n))
    background, foreground, spread, n = (drive(page, "optimiser", *pair) for pair in steps)
    found, z = read(page, "optimiser"), (np.arange(1201) - 600) / 100
    logits = torch.from_numpy(np.stack([foreground + spread * z, background + spread * z]))
    labels = torch.tensor([[1], [0]]).expand_as(logits)
    counts = torch.tensor([[1.0], [round(10 ** (n / 25))]], dtype=torch.float64) * np.exp(-z * z / 2)
    for name, setting in LOSSES.items():
        pull = counts * loss_and_gradient(logits, labels, **setting)[1]
        for group, share in shares(pull, group_of(logits, labels)).items():
            assert found[f"{name}: {group}"] == pytest.approx(share, rel=1e-6, abs=1e-12)
    assert len(found) == len(LOSSES) * len(GROUPS)


@pytest.mark.parametrize("score, run", [(0, 0), (20, 0), (45, 3), (62, 8), (70, 5)])
def test_detector_reads_out_what_the_records_hold(visit, score, run):
    page = visit()
    score, run = (drive(page, "detector", *pair) for pair in zip(SLIDERS["detector"], (score, run)))
    scenes, found = render(range(4), TEST), read(page, "detector")
    for name in explorers.DETECTORS:
        record = experiments.load_study("verdict")[name][int(run) - 1]
        rows = [[row for row in rows if row[4] > score - 1e-9] for rows in record["detections"]]
        hits = found[f"{name}: found"]
        shown = sum(map(len, rows))
        assert hits + found[f"{name}: false"] == shown
        assert found[f"{name}: precision"] == pytest.approx(hits / shown if shown else np.nan, nan_ok=True)
        assert found[f"{name}: recall"] == pytest.approx(hits / (scenes.labels >= 0).sum().item())
        drawn = page.locator("figure.explorer-detector p", has_text=name).evaluate(
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


@pytest.mark.parametrize("name", NAMES)
def test_every_control_has_its_name_and_the_result_is_said(visit, name):
    page = visit()
    figure = page.locator(f"figure.explorer-{name}")
    for label in SLIDERS[name]:
        slider = figure.get_by_role("slider", name=label, exact=True)
        before, said = slider.get_attribute("aria-valuetext"), figure.locator(".says").text_content()
        slider.focus()
        page.keyboard.press("PageUp")
        assert slider.get_attribute("aria-valuetext") != before
        assert figure.locator(".says").text_content() != said
    assert figure.get_by_role("slider").count() == len(SLIDERS[name])
    assert figure.locator("output.says").get_attribute("aria-live") == "polite"
    assert figure.get_by_role("img", name=f"The picture of the explorer called {name}.").count() == 1
    start = visit().locator(f"figure.explorer-{name} .says").text_content()
    figure.get_by_role("button", name="Back to the start").press("Enter")
    figure.locator(".says", has_text=start).wait_for()


@pytest.mark.parametrize("name", NAMES)
def test_without_scripts_and_in_print_there_is_the_picture(visit, name):
    still = visit(java_script_enabled=False).locator(f"figure.explorer-{name}")
    assert still.locator("> img").is_visible() and still.locator("form").count() == 0
    live = visit()
    figure = live.locator(f"figure.explorer-{name}")
    assert figure.locator("form").is_visible() and not figure.locator("> img").is_visible()
    live.emulate_media(media="print")
    assert figure.locator("> img").is_visible() and not figure.locator("form").is_visible()


@pytest.mark.parametrize("width", (320, 390, 1280))
def test_it_fits_the_page_and_a_finger(visit, width):
    page = visit(viewport=dict(width=width, height=844), has_touch=True)
    page.add_style_tag(content="div.body { min-width: 0 }")  # the small site's theme has a width of its own
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in NAMES:
        figure = page.locator(f"figure.explorer-{name}")
        for key in ("Home", "End"):
            for one in figure.get_by_role("slider").all():
                one.press(key)
            inside = figure.locator("form").evaluate("form => form.scrollWidth <= form.clientWidth")
            assert inside, (name, key)
        for control in figure.locator("input[type=range], fieldset label, button").all():
            assert control.bounding_box()["height"] >= 44
    slider = page.get_by_role("slider", name="Focusing γ")
    slider.press("Home")
    box = slider.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] - 4, box["y"] + 8)
    assert slider.input_value() == "5"


@pytest.mark.parametrize("theme", ("light", "dark"))
def test_words_are_readable_in_the_light_and_in_the_dark(visit, theme):
    page = visit()
    page.evaluate("(theme) => (document.documentElement.dataset.theme = theme)", theme)
    text, muted, ground = {"light": ("#222832", "#48566b", "#ffffff"), "dark": ("#ced6dd", "#9ca4af", "#121212")}[theme]
    page.add_style_tag(
        content=f":root {{ --pst-color-text-base: {text}; --pst-color-text-muted: {muted};"
        f" --pst-color-background: {ground}; color: {text}; background: {ground} }}"
    )
    colours = page.evaluate(
        """() => [...document.querySelectorAll(".plot > svg text, .explorer th, .explorer td")].map((word) => {
            const style = getComputedStyle(word), context = document.createElement("canvas").getContext("2d");
            context.fillStyle = word.tagName === "text" ? style.fill : style.color;
            context.fillRect(0, 0, 1, 1);
            return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
        })"""
    )
    assert min(contrast(np.array(colour) / 255, color(ground)) for colour in colours) >= 4.5
