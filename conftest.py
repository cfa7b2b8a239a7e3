"""What holds for all tests: how their kernels start, and how workers share them."""

import os
import re
import shutil

import pytest

pytest_plugins = ["tools.pytest_whole"]

# Set before any kernel starts: no progress bars in outputs that are compared, and one thread a worker, because two
# spinning workers on two busy cores are many times slower than two single threads.
os.environ.setdefault("FOCALBOOK_QUIET", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
if not shutil.which("nvidia-smi"):  # no GPU: Triton interprets the kernel of focalbook.fused in place of compiling it
    os.environ.setdefault("TRITON_INTERPRET", "1")

SLOWEST = (
    "tests/book/test_course.py",
    "tests/site/test_explorers.py",
    "book/09-",
    "tests/book/test_corruption.py",
    "book/11-",
    "tests/commands/",
    "book/10-",
    "book/21-",
    "book/08-",
    "book/05-",
    "tests/module/test_distributed.py",
)
PAGE = re.compile(r"tests/site/test_browser\.py::.*\[(.*?)(?:-narrow|-wide)?\]")


def share(nodeid):
    """What stays together on one worker: a file, for the cells of a notebook need one kernel and most files prepare
    something; in the browser, where that would be too much for one, a page."""
    page = PAGE.match(nodeid)
    return f"page {page[1]}" if page else nodeid.split("::")[0]


def turn(item):
    slow = [place for place, name in enumerate(SLOWEST) if item.nodeid.startswith(name)]
    return slow[0] if slow else len(SLOWEST) + share(item.nodeid).startswith("page ")


def pytest_collection_modifyitems(items):
    """The slowest files start first, and the pages, small and many, come last, so that all workers end together."""
    items.sort(key=turn)


@pytest.hookimpl(optionalhook=True)  # it is xdist's
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return share(nodeid)

    config.option.loadscopereorder = False  # by numbers of tests, which say little about their time
    return Scheduling(config, log)
