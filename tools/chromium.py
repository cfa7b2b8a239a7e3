"""Chromium or Chrome, driven by Playwright: what the tests look at the site with, and what prints the book."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Missing(Exception):
    """There is neither of the two, or it does not start."""


@contextmanager
def launched() -> Iterator["Browser"]:
    """A browser without a window. Raises ``Missing``, with the reason and the cure in one line."""
    from playwright.sync_api import Error, sync_playwright

    path = next(filter(None, map(shutil.which, NAMES)), None)
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0  # Chromium refuses its sandbox to root
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=path, channel=None if path else "chrome", args=["--no-sandbox"] if as_root else []
            )
        except Error as error:
            raise Missing(f"no Chromium or Chrome, install one: {str(error).splitlines()[0]}") from None
        yield browser
        browser.close()
