"""Numbers in prose."""

import pytest

from focalbook.prose import bind

display = pytest.importorskip("IPython.display")


@pytest.fixture
def shown(monkeypatch):
    """What is displayed, as (data, options)."""
    calls = []
    monkeypatch.setattr(display, "display", lambda data, **options: calls.append((data, options)))
    return calls


def test_a_text_is_stored_under_its_name_as_glue_stores_it(shown):
    assert bind(ratio="1600.0") is None
    record = {"scrapbook": {"name": "ratio", "mime_prefix": "application/papermill.record/"}}
    data = {"application/papermill.record/text/plain": "'1600.0'", "application/papermill.record/text/name": "ratio"}
    assert shown == [(data, {"metadata": record, "raw": True})]


def test_every_text_is_stored_in_its_turn(shown):
    bind(first="1", second="2")
    assert [options["metadata"]["scrapbook"]["name"] for _, options in shown] == ["first", "second"]


@pytest.mark.parametrize(
    "typed, text",
    [("-0.5", "−0.5"), ("[-.5, 3]", "[−.5, 3]"), ("1e-5", "1e-5"), ("2-3", "2-3"), ("wide-eyed", "wide-eyed")],
)
def test_a_hyphen_before_a_number_is_a_minus_sign(shown, typed, text):
    bind(value=typed)
    assert shown[0][0]["application/papermill.record/text/plain"] == repr(text)


@pytest.mark.parametrize("value", [0.5, 3, None, b"0.5"])
def test_anything_but_text_is_refused_by_name_before_anything_is_stored(shown, value):
    with pytest.raises(TypeError, match="ratio must be formatted text .* got " + repr(value)):
        bind(first="1", ratio=value)
    assert shown == []
