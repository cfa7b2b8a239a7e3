"""The other editions, from their sources: the slides whole, the PDF and the ePub by a page."""

import re
import shutil
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

import pikepdf
import pytest
from bs4 import BeautifulSoup

from tasks import ROOT
from tools.chromium import NAMES, launched
from tools.editions import bundle, epub, pdf, slides


@pytest.fixture(scope="module")
def lecture():
    return slides.Lecture()


@pytest.fixture(scope="module")
def deck(lecture):
    return lecture.slides(slides.LECTURE.read_text("utf-8"))


def test_the_lecture_takes_the_minutes_of_the_guide_chapter_by_chapter(deck):
    guide = (ROOT / "book" / "teaching.md").read_text("utf-8").split("## A lecture of 90 minutes")[1].split("\n## ")[0]
    wanted = {
        page: int(minutes) for minutes, page in re.findall(r"^\| (\d+) \|.*?\| \[[^]]*\]\(([\w-]+)\.", guide, re.M)
    }
    found = {page: sum(slide.minutes for slide in deck if slide.page == page) for page in {one.page for one in deck}}
    assert found == wanted and sum(found.values()) == 90


def test_every_slide_shows_what_is_written_and_every_picture_says_what_is_seen(deck):
    for slide in deck:
        for text in (slide.title, slide.body, slide.notes):
            soup = BeautifulSoup(text, "html.parser")
            for formula in soup.find_all("math"):
                formula.decompose()
            assert not re.search(r"[`${}\\]|:::|\*\*|^\| ", soup.get_text(), re.MULTILINE), slide.title
        pictures = BeautifulSoup(slide.body, "html.parser").find_all("img")
        assert all(len(picture["alt"]) > 20 for picture in pictures)
        assert len(BeautifulSoup(slide.body, "html.parser").get_text()) < 330, "too much for the back row"


@pytest.mark.parametrize(
    "body, complaint",
    [
        (
            "{glue:text}`04-focal-loss.ipynb::nobody`",
            "what a chapter binds, and {glue:text}`04-focal-loss.ipynb::nobody`",
        ),
        ("{term}`logit`", "{term}`logit` is none"),
        ("```{stored-figure} 04-focal-loss.ipynb fig-none\n```", "04-focal-loss.ipynb has no figure called fig-none"),
        ("```python\n1\n```", "no python"),
    ],
)
def test_what_a_slide_cannot_show_is_named(lecture, body, complaint):
    with pytest.raises(LookupError, match=re.escape(complaint)):
        lecture.slides(f"## A slide\n\n{body}\n\n:::{{notes}} 1 index\nSay it.\n:::\n")


def test_a_slide_without_notes_is_named(lecture):
    with pytest.raises(LookupError, match="'A slide' has 0 notes"):
        lecture.slides("## A slide\n\nShort.\n")


def test_the_slides_are_a_folder_that_needs_nothing_else(deck, lecture, tmp_path):
    slides.write(deck, lecture, tmp_path / "slides")
    for name in ("index.html", "handout.html", "notes.html"):
        soup = BeautifulSoup((tmp_path / "slides" / name).read_text("utf-8"), "html.parser")
        assert len(soup.find_all("section")) == len(deck)
        for tag in soup.find_all(src=True) + soup.find_all(href=True):
            assert (tmp_path / "slides" / unquote(tag.get("src") or tag["href"])).is_file()
    handout = (tmp_path / "slides" / "handout.html").read_text("utf-8")
    assert not any(slide.notes in handout for slide in deck)  # they have the answers


def explorers_of(path):
    """How many explorers a deck has, how many of them have controls, and what its scripts complain of."""
    with launched() as browser:
        tab = browser.new_page()
        complaints = []
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(path.as_uri())
        tab.wait_for_function("Reveal.isReady()")
        return tab.locator(".explorer").count(), tab.locator(".explorer form").count(), complaints


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, NAMES)), reason="no Chromium or Chrome to show it")
def test_the_explorers_of_the_deck_have_controls(deck, lecture, tmp_path):
    slides.write(deck, lecture, tmp_path / "slides")
    with ThreadPoolExecutor(1) as own:
        assert own.submit(explorers_of, tmp_path / "slides" / "index.html").result() == (2, 2, [])


PAGE = """<html><head><link rel="stylesheet" href="a.css"><script src="a.js"></script></head><body><article>
<section id="book"><h1>The book<a class="headerlink">#</a></h1><p>Begin.</p>
<div class="toctree-wrapper">%s</div></section></article></body></html>"""
CHAPTER = """<span id="document-%s"></span><section id="of-%s"><h2>%s<a class="headerlink">#</a></h2>
<section id="task"><h3>How much?</h3><p><a href="book/index.html#task">see</a></p>
<details><summary>Hint 1</summary><p>Divide.</p></details>
<details><summary>Show a solution</summary><pre>1 / 2</pre></details>
<p>Back to <a href="#a">chapter 1</a>.</p></section></section>"""


@pytest.fixture
def paper(monkeypatch):
    toc = {
        "root": "book/index",
        "parts": [
            {"caption": "Part", "chapters": [{"file": "book/01-a", "sections": [{"file": "book/exercises/01-a"}]}]}
        ],
    }
    monkeypatch.setattr(pdf, "TOC", toc)
    monkeypatch.setattr(pdf, "EXERCISES", ["book/exercises/01-a"])
    parts = [("book/01-a", "a", "1. Rare"), ("book/exercises/01-a", "e", "Exercises: rare")]
    return pdf.arranged(PAGE % "".join(CHAPTER % part for part in parts))


def test_on_paper_answers_stand_at_the_end_with_links_there_and_back(paper):
    exercise, end = paper.find(id="of-e"), paper.find(id="answers")
    assert not exercise.find("details") and "Divide." not in exercise.get_text()
    assert "Back to" not in paper.find("article").get_text().split("Exercises: rare")[1]
    assert re.sub(r"\s+", " ", end.get_text(" ")).endswith("How much? Hint 1 Divide. A solution 1 / 2")
    for link in [exercise.select_one(".to-answers a"), end.select_one("h3 a")]:
        assert paper.find(id=link["href"].removeprefix("#"))
    assert [link["href"] for link in paper.select("article p:not([class]) a")] == ["#task", "#a", "#task"]
    assert not paper.find("script") and not paper.select(".headerlink")


def test_the_contents_name_every_page_of_the_book_with_its_number(paper):
    made = pdf.contents(paper, {"document-book/01-a": 7})
    lines = [" ".join(line.get_text(" ").split()) for line in made.find_all("p")]
    assert lines == ["Contents", "The book", "Part", "1. Rare 7", "Exercises: rare", pdf.ANSWERS]
    assert all(paper.find(id=link["href"].removeprefix("#")) for link in made.find_all("a"))


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, NAMES)), reason="no Chromium or Chrome to print with")
def test_a_printed_book_has_numbers_bookmarks_and_tags(paper, tmp_path):
    (nav,) = paper.select("nav.page-numbers")
    nav.replace_with(pdf.contents(paper, {}))
    (tmp_path / "_static").mkdir()
    shutil.copy(pdf.STYLE, tmp_path / "_static")
    (tmp_path / "paper.html").write_text(str(paper), "utf-8")
    with ThreadPoolExecutor(1) as own:  # this one's may have a loop that runs, of the browser of the site's tests
        own.submit(pdf.printed, tmp_path / "paper.html", tmp_path / "book.pdf").result()
    numbers = pdf.page_numbers(tmp_path / "book.pdf")
    assert [numbers[name] for name in ("document-book/index", "document-book/01-a", "answers")] == [3, 4, 6]
    headings = [pdf.text_of(heading) for heading in paper.find_all(pdf.HEADING)]
    assert pdf.finished(tmp_path / "book.pdf", headings) == 6
    with pikepdf.open(tmp_path / "book.pdf") as book, book.open_outline() as outline:
        assert [bookmark.title for bookmark in outline.root] == ["The book", "1. Rare", "Exercises: rare", pdf.ANSWERS]
        assert book.Root.MarkInfo.Marked and book.Root.Lang == "en" and "authors" in str(book.docinfo["/Author"])


OPF = """<package><item href="a.xhtml" id="a" /><item href="_static/book.css" id="b" />\
<item href="c.svg" id="c" /></package>"""
XHTML = """<html><link rel="stylesheet" href="_static/book.css" /><link rel="stylesheet" href="_static/epub.css" />
<script>1</script><details><summary aria-label="x"><p>Show a solution</p><p>Hide it</p></summary></details>
<details><summary aria-label="x"><p>Show the code of this figure</p><p>Hide it</p></summary></details>
<style scoped>
th {}</style><math><mfrac displaystyle="false"></mfrac><mtable displaystyle="true" scriptlevel="0"/></math>
<math xmlns="http://www.w3.org/1998/Math/MathML"/></html>"""
SVG = """<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN"
  "svg11.dtd">
<svg><path id="space"/><path d="M1 1"/><image id="image0123456789" x="1"/><image id="scene-1"/></svg>"""


NCX = '<text>Rare</text> </navLabel> <content src="book/01-a.xhtml" />'


def test_an_epub_is_mended_and_has_no_more_than_it_needs():
    files = {"mimetype": b"application/epub+zip", "content.opf": OPF.encode(), "a.xhtml": XHTML.encode()}
    files |= {
        "c.svg": SVG.encode(),
        "toc.ncx": b'<meta name="dtb:uid" content="BookId"/>' + NCX.encode(),
        "nav.xhtml": b'<a href="book/01-a.xhtml">Rare</a><a href="book/exercises/01-a/exercises-01.xhtml">Try</a>',
        "_static/book.css": b"@layer",
    }
    made = {name: content.decode() for name, content in epub.mended(files | {"_static/epub.css": b"p {}"}).items()}
    assert list(made) == ["mimetype", "content.opf", "a.xhtml", "c.svg", "toc.ncx", "nav.xhtml", "_static/epub.css"]
    assert (
        made["content.opf"]
        == '<package><item properties="mathml" href="a.xhtml" id="a" /><item href="c.svg" id="c" /></package>'
    )
    assert "".join(made["a.xhtml"].split()) == (
        '<html><linkrel="stylesheet"href="_static/epub.css"/><details><summary>Asolution</summary></details>'
        "<details><summary>Thecodeofthisfigure</summary></details>"
        '<mathxmlns="http://www.w3.org/1998/Math/MathML"><mfrac></mfrac><mtabledisplaystyle="true"/></math>'
        '<mathxmlns="http://www.w3.org/1998/Math/MathML"/></html>'
    )
    assert made["c.svg"] == '<svg><path d="M0 0" id="space"/><path d="M1 1"/><image x="1"/><image id="scene-1"/></svg>'
    assert ">1. Rare<" in made["nav.xhtml"] and ">Try<" in made["nav.xhtml"] and ">1. Rare<" in made["toc.ncx"]
    assert epub.IDENTIFIER in made["toc.ncx"] and made["_static/epub.css"].startswith("p {}\n")


def test_an_archive_is_the_same_whenever_it_is_made(tmp_path):
    folder = tmp_path / "site"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "c.txt").write_text("two")
    (folder / "a.txt").write_text("one")
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (folder / "a.txt").touch()
        bundle.pack(folder, tmp_path / name / "book.zip")
    first, second = (tmp_path / name / "book.zip" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    assert zipfile.ZipFile(first).namelist() == ["book/a.txt", "book/b/c.txt"]
    said = bundle.checksums(first.parent)
    assert re.fullmatch(r"[0-9a-f]{64}  book\.zip\n", said)
    (first.parent / "SHA256SUMS.txt").write_text(said)
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS.txt"], cwd=first.parent, check=True)
