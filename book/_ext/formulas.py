"""Formulas as MathML, made when the site is built: no script draws them, nothing moves when they appear, and they are
there with scripts off, in print and for a screen reader. The font for them is in ``offline.py``.
"""

import re

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.util.math import get_node_equation_number

CLINGS = re.compile(r"[.,;:!?)\]’”]+|-\w+")
FUNCTION = re.compile(r"(?<!<msub>)(<mi>(?:ln|log|max|min)</mi>)(?!<mo[^>]*>&#x00028;|</)")
SLASH = "<mo>&#x0002F;</mo>"
OPENS = "|".join(f"&#x{ord(mark):05X};|{re.escape(mark)}" for mark in "([{,=<>≤≥≈±∈")
SIGN = re.compile(rf"(<mo[^>]*>(?:{OPENS})</mo>)<mo>(?=&#x02212;)")


def mathml(tex, display="inline"):
    """A formula as MathML, with the spaces that TeX has: one after the name of a function, none around a slash or after
    a sign.

    Raises ``ValueError`` for what the converter does not know and would show as it is typed.
    """
    text = convert(tex.strip().replace("{aligned}", "{split}"), display=display)
    if "&#x00026;" in text or ">&<" in text or "\\" in text:
        raise ValueError(f"this formula has a command that the site cannot show: {tex}")
    text = SIGN.sub(r'\1<mo form="prefix">', text)
    text = FUNCTION.sub(r'\1<mspace width="0.167em"/>', text)
    return text.replace(SLASH, '<mo lspace="0" rspace="0">&#x0002F;</mo>')


def visit_math(self, node):
    formula = mathml(node.astext())
    if "clings" in node:
        formula = f'<span class="whole">{formula}{node["clings"]}</span>'
    self.body.append(formula)
    raise nodes.SkipNode


def visit_math_block(self, node):
    self.body.append(self.starttag(node, "div", CLASS="math"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(mathml(node.astext(), "block") + "</div>\n")
    raise nodes.SkipNode


def keep_what_clings(app, doctree, page):
    """Take what follows a formula without a space, a comma say, to the formula: a browser would break the line there,
    whatever characters stand between."""
    for node in list(doctree.findall(nodes.math)):
        following = node.next_node(descend=False, siblings=True)
        found = isinstance(following, nodes.Text) and CLINGS.match(following)
        if found:
            node["clings"] = found[0]
            following.parent.replace(following, nodes.Text(following[found.end() :]))


def setup(app):
    app.connect("doctree-resolved", keep_what_clings)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
