"""What an annotation file says, value by value."""

import math

import pytest

from focalbook.annotations import (
    as_pixels,
    fits,
    four_numbers,
    identifier,
    is_crowd,
    number,
    plain,
    require_pixels,
    shown,
)


@pytest.mark.parametrize(
    "value, meant",
    [
        *((value, "1") for value in (1, 1.0, "1", " 1 ", "1.0", "1.00")),
        (0, "0"),
        (-3, "-3"),
        ("-3.0", "-3"),
        (1e16, "10000000000000000"),
        (2**70, str(2**70)),
        (1.5, "1.5"),
        ("01", "01"),  # a text of its own, as it has always been
        ("a.0", "a.0"),
        ("1.0.0", "1.0.0"),
        ("n\u00e9e", "n\u00e9e"),
        *((value, None) for value in (None, True, False, "", " ", math.nan, math.inf, [], [1], {})),
    ],
)
def test_an_id_is_the_same_as_text_and_as_number(value, meant):
    assert identifier(value) == meant


@pytest.mark.parametrize(
    "value, meant",
    [
        *((value, 64.0) for value in (64, 64.0, "64", "64.0", " 64\n", "6.4e1")),
        (-0.5, -0.5),
        *((value, None) for value in (None, True, "", "64px", "1,5", "nan", "inf", math.nan, -math.inf, 10**400, [64])),
    ],
)
def test_a_number_may_stand_there_as_text(value, meant):
    assert number(value) == meant and not isinstance(number(value), bool)


def test_a_box_is_four_numbers_and_nothing_else():
    assert four_numbers([1, "2", 3.5, "4e0"]) == (1, 2, 3.5, 4)
    for value in ([1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, None], "1234", (1, 2, 3, 4), {1: 2}, None):
        assert four_numbers(value) is None


@pytest.mark.parametrize("value", [0, 0.0, None, False, "", " ", "0", "0.0", "false", "FALSE", "no", " No "])
def test_these_say_no(value):
    assert is_crowd(value) is False


@pytest.mark.parametrize("value", [1, 1.0, True, "1", "1.0", "true", "True", "yes", " YES "])
def test_these_say_yes(value):
    assert is_crowd(value) is True


@pytest.mark.parametrize("value", [2, -1, 0.5, math.nan, "2", "maybe", "crowd", [], [1], {}])
def test_these_say_nothing(value):
    assert is_crowd(value) is None


def test_a_size_fits_where_it_is_the_same_or_not_known():
    assert all(fits(value, 64) for value in (64, 64.0, "64", "64.0", 0, "0", None, "", " ", math.nan))
    assert not any(fits(value, 64) for value in (63, -64, 64.5, "a", True, False, [], [64], math.inf))


def test_values_are_shown_short_and_on_one_line():
    assert shown([1.0, 2.5, None, "a"]) == "[1, 2.5, None, 'a']" and shown("a\nb") == r"'a\nb'"
    for value in ("x" * 10_000, ["x" * 10_000] * 10_000, {str(key): "x" * 99 for key in range(999)}, 10**4000):
        assert len(shown(value)) < 500 and "\n" not in shown(value)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert len(shown(deep)) < 100


def test_names_are_shown_as_they_are_where_they_print():
    assert plain("Zo\u00eb 1.png") == "Zo\u00eb 1.png" and plain("a\nb") == r"'a\nb'" and len(plain("n" * 5000)) < 100
    plain("\udcff").encode("utf-8")


@pytest.mark.parametrize(
    "kind, four", [("COCO", (5, 6, 20, 30)), ("VOC", (5, 6, 25, 36)), ("YOLO", (0.15, 0.42, 0.2, 0.6))]
)
def test_a_box_is_the_same_in_each_format(kind, four):
    assert as_pixels(kind, four, 100, 50) == pytest.approx((5, 6, 20, 30))


def test_boxes_in_pixels_pass():
    assert require_pixels([], []) == ""
    assert require_pixels([(5, 5, 9, 9), (0, 0, 1, 1)], [(64, 64)] * 2) == ""
    assert require_pixels([(5, 5, 30, 9), (0, 70, 30, 9)], [(640, 480)] * 2) == ""  # few of the 100 that percent fill


@pytest.mark.parametrize("shares, pixels, refused", [(1, 0, True), (19, 1, True), (18, 2, False), (0, 20, False)])
def test_nearly_all_boxes_decide_whether_they_are_shares(shares, pixels, refused):
    boxes = [(0.25, 0.5, 0.5, 0.5)] * shares + [(5, 5, 9, 9)] * pixels
    if not refused:
        assert require_pixels(boxes, [(64, 64)] * len(boxes)) == ""
        return
    with pytest.raises(
        ValueError, match=rf"{shares} of {shares + pixels} lie .* such as \[0.25, 0.5, 0.5, 0.5\]: COCO"
    ):
        require_pixels(boxes, [(64, 64)] * len(boxes))
