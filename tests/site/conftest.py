"""The built site and a browser, for the tests that need them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tasks

ROOT = Path(tasks.__file__).parent
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


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
    """Chromium or Chrome, driven by Playwright. Without it its tests are skipped; ``make test-site`` and CI insist."""
    from playwright.sync_api import Error, sync_playwright

    path = next(filter(None, map(shutil.which, NAMES)), None)
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0  # Chromium refuses its sandbox to root
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=path, channel=None if path else "chrome", args=["--no-sandbox"] if as_root else []
            )
        except Error as error:
            reason = f"no Chromium or Chrome to test the site with, install one: {str(error).splitlines()[0]}"
            pytest.fail(reason) if "FOCALBOOK_BROWSER" in os.environ else pytest.skip(reason)
        yield browser
        browser.close()
