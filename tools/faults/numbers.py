"""Numbers in prose: each is bound to a computed value, or it stands in the audited list.

The prose of a page is its Markdown and the captions and alt texts of its figures, without code; the pages are the
chapters and the Markdown files of the book. A bound number is not typed: its role stays in the text by name. Of the
rest, ``typed-numbers.txt`` quotes every one with the words around it, and says where it comes from. So a number that is
changed, moved, repeated or new has no line, and its old line quotes nothing. Both are faults.

Counted too: number words from eleven up; signs such as ½; and a number in backticks among words, which no code is.

Not counted: number words up to ten, ordinals and vague ones (thousands); digits in names such as AP50; the number of a
chapter or an issue that the link's own target repeats; and the 1 of $1 - p_t$ and its kin, which is notation.
"""

import ast
import inspect
import json
import pydoc
import re
import unicodedata
from functools import cache
from pathlib import Path

from tasks import ROOT
from tools.faults.notebooks import RECORD

LIST = Path("book", "typed-numbers.txt")

SMALL = "one two three four five six seven eight nine ten".split()  # as words these are not counted
TEENS = "eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
SIZES = {word: size for size, word in enumerate(SMALL + TEENS, 1)} | {word: 10 * n for n, word in enumerate(TENS, 2)}
SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}

LARGE, ANY = "|".join([*TEENS, *TENS, *SCALES]), "|".join([*SIZES, *SCALES])
SPELLED = rf"(?i:\b(?:(?:{ANY})[\s-]+)*(?:{LARGE})(?:[\s-](?:and\s)?(?:{ANY}))*\b)"
SIGNS = "".join(sign for sign in map(chr, range(0x3400)) if unicodedata.category(sign) in ("No", "Nl"))
DIGITS = r"[-−+]?(?:10\^\{?[-+]?\d+\}?|\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
BOUND = r"\{(?:\d\d-[\w-]+\.ipynb::)?[A-Za-z]\w*(?::s)?\}"
WORD = rf"\\[A-Za-z]+|[^\W\d{SIGNS}][^\W{SIGNS}]*"  # a command of LaTeX is one without the digits that may follow it
TOKEN = re.compile(rf"{BOUND}|(?P<number>{SPELLED}|[{SIGNS}]|{DIGITS})|{WORD}")
OPERATOR = re.compile(r"[][(){}=_*/<>|&^@#\\]| [-+] |--")  # what makes code of words and numbers
LAYOUT = r"^[:`]{3,}\{(?:grid|stored-figure|explorer|notes)\}.*$|^:(?:gutter|name|heading-offset):.*$"
ONE = re.compile(r"1 ?[-+] ?(?=[\\A-Za-z(])|(?<=[A-Za-z]) ?[-+] ?1(?!\.?\d)")
PLAIN = {"quotation", "definition", "by hand", "example", "name", "estimate"}  # only a reader can check them


def read(path):
    """A page as a notebook; one in Markdown has a single cell."""
    typed = path.read_text("utf-8")
    return json.loads(typed) if path.suffix == ".ipynb" else {"cells": [{"cell_type": "markdown", "source": typed}]}


def texts(notebook):
    """Three for each cell, as typed: its Markdown, its caption and its alt text."""
    for cell in notebook["cells"]:
        shown = cell.get("metadata", {}).get("mystnb", {})
        yield "".join(cell["source"]) if cell["cell_type"] == "markdown" else ""
        yield shown.get("figure", {}).get("caption", "")
        yield shown.get("image", {}).get("alt", "")


def prose(typed):
    """One text without code, layout and link targets, on one line; a bound number is its name in braces."""
    fence = re.compile(r"^(`{3,})(.*?)^\1`*[ \t]*$", re.DOTALL | re.MULTILINE)
    text = fence.sub(lambda block: block[0] if block[2].startswith("{") else "", typed)
    text = re.sub(LAYOUT, "", text, flags=re.MULTILINE)
    text = re.sub(r"^\d+\. ", "", text, flags=re.MULTILINE)  # the marker of a list's item
    text = re.sub(r"\{glue:text\}`([^`]+)`", r"{\1}", text)
    text = re.sub(r"\{[\w:]+\}`([^`<]+?)(?: <[^`]*>)?`", r"\1", text)  # any other role: what it shows or names
    text = re.sub(r"`([^`\n]*)`", lambda code: "" if _is_code(code[1]) else code[1], text)
    text = re.sub(r"\[([^\]]*)\]\(([^)]*)\)", _link_text, text)
    return " ".join(text.replace("$$", "$").split())


def _is_code(typed):
    return OPERATOR.search(typed) is not None or not numbers(typed)


def _link_text(link):
    targets = {int(number) for number in re.findall(r"\d+", link[2])}
    name = r"(?:(?<=\b[Cc]hapter\s)|(?<=\b[Cc]hapters\s)|(?<=\b[Pp]age\s)|(?<=\b[Ii]ssue\s)|(?<=#))\d+|^\d+$"
    return re.sub(name, lambda number: "" if int(number[0]) in targets else number[0], link[1])


@cache
def numbers(text):
    """The places ``(start, end)`` of the typed numbers in a text that ``prose`` returned."""
    notation = [(one.start(), one.end()) for one in ONE.finditer(text) if text.count("$", 0, one.start()) % 2]
    return [
        token.span("number")
        for token in TOKEN.finditer(text)
        if token["number"] and not any(start <= token.start() and token.end() <= end for start, end in notation)
    ]


def value(number):
    """Its size as a float, without the sign: code may well have it apart."""
    if number in SIGNS:
        return unicodedata.numeric(number)
    if number[0].isalpha():
        return float(_spelled(re.split(r"[\s-]+", number.lower())))
    return abs(float(re.sub(r"[−+,{}]", "", number.replace("10^", "1e"))))


def _spelled(words):
    whole = part = 0
    for word in words:
        if SCALES.get(word, 0) >= 1000:  # six thousand, thousand, and the second of billion billion
            whole, part = (whole or 1) * SCALES[word] if not part else whole + part * SCALES[word], 0
        else:
            part = (part or 1) * SCALES[word] if word in SCALES else part + SIZES.get(word, 0)
    return whole + part


def values(text):
    """The sizes of all numbers in a text."""
    return {value(text[start:end]) for start, end in numbers(text)}


def audited(listed):
    """The lines of the list by page: pairs of source and quotation."""
    pages = {}
    for line in listed.splitlines():
        if line.startswith("["):
            lines = pages.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            lines.append(tuple(line.split(": ", 1)))
    return pages


def faults(notebook, lines):
    """What is wrong with a page's numbers, one line each; with every number bound or audited, nothing."""
    pieces = [prose(typed) for typed in texts(notebook)]
    yield from unaudited(pieces, lines)
    for source, quoted in lines:
        at = next((at for at, text in enumerate(pieces) if quoted in text), 0) // 3
        if not _holds(source, values(quoted), notebook["cells"], at):
            yield f"not the number of its source, {source}: {quoted}"
    for name in typed_bindings(notebook):
        yield f"bound to a typed text: {name}"


def unaudited(pieces, lines):
    """Numbers of the prose that no line quotes, and lines that do not quote one place of it."""
    covered = [set() for _ in pieces]
    for _, quoted in lines:
        places = [
            (at, found.start()) for at, text in enumerate(pieces) for found in re.finditer(re.escape(quoted), text)
        ]
        if len(places) != 1:
            yield f"quoted in the list, {len(places)} times on the page: {quoted}"
        for at, start in places[:1]:
            covered[at].update(range(start, start + len(quoted)))
        if not values(quoted):
            yield f"no number in a line of the list: {quoted}"
    for text, audited_here in zip(pieces, covered):
        for start, end in numbers(text):
            if not audited_here.issuperset(range(start, end)):
                yield f"typed, and not in the list: {text[max(0, start - 40) : end + 30]}"


def _holds(source, wanted, cells, at):
    """Whether the numbers quoted in a cell are those of their source, as far as a program can tell."""
    name, _, variable = source.split(",")[0].partition(" ")
    if name == "code":  # set in one cell: near the quotation, or anywhere under the name given
        code = ["".join(cell["source"]) for cell in (cells if variable else near(cells, at)) if is_code(cell)]
        return any(wanted <= (given(variable, cell) if variable else values(cell)) for cell in code)
    name = source.split(",")[0]
    if name.startswith("focalbook."):  # a value of the module, or a default
        thing = pydoc.locate(name)
        return thing is not None and wanted <= values(str(inspect.signature(thing)) if callable(thing) else repr(thing))
    if "/" in name and "#" not in name:  # set in that file
        return wanted <= values((ROOT / name).read_text("utf-8"))
    typed = "\n".join("".join(cell["source"]) for cell in cells if not is_code(cell))
    thread = name.replace("#", "/(?:issues|pull)/")  # linked in the page, or else a reference that it cites
    cited = rf"{thread}\b" if "#" in name else rf"\{{cite:[pt]\}}`[^`]*\b{name}\b"
    return name in PLAIN or re.search(cited, typed) is not None


def is_code(cell):
    return cell["cell_type"] == "code"


def keeps_books(cell):
    """Whether a cell of code shows nothing but bound numbers, or only sets the style."""
    outputs = cell.get("outputs", ())
    silent = all(RECORD in output.get("data", ()) for output in outputs)
    return silent and (bool(outputs) or "use_style()" in "".join(cell["source"]))


def near(cells, at):
    """The cell of a quotation, with the code before it and after it: two cells, and those between that keep books."""
    found = [cells[at]]
    for part in (cells[:at][::-1], cells[at + 1 :]):
        code = [cell for cell in part if is_code(cell)]
        shown = [number for number, cell in enumerate(code) if not keeps_books(cell)]
        found += code[: shown[1] + 1] if len(shown) > 1 else code
    return found


def given(variable, cell):
    """The numbers that a cell gives to a variable, an argument or a keyword of that name."""
    found = []
    for part in ast.walk(ast.parse(cell)):
        if isinstance(part, ast.arguments):
            defaults = zip(reversed(part.args), reversed(part.defaults))
            found += [default for name, default in defaults if name.arg == variable]
        elif isinstance(part, ast.keyword) and part.arg == variable:
            found.append(part.value)
        elif isinstance(part, ast.Assign | ast.AugAssign | ast.For | ast.comprehension):
            targets = part.targets if isinstance(part, ast.Assign) else [part.target]
            if any(getattr(name, "id", None) == variable for target in targets for name in ast.walk(target)):
                found.append(part.iter if hasattr(part, "iter") else part.value)
    return values("; ".join(map(ast.unparse, found)))


def typed_bindings(notebook):
    """Names that ``bind`` gives a text in which nothing is computed."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            for call in ast.walk(ast.parse("".join(cell["source"]))):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "bind":
                    for word in call.keywords:
                        if not any(isinstance(part, ast.Name | ast.BinOp) for part in ast.walk(word.value)):
                            yield word.arg


def exercise_faults(notebook, lines, checks):
    """The same for a page of exercises: a number is that of its code, of its ``checks`` (a text), or audited."""
    code = ["".join(cell["source"]) for cell in notebook["cells"] if is_code(cell)]
    known = {0, 1, 2}.union(*map(values, [checks, *code]))
    pieces = [prose(typed) for typed in texts(notebook)]
    quoted = set().union(*(values(quotation) for _, quotation in lines))
    yield from (fault for fault in unaudited(pieces, lines) if not fault.startswith("typed"))
    left = set().union(*map(values, pieces)) - known
    yield from (f"in the text, but neither in its code, its check nor the list: {size:g}" for size in left - quoted)
    yield from (f"in the list, but its code or its check has it: {size:g}" for size in quoted - left)
