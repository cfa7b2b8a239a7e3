"""What is wrong with the notebook files: what nbval lets through is named here.

nbval re-runs every cell and compares its outputs, but skips a cell that was never run, ignores execution counts, the
kind, order and metadata of outputs, pictures other than SVG, tags and all prose. ``make verify`` and ``test_notebooks``
hold every chapter and every page of exercises to no fault; ``test_corruption`` plants faults to see each one named.
"""

import ast
import copy
import json
import re
import unicodedata
import warnings

import nbformat
import yaml
from execute import METADATA
from nbval.plugin import comment_markers

METADATA_OF_CELLS = {"code": {"mystnb"}, "markdown": set()}  # no tags: they hide outputs, or have nbval ignore them
PREFIX = "application/papermill.record/"
RECORD, RECORD_NAME = PREFIX + "text/plain", PREFIX + "text/name"
FIGURE = "image/svg+xml"
MARKERS = re.compile("|".join(["nbval", *map(re.escape, comment_markers)]), re.IGNORECASE)
LARGEST = 1_000_000  # bytes a notebook
MOST_LINES = 12  # a code cell
TEXT_FAULTS = {
    "memory address": re.compile(r"0x[0-9a-fA-F]{6,}"),
    "absolute path": re.compile(r"(?<![\w.])(?:/(?:home|root|tmp|usr|work|Users|mnt|opt|var)/|[A-Z]:\\)"),
}
FIGURE_FAULTS = {
    "script or date in a figure": re.compile(r"<script|<dc:date>|\son\w+=|javascript:|<foreignObject", re.IGNORECASE),
    "a figure that loads from elsewhere": re.compile(r"""(?:href=|src=|url\(|@import)\s*["']?\s*(?:https?:)?//"""),
}
PROSE_FAULTS = {
    "HTML in Markdown": re.compile(
        r"<(?:[A-Za-z][\w-]*[\s/>]|/[A-Za-z]|!)|\{raw\}|\.\. raw::"
    ),  # it could run scripts, or hide
    "picture from elsewhere": re.compile(r"(?:!\[[^\]]*\]\(|\{(?:image|figure)\})\s*<?(?:https?:)?//"),
}
HIDDEN = "carriage return, escape or other sign that hides text"
MOST_DIGITS = 5  # significant ones of a number with a decimal point: more might differ on another machine
SHOWN_BY = {"print": "printed text", "plt.show": "figure", "bind": "bound number"}
OPENING = ("Before you start", "**You will be able to**", "**You need**", "**To run**")
FOLDS = re.compile(r"^</?details>$|^<summary>(?:Answer|Hint \d)</summary>$", re.MULTILINE)
MARK = re.compile(r"^ *### (?:BEGIN|END) SOLUTION\n?", re.MULTILINE)
CHECK = re.compile(r"\Achecks\.\w+\(")
NBGRADER = {"grade", "grade_id", "locked", "schema_version", "solution", "task"}
PROMPTS = {"code_prompt_hide": "Hide the solution", "code_prompt_show": "Show a solution"}
SOLUTION = {"mystnb": PROMPTS, "tags": ["hide-input"]}
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|<(https?:[^>\s]+)>")


def read(path):
    return json.loads(path.read_text("utf-8"))


def text(value):
    return "".join(value)


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def markdown(notebook):
    return [text(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]


def called(source, name):
    """Calls of ``name`` (``print`` or ``plt.show``) in statements that run once: not inside a function."""
    todo, found = list(ast.parse(source).body), []
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
            found.append(node)
        todo += ast.iter_child_nodes(node)
    return found


def faults(notebook):
    """Everything that is wrong with a notebook (a dict as JSON has it), one line each; a good one has none."""
    try:
        with warnings.catch_warnings(action="error"):
            nbformat.validate(notebook)
    except (nbformat.ValidationError, Warning) as error:
        return [f"not of the notebook format: {str(error).splitlines()[0]}"]
    found = []
    if notebook["metadata"] != METADATA:
        found.append("notebook metadata")
    cells = code_cells(notebook)
    if [cell["execution_count"] for cell in cells] != list(range(1, len(cells) + 1)):
        found.append("not executed in order from 1")
    for place, cell in enumerate(notebook["cells"], start=1):
        found += [f"cell {place} of all: {fault}" for fault in _cell_faults(cell)]
    for number, cell in enumerate(cells, start=1):
        faults_here = (*_source_faults(cell), *_output_faults(cell), *_figure_faults(cell))
        found += [f"code cell {number}: {fault}" for fault in faults_here]
    return found + _bound_faults(notebook)


def exercise_faults(notebook):
    """The same for a page of exercises, where nbgrader's marks, folded solutions and hints, and checks that print are
    at home."""
    plain = copy.deepcopy(notebook)
    for cell in plain["cells"]:
        source, marks = text(cell["source"]), cell["metadata"]
        if cell["cell_type"] == "markdown":
            cell["source"] = FOLDS.sub("", source)
        elif set(marks.pop("nbgrader", {})) - {"points"} == NBGRADER:
            cell["source"] = CHECK.sub("print(", source)
            marked = source.count("### BEGIN SOLUTION") == source.count("### END SOLUTION") == 1
            if marked and all(marks.get(key) == SOLUTION[key] for key in SOLUTION):
                cell["source"] = MARK.sub("", source)
                cell["metadata"] = {key: marks[key] for key in marks if key not in SOLUTION}
    return faults(plain)


def hides(shown):
    """Whether a text has a sign that is not shown and may hide others: carriage return, escape, zero width, ..."""
    return any(unicodedata.category(sign)[0] == "C" for sign in set(shown) - {"\n"})


def _cell_faults(cell):
    source = text(cell["source"])
    if not source.strip():
        yield "empty"
    if cell["cell_type"] not in METADATA_OF_CELLS:
        yield "neither code nor Markdown"
    if set(cell["metadata"]) - METADATA_OF_CELLS.get(cell["cell_type"], set()):
        yield "metadata or tag"
    if hides(source):
        yield HIDDEN
    if cell["cell_type"] == "markdown":
        plain = re.sub(r"(?<!`)(`[^`]+`)(?!`)|\$[^$]*\$", "", source)  # without roles, code and formulas
        yield from (fault for fault, pattern in PROSE_FAULTS.items() if pattern.search(plain))


def _source_faults(cell):
    source = text(cell["source"])
    try:
        ast.parse(source)
    except SyntaxError:
        yield "not plain Python"
        return
    if MARKERS.search(source):
        yield "nbval marker"
    if source.rstrip().endswith(";"):
        yield "trailing semicolon"
    if len(source.splitlines()) > MOST_LINES:
        yield f"more than {MOST_LINES} lines"


def _shows(output):
    """What a reader sees in an output."""
    if output["output_type"] == "stream":
        return "printed text"
    return "figure" if FIGURE in output["data"] else "bound number" if RECORD in output["data"] else "result"


def _output_faults(cell):
    outputs = cell["outputs"]
    for output in outputs:
        kind = output["output_type"]
        if kind == "error" or output.get("name", "stdout") != "stdout":
            yield f"{kind} output, or stderr"
            return
        shown = output["data"] if "data" in output else {"text/plain": output["text"]}
        if set(shown) - {"text/plain", FIGURE, RECORD, RECORD_NAME}:
            yield "output of a kind that is not compared"  # a PNG, or HTML that could run scripts
        if (kind == "execute_result") != (_shows(output) == "result"):
            yield f"{kind} that shows a {_shows(output)}"
        if output.get("execution_count", cell["execution_count"]) != cell["execution_count"]:
            yield "output of another execution"
        name = text(shown.get(RECORD_NAME, ""))
        known = {"scrapbook": {"name": name, "mime_prefix": PREFIX}} if name else {}
        if FIGURE in shown:
            known = {"needs_background": "light"}  # as matplotlib's backend stores it
        if output.get("metadata", {}) != known:
            yield "metadata of an output"
        yield from _shown_faults(shown)
    yield from _order_faults(cell)


def _shown_faults(shown):
    printed = text(shown.get("text/plain", "")) + text(shown.get(RECORD, ""))
    if hides(printed):
        yield HIDDEN
    yield from (fault for fault, pattern in TEXT_FAULTS.items() if pattern.search(printed))
    for number in re.findall(r"\d+\.\d+", printed):
        if len(number.replace(".", "").lstrip("0")) > MOST_DIGITS:
            yield f"more than {MOST_DIGITS} digits: {number}"
    drawn = text(shown.get(FIGURE, ""))
    yield from (fault for fault, pattern in FIGURE_FAULTS.items() if pattern.search(drawn))


def _order_faults(cell):
    calls = [(call.lineno, shown) for name, shown in SHOWN_BY.items() for call in called(_plain(cell), name)]
    asked = list(dict.fromkeys(shown for _, shown in sorted(calls)))
    there = list(dict.fromkeys(map(_shows, cell["outputs"])))
    if ("printed text" in asked) != ("printed text" in there):
        yield "printed text is missing, or there without print"
    elif set(asked) == set(there) and asked != there:
        yield f"outputs in another order than the cell shows them: {', '.join(there)}"


def _plain(cell):
    """The source of a cell; nothing if it is no Python, which is named once."""
    return "" if "not plain Python" in _source_faults(cell) else text(cell["source"])


def _figure_faults(cell):
    figures = sum(FIGURE in output.get("data", ()) for output in cell["outputs"])
    if figures != len(called(_plain(cell), "plt.show")):
        yield "a figure is missing, or one too many"
    settings = cell["metadata"].get("mystnb", {})
    known = {"image": {"alt"}, "figure": {"caption", "name"}} if figures else {}
    if {key: set(value) if isinstance(value, dict) else value for key, value in settings.items()} != known:
        yield "figure without caption, name or alt text, or with something else set"
    elif figures:
        figure, alt = settings["figure"], settings["image"]["alt"]
        if len(alt) < 40 or len(figure["caption"]) < 20 or not figure["name"].startswith("fig-"):
            yield "figure without a proper caption, name or alt text"


def _bound_faults(notebook):
    """Names bound in code, recorded in outputs and shown in prose must be the same."""
    shown = set(re.findall(r"\{glue:text\}`([^`:]+)`", "\n".join(markdown(notebook))))
    recorded, bound = [], set()
    for cell in code_cells(notebook):
        bound |= {word.arg for call in called(_plain(cell), "bind") for word in call.keywords}
        recorded += [text(o["data"].get(RECORD_NAME, "")) for o in cell["outputs"] if RECORD in o.get("data", ())]
    names = set(recorded)
    computed = None in bound  # bind(**names): only running the cell tells which
    if len(names) < len(recorded) or bound - {None} - names or (names - bound and not computed):
        return [f"bound and recorded names differ: {sorted(names ^ (bound - {None}))}"]
    return [f"bound but not shown, or shown but not bound: {name}" for name in sorted(names ^ shown)]


def stored_faults(path):
    """What differs between a file and what ``make run`` writes."""
    stored = path.read_text("utf-8")
    if len(stored.encode()) >= LARGEST:
        yield f"larger than {LARGEST} bytes"
    if nbformat.writes(nbformat.reads(stored, as_version=4)) + "\n" != stored:
        yield "not stored as make run writes it"


def frame_faults(notebook, following):
    """What the frame of a chapter lacks. ``following``: the name of the next notebook, if there is one."""
    cells, prose = notebook["cells"], markdown(notebook)
    if cells[0]["cell_type"] != "markdown" or not prose[0].startswith("# "):
        yield "no title at the top"
    yield from (f"the opening lacks {part}" for part in OPENING if part not in "\n".join(prose[:2]))
    if cells[-1]["cell_type"] != "markdown" or "## Take-aways" not in prose[-1]:
        yield "no take-aways at the end"
    if following and f"({following}.ipynb)" not in prose[-1]:
        yield f"the last section does not link {following}"


def link_faults(notebook, folder, book):
    """Links of a notebook in a folder that lead nowhere, or outside without being in the book's ``links.txt``."""
    listed = set((book / "links.txt").read_text("utf-8").split())
    for inside, outside in LINK.findall("\n".join(markdown(notebook))):
        target = (inside or outside).split("#")[0]
        if re.match(r"\w+:|//", target):
            if target not in listed:
                yield f"outside link that links.txt lacks: {target}"
        elif target and not (folder / target).is_file():
            yield f"link to no page: {target}"


def contents_faults(folder):
    """Notebooks that the contents of a book do not name in their order, and figures that have no name of their own."""
    paths = sorted((folder / "book").glob("*.ipynb"))
    toc = yaml.safe_load((folder / "_toc.yml").read_text("utf-8"))
    listed = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    listed = [name for name in listed if re.match(r"book/\d\d-", name)]
    there = [f"book/{path.stem}" for path in paths]
    yield from (f"in the contents, but there is no notebook {name}" for name in listed if name not in there)
    yield from (f"not in the contents: {name}" for name in there if name not in listed)
    if listed != there and sorted(listed) == sorted(there):
        yield "the contents name the notebooks in another order"
    notebooks = list(map(read, paths))
    cells = [cell for notebook in notebooks for cell in code_cells(notebook) if "mystnb" in cell["metadata"]]
    names = [cell["metadata"]["mystnb"]["figure"]["name"] for cell in cells]
    yield from (f"two figures are called {name}" for name in sorted(set(names)) if names.count(name) > 1)
    prose = "\n".join(part for notebook in notebooks for part in markdown(notebook))
    referred = re.findall(r"\{numref\}`(?:[^`<]*<)?(fig-[\w-]+)", prose)
    yield from (f"no figure is called {name}" for name in sorted(set(referred) - set(names)))
