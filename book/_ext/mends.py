"""Mends of built pages. One that finds nothing to mend in the whole site fails the build: the theme has changed, and
nothing else would say that it works no longer.
"""

from pathlib import Path

from sphinx.errors import ExtensionError


def read(app):
    """Every page of the site: a dict from path to text."""
    return {path: path.read_text("utf-8") for path in sorted(Path(app.outdir).rglob("*.html"))}


def mend(app, pages, mends):
    """Mend these pages and write them. ``mends``: a pattern and what stands in its place, by the name of the mend."""
    found = dict.fromkeys(mends, 0)
    for path, text in pages.items():
        for name, (pattern, replacement) in mends.items():
            text, count = pattern.subn(replacement, text)
            found[name] += count
        path.write_text(text, "utf-8")
    demand(app, found)


def demand(app, found):
    """Raise if a mend has found nothing. ``found``: how much, by the name of the mend.

    A build of some pages only may find nothing: the others are mended already.
    """
    lost = [name for name, count in found.items() if not count]
    if lost and app.env.found_docs <= app.written:
        raise ExtensionError(f"nothing found to mend, has the theme changed? {'; '.join(lost)}")


def note(app, page, template, context, doctree):
    app.written.add(page)


def setup(app):
    app.written = set()
    app.connect("html-page-context", note)
    return {"parallel_read_safe": True, "parallel_write_safe": False}  # pages written elsewhere would not be noted
