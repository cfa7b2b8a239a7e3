"""Faults of a notebook's file: in its sources, its prose, its figures' words, its numbers' digits.

What an execution gives otherwise than it is stored, ``tools.notebooks`` compares; here stands what no execution tells.
"""

import ast
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nbval.plugin import comment_markers

from focalbook.checks import BEGIN, END

PREFIX = "application/papermill.record/"
RECORD, RECORD_NAME = PREFIX + "text/plain", PREFIX + "text/name"
FIGURE, TABLE = "image/svg+xml", "text/html"
PLAIN_TABLE = re.compile(  # as pandas writes one: tags of a table without attributes that run or load, and a style
    r"<div>\n<style scoped>(?:\s*\.dataframe [\w\s:-]+\{\s*[\w-]+: \w+;\s*\})+\s*</style>\n"
    r'<table border="1" class="dataframe">'
    r'(?:[^<>]|</?(?:thead|tbody|tr|th|td)(?: style="text-align: \w+;"| valign="top"| (?:row|col)span="\d+")*>)*'
    r"</table>\n</div>"
)
MARKERS = re.compile("|".join(["nbval", *map(re.escape, comment_markers)]), re.IGNORECASE)
LARGEST = 1_000_000  # bytes a notebook
MOST_LINES, MOST_COLUMNS = 16, 88  # of a code cell, so that the site cuts none off
MOST_DIGITS = 5  # significant ones of a number with a decimal point: more might differ on another machine
PRINTED_FAULTS = {
    "memory address": re.compile(r"0x[0-9a-fA-F]{6,}"),
    "absolute path": re.compile(r"(?<![\w.])(?:/(?:home|root|tmp|usr|work|Users|mnt|opt|var)/|[A-Z]:\\)"),
}
PROSE_FAULTS = {
    "HTML in Markdown": re.compile(  # it could run scripts, or hide
        r"<(?:[A-Za-z][\w-]*[\s/>]|/[A-Za-z]|!)|\{raw\}|\.\. raw::"
    ),
    "picture from elsewhere": re.compile(r"(?:!\[[^\]]*\]\(|\{(?:image|figure)\})\s*<?(?:https?:)?//"),
}
NO_PYTHON = "not plain Python"
HIDDEN = "carriage return, escape or other sign that hides text"
OPENING = ("Before you start", "**You will be able to**", "**You need**", "**To run**")
FOLDS = re.compile(r"^</?details>$|^<summary>(?:Answer|Hint \d)</summary>$", re.MULTILINE)
MARKS = re.compile(rf"^ *(?:{BEGIN}|{END})\n?", re.MULTILINE)
SOLUTION = {"code_prompt_hide": "Hide the solution", "code_prompt_show": "Show a solution"}
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|<(https?:[^>\s]+)>")


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))


def text(value: str | list[str]) -> str:
    return "".join(value)


def code_cells(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def markdown(notebook: dict) -> list[str]:
    return [text(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]


def faults(notebook: dict) -> Iterator[str]:
    """Everything that is wrong with a notebook, a chapter or a page of exercises, as JSON has it."""
    if len(json.dumps(notebook)) > LARGEST:
        yield f"larger than {LARGEST} bytes"
    for place, cell in enumerate(notebook["cells"], start=1):
        yield from (f"cell {place} of all: {fault}" for fault in _cell_faults(cell))
    for number, cell in enumerate(code_cells(notebook), start=1):
        found = (*_source_faults(cell), *_shown_faults(cell), *_figure_faults(cell), *_solution_faults(cell))
        yield from (f"code cell {number}: {fault}" for fault in found)
    yield from _bound_faults(notebook)


def hides(shown: str) -> bool:
    """Whether a text has a sign that is not shown and may hide others: carriage return, escape, zero width, ..."""
    return any(unicodedata.category(sign)[0] == "C" for sign in set(shown) - {"\n"})


def _cell_faults(cell: dict) -> Iterator[str]:
    source = text(cell["source"])
    if not source.strip():
        yield "empty"
    if cell["cell_type"] not in ("code", "markdown"):
        yield "neither code nor Markdown"
    if hides(source):
        yield HIDDEN
    if cell["cell_type"] == "markdown":
        plain = re.sub(r"(?<!`)(`[^`]+`)(?!`)|\$[^$]*\$", "", FOLDS.sub("", source))  # no roles, code and formulas
        yield from (fault for fault, pattern in PROSE_FAULTS.items() if pattern.search(plain))


def _source_faults(cell: dict) -> Iterator[str]:
    source = MARKS.sub("", text(cell["source"]))
    try:
        ast.parse(source)
    except SyntaxError:
        yield NO_PYTHON
    if MARKERS.search(source):
        yield "nbval marker"
    if source.rstrip().endswith(";"):
        yield "trailing semicolon"
    if len(source.splitlines()) > MOST_LINES:
        yield f"more than {MOST_LINES} lines"
    if any(len(line) > MOST_COLUMNS for line in source.splitlines()):
        yield f"more than {MOST_COLUMNS} columns"


def _shown_faults(cell: dict) -> Iterator[str]:
    for output in cell["outputs"]:
        shown = output.get("data", {"text/plain": output.get("text", "")})
        table = text(shown.get(TABLE, ""))
        if set(shown) - {"text/plain", FIGURE, TABLE, RECORD, RECORD_NAME}:
            yield "output of another kind than text, table, figure or bound number"  # of these nbval compares no PNG
        if table and not PLAIN_TABLE.fullmatch(table):
            yield "HTML that is no plain table"  # it could run scripts, load or hide something
        if "<th></th>" in table:
            yield "table with an empty heading"  # a screen reader would announce nothing
        printed = text(shown.get("text/plain", "")) + re.sub("<[^>]*>", " ", table) + text(shown.get(RECORD, ""))
        if hides(printed):
            yield HIDDEN
        yield from (fault for fault, pattern in PRINTED_FAULTS.items() if pattern.search(printed))
        for number in re.findall(r"\d+\.\d+", printed):
            if len(number.replace(".", "").lstrip("0")) > MOST_DIGITS:
                yield f"more than {MOST_DIGITS} digits: {number}"


def _figure_faults(cell: dict) -> Iterator[str]:
    drawn = any(FIGURE in output.get("data", ()) for output in cell["outputs"])
    settings = {key: value for key, value in cell["metadata"].get("mystnb", {}).items() if key not in SOLUTION}
    known = {"image": {"alt"}, "figure": {"caption", "name"}} if drawn else {}
    if {key: set(value) if isinstance(value, dict) else value for key, value in settings.items()} != known:
        yield "figure without caption, name or alt text, or with something else set"
    elif drawn:
        figure, alt = settings["figure"], settings["image"]["alt"]
        if len(alt) < 40 or len(figure["caption"]) < 20 or not figure["name"].startswith("fig-"):
            yield "figure without a proper caption, name or alt text"


def _solution_faults(cell: dict) -> Iterator[str]:
    """A solution is marked, for the grader to leave out, and folded, for the reader to try first."""
    marked = [text(cell["source"]).count(mark) for mark in (BEGIN, END)]
    solution = cell["metadata"].get("nbgrader", {}).get("solution", False)
    folds = cell["metadata"].get("mystnb", {})
    folded = cell["metadata"].get("tags") == ["hide-input"] and all(folds.get(key) == SOLUTION[key] for key in SOLUTION)
    if marked != [solution, solution] or solution != folded:
        yield "solution without its marks or its fold, or one of them without a solution"


def _bound_faults(notebook: dict) -> Iterator[str]:
    """Names recorded in outputs and shown in prose must be the same."""
    shown = set(re.findall(r"\{glue:text\}`([^`:]+)`", "\n".join(markdown(notebook))))
    data = [output.get("data", {}) for cell in code_cells(notebook) for output in cell["outputs"]]
    bound = Counter(text(each[RECORD_NAME]) for each in data if RECORD_NAME in each)
    yield from (f"bound but not shown, or shown but not bound: {name}" for name in sorted(bound.keys() ^ shown))
    yield from (f"bound more than once, and one of them shown: {name}" for name in bound if bound[name] > 1)


def frame_faults(notebook: dict, following: str | None) -> Iterator[str]:
    """What the frame of a chapter lacks. ``following``: the name of the next notebook, if there is one."""
    cells, prose = notebook["cells"], markdown(notebook)
    if cells[0]["cell_type"] != "markdown" or not prose[0].startswith("# "):
        yield "no title at the top"
    yield from (f"the opening lacks {part}" for part in OPENING if part not in "\n".join(prose[:2]))
    if cells[-1]["cell_type"] != "markdown" or "## Take-aways" not in prose[-1]:
        yield "no take-aways at the end"
    if following and f"({following}.ipynb)" not in prose[-1]:
        yield f"the last section does not link {following}"


def link_faults(notebook: dict, folder: Path, book: Path) -> Iterator[str]:
    """Links of a notebook in a folder that lead nowhere, or outside without being in the book's ``links.txt``."""
    listed = set((book / "links.txt").read_text("utf-8").split())
    for inside, outside in LINK.findall("\n".join(markdown(notebook))):
        target = (inside or outside).split("#")[0]
        if re.match(r"\w+:|//", target):
            if target not in listed:
                yield f"outside link that links.txt lacks: {target}"
        elif target and not (folder / target).is_file():
            yield f"link to no page: {target}"
