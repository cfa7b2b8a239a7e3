"""Tables that a cell computed, and code in narrow places.

pandas aligns every column to the right. A column of words, told by what stands in it, gets the class ``text`` and is
aligned to the left; one with whole phrases also ``phrases``, which keeps it from being squeezed to a word a line. All
else is never broken (``whole``), but for an estimate with its interval: it may break between the two.

Code in a table is broken only on a phone (``unbroken``), after a dot or an underscore. An option never breaks.
"""

import re

from docutils import nodes
from sphinx.addnodes import desc_addname, desc_name

ROW, CELL = re.compile(r"<tr[^>]*>.*?</tr>", re.S), re.compile(r"<(t[hd])([^>]*)>(.*?)</\1>", re.S)
TABLE = re.compile(r'<table[^>]*class="dataframe">.*?</table>', re.S)
WORD, INTERVAL = re.compile(r"[^\W\d_]{2,}"), re.compile(r"[\[(][^\[\]()]*[\])]")
PHRASE = 3  # words
LONG = 36  # characters of code that a phone does not show on one line
PLACE = re.compile(r"(?<=[\w)][._/])(?=\w)|(?<=\w_)(?=\w)")
CODE = re.compile(
    r'<div class="highlight-(?:console|text)[^>]*><div class="highlight"><pre>.*?</pre>|<code[^>]*>.*?</code>', re.S
)
OPTION = re.compile(r"(?<=[\s>])--?[a-z][\w-]*(?:=[\w.-]+)?")


def classes_of(column):
    """The classes of a column, from the texts of its cells under the head."""
    filled = [text for text in column if text.strip()]
    phrases = any(len(WORD.findall(text)) >= PHRASE for text in filled)
    text = filled and not any(re.search(r"\d", text) for text in filled)
    return ["text"] * bool(text or phrases) + ["phrases"] * phrases


def told(table):
    """The HTML of a table, its cells told apart."""
    rows = [CELL.findall(row) for row in ROW.findall(table)]
    if len({len(row) for row in rows}) != 1 or "span=" in table:
        return table
    columns = [classes_of([text for kind, _, text in column if kind == "td"]) for column in zip(*rows)]

    def row_of(row):
        places = iter(columns)

        def cell(found):
            kind, attributes, text = found.groups()
            names = list(next(places))
            if kind == "td":
                names += ["whole"] * ("phrases" not in names and not INTERVAL.search(text))
                text = INTERVAL.sub(r'<span class="whole">\g<0></span>', text)
            told = f' class="{" ".join(names)}"' if names else ""
            return f"<{kind}{attributes}{told}>{text}</{kind}>"

        return CELL.sub(cell, row[0])

    return ROW.sub(row_of, table)


def break_at_places(node):
    """Let the text of a node break after dots and underscores."""
    for text in list(node.findall(nodes.Text)):
        first, *others = PLACE.split(text)
        parts = [nodes.Text(first)]
        for other in others:
            parts += [nodes.raw("", "<wbr/>", format="html"), nodes.Text(other)]
        text.parent.replace(text, parts)


def mark(app, doctree, page):
    if app.builder.format != "html":
        return
    for node in list(doctree.findall(nodes.raw)):
        if "html" in node["format"] and 'class="dataframe"' in node.astext():
            html = TABLE.sub(lambda found: told(found[0]), node.astext())
            node.children = [nodes.Text(html)]
    for node in list(doctree.findall(nodes.literal)):
        text, entry = node.astext(), node.parent
        while entry is not None and not isinstance(entry, nodes.entry):
            entry = entry.parent
        if entry is not None or len(text) > LONG and " " not in text:
            node["classes"] += ["unbroken"] * (entry is not None and " " not in text)
            break_at_places(node)
    for node in list(doctree.findall(lambda one: isinstance(one, desc_addname | desc_name))):
        break_at_places(node)


def keep_options(app, page, template, context, doctree):
    """Keep each option of a command on one line, in a block of a shell and in the text."""
    if app.builder.format == "html" and "body" in context:
        whole = r'<span class="whole">\g<0></span>'
        context["body"] = CODE.sub(lambda found: OPTION.sub(whole, found[0]), context["body"])


def setup(app):
    app.connect("doctree-resolved", mark)
    app.connect("html-page-context", keep_options)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
