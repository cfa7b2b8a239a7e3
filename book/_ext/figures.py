"""Figures of a chapter on another page, and pictures told apart from line drawings.

    ```{stored-figure} 13-map.ipynb fig-map-gain
    :name: landing-map

    The caption.
    ```

shows the picture and the alt text that the notebook stores, never a copy. Every image that has pixels in it gets the
class ``picture``: in the dark a line drawing is inverted, a picture is not.
"""

import base64
import json
from pathlib import Path

from docutils import nodes
from sphinx.directives.patches import Figure


def stored(source, name):
    """The picture, an SVG, and the alt text of the figure that a notebook stores under this name."""
    cells = json.loads(source.read_text("utf-8"))["cells"]
    found = [cell for cell in cells if cell["metadata"].get("mystnb", {}).get("figure", {}).get("name") == name]
    if not found:
        raise LookupError(f"{source.name} has no figure called {name}")
    drawn = ["".join(output["data"].get("image/svg+xml", "")) for output in found[0]["outputs"] if "data" in output]
    (picture,) = filter(None, drawn)
    return picture, found[0]["metadata"]["mystnb"]["image"]["alt"]


class StoredFigure(Figure):
    required_arguments = 2

    def run(self):
        notebook, name = self.arguments
        env = self.state.document.settings.env
        source = Path(env.srcdir, "book", notebook)
        env.note_dependency(str(source))
        try:
            picture, alt = stored(source, name)
        except LookupError as error:
            raise self.error(f"stored-figure: {error}") from None
        self.arguments = ["data:image/svg+xml;base64," + base64.b64encode(picture.encode()).decode()]
        if "<image " in picture:  # the page holds it itself, so that ``mark_pictures`` finds no file
            self.options["class"] = ["picture"]
        self.options.setdefault("alt", alt)
        return super().run()


def mark_pictures(app, doctree, page):
    for image in doctree.findall(nodes.image):
        path = Path(app.srcdir, image["uri"])
        if path.suffix == ".png" or (path.suffix == ".svg" and "<image " in path.read_text("utf-8")):
            image["classes"].append("picture")


def setup(app):
    app.add_directive("stored-figure", StoredFigure)
    app.connect("doctree-resolved", mark_pictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
