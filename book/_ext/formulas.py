"""Formulas as MathML, made when the site is built: no script draws them, nothing moves when they appear, and they are
there with scripts off, in print and for a screen reader. The font for them is in ``offline.py``.
"""

import re

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.util.math import get_node_equation_number

CLINGS = re.compile(r"[.,;:!?)\]’”]+|-\w+")
LEADS = re.compile(r"(?<!\S)[(\[“]+$")
CONVERTER = LatexToMathML(fancy_error=False)


def mathml(tex, displayed=False):
    """A formula as MathML, in the line or, ``displayed``, by itself.

    Raises ``ValueError`` for what the converter does not know.
    """
    try:
        text = CONVERTER.convert_with_local_state(tex.strip(), displaystyle=displayed)
    except LatexError as error:
        raise ValueError(f"the site cannot show a formula ({error}): {tex}") from None
    return text.replace("&ApplyFunction;", "&#x2061;")  # a name that only HTML knows, and an electronic book does not


def visit_math(self, node):
    formula = mathml(node.astext())
    if "clings" in node or "leads" in node:
        formula = f'<span class="whole">{node.get("leads", "")}{formula}{node.get("clings", "")}</span>'
    self.body.append(formula)
    raise nodes.SkipNode


def visit_math_block(self, node):
    self.body.append(self.starttag(node, "div", CLASS="math"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(mathml(node.astext(), displayed=True) + "</div>\n")
    raise nodes.SkipNode


def keep_what_clings(app, doctree, page):
    """Take what follows a formula without a space, a comma say, to the formula, and an opening bracket before it: a
    browser would break the line there, whatever characters stand between."""
    for node in list(doctree.findall(nodes.math)):
        following = node.next_node(descend=False, siblings=True)
        found = isinstance(following, nodes.Text) and CLINGS.match(following)
        if found:
            node["clings"] = found[0]
            following.parent.replace(following, nodes.Text(following[found.end() :]))
        place = node.parent.index(node)
        before = node.parent[place - 1] if place else None
        found = isinstance(before, nodes.Text) and LEADS.search(before)
        if found:
            node["leads"] = found[0]
            before.parent.replace(before, nodes.Text(before[: found.start()]))


def setup(app):
    app.connect("doctree-resolved", keep_what_clings)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
