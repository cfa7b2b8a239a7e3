"""What the theme and its companions get wrong, mended.

- The scripts for live code cells, on every page whether it has such cells or not, name a content delivery network and
  declare a constant twice.
- The bibliography has roles that assistive technology does not accept where they stand.
- What scrolls by itself is out of the keyboard's reach.
- With scripts off a page is neither light nor dark, and with scripts on it is so for a moment.
- The toggles in the list of chapters have no name.
- A page is drawn before it has come whole, and a table moves when its longer rows come. A browser that knows the link
  of kind ``expect`` waits for the page's end.
"""

import re

from mends import mend, read

TOGGLE = '<span class="toctree-toggle" role="presentation">'
REPLACED = {
    "roles of the bibliography's entries": (' role="doc-biblioentry"', ""),
    "role of the bibliography": ('<div role="list" class="citation-list">', '<div class="citation-list">'),
    "light without scripts": ('data-theme="auto"', 'data-theme="light"'),
    "light or dark from the first moment": (
        'localStorage.getItem("theme") || "auto"',
        '[localStorage.getItem("mode"), matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"]'
        '.find((choice) => choice && choice !== "auto")',
    ),
    "a page is drawn when it has come": (
        '<meta charset="utf-8" />\n',
        '<meta charset="utf-8" /><link rel="expect" href="#end-of-page" blocking="render">\n',
    ),
    "end of the page": ('<footer class="bd-footer-content">', '<footer class="bd-footer-content" id="end-of-page">'),
    "name of the toggles": ("<summary>" + TOGGLE, '<summary aria-label="Pages of this chapter">' + TOGGLE),
}
MENDS = {
    "settings of live code cells": (re.compile(r"\s*<script>const THEBE_JS_URL[^<]*</script>"), ""),
    "script of live code cells": (re.compile(r"\s*<script[^>]*sphinx-thebe\.js[^>]*></script>"), ""),
    **{name: (re.compile(re.escape(before)), after) for name, (before, after) in REPLACED.items()},
}


def mend_pages(app, error):
    if error is None and app.builder.name == "html":
        mend(app, read(app), MENDS)


def setup(app):
    app.setup_extension("mends")
    app.add_js_file("scrollers.js", loading_method="defer")
    app.connect("build-finished", mend_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
