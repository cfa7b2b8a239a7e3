"""The pages of the book, and what a browser's console complains of on them, for the tests that open the site."""

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
CHAPTERS = [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
EXERCISES = [
    page["file"] for part in TOC["parts"] for chapter in part["chapters"] for page in chapter.get("sections", [])
]


def listen(page, complaints):
    """Append to the list what the page's console, scripts and requests complain of."""
    page.on("console", lambda said: said.type in ("error", "warning") and complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url))
