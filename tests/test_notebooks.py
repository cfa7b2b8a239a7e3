"""The notebook files: what nbval lets through is caught here.

nbval re-runs every cell and compares its outputs, but skips a cell that was never run, ignores execution counts,
pictures other than SVG, metadata and all prose. ``faults`` names what is wrong with a notebook; the tests hold every
chapter to none, and plant faults to see each one named.
"""

import ast
import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbval.plugin import comment_markers

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
PREFIX = "application/papermill.record/"
RECORD, RECORD_NAME = PREFIX + "text/plain", PREFIX + "text/name"
MARKERS = re.compile("|".join(["nbval", *map(re.escape, comment_markers)]), re.IGNORECASE)
LARGEST = 1_000_000  # bytes a notebook
MOST_LINES = 12  # a code cell
TEXT_FAULTS = {
    "carriage return or escape": re.compile(r"[\r\x08\x1b]"),
    "memory address": re.compile(r"0x[0-9a-fA-F]{6,}"),
    "absolute path": re.compile(r"(?<![\w.])(?:/(?:home|root|tmp|usr|work|Users|mnt|opt|var)/|[A-Z]:\\)"),
}
MOST_DIGITS = 5  # significant ones of a number with a decimal point: more might differ on another machine


def read(path):
    return json.loads(path.read_text("utf-8"))


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def text(value):
    return "".join(value)


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
    found = []
    if notebook["metadata"] != METADATA:
        found.append("notebook metadata")
    cells = code_cells(notebook)
    if [cell["execution_count"] for cell in cells] != list(range(1, len(cells) + 1)):
        found.append("not executed in order from 1")
    for place, cell in enumerate(notebook["cells"], start=1):
        if not text(cell["source"]).strip():
            found.append(f"cell {place} of all: empty")
        if cell["cell_type"] not in ("code", "markdown"):
            found.append(f"cell {place} of all: neither code nor Markdown")
        if set(cell["metadata"]) - ({"mystnb"} if cell["cell_type"] == "code" else set()):
            found.append(f"cell {place} of all: metadata or tag")
    for number, cell in enumerate(cells, start=1):
        faults_here = (*_source_faults(cell), *_output_faults(cell), *_figure_faults(cell))
        found += [f"code cell {number}: {fault}" for fault in faults_here]
    return found + _bound_faults(notebook)


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


def _output_faults(cell):
    source, outputs = text(cell["source"]), cell["outputs"]
    for output in outputs:
        kind = output["output_type"]
        if kind == "stream" and output["name"] == "stdout":
            shown = {"text/plain": output["text"]}
        elif kind in ("display_data", "execute_result"):
            shown = output["data"]
            if output.get("execution_count", cell["execution_count"]) != cell["execution_count"]:
                yield "output of another execution"
        else:
            yield f"{kind} output, or stderr"
            continue
        if set(shown) - {"text/plain", "image/svg+xml", RECORD, RECORD_NAME}:
            yield "output of a kind that is not compared"  # a PNG, or HTML that could run scripts
        name = text(shown.get(RECORD_NAME, ""))
        known = {"scrapbook": {"name": name, "mime_prefix": PREFIX}} if name else {}
        if "image/svg+xml" in shown:
            known = {"needs_background": "light"}  # as matplotlib's backend stores it
        if output.get("metadata", {}) != known:
            yield "metadata of an output"
        printed = text(shown.get("text/plain", "")) + text(shown.get(RECORD, ""))
        for fault, pattern in TEXT_FAULTS.items():
            if pattern.search(printed):
                yield fault
        for number in re.findall(r"\d+\.\d+", printed):
            if len(number.replace(".", "").lstrip("0")) > MOST_DIGITS:
                yield f"more than {MOST_DIGITS} digits: {number}"
        if re.search(r"<script|<dc:date>|\son\w+=", text(shown.get("image/svg+xml", ""))):
            yield "script or date in a figure"
    if bool(called(source, "print")) != any(output["output_type"] == "stream" for output in outputs):
        yield "printed text is missing, or there without print"


def _figure_faults(cell):
    figures = sum("image/svg+xml" in output.get("data", ()) for output in cell["outputs"])
    if figures != len(called(text(cell["source"]), "plt.show")):
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
    prose = "\n".join(text(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    shown = set(re.findall(r"\{glue:text\}`([^`:]+)`", prose))
    recorded, bound = [], set()
    for cell in code_cells(notebook):
        bound |= {word.arg for call in called(text(cell["source"]), "bind") for word in call.keywords}
        recorded += [o["metadata"]["scrapbook"]["name"] for o in cell["outputs"] if RECORD in o.get("data", ())]
    names = set(recorded)
    computed = None in bound  # bind(**names): only running the cell tells which
    if len(names) < len(recorded) or bound - {None} - names or (names - bound and not computed):
        return [f"bound and recorded names differ: {sorted(names ^ (bound - {None}))}"]
    return [f"bound but not shown, or shown but not bound: {name}" for name in sorted(names ^ shown)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_chapter_has_no_faults(path):
    assert faults(read(path)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_chapter_is_stored_as_make_run_writes_it(path):
    stored = path.read_text("utf-8")
    assert len(stored.encode()) < LARGEST
    notebook = nbformat.reads(stored, as_version=4)
    nbformat.validate(notebook)
    assert nbformat.writes(notebook) + "\n" == stored


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_chapter_has_its_frame(path):
    cells = read(path)["cells"]
    prose = [text(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    assert cells[0]["cell_type"] == "markdown" and prose[0].startswith("# ")
    opening = "\n".join(prose[:2])
    for part in ("Before you start", "**You will be able to**", "**You need**", "**To run**"):
        assert part in opening
    ending = prose[-1]
    assert "## Take-aways" in ending and cells[-1]["cell_type"] == "markdown"
    following = NOTEBOOKS[NOTEBOOKS.index(path) + 1 :][:1]
    assert all(f"({after.name})" in ending for after in following), "the last section links the next chapter"


def test_the_contents_name_every_notebook_and_figure_names_are_unique():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    listed = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    assert [name for name in listed if re.match(r"book/\d\d-", name)] == [f"book/{name}" for name in NAMES]
    figures = [
        cell["metadata"]["mystnb"]["figure"]["name"]
        for path in NOTEBOOKS
        for cell in code_cells(read(path))
        if "mystnb" in cell["metadata"]
    ]
    assert len(figures) == len(set(figures)) > len(NOTEBOOKS)


def first(notebook, kind):
    """The first code cell with an output that is, or shows, ``kind``."""
    return next(
        cell
        for cell in code_cells(notebook)
        if any(kind in (output["output_type"], *output.get("data", ())) for output in cell["outputs"])
    )


def strip(notebook):
    for cell in code_cells(notebook):
        cell.update(execution_count=None, outputs=[])


def strip_one(notebook):
    first(notebook, "stream").update(execution_count=None, outputs=[])


def delete_cell(notebook):
    notebook["cells"].remove(first(notebook, "stream"))


def reorder(notebook):
    cells, cell = notebook["cells"], first(notebook, "stream")
    cells.remove(cell)
    cells.append(cell)


def never_run(notebook):
    notebook["cells"].append(dict(code_cells(notebook)[0], execution_count=None, outputs=[]))


def delete_figure(notebook):
    first(notebook, "image/svg+xml").update(outputs=[])


def picture_as_png(notebook):
    output = first(notebook, "image/svg+xml")["outputs"][-1]
    output["data"] = {"image/png": "iVBORw0KGgo="}


def alt_text(notebook):
    first(notebook, "image/svg+xml")["metadata"]["mystnb"]["image"]["alt"] = ""


def tag(notebook):
    first(notebook, "stream")["metadata"]["tags"] = ["raises-exception"]


def ignore(notebook):
    cell = first(notebook, "stream")
    cell["source"] = ["# NBVAL_IGNORE_OUTPUT\n", *cell["source"]]


def ignore_by_its_old_name(notebook):
    cell = first(notebook, "stream")
    cell["source"] = ["# PYTEST_VALIDATE_IGNORE_OUTPUT\n", *cell["source"]]


def hide_outputs_on_the_page(notebook):
    first(notebook, "stream")["metadata"]["mystnb"] = {"remove_code_outputs": True}


def raw_cell(notebook):
    notebook["cells"].append({"cell_type": "raw", "id": "raw", "metadata": {}, "source": ["<b>anything</b>"]})


def output_metadata(notebook):
    first(notebook, "image/svg+xml")["outputs"][-1]["metadata"] = {"width": 10}


def too_many_digits(notebook):
    first(notebook, "stream")["outputs"][0]["text"] = ["0.123456\n"]


def hide_text(notebook):
    first(notebook, "stream")["outputs"][0]["text"] = ["wrong\r", "right\n"]


def error_output(notebook):
    first(notebook, "stream")["outputs"].append(
        {"output_type": "error", "ename": "E", "evalue": "e", "traceback": ["fake"]}
    )


def stderr(notebook):
    first(notebook, "stream")["outputs"][0]["name"] = "stderr"


def path_in_output(notebook):
    first(notebook, "stream")["outputs"][0]["text"] = ["/home/someone/book\n"]


def address(notebook):
    first(notebook, "stream")["outputs"][0]["text"] = ["<object at 0x7f0012345678>\n"]


def kernel(notebook):
    del notebook["metadata"]["kernelspec"]


def unbound(notebook):
    notebook["cells"][0]["source"] = [*notebook["cells"][0]["source"], " {glue:text}`nobody`"]


def rename_record(notebook):
    output = next(o for o in first(notebook, RECORD)["outputs"] if RECORD in o.get("data", ()))
    output["metadata"]["scrapbook"]["name"] = "other"


PLANTED = {
    strip: "not executed in order",
    strip_one: "not executed in order",
    delete_cell: "not executed in order",
    reorder: "not executed in order",
    never_run: "not executed in order",
    delete_figure: "a figure is missing",
    picture_as_png: "not compared",
    alt_text: "alt text",
    tag: "metadata or tag",
    ignore: "nbval marker",
    ignore_by_its_old_name: "nbval marker",
    hide_outputs_on_the_page: "something else set",
    raw_cell: "neither code nor Markdown",
    output_metadata: "metadata of an output",
    too_many_digits: "more than 5 digits",
    hide_text: "carriage return",
    error_output: "error output",
    stderr: "stderr",
    path_in_output: "absolute path",
    address: "memory address",
    kernel: "notebook metadata",
    unbound: "not bound",
    rename_record: "metadata of an output",
}


@pytest.fixture(scope="module")
def chapter():
    """A real chapter with figures, printed text and bound numbers, quick to run."""
    return read(ROOT / "book" / "03-balanced-cross-entropy.ipynb")


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_named(chapter, plant):
    broken = copy.deepcopy(chapter)
    plant(broken)
    assert any(PLANTED[plant] in fault for fault in faults(broken))


def wrong_digit(notebook):
    output = first(notebook, "stream")["outputs"][0]
    output["text"] = [re.sub(r"\d(?=\D*$)", lambda digit: str((int(digit[0]) + 1) % 10), text(output["text"]))]


def wrong_bound_number(notebook):
    output = next(o for o in first(notebook, RECORD)["outputs"] if RECORD in o.get("data", ()))
    output["data"][RECORD] = "'42'"


def swapped_names(notebook):
    records = [o for cell in code_cells(notebook) for o in cell["outputs"] if RECORD in o.get("data", ())]
    one, other = records[0], next(o for o in records if o["data"][RECORD] != records[0]["data"][RECORD])
    one["data"][RECORD_NAME], other["data"][RECORD_NAME] = other["data"][RECORD_NAME], one["data"][RECORD_NAME]


def wrong_figure(notebook):
    data = first(notebook, "image/svg+xml")["outputs"][-1]["data"]
    data["image/svg+xml"] = [text(data["image/svg+xml"]).replace("L ", "L 1", 1)]


def deleted_output(notebook):
    first(notebook, "stream")["outputs"].clear()


def sound(notebook):
    """Nothing planted: the check of the check."""


RECOMPUTED = (sound, wrong_digit, wrong_bound_number, swapped_names, wrong_figure, deleted_output)


def test_a_wrong_output_does_not_survive_being_computed_again(chapter, tmp_path):
    for plant in RECOMPUTED:
        copied = copy.deepcopy(chapter)
        plant(copied)
        assert copied != chapter or plant is sound
        (tmp_path / f"{plant.__name__}.ipynb").write_text(json.dumps(copied), "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-q", "-rf", str(tmp_path)]
    output = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stdout
    caught = {plant.__name__ for plant in RECOMPUTED if re.search(rf"^FAILED {plant.__name__}\.ipynb", output, re.M)}
    assert caught == {plant.__name__ for plant in RECOMPUTED} - {"sound"}, output[-3000:]
