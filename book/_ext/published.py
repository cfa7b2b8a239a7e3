"""What the site says to those who have not opened it: a description of each page, its own.

Once ``repository: url`` in ``_config.yml`` is a repository on GitHub, also: canonical links, a map of the site, a card
with a picture where somebody shares a page, and what stands in a directive of this name:

    ```{published}
    Get it: `git clone {repository}`. It is read at <{site}>.
    ```
"""

import re
from html import escape
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

REPOSITORY = re.compile(r"https://github\.com/([\w-]+)/([\w.-]+?)(?:\.git)?/?")
LONGEST = 200  # characters of a description: search engines show about so many
SENTENCE = re.compile(r"(?<=[.?!:]) +(?=[A-Z\"“])")
PICTURE, PICTURED = "_static/preview.png", "The curves of cross-entropy and of focal loss, and the title of the book."
OTHERS = {
    "genindex": "Every public name of focalbook and every term of the glossary, from A to Z, with a link to its place.",
    "search": "Search all chapters, exercises and reference pages of The Focal Loss Book. It works without a network.",
    "_modules/index": "The source code of focalbook, module by module, as the chapters of the book import it.",
}


def site_of(url):
    """Where GitHub Pages shows a repository, with a slash at the end; empty unless it is one on GitHub."""
    found = REPOSITORY.fullmatch(url)
    if not found:
        return ""
    host, name = f"{found[1].lower()}.github.io", found[2]
    return f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"


def description(doctree):
    """The first sentences of a page, as many as fit; those with formulas in them are left out."""
    paragraphs = [node for node in doctree.findall(nodes.paragraph) if isinstance(node.parent, nodes.section)]
    text = ""
    for paragraph in paragraphs:
        for sentence in SENTENCE.split(" ".join(paragraph.astext().split())):
            if "\\" in sentence or "^" in sentence:
                continue
            if len(text) + len(sentence) >= LONGEST:
                return text or sentence[: sentence.rindex(" ", 0, LONGEST - 1)] + "…"
            text = f"{text} {sentence}".strip()
        if len(text) > LONGEST / 3:
            break
    return text


def describe(app, page, template, context, doctree):
    if app.builder.name != "html":
        return
    if doctree is not None:
        text = description(doctree)
    else:
        text = (
            OTHERS.get(page) or f"The source code of {page.removeprefix('_modules/').replace('/', '.')}, with comments."
        )
    tags = {"name": {"description": text}, "property": {}}
    site = app.config.html_baseurl
    if site:
        card = {
            "title": re.sub("<.*?>", "", context.get("title") or app.config.html_title),
            "description": text,
            "type": "article",
        }
        card |= {"url": f"{site}{page}.html", "site_name": app.config.html_title}
        card |= {"image": site + PICTURE, "image:alt": PICTURED}
        tags["property"] = {f"og:{name}": value for name, value in card.items()}
        tags["name"]["twitter:card"] = "summary_large_image"
    lines = [f'<meta {kind}="{name}" content="{escape(value)}">' for kind in tags for name, value in tags[kind].items()]
    context["metatags"] = "\n".join([context.get("metatags", ""), *lines])


class Published(SphinxDirective):
    """Its content, with the addresses in place, where the book has one; nothing where it has none."""

    has_content = True

    def run(self):
        repository = self.config.html_theme_options.get("repository_url", "").removesuffix(".git").rstrip("/")
        site = site_of(repository)
        if not site:
            return []
        lines = [line.replace("{repository}", repository).replace("{site}", site) for line in self.content]
        made = nodes.Element()
        self.state.nested_parse(StringList(lines, self.content.source(0)), self.content_offset, made)
        return made.children


def take_the_address(app):
    if app.builder.name == "html":
        app.config.html_baseurl = site_of(app.config.html_theme_options.get("repository_url", ""))


def announce(app, error):
    """Write the map of the site and the picture."""
    site = app.config.html_baseurl
    if error is not None or app.builder.name != "html" or not site:
        return
    places = "".join(f"<url><loc>{site}{page}.html</loc></url>\n" for page in sorted(app.env.found_docs))
    content = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{places}</urlset>\n'
    Path(app.outdir, "sitemap.xml").write_text('<?xml version="1.0" encoding="utf-8"?>\n' + content, "utf-8")
    draw(Path(app.outdir, PICTURE))


def draw(path):
    """The picture that stands beside a shared link: 1200 by 630 pixels."""
    import numpy as np
    from matplotlib.figure import Figure

    from focalbook.plots import COLORS

    figure = Figure(figsize=(12, 6.3), dpi=100, facecolor="white")
    axes = figure.add_axes((0.56, 0.14, 0.4, 0.72))
    p = np.linspace(0.004, 1, 400)
    for name, gamma, place in (("cross-entropy", 0, (0.46, 1.03)), ("focal loss", 2, (0.03, 0.11))):
        axes.plot(p, -((1 - p) ** gamma) * np.log(p), color=COLORS[name], linewidth=5)
        axes.text(*place, name, fontsize=21, color=COLORS[name], weight="bold")  # above the one, below the other
    axes.set(xlim=(0, 1), ylim=(0, 4), xticks=[0, 1], yticks=[])
    axes.tick_params(labelsize=16)
    axes.set_xlabel("probability of the true class", fontsize=18)
    axes.spines[["top", "right"]].set_visible(False)
    figure.text(0.06, 0.6, "The Focal Loss\nBook", fontsize=50, weight="bold", color="#14181f", va="center")
    figure.text(
        0.06,
        0.27,
        "From cross-entropy to focal loss,\nand to a RetinaNet that you train\nyourself. Every output verified.",
        fontsize=22,
        color="#414b5a",
        va="center",
        linespacing=1.4,
    )
    figure.savefig(path)


def setup(app):
    app.add_directive("published", Published)
    app.connect("builder-inited", take_the_address)
    app.connect("html-page-context", describe)
    app.connect("build-finished", announce)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
