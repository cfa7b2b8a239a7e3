"""The built site and a browser, for the tests that need them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tasks

ROOT = Path(tasks.__file__).parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The built site's folder. ``make book`` builds with the same options; a warning fails the build."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, *tasks.JUPYTER_BOOK, "build", str(ROOT), "--path-output", str(out), *tasks.BUILD]
    build = subprocess.run(command, capture_output=True, text=True)
    assert build.returncode == 0, build.stdout[-3000:] + build.stderr[-3000:]
    return out / "_build" / "html"


@pytest.fixture(scope="session")
def browser():
    """Chromium, driven by Playwright. Without one the tests that use it are skipped, unless ``make test-site`` runs."""
    if CHROMIUM is None and "FOCALBOOK_BROWSER" not in os.environ:
        pytest.skip("no Chromium here: apt install chromium")
    assert CHROMIUM, "test-site needs a Chromium: apt install chromium"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
