"""Numbers in prose: each is bound to a computed value, or it stands in the audited list beside this file.

The prose of a chapter is its Markdown cells and the captions and alt texts of its figures, without code. A bound number
is not typed: its role stays in the text by name. Of the rest, ``typed-numbers.txt`` quotes every one with the words
around it, and says where it comes from. So a number that is changed, moved, repeated or new has no line, and its old
line quotes nothing. Both are faults.

Not counted: number words; digits in names such as AP50; the number of a chapter or an issue that the link's own target
repeats; and the 1 of $1 - p_t$ and its kin, which is notation.
"""

import ast
import inspect
import json
import pydoc
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = {path.stem: path for path in sorted((ROOT / "book").glob("*.ipynb"))}
LIST = ROOT / "tests" / "typed-numbers.txt"

WORD = r"\\[A-Za-z]+|[^\W\d]\w*"  # a command of LaTeX is one without the digits that may follow it
NUMBER = r"[-−+]?(?:10\^\{?[-+]?\d+\}?|\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
TOKEN = re.compile(rf"{WORD}|(?P<number>{NUMBER})")
ONE = re.compile(r"1 ?[-+] ?(?=[\\A-Za-z(])|(?<=[A-Za-z]) ?[-+] ?1(?!\.?\d)")
PLAIN = {"quotation", "definition", "by hand", "example", "name", "estimate"}  # only a reader can check them


def read(path):
    return json.loads(path.read_text("utf-8"))


def texts(notebook):
    """Each Markdown cell, caption and alt text, as typed."""
    for cell in notebook["cells"]:
        shown = cell["metadata"].get("mystnb", {})
        yield "".join(cell["source"]) if cell["cell_type"] == "markdown" else ""
        yield shown.get("figure", {}).get("caption", "")
        yield shown.get("image", {}).get("alt", "")


def prose(typed):
    """One text without code and link targets, on one line; a bound number is its name in braces."""
    text = re.sub(r"^```(?!\{).*?^```", "", typed, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^\d+\. ", "", text, flags=re.MULTILINE)  # the marker of a list's item
    text = re.sub(r"\{glue:text\}`([^`]+)`", r"{\1}", text)
    text = re.sub(r"\{[\w:]+\}`([^`<]+?)(?: <[^`]*>)?`", r"\1", text)  # any other role: what it shows or names
    text = re.sub(r"`([^`\n]*)`", lambda code: code[1] if re.fullmatch(NUMBER, code[1]) else "", text)
    text = re.sub(r"\[([^\]]*)\]\(([^)]*)\)", _link_text, text)
    return " ".join(text.replace("$$", "$").split())


def _link_text(link):
    targets = {int(number) for number in re.findall(r"\d+", link[2])}
    return re.sub(r"\d+", lambda number: "" if int(number[0]) in targets else number[0], link[1])


def numbers(text):
    """The places ``(start, end)`` of the typed numbers in a text that ``prose`` returned."""
    notation = [(one.start(), one.end()) for one in ONE.finditer(text) if text.count("$", 0, one.start()) % 2]
    for token in TOKEN.finditer(text):
        if token["number"] and not any(start <= token.start() and token.end() <= end for start, end in notation):
            yield token.span("number")


def value(number):
    """Its size as a float, without the sign: code may well have it apart."""
    return abs(float(re.sub(r"[−+,{}]", "", number.replace("10^", "1e"))))


def values(text):
    """The sizes of all numbers in a text."""
    return {value(text[start:end]) for start, end in numbers(text)}


def audited(listed):
    """The lines of the list by chapter: pairs of source and quotation."""
    chapters = {}
    for line in listed.splitlines():
        if line.startswith("["):
            lines = chapters.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            lines.append(tuple(line.split(": ", 1)))
    return chapters


def faults(notebook, lines):
    """What is wrong with a chapter's numbers, one line each; with every number bound or audited, nothing."""
    yield from unaudited([prose(typed) for typed in texts(notebook)], lines)
    for source, quoted in lines:
        if not _holds(source, quoted, notebook):
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
            yield f"quoted in the list, {len(places)} times in the chapter: {quoted}"
        for at, start in places[:1]:
            covered[at].update(range(start, start + len(quoted)))
        if not values(quoted):
            yield f"no number in a line of the list: {quoted}"
    for text, audited_here in zip(pieces, covered):
        for start, end in numbers(text):
            if not audited_here.issuperset(range(start, end)):
                yield f"typed, and not in the list: {text[max(0, start - 40) : end + 30]}"


def _holds(source, quoted, notebook):
    """Whether the numbers quoted are those of their source, as far as a program can tell."""
    name, wanted = source.split(",")[0], values(quoted)
    code, typed = (
        ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]
        for kind in ("code", "markdown")
    )
    if name == "code":  # set in one cell of the chapter
        return any(wanted <= values(cell) for cell in code)
    if name.startswith("focalbook."):  # a value of the module, or a default
        thing = pydoc.locate(name)
        return thing is not None and wanted <= values(str(inspect.signature(thing)) if callable(thing) else repr(thing))
    if "/" in name and "#" not in name:  # set in that file
        return wanted <= values((ROOT / name).read_text("utf-8"))
    thread = name.replace("#", "/(?:issues|pull)/")  # linked in the chapter, or else a reference that it cites
    cited = rf"{thread}\b" if "#" in name else rf"\{{cite:[pt]\}}`[^`]*\b{name}\b"
    return name in PLAIN or re.search(cited, "\n".join(typed)) is not None


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


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_number_in_prose_is_bound_or_audited(name, listed):
    assert list(faults(read(CHAPTERS[name]), listed.get(name, []))) == []


def test_the_list_is_of_these_chapters_and_repeats_nothing(listed):
    assert set(listed) <= set(CHAPTERS)
    assert all(len(set(lines)) == len(lines) for lines in listed.values())


@pytest.mark.parametrize("name", CHAPTERS)
def test_each_number_is_found_when_it_changes(name, listed):
    pieces = [prose(typed) for typed in texts(read(CHAPTERS[name]))]
    for at, text in enumerate(pieces):
        for start, end in numbers(text):
            last = re.search(r"\d(?=\D*$)", text[start:end]).start() + start
            changed = text[:last] + str((int(text[last]) + 1) % 10) + text[last + 1 :]
            assert any("not in the list" in fault for fault in unaudited([*pieces[:at], changed], listed[name]))


def replace(old, new):
    """A plant: ``old`` becomes ``new`` where it first stands, in a cell, a caption or an alt text."""

    def plant(notebook):
        for cell in notebook["cells"]:
            shown = cell["metadata"].get("mystnb", {})
            places = ((cell, "source"), (shown.get("figure", {}), "caption"), (shown.get("image", {}), "alt"))
            for place, key in places:
                typed = "".join(place.get(key, ""))
                if old in typed:
                    place[key] = typed.replace(old, new, 1)
                    return
        raise AssertionError(f"not in the chapter: {old}")

    return plant


def say(sentence):
    """A plant: one more sentence at the end."""

    def plant(notebook):
        notebook["cells"][-1]["source"] = "".join(notebook["cells"][-1]["source"]) + "\n" + sentence

    return plant


TYPED, STALE = "typed, and not in the list", "0 times in the chapter"
PLANTED = {
    "a digit in prose": ("02", replace("A loss of 0.05", "A loss of 0.06"), TYPED),
    "a digit in maths": ("04", replace(r"$\gamma = 2$ with", r"$\gamma = 3$ with"), TYPED),
    "a sign": ("17", replace("At logit $-12$", "At logit $12$"), TYPED),
    "a digit in a table": ("04", replace("| .25 | 33.7 |", "| .25 | 33.8 |"), TYPED),
    "a digit in a caption": ("08", replace(r"$\pi = 0.01$ (solid)", r"$\pi = 0.02$ (solid)"), TYPED),
    "a digit in alt text": ("07", replace("Dashed lines at 0.4", "Dashed lines at 0.3"), TYPED),
    "a number in alt text": ("01", replace("then with a tight bundle of", "then with 18"), TYPED),
    "a bound number": ("03", replace("{glue:text}`ratio`", "58.40"), TYPED),
    "a number's place": ("01", replace("of scene 24?", "of a scene?"), STALE),
    "a number's neighbour": ("01", replace("the first 64 training", "the last 64 training"), STALE),
    "a sentence twice": ("01", say("A scene of 96 × 96 pixels, with one object."), "2 times in the chapter"),
    "a chapter": ("03", replace("[chapter 2](02-", "[chapter 3](02-"), TYPED),
    "an issue": ("07", replace("vision#1765]", "vision#1756]"), TYPED),
    "a number as code": ("03", say("The gain is `7`."), TYPED),
    "a number in a note": ("03", say("```{note}\nThe gain is 7.\n```"), TYPED),
    "a setting": (
        "10",
        replace("TrainSettings(steps=200)", "TrainSettings(steps=300)"),
        "not the number of its source",
    ),
    "a typed binding": ("03", replace('ratio=f"{ratio:.2f}"', 'ratio="58.40"'), "bound to a typed text: ratio"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_number_is_named(planted, listed):
    chapter, plant, named = PLANTED[planted]
    name = next(name for name in CHAPTERS if name.startswith(chapter))
    notebook = read(CHAPTERS[name])
    plant(notebook)
    assert any(named in fault for fault in faults(notebook, listed[name]))


@pytest.mark.parametrize(
    "number", ["7", "0.07", ".5", "1,000,000", "12%", "−3", "1e-5", "$10^{-6}$", r"$\gamma=3$", "3rd"]
)
def test_a_new_sentence_with_a_number_is_named(number, listed):
    notebook = read(CHAPTERS["03-balanced-cross-entropy"])
    say(f"It gains {number} here.")(notebook)
    found = list(faults(notebook, listed["03-balanced-cross-entropy"]))
    assert len(found) == 1 and "It gains" in found[0]


@pytest.mark.parametrize(
    "text", ["`alpha=7`", "AP50", "$1 - p_t$", "[chapter 4](04-focal-loss.ipynb)", "{glue:text}`x1`"]
)
def test_what_is_no_typed_number_is_none(text):
    assert list(numbers(prose(text))) == []
