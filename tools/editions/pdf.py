"""The book on paper, made of the site's own pages: ``make pdf``.

Sphinx writes the whole book as one page. Before Chromium prints it, with bookmarks and tags, it gets a title page and
contents. What unfolds on the site moves to the end, hints, answers and solutions, or stays there, the code of figures.
The contents need page numbers that only a printed book has: so it is printed twice, and must come out with the same
pages both times.
"""

import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib
import pikepdf
from bs4 import BeautifulSoup, Tag

import focalbook
from tasks import ROOT
from tools.chromium import Missing, launched
from tools.contents import EXERCISES, TOC
from tools.editions import BUILT, NAME, build

from offline import FORMULAS  # isort: skip

STYLE = Path(__file__).with_suffix(".css")
FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")
HEADING = re.compile(r"^h[1-6]$")
SHORT, LINE = 24, 90  # characters of an entry that stands on one line, an interval or a name, and of all in a row
ANSWERS = "Hints, answers and solutions"


def element(soup: BeautifulSoup, name: str, *content: Tag | str, **attributes: str) -> Tag:
    """A new element; ``class_`` gives its class."""
    made = soup.new_tag(name, attrs={key.rstrip("_"): value for key, value in attributes.items()})
    made.extend(content)
    return made


def text_of(element: Tag) -> str:
    """The words of a heading, or of the first one in a section, its number included, the sign of its link left out."""
    heading = element.find(HEADING) or element
    return " ".join(heading.get_text().removesuffix("#").split())


def page_of(soup: BeautifulSoup, name: str) -> Tag:
    """The section that a file of the contents has become."""
    (mark,) = soup.find_all(id=f"document-{name}")
    return mark.find_next("section")


def move_to_the_end(soup: BeautifulSoup, exercises: Mapping[str, Tag]) -> Tag:
    """Take what unfolds out of the pages of exercises; return it as a section. Links lead there and back."""
    end = element(soup, "section", element(soup, "h1", ANSWERS), id="answers", class_="page")
    for name, page in exercises.items():
        page.find_all(turns_back)[-1].decompose()
        place = f"answers-{Path(name).stem[-2:]}"
        end.append(element(soup, "h2", text_of(page)))
        for number, part in enumerate(page.find_all("section", recursive=False)):
            folds = part.find_all("details")
            if not folds:
                continue
            here, there = f"asked-{place}-{number}", f"{place}-{number}"
            part.insert(0, element(soup, "span", id=here))
            title = element(soup, "h3", element(soup, "a", text_of(part), href=f"#{here}"), id=there)
            end.append(element(soup, "section", title, *[unfolded(soup, fold) for fold in folds]))
            part.append(element(soup, "p", element(soup, "a", ANSWERS, href=f"#{there}"), class_="to-answers"))
    return end


def turns_back(tag: Tag) -> bool:
    """Whether this is the last line of a page of exercises, which on paper leads nowhere."""
    return tag.name == "p" and tag.get_text().startswith("Back to ")


def unfolded(soup: BeautifulSoup, fold: Tag) -> Tag:
    """What a fold holds, under its name, out of the place where it was."""
    summary = fold.find("summary").extract()
    name = "A solution" if "solution" in summary.get_text() else text_of(summary)
    block = element(soup, "div", element(soup, "p", name, class_="name"), class_="unfolded")
    block.extend([child.extract() for child in list(fold.children)])
    place = fold.parent
    fold.decompose()
    if "cell" in place.get("class", []) and not place.get_text(strip=True):
        place.decompose()
    return block


def front(soup: BeautifulSoup) -> Tag:
    """The title page: what this is, of which version, and when its outputs were last verified."""
    stamps = json.loads((ROOT / "book" / "verified.json").read_text("utf-8"))
    dates = sorted(stamp["date"] for stamp in stamps.values())
    lines = (
        f"Version {focalbook.__version__}",
        f"Every output was re-computed and compared between {dates[0]} and {dates[-1]}."
        if dates[0] != dates[-1]
        else f"Every output was re-computed and compared on {dates[0]}.",
        "The code of the figures is in the notebooks, and on the site.",
        "Text and figures: CC BY 4.0. Code: BSD 3-Clause.",
    )
    return element(
        soup,
        "section",
        element(soup, "p", "The Focal Loss Book", class_="title"),
        element(soup, "p", "From cross-entropy to focal loss, and to a RetinaNet that you train yourself"),
        *[element(soup, "p", line, class_="line") for line in lines],
        class_="title-page",
    )


def listed(soup: BeautifulSoup) -> Iterator[tuple[str, str, str]]:
    """The lines of the contents: the class of a line, its words, and the anchor that it leads to, if any."""
    start = TOC["root"]
    yield "chapter", text_of(page_of(soup, start)), f"document-{start}"
    for part in TOC["parts"]:
        yield "part", part["caption"], ""
        for chapter in part["chapters"]:
            for kind, entry in [("chapter", chapter), *(("exercises", page) for page in chapter.get("sections", []))]:
                yield kind, text_of(page_of(soup, entry["file"])), f"document-{entry['file']}"
    yield "chapter", ANSWERS, "answers"


def contents(soup: BeautifulSoup, numbers: Mapping[str, int]) -> Tag:
    """The contents, with the number of the page on which each anchor lies, as far as ``numbers`` has them."""
    made = element(soup, "nav", element(soup, "p", "Contents", class_="heading"), class_="page-numbers")
    for kind, words, anchor in listed(soup):
        if anchor:
            number = element(soup, "span", str(numbers.get(anchor, "")), class_="number")
            words_ = element(soup, "a", words, href=f"#{anchor}")
            made.append(element(soup, "p", words_, element(soup, "span", class_="dots"), number, class_=kind))
        else:
            made.append(element(soup, "p", words, class_=kind))
    return made


def keep_whole(table: Tag) -> None:
    """Mark the columns of short entries, which are not to be broken, unless there are too many for the paper."""
    columns = list(zip(*(row.find_all(["th", "td"]) for row in table.select("tbody tr"))))
    widths = [max(len(cell.get_text()) for cell in column) for column in columns]
    if sum(width for width in widths if width <= SHORT) <= LINE:
        for column, width in zip(columns, widths):
            if width <= SHORT:
                for cell in column:
                    cell["class"] = [*cell.get("class", []), "short"]


def arranged(page: str) -> BeautifulSoup:
    """The one page of the whole book, arranged for paper, with contents that have no page numbers yet."""
    whole = BeautifulSoup(page, "html.parser")
    soup = BeautifulSoup('<!DOCTYPE html><html lang="en" data-theme="light"><head></head><body></body>', "html.parser")
    styles = whole.head.find_all("link", rel="stylesheet")
    soup.head.extend([element(soup, "meta", charset="utf-8"), element(soup, "title", "The Focal Loss Book"), *styles])
    soup.head.append(element(soup, "link", rel="stylesheet", href="_static/pdf.css"))
    article = whole.find("article")
    article.insert(0, element(soup, "span", id=f"document-{TOC['root']}"))
    for heading in article.select(".toctree-wrapper :is(h2, h3, h4, h5, h6)"):
        heading.name = f"h{int(heading.name[1]) - 1}"  # a chapter is no section of the first page
    for link in article.find_all("a", href=True):
        link["href"] = link["href"].removeprefix(f"{TOC['root']}.html")  # all is on one page
    soup.body.extend([front(soup), element(soup, "nav", class_="page-numbers"), article])
    for name in [TOC["root"], *(entry["file"] for part in TOC["parts"] for entry in flat(part["chapters"]))]:
        page = page_of(soup, name)
        page["class"] = "page"
        soup.find(id=f"document-{name}").decompose()  # before its section, it would be at the foot of the page before
        page.wrap(element(soup, "div", id=f"document-{name}"))
    for table in article.select("table.dataframe"):
        keep_whole(table)
    article.append(move_to_the_end(soup, {name: page_of(soup, name) for name in EXERCISES}))
    for useless in article.select(".headerlink, button, script, details.above-input, .sd-btn"):
        useless.decompose()
    return soup


def flat(chapters: list[dict]) -> Iterator[dict]:
    for chapter in chapters:
        yield chapter
        yield from chapter.get("sections", [])


def printed(source: Path, target: Path) -> None:
    """Print a page by Chromium or Chrome."""
    try:
        with launched() as browser:
            tab = browser.new_page()
            tab.set_default_timeout(600_000)
            tab.goto(source.as_uri())
            tab.evaluate("document.fonts.ready")
            tab.pdf(path=target, prefer_css_page_size=True, print_background=True, outline=True, tagged=True)
    except Missing as reason:
        raise SystemExit(f"focalbook: the book cannot be printed: {reason}") from None


def page_numbers(path: Path) -> dict[str, int]:
    """The page, counted from 1, on which each anchor of a printed page lies that a link leads to."""
    with pikepdf.open(path) as book:
        places = {page.objgen: number for number, page in enumerate(book.pages, 1)}
        found = {name.removeprefix("/"): place[0].objgen for name, place in book.Root.Dests.items()}
        return {name: places[page] for name, page in found.items()}


def finished(path: Path, headings: Sequence[str]) -> int:
    """Name the authors in a printed book and pack it, its thousands of tags above all. Returns the number of pages.

    There is a bookmark for each of the ``headings``. It gets its words from here: Chromium says those twice that begin
    a page.
    """
    with pikepdf.open(path, allow_overwriting_input=True) as book:
        book.docinfo["/Author"] = "The focal loss book's authors"
        with book.open_outline() as outline:
            for bookmark, words in zip(bookmarks(outline.root), headings, strict=True):
                bookmark.title = words
        book.save(path, object_stream_mode=pikepdf.ObjectStreamMode.generate)
        return len(book.pages)


def bookmarks(items: Sequence[pikepdf.OutlineItem]) -> Iterator[pikepdf.OutlineItem]:
    """All of them, in the order of the book."""
    for item in items:
        yield item
        yield from bookmarks(item.children)


def main() -> int:
    folder = build("singlehtml")
    for path in (STYLE, FORMULAS, *FONTS.glob("STIXGeneral*.ttf"), *FONTS.glob("DejaVuSans*.ttf")):
        shutil.copy(path, folder / "_static")
    soup = arranged((folder / f"{TOC['root']}.html").read_text("utf-8"))
    source, target = folder / "paper.html", BUILT / f"{NAME}.pdf"
    numbers: dict[str, int] = {}
    for _ in range(2):
        soup.find("nav", class_="page-numbers").replace_with(contents(soup, numbers))
        source.write_text(str(soup), "utf-8")
        printed(source, target)
        before, numbers = numbers, page_numbers(target)
    wanted = [anchor for _, _, anchor in listed(soup) if anchor]
    moved = [anchor for anchor in wanted if anchor not in numbers or before.get(anchor) != numbers[anchor]]
    if moved:
        raise SystemExit(f"focalbook: the page numbers in the contents of the PDF are wrong, first at {moved[0]}")
    pages = finished(target, [text_of(heading) for heading in soup.find_all(HEADING)])
    print(f"{pages} pages, {target.stat().st_size / 1e6:.1f} MB: {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
