"""Terms of the glossary say what they mean where they stand: the first sentence of the entry, as the link's title.

Without scripts the browser shows it to a mouse; ``tips.js`` shows it to the keyboard and to a finger as well.
"""

import re

from docutils import nodes

GLOSSARY = "book/glossary"


def definitions(app):
    """The first sentence of each entry, by the entry's anchor."""
    found = {}
    for item in app.env.get_doctree(GLOSSARY).findall(nodes.definition_list_item):
        text = " ".join(item.next_node(nodes.definition).next_node(nodes.paragraph).astext().split())
        sentence = re.split(r"(?<=[.:]) (?=[A-Z])", text)[0].rstrip(":")
        found.update((anchor, sentence) for term in item.findall(nodes.term) for anchor in term["ids"])
    return found


def add_tips(app, doctree, page):
    if app.builder.name != "html":
        return
    if not hasattr(app, "tips"):
        app.tips = definitions(app)
    for link in doctree.findall(nodes.reference):
        if any("std-term" in word["classes"] for word in link.findall(nodes.inline)):
            link["reftitle"] = app.tips[link.get("refid") or link["refuri"].split("#")[-1]]


def setup(app):
    app.connect("doctree-resolved", add_tips)
    app.add_js_file("tips.js", loading_method="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
