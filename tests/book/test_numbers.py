"""Numbers in prose: what is found, what is none, and what is held to its source (``tools.faults.numbers``)."""

import re

import pytest
from planting import replace, say

from tasks import ROOT
from tools.faults import numbers as numbers_of
from tools.faults.numbers import LIST, audited, faults, numbers, prose, read, texts, unaudited, values

BOOK = ROOT / "book"
PAGES = {path.stem: path for kind in ("ipynb", "md") for path in sorted(BOOK.glob(f"*.{kind}"))}


@pytest.fixture(scope="module")
def listed():
    return audited((ROOT / LIST).read_text("utf-8"))


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


TYPED, STALE = "typed, and not in the list", "0 times on the page"
PLANTED = {
    "a digit in prose": ("02", replace("A loss of 0.05", "A loss of 0.06"), TYPED),
    "a digit in a formula": ("04", replace(r"$\gamma = 2$ with", r"$\gamma = 3$ with"), TYPED),
    "a sign": ("17", replace("At logit $-12$", "At logit $12$"), TYPED),
    "a digit in a table": ("04", replace("| .25 | 33.7 |", "| .25 | 33.8 |"), TYPED),
    "a digit in a caption": ("08", replace(r"$\pi = 0.01$ (solid)", r"$\pi = 0.02$ (solid)"), TYPED),
    "a digit in alt text": ("07", replace("squares, of 10 and", "squares, of 12 and"), TYPED),
    "a number in alt text": ("01", replace("the two boxes nearly agree", "the 2 boxes nearly agree"), TYPED),
    "a bound number": ("03", replace("{glue:text}`ratio`", "58"), TYPED),
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
    "a number word": ("02", replace("Is ten thousand times", "Is twenty thousand times"), TYPED),
    "a typed binding": ("03", replace('ratio=f"{hard / easy:.0f}"', 'ratio="58"'), "bound to a typed text: ratio"),
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
        return numbers_of._holds(source, set(wanted), cells, at)

    assert all(holds("code", size) for size in (80, 9, 4, 5, 6)) and holds("code", 5, 6)
    assert not any(holds("code", size) for size in (7, 3, 8)) and not holds("code", 80, 9)
    assert all(holds("code", size, at=1) for size in (7, 80, 9, 2)) and not holds("code", 5, at=1)
    named = {"seed": 7, "steps": 80, "lr": 9, "batch": 4, "b": 6, "n": 3, "c": 8}
    assert all(holds(f"code {name}, a remark", size) for name, size in named.items())
    assert not any(holds(f"code {name}", 1) or holds(f"code {name}", 2) for name in [*named, "ste"])
    assert not holds("code steps", 7) and not holds("code ste", 80)
