"""The built site in a real browser, page by page: ``make test-site``.

Served on this machine, every page is opened narrow and light, and wide and changed to dark. It asks for nothing
outside, is light and still, and scrolls in one direction only. axe-core finds nothing to complain of, solutions
included.
"""

import functools
import gzip
import re

import numpy as np
import pytest
from axe import violations
from contrast import color, contrast
from visiting import NARROW, WIDE

from tools.contents import CHAPTERS, EXERCISES, ROOT, TOC

SOURCES = [f"_modules/focalbook/{path.stem}" for path in (ROOT / "focalbook").glob("[!_]*.py")]
READ = [TOC["root"], *CHAPTERS]
OTHERS = [*EXERCISES, "genindex", "search", "404", "_modules/index", *sorted(SOURCES)]
# The chapters come to both screens as to a first reader; on the other pages the screen grows while they are open.
VISITS = [(page, (screen,)) for page in READ for screen in (NARROW, WIDE)] + [(page, (NARROW, WIDE)) for page in OTHERS]
CUT = """() => [...document.querySelectorAll("article pre")]
  .filter((one) => one.checkVisibility() && one.scrollWidth > one.clientWidth)
  .map((one) => one.textContent.split("\\n").reduce((long, line) => (line.length > long.length ? line : long)))"""
OPEN = "document.querySelectorAll('article details').forEach((one) => (one.open = true))"
HEAVIEST, LARGEST, MOST_SHIFT = 600_000, 20_000_000, 0.05  # bytes compressed, bytes, layout shift


@functools.cache
def size(path):
    """Bytes of a file on the way: compressed, where that makes it smaller."""
    content = path.read_bytes()
    return min(len(content), len(gzip.compress(content)))


def weight(asked, address, site):
    """What a page asked for, by bytes."""
    paths = {url.removeprefix(address).split("?")[0].split("#")[0] for url in asked if url.startswith(address)}
    return {path: size(site / path) for path in paths}


def themed(shown, scheme):
    """Change the theme by what the system prefers, and wait until it has changed."""
    shown.emulate_media(color_scheme=scheme)
    shown.wait_for_function("(scheme) => document.documentElement.dataset.theme === scheme", arg=scheme)


@pytest.mark.parametrize(
    "page, screens",
    VISITS,
    ids=lambda value: value if isinstance(value, str) else "-".join(str(screen["width"]) for screen in value),
)
def test_a_page_is_whole_light_still_and_open_to_everyone(page, screens, visit, address, site):
    shown = visit(f"{address}{page}.html", viewport=screens[0])
    visit.late(shown)
    assert shown.evaluate("shift") < MOST_SHIFT
    still = "* { animation: none !important; transition: none !important }"
    shown.add_style_tag(content=still)  # colors are looked at when they have settled
    for screen in screens:
        shown.set_viewport_size(screen)
        if screen is WIDE and page != "404":  # which has no theme but the system's
            themed(shown, "dark")
        assert violations(shown) == []
        assert shown.evaluate("document.documentElement.scrollWidth") <= screen["width"]
        shown.evaluate(OPEN)
        assert shown.evaluate("document.documentElement.scrollWidth") <= screen["width"]
        assert screen is NARROW or shown.evaluate(CUT) == []
    visit.late(shown)
    assert [url for url in shown.asked if not url.startswith((address, "data:"))] == []
    weights = weight(shown.asked, address, site)
    assert sum(weights.values()) < HEAVIEST, weights


def test_a_page_that_comes_slowly_is_drawn_once(visit, address):
    shown = visit(f"{address}book/notation.html?slowly", viewport=WIDE)
    visit.late(shown)
    assert shown.evaluate("shift") < MOST_SHIFT


@pytest.mark.parametrize("page", [EXERCISES[6], EXERCISES[-1]])
def test_a_question_asks_for_a_choice_before_it_gives_the_reason(page, visit, site):
    shown = visit((site / f"{page}.html").as_uri(), viewport=NARROW)
    for question in shown.locator("ul.choices").all():
        choices, reason = question.get_by_role("button").all(), question.locator("+ details")
        right = reason.locator("strong").first.text_content()[0]
        letters = [choice.text_content()[0] for choice in choices]
        assert not reason.is_visible() and reason.get_attribute("open") is None
        for letter, choice in zip(letters, choices):
            choice.press("Enter")
            pressed = [one.get_attribute("aria-pressed") for one in choices]
            assert pressed == [str(one is choice).lower() for one in choices]
            assert reason.locator("p:not(.verdict)").first.is_visible()
            said = "That is right." if letter == right else f"Not {letter}, but {right}."
            assert reason.get_by_role("status").text_content() == said


def test_a_wide_table_fades_where_it_goes_on_until_it_is_scrolled_to_its_end(visit, site):
    shown = visit((site / "book/16-scorecard.html").as_uri(), viewport=NARROW)
    table = shown.locator("article table[data-more]").first.element_handle()
    assert table.evaluate("one => getComputedStyle(one).maskImage") != "none"
    table.evaluate("one => { one.scrollLeft = one.scrollWidth }")
    shown.wait_for_function("one => !one.hasAttribute('data-more')", arg=table)
    assert table.evaluate("one => getComputedStyle(one).maskImage") == "none"


def test_an_option_of_a_command_is_on_one_line_on_every_width_of_a_phone(visit, site):
    shown = visit((site / "book/teaching.html").as_uri(), viewport=NARROW)
    options = "[...document.querySelectorAll('article code')].filter((one) => one.textContent.startsWith('--'))"
    for width in range(320, 431, 5):
        shown.set_viewport_size({**NARROW, "width": width})
        lines = shown.evaluate(f"{options}.map((one) => one.querySelector('.pre').getClientRects().length)")
        assert len(lines) > 3 and set(lines) == {1}


@pytest.fixture
def reader(browser):
    """A reader's own tab, which keeps what pages store."""
    with browser.new_context(viewport=WIDE) as context:
        yield context.new_page()


@pytest.mark.parametrize("served", (True, False), ids=("served", "file"))
def test_the_device_remembers_what_was_read_and_answered_and_can_forget_it(served, reader, address, site):
    root, asked = (address if served else site.as_uri() + "/"), []
    reader.on("request", lambda request: asked.append(request.url))
    exercises, chapter = (f"{root}book/{name}.html" for name in ("exercises/07-anchors/exercises-07", "08-retinanet"))
    line, marks = reader.locator(".progress-line"), reader.locator("nav .read")
    reader.goto(exercises)
    assert line.is_hidden()
    choice = reader.locator("ul.choices button").nth(1)
    choice.click()
    assert "0 pages read, 1 question answered." in line.text_content() and marks.count() == 0
    reader.locator(".prev-next-footer").scroll_into_view_if_needed()
    reader.get_by_role("img", name="read", exact=True).wait_for()
    reader.goto(chapter)
    assert "1 page read, 1 question answered." in line.text_content()
    assert "Exercises: anchors" in marks.locator("..").text_content()
    reader.goto(exercises)
    assert choice.get_attribute("aria-pressed") == "true"
    assert reader.locator("ul.choices + details").first.get_by_role("status").is_visible()
    line.get_by_role("button", name="Forget it").press("Enter")
    assert line.is_hidden() and marks.count() == 0 and choice.get_attribute("aria-pressed") == "false"
    assert not reader.locator("ul.choices + details").first.is_visible()
    assert reader.evaluate("localStorage.getItem('focal-loss-book')") is None
    assert [url for url in asked if not url.startswith((root, "data:"))] == []


def test_where_nothing_can_be_stored_questions_are_answered_all_the_same(reader, address):
    reader.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('none') } })")
    reader.goto(f"{address}book/exercises/07-anchors/exercises-07.html")
    reader.locator("ul.choices button").first.click()
    assert reader.locator("ul.choices + details").first.get_by_role("status").is_visible()


@pytest.mark.parametrize("page", READ)
def test_a_page_opened_as_a_file_is_whole_with_scripts_and_without_and_printed_in_black(page, visit, site):
    shown = visit((site / f"{page}.html").as_uri(), color_scheme="dark")
    without = visit((site / f"{page}.html").as_uri(), scripts=False, viewport=NARROW)
    for part in ("section > p", "div.output", "math", "table:not(form table)"):
        there, wanted = (one.locator(f"article {part} >> visible=true").count() for one in (without, shown))
        assert there == wanted, part
    pictures = without.locator("article img").all()
    assert all(picture.is_visible() and picture.evaluate("(one) => one.naturalWidth") > 0 for picture in pictures)
    assert without.locator("nav.bd-links a").first.is_visible()
    assert without.locator("header button:visible, .bd-header-article button:visible").count() == 0
    assert shown.evaluate("document.documentElement.dataset.theme") == "dark"
    formulas = shown.locator("article math")
    widths = formulas.evaluate_all("all => all.map((one) => one.getBoundingClientRect().width)")
    assert all(width > 0 for width in widths)
    assert shown.evaluate("[...document.fonts].some((one) => one.family === 'formulas' && one.status === 'loaded')")
    shown.emulate_media(media="print")
    words = shown.locator("article :is(p, li, td, pre, span, h2)")
    inks = words.evaluate_all(  # of what is seen: explorers draw their forms anew at the change, hidden
        "all => [...new Set(all.filter((one) => one.checkVisibility()).map((one) => getComputedStyle(one).color))]"
    )
    assert inks
    for ink in inks:
        assert ink.startswith("rgb"), ink
        rgb = np.array([float(part) for part in re.findall(r"[\d.]+", ink)[:3]]) / 255
        assert contrast(rgb, color("#ffffff")) >= 4.5, ink
    filters = shown.locator("article img").evaluate_all("all => all.map((one) => getComputedStyle(one).filter)")
    assert set(filters) <= {"none"}
    visit.late(shown)
    assert [url for url in shown.asked if not url.startswith((site.as_uri(), "data:"))] == []


def test_the_cheat_sheet_is_printed_on_one_sheet(visit, site):
    shown = visit((site / "book" / "cheatsheet.html").as_uri())
    for paper in ("A4", "Letter"):
        assert len(re.findall(rb"/Type\s*/Page\b", shown.pdf(format=paper))) == 1


@pytest.mark.parametrize("page", EXERCISES)
def test_without_scripts_hints_answers_and_solutions_open(page, visit, site):
    shown = visit((site / f"{page}.html").as_uri(), scripts=False, viewport=NARROW)
    folds = shown.locator("article details").all()
    assert len(folds) >= 8  # two answers, and a hint and a solution to each of three exercises
    for fold in folds:
        inside = fold.locator("p, pre").last
        assert not inside.is_visible()
        fold.locator("summary").click()
        assert inside.is_visible()


@pytest.mark.parametrize("served", (True, False), ids=("served", "file"))
def test_the_search_finds_a_term_in_its_chapters(served, visit, address, site):
    page = visit(f"{address}book/index.html" if served else (site / "book" / "index.html").as_uri())
    page.keyboard.press("Control+k")
    page.keyboard.type("calibration")
    page.keyboard.press("Enter")
    page.locator("#search-results a", has_text="What focal loss costs").first.wait_for()


WANTED = """() => [...document.querySelectorAll('a[href], button, input, summary')].filter((one) =>
    one.checkVisibility({ visibilityProperty: true }) && one.tabIndex >= 0 && !one.disabled
    && !(one.type === 'radio' && !one.checked)).forEach((one) => one.dataset.wanted = '')"""
FOCUSED = """() => { const one = document.activeElement, style = getComputedStyle(one);
    delete one.dataset.wanted;
    return one === document.body || style.outlineStyle === 'solid' && parseFloat(style.outlineWidth) >= 2 }"""


@pytest.mark.parametrize(
    "page, screen", [("book/04-focal-loss", WIDE), ("book/index", NARROW), ("book/16-scorecard", NARROW)]
)
def test_everything_is_reached_by_keyboard_and_shows_where_it_is(page, screen, visit, address):
    shown = visit(f"{address}{page}.html", viewport=screen)
    shown.evaluate(WANTED)
    left = shown.locator("[data-wanted]")
    for _ in range(2 * left.count() + 30):  # scrolling tables and formulas are stops too
        shown.keyboard.press("Tab")
        assert shown.evaluate(FOCUSED), shown.evaluate("document.activeElement.outerHTML.slice(0, 200)")
    assert left.evaluate_all("all => all.map((one) => one.outerHTML.slice(0, 120))") == []


def test_the_menu_of_a_phone_opens_and_closes_by_keyboard(visit, address):
    page = visit(f"{address}book/04-focal-loss.html", viewport=NARROW)
    page.locator(".primary-toggle").first.press("Enter")
    page.locator("dialog a", has_text="11. The verdict").wait_for()
    page.keyboard.press("Escape")
    page.locator("dialog a", has_text="11. The verdict").wait_for(state="hidden")


def test_a_term_says_what_it_means_to_mouse_keyboard_and_finger(visit, address):
    url = f"{address}book/04-focal-loss.html"
    page = visit(url)
    link = page.locator("article a[data-tip]").first
    tip = page.locator(".tip")
    link.hover()
    assert tip.inner_text() == link.get_attribute("data-tip") and tip.is_visible()
    box = tip.bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] - 3, steps=5)
    page.mouse.move(box["x"] + 20, box["y"] + 5, steps=8)
    assert tip.is_visible()
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    page.locator("article h1 a").focus()
    while page.evaluate("document.activeElement.dataset.tip") is None:
        page.keyboard.press("Tab")
    assert tip.is_visible() and page.evaluate("document.activeElement.getAttribute('aria-describedby')") == "tip"
    phone = visit(url, viewport=NARROW, has_touch=True)
    phone.locator("article a[data-tip]").first.tap()
    assert phone.locator(".tip").is_visible() and phone.url == url
    box = phone.locator(".tip").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= NARROW["width"]
    phone.locator("article a[data-tip]").first.tap()
    phone.wait_for_url("**/glossary.html#*")


@pytest.mark.parametrize("lost", ["nothing.html", "book/nothing.html", "_static/explorers/nothing.svg"])
@pytest.mark.parametrize("root", ["", "/focal-loss-book", "/a/focal-loss-book"])
def test_a_lost_reader_is_led_back(root, lost, visit, site):
    with visit.tab("http").route("**/*", lambda route: route.fulfill(path=site / "404.html")):
        page = visit(f"http://127.0.0.1:9{root}/{lost}")
        assert page.get_by_role("link").evaluate("(link) => link.href") == f"http://127.0.0.1:9{root}/index.html"


def test_the_site_is_small(site):
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < LARGEST
