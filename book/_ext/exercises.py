"""Solutions on the exercises' pages: without the marks that tell nbgrader where a student's edition leaves them out."""

import re

from docutils import nodes

from focalbook.checks import BEGIN, END

MARK = re.compile(rf"^ *(?:{re.escape(BEGIN)}|{re.escape(END)})\n?", re.MULTILINE)


def clear_marks(app, doctree):
    for block in doctree.findall(nodes.literal_block):
        if MARK.search(block.astext()):
            block.rawsource = MARK.sub("", block.astext()).rstrip("\n")
            block.clear()
            block += nodes.Text(block.rawsource)


def setup(app):
    app.connect("doctree-read", clear_marks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
