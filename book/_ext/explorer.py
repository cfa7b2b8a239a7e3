"""Explorers: pictures that a reader can move where scripts run, and that stay pictures where they do not, and in print.

    ```{explorer} losses
    :name: explorer-losses
    :alt: What is seen in the picture.

    The caption.
    ```

It is a figure like any other, numbered and with the stored picture ``book/_static/explorers/losses.svg``. The script
beside that picture puts the controls in its place; only pages that have an explorer load it. Until all scripts of the
page have run, or failed, there is room for the controls; from then on there is the picture where they did not come.
"""

from pathlib import Path

from docutils import nodes
from sphinx.directives.patches import Figure

SHARED, FOLDER = "explorer", "explorers"
SCRIPTS = ("loss", SHARED)  # of all explorers
COMING = """{
  const { classList } = document.documentElement;
  classList.add("explorers-to-come");
  addEventListener("DOMContentLoaded", () => classList.remove("explorers-to-come"));
}"""


class Explorer(Figure):
    def run(self):
        name = self.arguments[0]
        self.arguments[0] = f"/book/_static/{FOLDER}/{name}.svg"
        self.options["figclass"] = [SHARED, f"{SHARED}-{name}"]
        return super().run()


def add_scripts(app, page, template, context, doctree):
    classes = [figure["classes"] for figure in doctree.findall(nodes.figure)] if doctree else []
    names = [entry.removeprefix(SHARED + "-") for found in classes if SHARED in found for entry in found[1:]]
    if names:
        app.add_css_file(f"{FOLDER}/{SHARED}.css")
        app.add_js_file(None, body=COMING)
        for name in dict.fromkeys([*SCRIPTS, *names]):
            for part in ("-data", ""):  # data comes first, and as a script: a page opened as a file may fetch nothing
                if Path(app.srcdir, "book", "_static", FOLDER, f"{name}{part}.js").exists():
                    app.add_js_file(f"{FOLDER}/{name}{part}.js", loading_method="defer")


def setup(app):
    app.add_directive("explorer", Explorer)
    app.connect("html-page-context", add_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
