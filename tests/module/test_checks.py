"""The exercises' checks: the right answer passes, and every known wrong one fails with its own sentence."""

import importlib
import math
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from focalbook.checks import chapter04, check
from focalbook.checks.check import Check, NotYet, alike, within_time

CHAPTERS = sorted(path.stem for path in Path(check.__file__).parent.glob("chapter*.py"))
ALL = {
    f"{chapter}.{name}": thing
    for chapter in CHAPTERS
    for name, thing in vars(importlib.import_module(f"focalbook.checks.{chapter}")).items()
    if isinstance(thing, Check)
}
MISTAKES = [(name, sentence) for name, check in ALL.items() for sentence in check.mistakes]


def answer(check, function):
    """What a learner hands over who answers with that function: the like of it, or its value."""
    return partial(function) if check.cases else function()


REMEMBERED = {}


@pytest.fixture
def remembering(monkeypatch):
    """What a check itself compares an answer with is computed once for all answers."""

    def results(check, function, compute=Check._results):
        if function is not check.reference and function not in check.mistakes.values():
            return compute(check, function)
        key = id(check), function
        if key not in REMEMBERED:
            REMEMBERED[key] = compute(check, function)
        return REMEMBERED[key]

    monkeypatch.setattr(Check, "_results", results)


@pytest.mark.parametrize("name", ALL)
def test_the_right_answer_passes(name, capsys):
    ALL[name](answer(ALL[name], ALL[name].reference))
    assert capsys.readouterr().out.startswith("Right")


@pytest.mark.parametrize("name, sentence", MISTAKES, ids=[f"{name}: {sentence[:40]}" for name, sentence in MISTAKES])
def test_a_known_mistake_is_told_by_its_own_sentence(remembering, name, sentence):
    with pytest.raises(NotYet) as told:
        ALL[name](answer(ALL[name], ALL[name].mistakes[sentence]))
    assert str(told.value) == sentence


@pytest.mark.parametrize("name", ALL)
def test_a_check_knows_what_it_may_be_told(name):
    assert len(ALL[name].mistakes) >= 2
    assert all(sentence == sentence.strip() and 20 < len(sentence) < 160 for sentence in ALL[name].mistakes)


class Nasty:
    def __repr__(self):
        raise ValueError("no words for it")


class Silly(list):
    def __array__(self, *arguments, **options):
        raise KeyError("no numbers")

    def __getattr__(self, name):
        raise KeyError(name)


class Mute(Exception):
    def __str__(self):
        raise ValueError("no words for it")


def fail(error):
    def function(*arguments):
        raise error

    return function


def loop(*arguments):
    while True:
        pass


def leave(*arguments):
    raise SystemExit


def dig(*arguments):
    return dig(*arguments)


def spoil(p, *arguments):
    p[:] = 0
    return p


ANYTHING = {
    "nothing": (None, "without brackets; this is None"),
    "a number": (3, "without brackets; this is 3"),
    "a text": ("focal loss", "without brackets; this is 'focal loss'"),
    "its own result": (np.ones(5), "without brackets; this is [1, 1, 1, 1, 1]"),
    "a stub": (lambda *arguments: ..., "it returns nothing: write its body"),
    "returns None": (lambda *arguments: None, "it returns nothing: write its body"),
    "a constant": (lambda *arguments: 3.0, "the result has shape (); right is (5,)"),
    "a wrong shape": (lambda p, *arguments: p[:2], "the result has shape (2,); right is (5,)"),
    "returns a text": (lambda *arguments: "3", "it gives '3', and numbers are wanted"),
    "a ragged list": (lambda *arguments: [1, [2, 3]], "it gives [1, [2, 3]], and numbers are wanted"),
    "NaN": (lambda p, *arguments: p * np.nan, "there is a NaN in the result"),
    "other numbers": (lambda p, *arguments: p, "it gives [0.02, 0.3, 0.5, 0.9, 0.999]; right is [0.978006,"),
    "an object": (lambda *arguments: Nasty(), "it gives <Nasty instance"),
    "a tensor with a graph": (lambda p, *arguments: torch.tensor(p).requires_grad_(), "right is [0.978006,"),
    "an error": (lambda *arguments: 1 / 0, "it stops with ZeroDivisionError: division by zero"),
    "other arguments": (lambda: 3, "it stops with TypeError"),
    "leaves": (leave, "it stops with SystemExit"),
    "digs": (dig, "it stops with RecursionError"),
    "writes into its arguments": (spoil, "it gives [0, 0, 0, 0, 0]; right is [0.978006,"),
    "an object that fails at everything": (lambda *arguments: Silly(), "it gives [], and numbers are wanted"),
    "an error that fails at everything": (fail(Mute()), "it stops with Mute: a Mute"),
    "an error of many lines": (fail(ValueError("one\ntwo")), "it stops with ValueError: one two"),
    "torch's long error": (lambda *arguments: torch.ones(2).sum("no", "such"), "it stops with TypeError: sum()"),
    "far too many numbers": (lambda p, *arguments: np.ones((500, 500)), "has shape (500, 500); right is (5,)"),
    "a class": (dict, "it stops with TypeError"),
    "another check": (chapter04.shrinks, "it stops with TypeError"),
}


@pytest.mark.parametrize("given", ANYTHING)
def test_whatever_a_learner_passes_a_check_says_one_sentence(given):
    answer, sentence = ANYTHING[given]
    with pytest.raises(NotYet) as told:
        chapter04.focal_loss(answer)
    assert sentence in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    "given, sentence",
    [
        (..., "there is no answer yet: write answer = and your value"),
        (None, "put your answer, a value, in place of None"),
        (len, "put your answer, a value, in place of a function"),
        (5, "5 is not it: a hint may help"),
        ("133", "'133' is not it: a hint may help"),
        ([133.3], "[133.3] is not it: a hint may help"),
        (float("nan"), "nan is not it: a hint may help"),
        (Nasty(), "is not it: a hint may help"),
    ],
)
def test_a_value_that_is_not_it_is_told_so_without_the_right_one(given, sentence):
    with pytest.raises(NotYet) as told:
        chapter04.shrinks(given)
    assert sentence in str(told.value)


def test_a_value_may_be_rounded():
    chapter04.shrinks(133)
    chapter04.shrinks(torch.tensor(133.3))
    chapter04.shrinks(np.float32(133.33))


@pytest.mark.parametrize("work", [loop, lambda: time.sleep(3)], ids=["a loop", "a sleep"])
def test_what_does_not_end_is_stopped_or_left(work):
    with pytest.raises(NotYet, match="it runs for more than 0.2 seconds: does a loop never end?"):
        within_time(work, 0.2)


def test_a_notebook_shows_the_sentence_and_no_traceback():
    assert NotYet("the sign").__class__._render_traceback_(NotYet("the sign")) == ["Not yet: the sign"]


@pytest.mark.parametrize(
    "given, right, same",
    [
        (1.0, 1.0 + 1e-9, True),
        (1.0, 1.1, False),
        (0.0, 1e-9, False),
        (math.inf, math.inf, True),
        (math.nan, 1.0, False),
        (True, 1, True),
        ("a", "a", True),
        ("a", 1.0, False),
        (1.0, "a", False),
        ((1, 2), [1, 2], True),
        ((1, 2, 3), (1, 2), False),
        ({"a": 1}, {"a": 1}, True),
        ({"b": 1}, {"a": 1}, False),
        (torch.ones(2), np.ones(2), True),
        (np.ones((1, 2)), np.ones(2), False),
    ],
)
def test_results_are_alike_by_structure_shape_and_number(given, right, same):
    assert alike(given, right, 1e-6) is same


def test_every_chapter_has_checks_and_none_has_the_name_of_another():
    chapters, names = zip(*(name.split(".") for name in ALL))
    assert sorted(set(chapters)) == CHAPTERS and len(set(names)) == len(names)


def test_of_many_numbers_the_worst_is_named_and_of_several_results_the_part():
    tables = Check(lambda n: (np.eye(n), np.ones(n)), ((3,),))
    with pytest.raises(NotYet, match=r"in part 1 at place \(2, 0\) it gives 7; right is 0$"):
        tables(lambda n: (np.eye(n) + 7 * np.eye(n, k=-2), np.ones(n)))
    with pytest.raises(NotYet, match=r"in part 2 the result has shape \(2,\); right is \(3,\)"):
        tables(lambda n: (np.eye(n), np.ones(2)))
    with pytest.raises(NotYet, match="it gives"):
        tables(lambda n: np.eye(n))


def test_two_numbers_may_come_as_an_array():
    pair = Check(lambda: (1.0, 2.0))
    pair(np.array([1.0, 2.0]))
    pair(torch.tensor([1.0, 2.0]))


def test_an_interrupt_stops_the_answer_too(monkeypatch):
    ended = threading.Event()

    def answer():
        try:
            loop()
        finally:
            ended.set()

    def interrupt(thread, seconds):
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "join", interrupt)
    with pytest.raises(KeyboardInterrupt):
        within_time(answer)
    assert ended.wait(60)
