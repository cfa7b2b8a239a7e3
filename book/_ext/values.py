"""Values on the page of the module: a constant shows a short one, and not the pages that a table of studies takes. And
a field of a named tuple shows its name alone, where Python says of it that it is an alias for a number.
"""

from sphinx.addnodes import desc_annotation

LONGEST = 200  # characters


def shorten(app, doctree):
    for value in list(doctree.findall(desc_annotation)):
        if len(value.astext()) > LONGEST:
            value.parent.remove(value)


def leave_out_aliases(app, kind, name, item, options, lines):
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()


def setup(app):
    app.connect("doctree-read", shorten)
    app.connect("autodoc-process-docstring", leave_out_aliases)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
