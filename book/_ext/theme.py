"""What the theme and its companions get wrong, mended.

- The scripts for live code cells, on every page whether it has such cells or not, name a content delivery network and
  declare a constant twice.
- The bibliography has roles that assistive technology does not accept where they stand.
- What scrolls by itself is out of the keyboard's reach.
- With scripts off a page is neither light nor dark, and with scripts on it is so for a moment.
- The toggles in the list of chapters have no name.
"""

import re
from pathlib import Path

ROLES = re.compile(r' role="(?:doc-biblioentry|doc-backlink|list)"(?= |>)')
TOGGLE = '<span class="toctree-toggle" role="presentation">'
MENDED = {
    'data-theme="auto"': 'data-theme="light"',
    'localStorage.getItem("theme") || "auto"': (
        '[localStorage.getItem("mode"), matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"]'
        '.find((choice) => choice && choice !== "auto")'
    ),
    "<summary>" + TOGGLE: '<summary aria-label="Pages of this chapter">' + TOGGLE,
}


def mend_context(app, page, template, context, doctree):
    scripts = context.get("script_files", [])
    scripts[:] = [script for script in scripts if "thebe" not in f"{script} {vars(script)}".lower()]
    if 'class="citation' in context.get("body", ""):
        context["body"] = ROLES.sub("", context["body"])


def mend_pages(app, error):
    if error is None and app.builder.format == "html":
        for path in Path(app.outdir).rglob("*.html"):
            text = path.read_text("utf-8")
            for before, after in MENDED.items():
                text = text.replace(before, after)
            path.write_text(text, "utf-8")


def setup(app):
    app.add_js_file("scrollers.js", loading_method="defer")
    app.connect("html-page-context", mend_context, priority=900)
    app.connect("build-finished", mend_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
