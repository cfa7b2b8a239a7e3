"""The explorers: in a real browser they read out what focalbook computes, and without scripts they are pictures."""

import base64
import gzip
import json
import re
from io import BytesIO
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
from focalbook.imbalance import GROUPS, group_of, loss_and_gradient, shares
from focalbook.losses import cross_entropy, focal_loss
from focalbook.scenes import TEST, render
from focalbook.training import LOSSES
from tools import explorers
from tools.contents import ROOT

FOLDER = ROOT / "book" / "_static" / "explorers"
NAMES = tuple(explorers.PICTURES)
SLIDERS = {
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
    "losses": "04-focal-loss",
    "crowd": "04-focal-loss",
    "optimizer": "05-gradient",
    "detector": "11-verdict",
}
PLACES = list(PAGES.items())
PHONES, SCREENS = (320, 390), (600, 768, 1280)


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
    assert {path.stem for path in FOLDER.glob("*.js")} == {"explorer", "detector-data", *NAMES}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A folder into which all is stored anew."""
    folder = tmp_path_factory.mktemp("stored")
    with plt.rc_context():
        explorers.store(folder)
    return folder


EMBEDDED = re.compile(r'(?<=data:image/png;base64,)[^"]*')
HASHED = re.compile(r"\b[mp][0-9a-f]{10}\b")  # names made of all bits of the coordinates: the last one is the machine's
COORDINATE = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


def pixels(svg):
    """Those of the images that a picture embeds. How they are packed may differ between machines; they may not."""
    return [plt.imread(BytesIO(base64.b64decode(packed))) for packed in EMBEDDED.findall(svg)]


def drawing(svg):
    """What a picture says, with the numbers apart, in points: they hold to the last digits only on one processor."""
    svg = EMBEDDED.sub("", svg)
    order = {name: str(place) for place, name in enumerate(dict.fromkeys(HASHED.findall(svg)))}
    svg = HASHED.sub(lambda name: order[name[0]], svg)
    return COORDINATE.sub("0.0", svg), [float(number) for number in COORDINATE.findall(svg)]


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_up_to_date(name, stored):
    made, found = ((folder / f"{name}.svg").read_text("utf-8") for folder in (stored, FOLDER))
    (words, numbers), (drawn, drawn_numbers) = drawing(made), drawing(found)
    assert words == drawn, "python tools/explorers.py draws them again"
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


def test_the_detectors_scenes_and_detections_are_up_to_date(stored):
    made = (stored / "detector-data.js").read_text("utf-8")
    assert made == (FOLDER / "detector-data.js").read_text("utf-8"), "python tools/explorers.py gathers them again"
    np.testing.assert_array_equal(plt.imread(stored / "detector.png"), plt.imread(FOLDER / "detector.png"))


@pytest.mark.parametrize("name", NAMES)
def test_the_scripts_of_one_explorer_are_under_10_kb_compressed_and_each_file_under_10_kb_as_it_is(name):
    """What one explorer loads, the shared script, its own, and its data if it has any, together and compressed as a
    server sends it (gzip), is under 10 kB. Uncompressed, every file by itself is."""
    paths = [FOLDER / "explorer.js", FOLDER / f"{name}.js", *FOLDER.glob(f"{name}-data.js")]
    assert len(paths) == (3 if name == "detector" else 2)
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


@pytest.mark.parametrize("page", sorted({page for _, page in PLACES}))
def test_a_page_loads_the_scripts_of_its_explorers(site, page):
    text = (site / "book" / f"{page}.html").read_text("utf-8")
    scripts = re.findall(r'<script defer="defer" src="../_static/explorers/([\w-]+)\.js', text)
    data = ["detector-data"] if (own := [name for name, place in PLACES if place == page]) == ["detector"] else []
    assert scripts == ["explorer", *data, *own]
    assert "explorers/explorer.css" in text
    for name in own:
        assert re.search(rf'<figure class="explorer explorer-{name} .*?<figcaption>.*?Fig\. \d', text, re.DOTALL)


def test_only_pages_with_an_explorer_load_its_scripts(site):
    found = {path.stem for path in (site / "book").glob("*.html") if "explorers" in path.read_text("utf-8")}
    assert found == {page for _, page in PLACES}


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


@pytest.mark.parametrize("name, page", PLACES)
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


@pytest.mark.parametrize("name, page", PLACES)
def test_if_a_script_does_not_come_there_is_the_picture(visit, opened, name, page):
    for script in ("explorer", name, *(["detector-data"] if name == "detector" else [])):
        with visit.tab("file").route(f"**/explorers/{script}.js*", lambda route: route.abort()):
            blocked = opened(page)
        assert not is_live(blocked.locator(f"figure.explorer-{name}")), script
        others = [other for other, place in PLACES if place == page and other != name]
        assert all(is_live(blocked.locator(f"figure.explorer-{other}")) == (script != "explorer") for other in others)
    assert visit.complaints
    visit.complaints.clear()


@pytest.mark.parametrize("name, page", PLACES)
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


@pytest.mark.parametrize("width", (320, 1280))
@pytest.mark.parametrize("name, page", PLACES)
def test_a_finger_moves_a_slider(explorer, name, page, width):
    figure = explorer(name, page, width)
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
            const words = ".plot > svg text, .scenes p, form :is(th, td, label, legend, output, button)";
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
