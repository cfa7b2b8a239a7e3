"""Values on the page of the module: a constant shows a short one, and not the pages that a table of studies takes."""

from sphinx.addnodes import desc_annotation

LONGEST = 200  # characters


def shorten(app, doctree):
    for value in list(doctree.findall(desc_annotation)):
        if len(value.astext()) > LONGEST:
            value.parent.remove(value)


def setup(app):
    app.connect("doctree-read", shorten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
