"""The built site, a browser, and visits, for the tests that need them."""

import functools
import http.server
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock
from visiting import Visitor

import tasks
from tools.chromium import Missing, launched

ROOT = Path(tasks.__file__).parent


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The built site's folder. ``make book`` builds with the same options; a warning fails the build.

    It is built once for all workers: the first builds while the others wait, and what went wrong is said to all.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    out, complaints = shared / "site", shared / "site-complaints.txt"
    with FileLock(shared / "site.lock"):
        if not complaints.exists():
            command = [sys.executable, *tasks.JUPYTER_BOOK, "build", str(ROOT), "--path-output", str(out), *tasks.BUILD]
            build = subprocess.run(command, capture_output=True, text=True)
            said = build.stdout[-3000:] + build.stderr[-3000:] + f"\nit left with {build.returncode}"
            complaints.write_text(said if build.returncode else "", "utf-8")
    assert not (said := complaints.read_text("utf-8")), said
    return out / "_build" / "html"


@pytest.fixture(scope="session")
def address(site):
    """Where the site is served, uncompressed; what is asked for with ``?slowly`` comes in pieces."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def copyfile(self, source, outputfile):
            if not self.path.endswith("?slowly"):
                return super().copyfile(source, outputfile)
            while piece := source.read(4096):
                outputfile.write(piece)
                time.sleep(0.08)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def browser():
    """Chromium or Chrome, driven by Playwright. Without it its tests are skipped; ``make test-site`` and CI insist."""
    try:
        with launched() as browser:
            yield browser
    except Missing as reason:
        said = f"the site cannot be tested: {reason}"
        pytest.fail(said) if "FOCALBOOK_BROWSER" in os.environ else pytest.skip(said)


@pytest.fixture(scope="session")
def visitor(browser):
    return Visitor(browser)


@pytest.fixture
def visit(visitor):
    """Opens addresses; fails on what a page complains of by the end of the test, unless the test has cleared it."""
    visitor.complaints.clear()
    visitor.visited.clear()
    yield visitor
    for page in visitor.visited:
        visitor.late(page)
    assert visitor.complaints == []
