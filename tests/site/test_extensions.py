"""The extensions that the site is built with, where a test of the built site would come late."""

import re
from types import SimpleNamespace

import pytest
from docutils import nodes

pytest.importorskip("sphinx")
import cells
import chapter_line
import exercises
import formulas
import offline
import progress
import tables
import theme
import values
from sphinx.addnodes import desc_annotation
from sphinx.errors import ExtensionError


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
        (r"\ln p_t", '<mo lspace="0.1667em">&#x2061;</mo>'),
        (r"\ln(p_t)", "<mo>&#x2061;</mo>"),
        ("a / b", '<mo lspace="0" rspace="0">/</mo>'),
        ("x = -y", '<mo lspace="0" rspace="0">−</mo><mi>y'),
        ("1 - p", "<mo>−</mo><mi>p"),
        (r"p_t = \begin{cases} p & y = 1 \\ 1 - p & y = 0 \end{cases}", "<mtable"),
    ],
)
def test_formulas_become_mathml_with_the_spaces_of_tex(tex, part):
    assert part in formulas.mathml(tex)


def test_lines_of_formulas_stand_below_each_other_and_meet_where_they_should():
    lines = formulas.mathml(r"\begin{aligned} a &= b \\ c &= d \end{aligned}", displayed=True)
    assert lines.count("<mtr>") == lines.count("text-align: right") == lines.count("text-align: left") == 2


@pytest.mark.parametrize("tex", [r"\unheardof{a}", "a & b", r"\begin{unheardof} a \end{unheardof}"])
def test_a_formula_that_would_be_shown_as_typed_fails_the_build(tex):
    with pytest.raises(ValueError, match="cannot show"):
        formulas.mathml(tex)


# What each mend of a page finds, and what it makes of it.
THEME = {
    "settings of live code cells": ('\n<script>const THEBE_JS_URL = "https://unpkg.com"; const more</script>', ""),
    "script of live code cells": ('\n<script async="async" src="_static/sphinx-thebe.js?v=c100"></script>', ""),
    "roles of the bibliography's entries": ('<div class="citation" role="doc-biblioentry">', '<div class="citation">'),
    "role of the bibliography": ('<div role="list" class="citation-list">', '<div class="citation-list">'),
    "light without scripts": ('<html data-theme="auto">', '<html data-theme="light">'),
    "light or dark from the first moment": theme.REPLACED["light or dark from the first moment"],
    "a page is drawn when it has come": theme.REPLACED["a page is drawn when it has come"],
    "end of the page": theme.REPLACED["end of the page"],
    "name of the toggles": theme.REPLACED["name of the toggles"],
}
OFFLINE = {
    "explorers' pictures wait": ('<figure class="explorer"> <img>', '<figure class="explorer"> <img loading="lazy">'),
    "no script of icons": ('<script defer src="_static/scripts/fontawesome.js?digest=1"></script>', ""),
    "icons that are shown": ('<i class="fa-solid fa-bars">', '<i class="fa-solid fa-bars">'),
    "version of the formulas' font": ("formulas.js?v=1", "formulas.js?v=hash"),
}
NEEDLESS = {f"no {pattern}": pattern.replace("**", "a").replace("*", "a") for pattern in offline.NEEDLESS}
HANDLERS = [(theme.mend_pages, THEME), (offline.lighten, OFFLINE)]


@pytest.fixture
def built(tmp_path):
    """Makes a site of one page and what lies around, and returns Sphinx's application when it is built."""

    def build(text, around=NEEDLESS.values()):
        for name in (f"{offline.ICONS}/fa-solid-900.woff2", *around):
            path = tmp_path / "_static" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
        (tmp_path / "page.html").write_text(text)
        environment, builder = SimpleNamespace(found_docs={"page"}), SimpleNamespace(name="html")
        return SimpleNamespace(outdir=tmp_path, env=environment, builder=builder, written={"page"})

    return build


@pytest.mark.parametrize("handler, mends", HANDLERS)
def test_every_mend_makes_of_the_page_what_it_should(handler, mends, built):
    app = built("".join(before for before, _ in mends.values()))
    handler(app, None)
    mended = re.sub(r"(?<=v=)[0-9a-f]{8}$", "hash", (app.outdir / "page.html").read_text())
    assert mended == "".join(after for _, after in mends.values())


@pytest.mark.parametrize("handler, mends, name", [(*pair, name) for pair in HANDLERS for name in pair[1]])
def test_a_mend_that_finds_nothing_fails_the_build_and_is_named(handler, mends, name, built):
    app = built("".join(before for other, (before, _) in mends.items() if other != name))
    with pytest.raises(ExtensionError, match=re.escape(f"has the theme changed? {name}") + "$"):
        handler(app, None)


@pytest.mark.parametrize("name", NEEDLESS)
def test_files_to_leave_out_that_are_not_there_fail_the_build_and_are_named(name, built):
    page = "".join(before for before, _ in OFFLINE.values())
    app = built(page, [path for other, path in NEEDLESS.items() if other != name])
    with pytest.raises(ExtensionError, match=re.escape(f"has the theme changed? {name}") + "$"):
        offline.lighten(app, None)


def test_every_mend_is_tried():
    assert set(THEME) == set(theme.MENDS) and set(OFFLINE) >= set(offline.MENDS)


@pytest.mark.parametrize("handler, mends", HANDLERS)
def test_where_only_some_pages_are_built_anew_a_mend_may_find_nothing(handler, mends, built):
    app = built("mended before", [])
    app.written.clear()
    handler(app, None)
    assert (app.outdir / "page.html").read_text() == "mended before"


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


@pytest.mark.parametrize(
    "before, kept, leads",
    [("loss (", "loss ", "("), ("the “", "the ", "“"), ("f(", "f(", None), ("with ", "with ", None)],
)
def test_a_bracket_that_opens_before_a_formula_stays_with_it(before, kept, leads):
    formula = nodes.math("", "p_t")
    paragraph = nodes.paragraph("", "", nodes.Text(before), formula)
    formulas.keep_what_clings(None, paragraph, "page")
    assert formula.get("leads") == leads
    assert paragraph.children[0].astext() == kept


@pytest.mark.parametrize(
    "column, classes",
    [
        (["0.03", "1,200", ""], []),
        (["+0.03 [0.01, 0.05]"], []),
        (["holds", "", "fails here"], ["text"]),
        (["yes, by about 0.02", "no"], ["text", "phrases"]),
        (["", ""], []),
    ],
)
def test_a_column_of_words_is_told_by_what_stands_in_it(column, classes):
    assert tables.classes_of(column) == classes


TABLE = """<table border="1" class="dataframe">
<thead><tr style="text-align: right;"><th>claim</th><th>here</th><th>it</th></tr></thead>
<tbody><tr><th>1</th><td>0.03 [0.01, 0.05]</td><td>holds</td></tr></tbody>
</table>"""


def test_the_cells_of_a_table_are_told_apart_and_say_what_they_said():
    marked = tables.told(TABLE)
    assert '<th>here</th><th class="text">it</th>' in marked
    assert '<td>0.03 <span class="whole">[0.01, 0.05]</span></td><td class="text whole">holds</td>' in marked
    assert re.sub("<[^>]*>", "", marked) == re.sub("<[^>]*>", "", TABLE)


@pytest.mark.parametrize("odd", [TABLE.replace("<th>1", '<th rowspan="2">1'), TABLE.replace("<th>claim</th>", "")])
def test_a_table_whose_rows_are_not_alike_is_left_as_it_is(odd):
    assert tables.told(odd) == odd


@pytest.mark.parametrize(
    "text, parts",
    [
        ("checks.pull_ratio", ["checks.", "pull_", "ratio"]),
        ("retinanet.py:186", ["retinanet.", "py:186"]),
        ("--batch", ["--batch"]),
        ("…", ["…"]),
    ],
)
def test_code_breaks_after_dots_and_underscores_and_says_what_it_said(text, parts):
    node = nodes.literal("", text)
    tables.break_at_places(node)
    assert [one.astext() for one in node.children if isinstance(one, nodes.Text)] == parts


def test_an_option_of_a_command_stays_on_one_line():
    block = '<div class="highlight-console notranslate"><div class="highlight"><pre>run --size=256 a-b</pre>'
    inline = '<code class="literal"><span class="pre">--size=256</span></code>'
    page = SimpleNamespace(builder=SimpleNamespace(format="html"))
    context = dict(body=block + inline + "<p>one --two</p>")
    tables.keep_options(page, "page", "", context, None)
    kept = (block + inline).replace("--size=256", '<span class="whole">--size=256</span>')
    assert context["body"] == kept + "<p>one --two</p>"


def test_a_solution_is_shown_without_the_marks_for_the_grader():
    code = "def f(x):\n    ### BEGIN SOLUTION\n    return x\n    ### END SOLUTION\n"
    block = nodes.literal_block(code, code)
    exercises.clear_marks(None, nodes.section("", block))
    assert block.astext() == block.rawsource == "def f(x):\n    return x"


def test_a_value_that_takes_pages_is_left_out_and_a_short_one_shown():
    short, long = desc_annotation("", " = 2"), desc_annotation("", " = " + "{} " * values.LONGEST)
    line = nodes.section("", short, long)
    values.shorten(None, line)
    assert line.children == [short]


@pytest.mark.parametrize("summary, marked", [("Answer", True), ("Hint 1", False)])
def test_a_list_before_an_answer_is_one_of_choices(summary, marked):
    choices = nodes.bullet_list("", nodes.list_item("", nodes.paragraph("", "A. Yes.")))
    fold = nodes.raw("", f"<details>\n<summary>{summary}</summary>\n", format="html")
    progress.mark_choices(None, nodes.section("", choices, fold))
    assert ("choices" in choices["classes"]) == marked


def code(source, *kinds):
    """A code cell, as JSON has it, with an output of each of these kinds."""
    return dict(cell_type="code", source=source, outputs=[dict(data={kind: ""}) for kind in kinds])


@pytest.mark.parametrize(
    "source, kinds, later",
    [
        ("bind(ratio=f'{ratio:.1f}')", [cells.RECORD], "print(ratio)"),
        ("plots.use_style()", [], "plots.show_scene(axes)"),
        ("for name in rows:\n    bind(**{name: rows[name]})", [cells.RECORD], "for name in rows: print(name)"),
        ("texts = {name: str(name) for name in rows}\nbind(**texts)", [cells.RECORD], "print(name)"),
        ("from focalbook.prose import bind\nplots.use_style()", [], "x = 1"),
    ],
)
def test_a_cell_that_only_keeps_the_books_is_left_out(source, kinds, later):
    assert cells.left_out([code("x = 1"), code(source, *kinds), code(later)]) == {1}


@pytest.mark.parametrize(
    "source, kinds, later",
    [
        ("print(ratio)\nbind(ratio=ratio)", ["text/plain", cells.RECORD], ""),
        ("bind(ratio=ratio)\nplt.show()", [cells.RECORD, cells.FIGURE], ""),
        ("import torch\nplots.use_style()", [], "torch.zeros(1)"),
        ("ratio = a / b\nbind(ratio=str(ratio))", [cells.RECORD], "def f():\n    return ratio"),
        ("x = 1", [], ""),
        ("def bind():\n    pass", [], ""),
    ],
)
def test_a_cell_that_does_more_is_shown(source, kinds, later):
    assert cells.left_out([code(source, *kinds), code(later)]) == set()


def test_what_a_cell_that_is_left_out_needs_may_be_left_out_too():
    assert cells.left_out([code("low = min(x)\nbind(low=str(low))"), code("bind(twice=str(2 * low))")]) == {0, 1}


def test_a_function_that_keeps_the_books_and_what_calls_it_are_left_out():
    helper = code("def bind_gain(name):\n    bind(**{name: '1'})")
    by_loop = code("for name in rows:\n    bind_gain(name)", cells.RECORD)
    assert cells.left_out([helper, by_loop, code("print(rows)", "text/plain")]) == {0, 1}


def test_cells_that_draw_are_told_by_their_output():
    assert cells.drawn([code("plt.show()", cells.FIGURE), code("plt.plot(x)"), dict(cell_type="markdown")]) == {0}


def test_the_places_in_a_figure_are_cut_and_what_scales_a_glyph_is_not(tmp_path):
    figure = tmp_path / "figure.svg"
    before = '<svg>\n  <path d="M 12.3456 -0.129 \nL 1 2"/>\n   <g transform="translate(3.14159 2) scale(0.015625)"/>\n'
    figure.write_text(before + '  <use x="1.239" style="opacity: 0.1234"/>\n</svg>')
    offline.round_figures(tmp_path)
    after = '<svg>\n<path d="M 12.34 -0.12 \nL 1 2"/>\n<g transform="translate(3.14 2) scale(0.015625)"/>\n'
    assert figure.read_text() == after + '<use x="1.23" style="opacity: 0.1234"/>\n</svg>'
