"""How the tests are shared among workers: what must stay together does, and the slowest start first."""

import importlib.util
from types import SimpleNamespace

import pytest

from tasks import ROOT

spec = importlib.util.spec_from_file_location("how_tests_run", ROOT / "conftest.py")
how = importlib.util.module_from_spec(spec)
spec.loader.exec_module(how)

BROWSER = "tests/site/test_browser.py"


@pytest.mark.parametrize(
    "nodeid, share",
    [
        ("book/04-focal-loss.ipynb::Cell 3", "book/04-focal-loss.ipynb"),
        ("book/04-focal-loss.ipynb::the whole file", "book/04-focal-loss.ipynb"),
        ("focalbook/losses.py::focalbook.losses.focal_loss", "focalbook/losses.py"),
        ("tests/module/test_boxes.py::test_ties[a-b]", "tests/module/test_boxes.py"),
        (f"{BROWSER}::test_a_page_is_whole[book/04-focal-loss-narrow]", "page book/04-focal-loss"),
        (f"{BROWSER}::test_a_page_is_whole[book/04-focal-loss-wide]", "page book/04-focal-loss"),
        (f"{BROWSER}::test_without_scripts[book/04-focal-loss]", "page book/04-focal-loss"),
        (f"{BROWSER}::test_the_site_is_small", BROWSER),
    ],
)
def test_a_file_is_one_share_and_in_the_browser_a_page_is_one(nodeid, share):
    assert how.share(nodeid) == share


def test_the_slowest_start_first_and_the_pages_come_last_in_the_order_in_which_they_were():
    page = f"{BROWSER}::test_a_page_is_whole[book/index-wide]"
    nodeids = [
        page,
        "tests/module/test_boxes.py::test_a",
        "book/09-training.ipynb::Cell 0",
        "book/09-training.ipynb::Cell 1",
    ]
    items = [SimpleNamespace(nodeid=nodeid) for nodeid in nodeids]
    how.pytest_collection_modifyitems(items)
    assert [item.nodeid for item in items] == [*nodeids[2:], nodeids[1], page]


def test_what_starts_first_is_there():
    there = [path.relative_to(ROOT).as_posix() for folder in ("book", "tests") for path in (ROOT / folder).rglob("*.*")]
    assert all(any(path.startswith(name) for path in there) for name in how.SLOWEST)
