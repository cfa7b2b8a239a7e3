"""The built site in a real browser, page by page: ``make test-site``.

Served on this machine, every page is opened once at each width and in each theme. It asks for nothing outside, stays
light and still, scrolls in one direction only, and axe-core finds nothing to complain of.
"""

import functools
import gzip
import http.server
import threading
from pathlib import Path

import pytest
import yaml

import tasks

ROOT = Path(tasks.__file__).parent
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
CHAPTERS = [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
SOURCES = [f"_modules/focalbook/{path.stem}" for path in (ROOT / "focalbook").glob("[!_]*.py")]
PAGES = [TOC["root"], *CHAPTERS, "genindex", "search", "404", "_modules/index", *sorted(SOURCES)]
WIDE, NARROW = dict(width=1280, height=900), dict(width=390, height=844)
HEAVIEST, LARGEST, MOST_SHIFT = 600_000, 20_000_000, 0.05  # bytes compressed, bytes, layout shift
SHIFT = """window.shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });"""


@pytest.fixture(scope="session")
def address(site):
    """Where the site is served, with compression left to ``weight``."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def visit(browser):
    """Opens an address in a new context and returns the page. What it asked for is in ``page.asked``; what the console
    complained of fails the test."""
    contexts, complaints = [], []

    def open_page(url, **options):
        contexts.append(browser.new_context(**{"viewport": WIDE, **options}))
        page = contexts[-1].new_page()
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        if options.get("java_script_enabled", True):  # without scripts the console says that there are none
            page.on("console", lambda said: said.type in ("error", "warning") and complaints.append(said.text))
            page.on("requestfailed", lambda request: complaints.append(request.url))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.add_init_script(SHIFT)
        page.goto(url)
        page.wait_for_load_state("networkidle")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == [], complaints


@functools.cache
def size(path):
    """Bytes of a file on the way: compressed, where that makes it smaller."""
    content = path.read_bytes()
    return min(len(content), len(gzip.compress(content)))


def weight(asked, address, site):
    """What a page asked for, by bytes."""
    paths = {url.removeprefix(address).split("?")[0].split("#")[0] for url in asked if url.startswith(address)}
    return {path: size(site / path) for path in paths}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole_light_still_and_open_to_everyone(page, visit, address, site):
    from axe_playwright_python.sync_playwright import Axe

    shown = visit(f"{address}{page}.html", viewport=NARROW)
    assert [url for url in shown.asked if not url.startswith((address, "data:"))] == []
    assert shown.evaluate("shift") < MOST_SHIFT
    weights = weight(shown.asked, address, site)
    assert sum(weights.values()) < HEAVIEST, weights
    assert shown.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    shown.add_style_tag(content="* { transition: none !important }")  # colors are looked at when they have settled
    for screen in (NARROW, WIDE):
        shown.set_viewport_size(screen)
        for scheme in ("light", "dark"):
            shown.emulate_media(color_scheme=scheme)
            contrast = (screen, scheme) in ((NARROW, "light"), (WIDE, "dark"))  # slow, and alike at both widths
            options = dict(preload=False, resultTypes=["violations"], rules={"color-contrast": dict(enabled=contrast)})
            found = Axe().run(shown, options=options).response["violations"]
            complaints = [(rule["id"], node["html"][:200]) for rule in found for node in rule["nodes"]]
            assert complaints == [], (screen, scheme, complaints)


@pytest.mark.parametrize("page", [TOC["root"], *CHAPTERS])
def test_a_page_opened_as_a_file_asks_for_nothing_outside(page, visit, site):
    shown = visit((site / f"{page}.html").as_uri(), color_scheme="dark")
    assert [url for url in shown.asked if not url.startswith((site.as_uri(), "data:"))] == []
    assert shown.evaluate("document.documentElement.dataset.theme") == "dark"
    formulas = shown.locator("article math")
    for box in formulas.evaluate_all("all => all.map((one) => one.getBoundingClientRect().width)"):
        assert box > 0
    assert formulas.count() == 0 or shown.evaluate("document.fonts.check('16px formulas')")
    assert not any("\\" in text for text in formulas.all_text_contents())


@pytest.mark.parametrize("page", CHAPTERS)
def test_without_scripts_there_are_the_text_the_figures_and_the_outputs(page, visit, site):
    with_scripts = visit((site / f"{page}.html").as_uri())
    without = visit((site / f"{page}.html").as_uri(), java_script_enabled=False)
    for part in ("section > p", "div.output", "math", "table:not(form table)"):
        shown, before = (one.locator(f"article {part} >> visible=true").count() for one in (without, with_scripts))
        assert shown == before, part
    pictures = without.locator("article figure img, article div.output img")
    assert all(picture.is_visible() for picture in pictures.all())
    assert not without.locator("button.search-button-field").is_visible()


def test_the_search_finds_a_term_in_its_chapters(visit, address):
    page = visit(f"{address}book/index.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("calibration")
    page.keyboard.press("Enter")
    page.locator("#search-results a", has_text="What focal loss costs").first.wait_for()


def test_everything_is_reached_by_keyboard_and_shows_where_it_is(visit, address):
    page = visit(f"{address}book/04-focal-loss.html")
    all_of_it = page.evaluate(
        """() => [...document.querySelectorAll('a[href], button, input, summary')].filter((one) =>
            one.checkVisibility({ visibilityProperty: true }) && one.tabIndex >= 0 && !one.disabled
            && !(one.type === 'radio' && !one.checked)).length"""
    )
    reached, unseen = set(), []
    for _ in range(all_of_it + 10):
        page.keyboard.press("Tab")
        number, seen, name = page.evaluate(
            """() => { const one = document.activeElement, style = getComputedStyle(one);
                window.all ??= [...document.querySelectorAll('*')];
                const seen = style.outlineStyle !== 'none' || style.boxShadow !== 'none';
                return [all.indexOf(one), seen, one.outerHTML] }"""
        )
        reached.add(number)
        unseen += [] if seen or name.startswith("<body") else [name[:120]]
    assert len(reached) >= all_of_it
    assert unseen == [], unseen


def test_a_term_says_what_it_means_to_mouse_keyboard_and_finger(visit, address):
    url = f"{address}book/04-focal-loss.html"
    page = visit(url)
    link = page.locator("article a[data-tip]").first
    tip = page.locator(".tip")
    link.hover()
    assert tip.inner_text() == link.get_attribute("data-tip") and tip.is_visible()
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


def test_a_lost_reader_is_led_back(visit, address):
    page = visit(f"{address}404.html")
    page.get_by_role("link").click()
    page.wait_for_url("**/book/index.html")


def test_the_site_is_small(site):
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < LARGEST
