"""The site: built without a warning, whole, and without a request that leaves it."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup

import tasks

ROOT = Path(tasks.__file__).parent
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The built site's folder. ``make book`` builds with the same options; a warning fails the build."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, *tasks.JUPYTER_BOOK, "build", str(ROOT), "--path-output", str(out), *tasks.BUILD]
    build = subprocess.run(command, capture_output=True, text=True)
    assert build.returncode == 0, build.stdout[-3000:] + build.stderr[-3000:]
    return out / "_build" / "html"


@pytest.fixture(scope="session")
def pages(site):
    """Every HTML page of the site, parsed: a dict from path to soup."""
    found = {path: BeautifulSoup(path.read_text("utf-8"), "html.parser") for path in sorted(site.rglob("*.html"))}
    assert len(found) > len(PAGES)
    return found


@pytest.mark.parametrize("page", PAGES)
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


def test_maths_is_rendered_by_the_site_itself(site, pages):
    chapter = pages[site / "book" / "04-focal-loss.html"]
    assert chapter.select(".math")
    (script,) = [tag["src"] for tag in chapter.find_all("script", src=True) if "mathjax" in tag["src"]]
    assert (site / "book" / script.split("?")[0]).resolve().exists()
    fonts = site / "_static" / "mathjax" / "output" / "chtml" / "fonts" / "woff-v2"
    assert len(list(fonts.glob("*.woff"))) > 10


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


def test_nothing_but_the_book_is_published(site):
    published = {
        path.relative_to(site / "_sources").parts[0] for path in (site / "_sources").rglob("*") if path.is_file()
    }
    assert published == {"book"}
