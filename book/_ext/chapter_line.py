"""The line under a page's title. A chapter's: how long it takes to read, when its outputs were last verified, and the
notebook to download. Once the repository's address is set in ``_config.yml``: links to run it elsewhere, and on every
page links to report a fault in it and to edit it.

The date comes from ``book/verified.json``, which ``make verify`` writes after it has run every cell of the chapter and
found every output equal; building the site changes nothing in it.
"""

import json
from pathlib import Path
from urllib.parse import quote

from docutils import nodes

WORDS_A_MINUTE, LINES_A_MINUTE = 230, 40


def minutes(doctree):
    """To read a chapter: its words, and the lines of its code."""
    kinds = (nodes.paragraph, nodes.caption)
    words = sum(len(node.astext().split()) for kind in kinds for node in doctree.findall(kind))
    lines = sum(len(node.astext().splitlines()) for node in doctree.findall(nodes.literal_block) if "language" in node)
    return max(1, round(words / WORDS_A_MINUTE + lines / LINES_A_MINUTE))


def elsewhere(url, branch, page):
    """Links to run a chapter on Binder and Colab, which both want a repository on GitHub; none without one.

    The theme's launch buttons need scripts, and a book without an address gets another project's.
    """
    if not url.startswith("https://github.com/"):
        return []
    name, notebook = url.removeprefix("https://github.com/").strip("/").removesuffix(".git"), f"{page}.ipynb"
    places = {
        "Binder": f"https://mybinder.org/v2/gh/{name}/{branch}?urlpath=lab/tree/{notebook}",
        "Colab": f"https://colab.research.google.com/github/{name}/blob/{branch}/{notebook}",
    }
    return [f'<a href="{address}">run it on {place}</a>' for place, address in places.items()]


def at_home(url, branch, source):
    """Links to report a fault in a page and to edit its source; none without a repository on GitHub."""
    if not url.startswith("https://github.com/"):
        return []
    home = url.strip("/").removesuffix(".git")
    places = {
        "report an error": f"{home}/issues/new?template=error.yml&amp;title={quote(source + ': ')}",
        "edit this page": f"{home}/edit/{branch}/{quote(source)}",
    }
    return [f'<a href="{address}">{what}</a>' for what, address in places.items()]


def of_chapter(app, doctree, page, chapter):
    """The parts of the line that only a notebook has."""
    stamps = json.loads(Path(app.srcdir, "book", "verified.json").read_text("utf-8"))
    up = "../" * page.count("/")
    parts = [f"{minutes(doctree)} minutes to read"]
    if chapter.stem in stamps:
        stamp = stamps[chapter.stem]
        with_what = f"{stamp['device']}, Python {stamp['python']}, torch {stamp['torch']}, NumPy {stamp['numpy']}"
        parts.append(f"outputs last verified {stamp['date']} ({with_what})")
    parts.append(f'<a href="{up}_sources/{page}.ipynb" download>download the notebook</a>')
    return parts


def add_line(app, doctree, page):
    if app.builder.name != "html":
        return
    options = app.config.html_theme_options
    home = options.get("repository_url", ""), options.get("repository_branch") or "main"
    source = Path(app.env.doc2path(page))
    parts = at_home(*home, source.relative_to(app.srcdir).as_posix())
    if source.suffix == ".ipynb":
        parts = [*of_chapter(app, doctree, page, source), *elsewhere(*home, page), *parts]
    title = doctree.next_node(nodes.title)
    if not parts or title is None:
        return
    line = nodes.raw("", f'<p class="chapter-line"><span>{"</span> <span>".join(parts)}</span></p>', format="html")
    title.parent.insert(title.parent.index(title) + 1, line)


def setup(app):
    app.connect("doctree-resolved", add_line)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
