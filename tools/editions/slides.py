"""The lecture of 90 minutes as a folder to show from, made of ``book/lecture.md``: ``make slides``.

- ``index.html``, the deck, by reveal.js: arrow keys turn the slides, S opens the speaker's view with notes and minutes,
  T changes between light and dark. Figures are those that the notebooks store, explorers are live, numbers are bound.
- ``handout.html``, to print for the class: the slides, with lines to write on.
- ``notes.html``, to print for the teacher: the slides, with the notes.

A slide is a heading of the second level; its notes begin with ``:::{notes}``, the minutes, and the page that it is of.
"""

import ast
import functools
import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.myst_role import myst_role_plugin

from tasks import ROOT
from tools.editions import BUILT

from explorer import SCRIPTS  # isort: skip (the folder of the site's extensions is on the path by now)
from figures import stored  # isort: skip
from formulas import mathml  # isort: skip
from offline import store_the_font  # isort: skip

LECTURE, STATIC, OWN = ROOT / "book" / "lecture.md", ROOT / "book" / "_static", Path(__file__).parent
TAKEN = ("dist/reset.css", "dist/reveal.css", "dist/reveal.js", "plugin/notes/notes.js", "LICENSE")
SLIDE, NOTES = re.compile(r"^## (.+)$", re.MULTILINE), re.compile(r"^:::\{notes\} (\d+) (\S+)\n(.*?)^:::$", re.M | re.S)


@dataclass(frozen=True)
class Slide:
    """One slide: its title, body and notes in HTML, its minutes, and the page of the book that it is of."""

    title: str
    body: str
    notes: str
    minutes: int
    page: str


@functools.cache
def bound(notebook: str) -> dict[str, str]:
    """The texts that the cells of a chapter bind for its prose, by name."""
    cells = json.loads((ROOT / "book" / notebook).read_text("utf-8"))["cells"]
    data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    kind = "application/papermill.record/text/"
    return {found[kind + "name"]: ast.literal_eval(found[kind + "plain"]) for found in data if kind + "name" in found}


class Lecture:
    """Reads slides and keeps what they show: ``files`` to write, by name, and ``explorers``, by name."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.explorers: list[str] = []
        self.markdown = MarkdownIt().enable("table").use(dollarmath_plugin).use(myst_role_plugin)
        self.markdown.add_render_rule("math_inline", lambda _, tokens, at, *rest: mathml(tokens[at].content))
        self.markdown.add_render_rule(
            "math_block", lambda _, tokens, at, *rest: f'<div class="math">{mathml(tokens[at].content, True)}</div>'
        )
        self.markdown.add_render_rule("myst_role", lambda _, tokens, at, *rest: self.role(tokens[at]))
        self.markdown.add_render_rule("fence", lambda _, tokens, at, *rest: self.picture(tokens[at]))

    def role(self, token: Any) -> str:
        """A number that a chapter binds. Raises ``LookupError`` for any other role or name."""
        notebook, _, name = token.content.partition("::")
        if token.meta["name"] != "glue:text" or name not in bound(notebook):
            raise LookupError(
                f"slides show what a chapter binds, and {{{token.meta['name']}}}`{token.content}` is none"
            )
        return escape(bound(notebook)[name])

    def picture(self, token: Any) -> str:
        """A stored figure, or an explorer. Raises ``LookupError`` for anything else."""
        kind, *arguments = token.info.split()
        if kind == "{stored-figure}":
            notebook, name = arguments
            svg, alt = stored(ROOT / "book" / notebook, name)
            self.files[f"figures/{name}.svg"] = svg
            pixels = ' class="picture"' if "<image " in svg else ""
            return f'<figure><img src="figures/{name}.svg" alt="{escape(alt)}"{pixels}></figure>'
        if kind == "{explorer}":
            (name,) = arguments
            (alt,) = re.findall(r"^:alt: (.+)$", token.content, re.MULTILINE)
            self.explorers.append(name)
            image = f'<img src="explorers/{name}.svg" alt="{escape(alt)}" class="picture">'
            return f'<figure class="explorer explorer-{name}">{image}</figure>'
        raise LookupError(f"slides have stored figures and explorers, and no {token.info}")

    def slides(self, text: str) -> list[Slide]:
        """Every slide of the lecture. Raises ``LookupError`` for one without notes, and for what it cannot show."""
        _, *parts = SLIDE.split(text)
        found = []
        for title, content in zip(parts[::2], parts[1::2]):
            notes = NOTES.findall(content)
            if len(notes) != 1:
                raise LookupError(
                    f"the slide {title!r} has {len(notes)} notes: it needs one, with its minutes and page"
                )
            (minutes, page, said), body = notes[0], NOTES.sub("", content)
            render = self.markdown.render
            found.append(Slide(self.markdown.renderInline(title), render(body), render(said), int(minutes), page))
        return found


def source(page: str) -> str:
    """What a slide is of, in words."""
    return f"chapter {int(page[:2])}" if page[:2].isdigit() else "the start page"


def in_deck(slide: Slide) -> str:
    """A slide as the deck has it; the speaker's view counts the seconds."""
    notes = f"<p><strong>{slide.minutes} min, {source(slide.page)}</strong></p>{slide.notes}"
    return (
        f'<section data-timing="{60 * slide.minutes}"><h2>{slide.title}</h2>\n{slide.body}'
        f'<aside class="notes">{notes}</aside></section>\n'
    )


def on_paper(slide: Slide, number: int, beside: str) -> str:
    """A slide as it is printed, with the notes or the lines that stand beside it."""
    head = f"{number} · {slide.minutes} min · {source(slide.page)}"
    return (
        f'<section><div class="slide"><h2>{slide.title}</h2>\n{slide.body}</div>'
        f'<div class="beside"><p class="head">{head}</p>{beside}</div></section>\n'
    )


def write(slides: Sequence[Slide], lecture: Lecture, out: Path) -> None:
    """Write the deck, the handout and the notes, with all that they show, into an empty folder."""
    shutil.rmtree(out, ignore_errors=True)
    (package,) = importlib.util.find_spec("sphinx_revealjs").submodule_search_locations  # type: ignore[union-attr]
    for name in TAKEN:
        (out / "reveal").mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(package, "_static", "revealjs", name), out / "reveal")
    for name in ("book.css", "favicon.svg"):
        shutil.copy(STATIC / name, out)
    for name in ("deck.css", "paper.css", "deck.js"):
        shutil.copy(OWN / name, out)
    explorers = list(dict.fromkeys([*SCRIPTS, *lecture.explorers]))
    for name in explorers:
        for path in (STATIC / "explorers").glob(f"{name}[.-]*"):
            (out / "explorers").mkdir(exist_ok=True)
            shutil.copy(path, out / "explorers")
    for name, content in lecture.files.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(content, "utf-8")
    names = [part for name in explorers for part in (f"{name}-data", name)]  # data comes first
    scripts = [f"explorers/{name}.js" for name in names if (out / "explorers" / f"{name}.js").exists()]
    deck = Template((OWN / "deck.html").read_text("utf-8")).substitute(
        slides="".join(map(in_deck, slides)),
        scripts="\n".join(f'<script src="{script}"></script>' for script in scripts),
    )
    paper = Template((OWN / "paper.html").read_text("utf-8"))
    pages = {
        "index.html": deck,
        "handout.html": paper.substitute(
            title="Handout",
            slides="".join(on_paper(slide, n, '<div class="lines"></div>') for n, slide in enumerate(slides, 1)),
        ),
        "notes.html": paper.substitute(
            title="Notes for the teacher",
            slides="".join(on_paper(slide, n, slide.notes) for n, slide in enumerate(slides, 1)),
        ),
    }
    for name, content in pages.items():
        (out / name).write_text(content, "utf-8")
    store_the_font(out, {Path(name): content for name, content in pages.items()})


def main() -> int:
    lecture, out = Lecture(), BUILT / "slides"
    slides = lecture.slides(LECTURE.read_text("utf-8"))
    write(slides, lecture, out)
    print(f"{len(slides)} slides for {sum(slide.minutes for slide in slides)} minutes: {out / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
