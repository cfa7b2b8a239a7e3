"""The site: built without a warning, whole, and without a request that leaves it."""

import base64
import io
import re
from fnmatch import fnmatch
from urllib.parse import unquote, urlsplit

import published
import pytest
import yaml
from bs4 import BeautifulSoup
from contrast import color, contrast, inverted
from fontTools.ttLib import TTFont

from tools.contents import CHAPTERS, EXERCISES, ROOT, TOC

LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


@pytest.fixture(scope="session")
def pages(site):
    """Every HTML page of the site, parsed: a dict from path to soup."""
    found = {path: BeautifulSoup(path.read_text("utf-8"), "html.parser") for path in sorted(site.rglob("*.html"))}
    assert len(found) > len(CHAPTERS + EXERCISES) + 1
    return found


@pytest.mark.parametrize("page", [TOC["root"], *CHAPTERS, *EXERCISES])
def test_every_page_of_the_contents_is_built_and_says_something(site, page):
    soup = BeautifulSoup((site / f"{page}.html").read_text("utf-8"), "html.parser")
    article = soup.find("article")
    assert article.find("h1") and len(article.get_text()) > 400


def test_the_front_door_leads_to_the_landing_page(site):
    assert f"url={TOC['root']}.html" in (site / "index.html").read_text("utf-8")


def test_no_page_loads_anything_from_elsewhere(pages):
    outside = [
        (path.name, tag.name, tag[attribute])
        for path, soup in pages.items()
        for name, attribute in LOADS.items()
        for tag in soup.find_all(name, attrs={attribute: True})
        if "canonical" not in tag.get("rel", ()) and urlsplit(tag[attribute]).netloc
    ]
    assert outside == []


def test_no_style_sheet_loads_anything_from_elsewhere(site):
    sheets = list(site.rglob("*.css"))
    pattern = re.compile(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", re.IGNORECASE)
    assert sheets and [sheet.name for sheet in sheets if pattern.search(sheet.read_text("utf-8"))] == []


def test_formulas_are_there_without_a_script(site, pages):
    formulas = [formula for soup in pages.values() for formula in soup.find_all("math")]
    assert len(formulas) > 200 and all(formula.find(["mi", "mn", "mo", "mtext"]) for formula in formulas)
    assert [formula.get_text() for formula in formulas if "\\" in formula.get_text()] == []
    script = (site / "_static" / "formulas.js").read_text("utf-8")
    font = TTFont(io.BytesIO(base64.b64decode(re.search(r'atob\("(.*?)"\)', script)[1])))
    needed = {letter for formula in formulas for letter in formula.get_text()}
    needed |= {"√"}  # a browser draws it itself: it is in no text
    assert needed - set(map(chr, font.getBestCmap())) - set(" \n\xa0") == set()
    assert "Open Font License" in font["name"].getDebugName(13)


WORDS = re.compile(r'<g id="text_\d+">\s*(?:<!--.*?-->)?\s*<g(?: style="([^"]*)")?', re.DOTALL)
LIGHT, DARK = color("#ffffff"), color("#121212")


def test_words_in_figures_are_readable_in_the_light_and_in_the_dark(site):
    """In the dark a line drawing is inverted, and a figure with pixels stands on a white card."""
    seen = 0
    for path in (site / "_images").glob("*.svg"):
        text = path.read_text("utf-8")
        for style in WORDS.findall(text):
            rgb = color((re.search("fill: (#[0-9a-f]{6})", style) or [0, "#000000"])[1])
            fill = float((re.search(r"opacity: ([\d.]+)", style) or [0, 1])[1])
            assert contrast(fill * rgb + (1 - fill) * LIGHT, LIGHT) >= 4.5, (path.name, style)
            dark = fill * inverted(rgb) + (1 - fill) * DARK
            assert "<image" in text or contrast(dark, DARK) >= 4.5, (path.name, style)
            seen += 1
    assert seen > 500


def test_pictures_are_told_apart_from_line_drawings(pages):
    for path, soup in pages.items():
        for image in soup.select("article img"):
            if image["src"].startswith("data:"):
                source, drawn = path, base64.b64decode(image["src"].split(",")[1]).decode()
            else:
                source = (path.parent / unquote(image["src"])).resolve()
                drawn = "<image " if source.suffix == ".png" else source.read_text("utf-8")
            assert ("<image " in drawn) == ("picture" in image.get("class", ())), (path.name, source.name)


def test_every_chapter_says_how_long_it_takes_and_when_it_was_verified(site, pages):
    for notebook in (ROOT / "book").glob("*.ipynb"):
        line = pages[site / "book" / f"{notebook.stem}.html"].select_one("h1 + .chapter-line")
        assert re.match(r"\d+ minutes to read outputs last verified \d{4}-\d\d-\d\d \(CPU, Python", line.get_text())
        assert (site / "book" / line.find("a")["href"]).resolve().read_bytes() == notebook.read_bytes()


@pytest.mark.parametrize("page", EXERCISES)
def test_questions_have_choices_and_their_answers_begin_with_the_right_one(site, pages, page):
    questions = pages[site / f"{page}.html"].select("ul.choices")
    for question in questions:
        letters = [item.find("strong").get_text() for item in question.find_all("li")]
        assert letters == ["A.", "B.", "C."]
        assert question.find_next_sibling("details").find("strong").get_text() in letters
    assert len(questions) == 2


def test_every_term_says_what_it_means(pages):
    links = [word.parent for soup in pages.values() for word in soup.select("a > .std-term")]
    assert len(links) > 200
    silent = {
        link.get_text()
        for link in links
        if not 15 < len(link.get("title", "")) < 250 or set("\\^$") & set(link["title"])
    }
    assert silent == set()


def test_every_internal_link_and_anchor_resolves(site, pages):
    ids = {path: {tag["id"] for tag in soup.find_all(id=True)} for path, soup in pages.items()}
    broken = []
    for path, soup in pages.items():
        for tag in soup.find_all("a", href=True):
            link = urlsplit(tag["href"])
            if link.scheme or link.netloc:
                continue
            target = (path.parent / unquote(link.path)).resolve() if link.path else path
            missing = not target.exists()
            lost = link.fragment and target in ids and unquote(link.fragment) not in ids[target]
            if missing or lost:
                broken.append((path.name, tag["href"]))
    assert broken == []


def test_every_picture_says_what_is_seen(pages):
    silent = [
        (path.name, tag.get("src"))
        for path, soup in pages.items()
        for article in soup.find_all("article")
        for tag in article.find_all("img")
        if len(tag.get("alt", "")) < 20
    ]
    assert silent == []


def test_no_bound_number_is_left_unresolved(pages):
    unresolved = [
        path.name for path, soup in pages.items() if soup.select(".problematic") or "{glue" in soup.get_text()
    ]
    assert unresolved == []


def test_no_formula_or_table_is_left_as_its_source(pages):
    """A line that begins with a minus inside a formula makes a list of it, and an empty line ends a table."""
    articles = [(path.name, article) for path, soup in pages.items() for article in soup.find_all("article")]
    formulas = [
        (name, text.strip()[:60])
        for name, article in articles
        for text in article.find_all(string=re.compile(r"\$"))
        if text.find_parent(["code", "pre", "script", "style", "math"]) is None
    ]
    paragraphs = [(name, text.get_text().strip()) for name, article in articles for text in article.find_all("p")]
    assert formulas == [] and [(name, text[:60]) for name, text in paragraphs if text.startswith("|")] == []


def test_nothing_but_the_book_is_published(site):
    published = {
        path.relative_to(site / "_sources").parts[0] for path in (site / "_sources").rglob("*") if path.is_file()
    }
    assert published == {"book"}


def test_every_outside_link_is_listed_to_be_checked(pages):
    """``make links`` asks those of the pages, apart from all tests; the list says which they are."""
    found = {tag["href"].split("#")[0] for soup in pages.values() for tag in soup.select("a[href^=http]")}
    home = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["repository"]["url"]
    made = tuple(
        filter(None, [home, published.site_of(home), "https://mybinder.org/", "https://colab.research.google.com/"])
    )
    found = {address for address in found if not address.startswith(made)}
    assert found == set((ROOT / "book" / "links.txt").read_text("utf-8").split())


def test_every_page_has_a_description_of_its_own(pages):
    described = {
        path: [tag["content"] for tag in soup.select("meta[name=description]")] for path, soup in pages.items()
    }
    without = [path.name for path, texts in described.items() if len(texts) != 1 or not 40 < len(texts[0]) <= 200]
    assert without == ["404.html", "index.html"]  # a reader who is lost, and the front door, which leads on
    texts = [text for found in described.values() for text in found]
    assert [text for text in texts if texts.count(text) > 1] == []
    assert [text for text in texts if set("\\\\$^{}<") & set(text)] == []


PARTS = {
    "Bootstrap": "scripts/bootstrap.js*",
    "Font Awesome Free": "vendor/fontawesome/*",
    "MyST-NB": "mystnb.*",
    "PyData Sphinx Theme": "styles/theme.css styles/pydata-sphinx* scripts/pydata-sphinx* images/logo_*",
    "Pygments": "pygments.css",
    "STIX Two Math": "formulas.*",
    "Sphinx Book Theme": "*sphinx-book-theme*",
    "Sphinx": "basic.css doctools.js documentation_options.js language_data.js searchtools.js sphinx_highlight.js "
    "*.png",
    "Sphinx Design": "sphinx-design* design-tabs.js",
    "Copybutton": "clipboard.min.js copy* check-solid.svg",
    "Togglebutton": "togglebutton.*",
    "Thebe": "sphinx-thebe.* play-solid.svg",
    "": "book.css no-scripts.css favicon.svg scrollers.js tips.js progress.js explorers/* preview.png",
}


def test_every_part_of_the_site_that_others_made_stands_with_its_license_on_the_page_of_licenses(site):
    licenses = (ROOT / "book" / "contribute.md").read_text("utf-8").split("## Licenses")[1]
    static = site / "_static"
    names = {path.relative_to(static).as_posix() for path in static.rglob("*") if path.is_file()}
    patterns = [pattern for globs in PARTS.values() for pattern in globs.split()]
    assert {name for name in names if not any(fnmatch(name, pattern) for pattern in patterns)} == set()
    assert [part for part in PARTS if part not in licenses] == []
