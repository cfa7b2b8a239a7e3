"""Make the site whole without a network.

MathJax is served from the site itself, where Sphinx's default is a content delivery network: the one script and the
fonts that the pages use, 2 MB of the 24 in the package sphinx-mathjax-offline. The scripts for live code cells, which
every page gets whether it has such cells or not, name such a network too, and declare a constant twice: they go.
"""

import importlib.util
from pathlib import Path

from sphinx.util.fileutil import copy_asset

PARTS = {"tex-chtml.js": "", "output/chtml/fonts": "output/chtml/fonts"}
"""What to copy, and into which folder of the site's own MathJax."""


def copy_mathjax(app, error):
    if error is None and app.builder.format == "html":
        source = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
        for part, folder in PARTS.items():
            copy_asset(str(source / part), str(Path(app.outdir, "_static", "mathjax", folder)))


def drop_live_code_scripts(app, page, template, context, doctree):
    scripts = context.get("script_files", [])
    scripts[:] = [script for script in scripts if "thebe" not in f"{script} {vars(script)}".lower()]


def setup(app):
    app.config.mathjax_path = "mathjax/tex-chtml.js"
    app.connect("build-finished", copy_mathjax)
    app.connect("html-page-context", drop_live_code_scripts, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
