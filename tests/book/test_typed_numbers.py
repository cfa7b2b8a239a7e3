"""Numbers in prose: each is bound to a computed value, or it stands in the audited list beside this file.

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

import pytest

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
PAGES = {path.stem: path for kind in ("ipynb", "md") for path in sorted(BOOK.glob(f"*.{kind}"))}
EXERCISES = {path.parent.name: path for path in sorted((BOOK / "exercises").glob("*/*.ipynb"))}
LIST = ROOT / "tests" / "typed-numbers.txt"

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
LAYOUT = r"^[:`]{3,}\{(?:grid|stored-figure|explorer)\}.*$|^:(?:gutter|name):.*$"
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


def near(cells, at):
    """The cell of a quotation, with the two of code before it and the two after it."""
    before, after = ([cell for cell in part if is_code(cell)] for part in (cells[:at], cells[at + 1 :]))
    return [*before[-2:], cells[at], *after[:2]]


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


@pytest.fixture(scope="module")
def listed():
    return audited(LIST.read_text("utf-8"))


@pytest.mark.parametrize("name", PAGES)
def test_every_number_in_prose_is_bound_or_audited(name, listed):
    assert list(faults(read(PAGES[name]), listed.get(name, []))) == []


def test_the_list_is_of_these_pages_and_repeats_nothing(listed):
    assert set(listed) <= {*PAGES, *(f"exercises/{name}" for name in EXERCISES)}
    assert all(len(set(lines)) == len(lines) for lines in listed.values())


@pytest.mark.parametrize("name", EXERCISES)
def test_a_number_of_an_exercise_is_that_of_its_code_or_its_check_or_audited(name, listed):
    notebook, checks = read(EXERCISES[name]), ROOT / "focalbook" / "checks" / f"chapter{name[:2]}.py"
    code = ["".join(cell["source"]) for cell in notebook["cells"] if is_code(cell)]
    known = {0, 1, 2}.union(*map(values, [checks.read_text("utf-8"), *code]))
    pieces, lines = [prose(typed) for typed in texts(notebook)], listed.get(f"exercises/{name}", [])
    quoted = set().union(*(values(quotation) for _, quotation in lines))
    assert [f for f in unaudited(pieces, lines) if not f.startswith("typed")] == []
    left = set().union(*map(values, pieces)) - known
    assert left <= quoted, f"in the text, but neither in its code, its check nor the list: {sorted(left - quoted)}"
    assert quoted <= left, f"in the list, but its code or its check has it: {sorted(quoted - left)}"


@pytest.mark.parametrize("name", PAGES)
def test_each_number_is_found_when_it_changes(name, listed):
    pieces = [prose(typed) for typed in texts(read(PAGES[name]))]
    for at, text in enumerate(pieces):
        for start, end in numbers(text):
            number = text[start:end]
            other = re.sub(r"\d(?=\D*$)", lambda digit: str((int(digit[0]) + 1) % 10), number)
            other = other if other != number else "eleven" if number != "eleven" else "twelve"
            changed = text[:start] + other + text[end:]
            assert any("not in the list" in fault for fault in unaudited([*pieces[:at], changed], listed.get(name, [])))


def replace(old, new):
    """A plant: ``old`` becomes ``new`` where it first stands, in a cell, a caption or an alt text."""

    def plant(notebook):
        for cell in notebook["cells"]:
            shown = cell.get("metadata", {}).get("mystnb", {})
            places = ((cell, "source"), (shown.get("figure", {}), "caption"), (shown.get("image", {}), "alt"))
            for place, key in places:
                typed = "".join(place.get(key, ""))
                if old in typed:
                    place[key] = typed.replace(old, new, 1)
                    return
        raise AssertionError(f"not on the page: {old}")

    return plant


def say(sentence):
    """A plant: one more sentence at the end."""

    def plant(notebook):
        notebook["cells"][-1]["source"] = "".join(notebook["cells"][-1]["source"]) + "\n" + sentence

    return plant


TYPED, STALE = "typed, and not in the list", "0 times on the page"
PLANTED = {
    "a digit in prose": ("02", replace("A loss of 0.05", "A loss of 0.06"), TYPED),
    "a digit in a formula": ("04", replace(r"$\gamma = 2$ with", r"$\gamma = 3$ with"), TYPED),
    "a sign": ("17", replace("At logit $-12$", "At logit $12$"), TYPED),
    "a digit in a table": ("04", replace("| .25 | 33.7 |", "| .25 | 33.8 |"), TYPED),
    "a digit in a caption": ("08", replace(r"$\pi = 0.01$ (solid)", r"$\pi = 0.02$ (solid)"), TYPED),
    "a digit in alt text": ("07", replace("Dashed lines at 0.4", "Dashed lines at 0.3"), TYPED),
    "a number in alt text": ("01", replace("then with a tight bundle of", "then with 18"), TYPED),
    "a bound number": ("03", replace("{glue:text}`ratio`", "58.40"), TYPED),
    "a number's place": ("01", replace("of scene 24?", "of a scene?"), STALE),
    "a number's neighbor": ("01", replace("the first 64 training", "the last 64 training"), STALE),
    "a sentence twice": ("01", say("A scene of 96 × 96 pixels, with one object."), "2 times on the page"),
    "a chapter": ("03", replace("[chapter 2](02-", "[chapter 3](02-"), TYPED),
    "an issue": ("07", replace("vision#1765]", "vision#1756]"), TYPED),
    "a number as code": ("03", say("The gain is `7`."), TYPED),
    "a number in a note": ("03", say("```{note}\nThe gain is 7.\n```"), TYPED),
    "a setting": (
        "10",
        replace("TrainSettings(steps=200)", "TrainSettings(steps=300)"),
        "not the number of its source",
    ),
    "a digit in the glossary": ("glossary", replace("about 0.69 nats", "about 0.70 nats"), TYPED),
    "a digit in a page's table": ("notation", replace("label: 1 for", "label: 2 for"), TYPED),
    "a number between blocks": ("03", say("```{note}\nA.\n```\n\nIt gains 7.\n\n```{note}\nB.\n```"), TYPED),
    "a number in a block's alt text": ("03", say("```{explorer} crowd\n:alt: The 7 losses.\n```"), TYPED),
    "a number in a card's title": ("03", say(":::{grid-item-card} To read in 7 days\n:::"), TYPED),
    "a number word": ("06", replace("takes twenty pictures", "takes thirty pictures"), TYPED),
    "a typed binding": ("03", replace('ratio=f"{ratio:.2f}"', 'ratio="58.40"'), "bound to a typed text: ratio"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_number_is_named(planted, listed):
    page, plant, named = PLANTED[planted]
    name = next(name for name in PAGES if name.startswith(page))
    notebook = read(PAGES[name])
    plant(notebook)
    assert any(named in fault for fault in faults(notebook, listed.get(name, [])))


DIGITAL = [
    "7",
    "0.07",
    ".5",
    "1,000,000",
    "12%",
    "−3",
    "1e-5",
    "$10^{-6}$",
    r"$\gamma=3$",
    "3rd",
    "½",
    "$x$²",
    "x²",
    "2½",
]
WORDED = ["eleven", "Twenty", "twelve percent", "ninety-six", "six thousand eight hundred", "a hundred", "a dozen"]
QUOTED = ["`7`", "`7 AP`", "`about 7`", "`7%`", "`-7 AP`"]
LINKED = [
    "[7 AP](07-anchors.ipynb)",
    "[chapter 7.5](07-anchors.ipynb)",
    "[the 7](07-anchors.ipynb)",
    "[18](07-anchors.ipynb)",
]


@pytest.mark.parametrize("number", DIGITAL + WORDED + QUOTED + LINKED)
def test_a_new_sentence_with_a_number_is_named(number, listed):
    notebook = read(PAGES["03-balanced-cross-entropy"])
    say(f"It gains {number} here.")(notebook)
    found = list(faults(notebook, listed["03-balanced-cross-entropy"]))
    assert found and all("It gains" in fault for fault in found)


CODE = ["`alpha=7`", "`p - 7`", "`seeds[7]`", "`f(7)`", "`float64`", "`run --seed 7`", "```\n7 AP\n```"]
NAMED = ["[chapter 4](04-focal-loss.ipynb)", "[Chapters 4](04-focal-loss.ipynb) and on", "[4](04-focal-loss.ipynb)"]
NAMED += ["[vision#1765](https://github.com/pytorch/vision/issues/1765)", "[issue 9](https://github.com/a/b/issues/9)"]
BOUND_ALREADY = ["{glue:text}`x1`", "{glue:text}`hundred`", "{glue:text}`11-verdict.ipynb::low:s`"]
BLOCKS = [
    "::::{grid} 1 1 3 3\n:gutter: 3\n\nText.\n::::",
    "```{stored-figure} 13-map.ipynb fig-map\n:name: a-1\n\nText.\n```",
]


@pytest.mark.parametrize(
    "text", ["AP50", "$1 - p_t$", "ten runs", "thousands", "a hundredth", *CODE, *NAMED, *BOUND_ALREADY, *BLOCKS]
)
def test_what_is_no_typed_number_is_none(text):
    assert numbers(prose(text)) == []


def test_number_words_and_signs_have_their_size():
    sizes = {"twenty": 20, "ninety-six": 96, "six thousand eight hundred": 6800, "Two hundred and five": 205, "½": 0.5}
    sizes |= {
        "thousand": 1000,
        "a hundred thousand": 1e5,
        "billion billion": 1e18,
        "three million two": 3000002,
        "²": 2,
    }
    assert {text: max(values(text)) for text in sizes} == sizes


def test_a_number_of_the_code_is_near_its_quotation_or_has_its_name():
    code = ["seed = 7", "steps = 80", "def f(x, lr=9, k=1): ...", "g(batch=4, size=2)"]
    code += ["for a, b in ((5, 6),): ...", "n += 3", "m = [c for c in (8,)]"]
    cells = [{"cell_type": "code", "source": line} for line in code]
    cells.insert(3, {"cell_type": "markdown", "source": "80 steps"})

    def holds(source, *wanted, at=3):
        return _holds(source, set(wanted), cells, at)

    assert all(holds("code", size) for size in (80, 9, 4, 5, 6)) and holds("code", 5, 6)
    assert not any(holds("code", size) for size in (7, 3, 8)) and not holds("code", 80, 9)
    assert all(holds("code", size, at=1) for size in (7, 80, 9, 2)) and not holds("code", 5, at=1)
    named = {"seed": 7, "steps": 80, "lr": 9, "batch": 4, "b": 6, "n": 3, "c": 8}
    assert all(holds(f"code {name}, a remark", size) for name, size in named.items())
    assert not any(holds(f"code {name}", 1) or holds(f"code {name}", 2) for name in [*named, "ste"])
    assert not holds("code steps", 7) and not holds("code ste", 80)
