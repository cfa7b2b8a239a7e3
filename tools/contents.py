"""The pages of the book, in the order of its contents."""

import yaml

from tasks import ROOT

TOC = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
CHAPTERS = [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
EXERCISES = [
    page["file"] for part in TOC["parts"] for chapter in part["chapters"] for page in chapter.get("sections", [])
]
