"""The extensions that the site is built with, where a test of the built site would come late."""

import pytest
from docutils import nodes

pytest.importorskip("sphinx")
import chapter_line  # noqa: E402
import exercises  # noqa: E402
import formulas  # noqa: E402
import theme  # noqa: E402


def test_a_chapter_can_be_run_elsewhere_once_the_repository_has_an_address():
    binder, colab = chapter_line.elsewhere("https://github.com/owner/book.git", "main", "book/04-focal-loss")
    assert 'href="https://mybinder.org/v2/gh/owner/book/main?urlpath=lab/tree/book/04-focal-loss.ipynb"' in binder
    assert 'href="https://colab.research.google.com/github/owner/book/blob/main/book/04-focal-loss.ipynb"' in colab


@pytest.mark.parametrize("url", ["", "https://gitlab.com/owner/book", "github.com/owner/book"])
def test_without_such_an_address_no_button_points_nowhere(url):
    assert chapter_line.elsewhere(url, "main", "book/04-focal-loss") == []


@pytest.mark.parametrize(
    "tex, part",
    [
        (r"\ln p_t", '<mi>ln</mi><mspace width="0.167em"/><msub>'),
        (r"\ln(p_t)", "<mi>ln</mi><mo"),
        ("a / b", '<mo lspace="0" rspace="0">'),
        ("[-1, -2]", '[</mo><mo form="prefix">&#x02212;</mo><mn>1'),
        ("[-1, -2]", '<mo>&#x0002C;</mo><mo form="prefix">&#x02212;</mo><mn>2'),
        ("x = -y", '<mo form="prefix">&#x02212;</mo><mi>y'),
        ("1 - p", "<mo>&#x02212;</mo><mi>p"),
        (r"p_t = \begin{cases} p & y = 1 \\ 1 - p & y = 0 \end{cases}", "<mtable>"),
    ],
)
def test_formulas_become_mathml_with_the_spaces_of_tex(tex, part):
    assert part in formulas.mathml(tex)


def test_lines_of_formulas_stand_below_each_other():
    assert formulas.mathml(r"\begin{aligned} a &= b \\ c &= d \end{aligned}", "block").count("<mtr>") == 2


@pytest.mark.parametrize("tex", [r"\unheardof{a}", "a & b"])
def test_a_formula_that_would_be_shown_as_typed_fails_the_build(tex):
    with pytest.raises(ValueError, match="cannot show: "):
        formulas.mathml(tex)


def test_roles_that_no_screen_reader_accepts_go():
    context = dict(body='<div role="list" class="citation-list"><div class="citation" role="doc-biblioentry">')
    theme.mend_context(None, "references", "page.html", context, None)
    assert context["body"] == '<div class="citation-list"><div class="citation">'


@pytest.mark.parametrize(
    "after, clings, rest",
    [(". Then", ".", " Then"), ("-th step", "-th", " step"), (" and", None, " and"), ("", None, "")],
)
def test_what_follows_a_formula_without_a_space_stays_with_it(after, clings, rest):
    formula = nodes.math("", "p_t")
    paragraph = nodes.paragraph("", "", nodes.Text("With "), formula, nodes.Text(after))
    formulas.keep_what_clings(None, paragraph, "page")
    assert formula.get("clings") == clings
    assert paragraph.children[2].astext() == rest


def test_a_solution_is_shown_without_the_marks_for_the_grader():
    code = "def f(x):\n    ### BEGIN SOLUTION\n    return x\n    ### END SOLUTION\n"
    block = nodes.literal_block(code, code)
    exercises.clear_marks(None, nodes.section("", block))
    assert block.astext() == block.rawsource == "def f(x):\n    return x"
