"""The corruption harness: every kind of corruption, planted in a copy of the real book, is caught by name.

``KINDS`` says of each kind where it is planted, which check must catch it and what the check must say. The checks are
those that the book itself is held to: the faults of ``tools.faults``, and, where nothing else can know, the cells run
again and compared (``tools.notebooks``). What a chapter computes is computed once for all plants that leave its code
alone.
"""

import base64
import copy
import functools
import json
import re
import shutil
from collections.abc import Callable
from io import BytesIO
from itertools import zip_longest
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image
from planting import replace, say

from focalbook import records as recorded
from tasks import ROOT
from tools import faults
from tools.faults.notebooks import FIGURE, RECORD, RECORD_NAME, TABLE, code_cells, read, text
from tools.notebooks import Failed, as_executed, differences, outputs_of, parsed, text_of

NOTEBOOKS = {path.stem[:2]: path for path in sorted((ROOT / "book").glob("*.ipynb"))}
NOTEBOOKS |= {f"exercises {path.parent.name[:2]}": path for path in sorted((ROOT / "book").glob("exercises/*/*.ipynb"))}
QUICK = "04"  # printed text, tables, a figure and bound numbers, and its cells take a second
EVIDENCE, MEASURED = "13", "18"  # they read records and measurements; a figure of the first has pixels
CHAPTER, LIST, STAMPS, TOC = "book/04-focal-loss", "book/typed-numbers.txt", "book/verified.json", "_toc.yml"
RECORD_FILE = "book/records/alpha/alpha-0.1-lr0.01-seed0.json"
EVIDENCE_FILE = "book/records/map/focal-loss-96-px-1-object-lr0.03-seed0.json"
MEASURED_FILE = "book/measured/loss-speed.json"
DRAWN = "book/_static/explorers/detector"


# The checks: what is wrong with a copy of the project's folder, or with one of its notebooks, line by line.


def files(folder, path):
    return faults.of_notebook(folder, path)


def contents(folder, path):
    return faults.contents.faults(folder)


def stamps(folder, path):
    return faults.stamps.faults(folder)


def records(folder, path):
    with patch.object(recorded, "RECORDS", folder / "book" / "records"):
        return list(faults.records.faults())


def pictures(folder, path):
    return faults.pictures.faults((folder / DRAWN).parent)


@functools.cache
def outputs_from(path, sources, records):
    """What these sources of a notebook give, beside such records: computed once for all plants on them."""
    return outputs_of(parsed(text_of(path)), path.parent.parent)


def executed(folder, path):
    """What running the cells shows of a copied chapter, by place: the kernel finds the copied module beside it."""
    notebook = parsed(text_of(path))
    sources = tuple(cell.source for cell in notebook.cells if cell.cell_type == "code")
    try:
        found = outputs_from(path, sources, records_in(folder))
        return differences(text_of(path), as_executed(notebook, found))
    except Failed as reason:
        return {"the file": str(reason)}


def records_in(folder):
    """Of the records and measurements that a plant may change, what tells whether it did."""
    return tuple((folder / name).read_bytes() for name in (EVIDENCE_FILE, MEASURED_FILE))


# The plants: each changes a chapter, as JSON has it, or, marked so, the copy of the project's folder.


def in_folder(plant):
    plant.in_folder = True
    return plant


def first(notebook, kind="stream"):
    """The first code cell with an output that is, or shows, ``kind``."""
    return next(
        cell
        for cell in code_cells(notebook)
        if any(kind in (output["output_type"], *output.get("data", ())) for output in cell["outputs"])
    )


def exchange(old, new, places):
    """Exchange ``old`` for ``new`` in the first of the places, pairs of a dict and a key, that has it."""
    for place, key in places:
        if old in text(place[key]):
            place[key] = text(place[key]).replace(old, new, 1)
            return
    raise AssertionError(f"not in the chapter: {old}")


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell["outputs"]]


def printed(old, new):
    return lambda notebook: exchange(old, new, [(o, "text") for o in outputs(notebook) if "text" in o])


def typed(old, new):
    return lambda notebook: exchange(old, new, [(cell, "source") for cell in code_cells(notebook)])


def drawn(old, new):
    return lambda notebook: exchange(old, new, [(o["data"], FIGURE) for o in outputs(notebook) if FIGURE in _data(o)])


def tabled(old, new):
    return lambda notebook: exchange(old, new, [(o["data"], TABLE) for o in outputs(notebook) if TABLE in _data(o)])


def bound(name, value):
    def plant(notebook):
        next(o for o in outputs(notebook) if _data(o).get(RECORD_NAME) == name)["data"][RECORD] = value

    return plant


def _data(output):
    return output.get("data", {})


def put(place, *data, **values):
    """A plant: set these in what ``place`` finds in a notebook."""
    return lambda notebook: place(notebook).update(*data, **values)


def drop(place, key):
    return lambda notebook: place(notebook).pop(key)


def displayed(data):
    """A plant: one more output of the first cell that prints."""
    return lambda notebook: first(notebook)["outputs"].append(dict(output_type="display_data", metadata={}, data=data))


def of_notebook(notebook):
    return notebook["metadata"]


def cell_of_figure(notebook):
    return first(notebook, FIGURE)


def output(notebook):
    return next(o for o in first(notebook)["outputs"] if o["output_type"] == "stream")


def figure(notebook):
    return next(o for o in outputs(notebook) if FIGURE in _data(o))


def record(notebook):
    return next(o for o in outputs(notebook) if RECORD in _data(o))


def data_of_figure(notebook):
    return figure(notebook)["data"]


def data_of_record(notebook):
    return record(notebook)["data"]


def name_of_record(notebook):
    return record(notebook)["metadata"]["scrapbook"]


def metadata(notebook):
    return first(notebook)["metadata"]


def shown(part):
    return lambda notebook: cell_of_figure(notebook)["metadata"]["mystnb"][part]


def error(notebook):
    first(notebook)["outputs"].append(dict(output_type="error", ename="E", evalue="e", traceback=["fake"]))


def only_an_error(notebook):
    first(notebook)["outputs"].clear()
    error(notebook)


def more_cell(kind="code", source="1 + 1", **fields):
    made = dict(cell_type=kind, id="planted", metadata={}, source=source, **fields)
    return lambda notebook: notebook["cells"].insert(-1, made)


def write_first(line):
    """A plant: one more line at the head of the first cell that prints."""
    return lambda notebook: first(notebook).update(source=[f"{line}\n", *first(notebook)["source"]])


def strip(notebook):
    for each in code_cells(notebook):
        each.update(execution_count=None, outputs=[])


def float_counts(notebook):
    for each in code_cells(notebook):
        each["execution_count"] *= 1.0


def shift_counts(notebook):
    for each in code_cells(notebook):
        each["execution_count"] += 1


def delete_cell(notebook):
    notebook["cells"].remove(first(notebook))


def move_cell(notebook):
    moved = first(notebook)
    delete_cell(notebook)
    notebook["cells"].insert(-1, moved)


def with_good_counts(plant):
    """The same plant, and the cells counted as if they had been run in their new order."""

    def planted(notebook):
        plant(notebook)
        for count, each in enumerate(code_cells(notebook), start=1):
            each["execution_count"] = count

    return planted


def delete_imports(notebook):
    notebook["cells"].remove(code_cells(notebook)[0])


def run_before_imports(notebook):
    cells = notebook["cells"]
    _, one, other, *_ = [place for place, each in enumerate(cells) if each["cell_type"] == "code"]
    cells[one], cells[other] = cells[other], cells[one]


def saved_by_an_editor(notebook):
    notebook["metadata"]["language_info"] = dict(name="python", version="3.12.1", pygments_lexer="ipython3")
    notebook["cells"][1]["metadata"] = dict(collapsed=True, scrolled=False)


def exchange_prose(notebook):
    """Two neighboring cells of Markdown."""
    kinds = [cell["cell_type"] for cell in notebook["cells"]]
    place = next(n for n in range(1, len(kinds)) if kinds[n] == kinds[n + 1] == "markdown")
    notebook["cells"][place : place + 2] = reversed(notebook["cells"][place : place + 2])


def delete_with_prose(notebook):
    """A code cell that binds no name, and the Markdown after it."""
    cells = notebook["cells"]
    place = next(
        n
        for n, cell in enumerate(cells)
        if cell["cell_type"] == "code" and "bind(" not in text(cell["source"]) and n > 3
    )
    del cells[place : place + 2]


def exchange_outputs(notebook):
    printing = [each for each in code_cells(notebook) if [o["output_type"] for o in each["outputs"]] == ["stream"]]
    one, other = printing[:2]
    one["outputs"], other["outputs"] = other["outputs"], one["outputs"]


def exchange_figures(notebook):
    one, other = [o["data"] for o in outputs(notebook) if FIGURE in _data(o)][:2]
    one[FIGURE], other[FIGURE] = other[FIGURE], one[FIGURE]


def exchange_lines(notebook):
    lines = text(output(notebook)["text"]).splitlines(keepends=True)
    output(notebook)["text"] = [*lines[:-2], lines[-1], lines[-2]]


def delete_text(notebook):
    first(notebook)["outputs"].remove(output(notebook))


def delete_number(notebook):
    first(notebook, RECORD)["outputs"].remove(record(notebook))


def delete_line(notebook):
    output(notebook)["text"] = text(output(notebook)["text"]).splitlines(keepends=True)[:-1]


def print_in_a_cell_without_print(notebook):
    cell_of_figure(notebook)["outputs"].insert(0, dict(output(notebook)))


def figure_twice(notebook):
    cell_of_figure(notebook)["outputs"].append(figure(notebook))


def print_twice(notebook):
    first(notebook)["outputs"].insert(0, dict(output(notebook)))


def reverse_outputs(notebook):
    several_numbers(notebook).reverse()


def move_number(notebook):
    """An audited number of one sentence stands in another."""
    replace("bring $p_t$ down to 0.05 and", "bring $p_t$ down and")(notebook)
    replace("Leave $p_t$ where it is", "Leave $p_t$ at 0.05")(notebook)


def several_numbers(notebook):
    """The outputs of the first cell that binds more than one number, and does nothing else."""
    shown = [cell["outputs"] for cell in code_cells(notebook)]
    return next(found for found in shown if len(found) > 1 and all(RECORD in _data(output) for output in found))


def exchange_numbers(notebook):
    """Two bound numbers of one cell, each under the other's name."""
    one, other, *_ = several_numbers(notebook)
    one["data"][RECORD], other["data"][RECORD] = other["data"][RECORD], one["data"][RECORD]


def bind_again(notebook):
    """A bound number a second time, as another cell would bind the same name."""
    found = several_numbers(notebook)
    found.append(copy.deepcopy(found[0]))


def repaint_a_pixel(svg):
    """The SVG with one channel of one pixel of its first image changed by one."""
    packed = re.search(r'data:image/png;base64,([^"]*)', svg)[1]
    pixels = np.array(Image.open(BytesIO(base64.b64decode(packed))))
    pixels[3, 3, 0] ^= 1
    content = BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return svg.replace(packed, base64.b64encode(content.getvalue()).decode(), 1)


def a_pixel(notebook):
    data = next(o["data"] for o in outputs(notebook) if "<image " in text(_data(o).get(FIGURE, "")))
    data[FIGURE] = repaint_a_pixel(text(data[FIGURE]))


def delete(name):
    @in_folder
    def plant(folder):
        (folder / name).unlink()

    return plant


def copy_to(name, other):
    @in_folder
    def plant(folder):
        shutil.copy(folder / name, folder / other)

    return plant


def in_file(name, change):
    """A plant: another text in a file of the project."""

    @in_folder
    def plant(folder):
        path = folder / name
        path.write_text(change(path.read_text("utf-8")), "utf-8", newline="\n")

    return plant


def to(old, new):
    def change(whole):
        assert old in whole
        return whole.replace(old, new, 1)

    return change


def in_json(change, checksum=False):
    """Another content of a JSON file; of a record, with the checksum that the content has now."""

    def changed(whole):
        content = json.loads(whole)
        change(content)
        if checksum:
            content["checksum"] = recorded.checksum(content)
        return json.dumps(content, indent=1, sort_keys=True) + "\n"

    return changed


def better(record):
    record["AP"]["AP"] += 0.05


def faster(measured):
    rows = [row for row in measured["rows"] if row["variant"] == "focalbook" and row["pages"] == "as usual"]
    rows[0]["times"][1] += 0.5


def stamped_as_another(stamps):
    stamps["04-focal-loss"]["content"] = stamps["05-gradient"]["content"]


def one_for_1_0(record):
    record["settings"]["anchors"]["ratios"][1] = 1


def from_other_code(made):
    made["sources"] = "0" * 16


def compact(whole):
    return json.dumps(json.loads(whole))


def chapters_exchanged(toc):
    return re.sub("(04-focal-loss)(.*?)(05-gradient)", r"\3\2\1", toc, flags=re.DOTALL)


class Kind(NamedTuple):
    """A kind of corruption: the check that must catch it, what it must say, the plant, and the chapter it is for."""

    check: Callable
    named: str
    plant: Callable
    chapter: str = QUICK


MARKER, HIDES, HTML = "nbval marker", "sign that hides text", "HTML in Markdown"
OTHER_KIND, NO_TABLE = "output of another kind than text, table, figure or bound number", "HTML that is no plain table"
COUNT, MISSING, ADDED = "execution count", "not stored", "stored, and no execution gives it"
EDITOR, LAYOUT = "as an editor leaves it when it saves, in", "not laid out as make run stores it"
UNBOUND, UNMARKED = "bound but not shown, or shown but not bound", "solution without its marks or its fold"
TYPED, STALE, SOURCE = "typed, and not in the list", "0 times on the page", "not the number of its source"
PRINTED, NUMBER, PICTURE = "output 1, text", RECORD, FIGURE
UNVERIFIED = "changed since its outputs were verified: 04-focal-loss"
EDITED, AGAIN = "is broken or was edited by hand", "make evidence makes these again"
NO_LINK, UNLISTED = "link to no page", "outside link that links.txt lacks"
STRIPPED = dict(execution_count=None, outputs=[])
EXERCISES, EXERCISE = "exercises 04", "book/exercises/04-focal-loss/exercises-04"
PNG, SCRIPT = {"image/png": "iVBORw0KGgo="}, "<script>alert(1)</script>"
THREAD = "https://github.com/kornia/kornia/issues/2371"
AS_RESULT = dict(output_type="execute_result", execution_count=2)


def both(*plants):
    def plant(notebook):
        for each in plants:
            each(notebook)

    return plant


KINDS = {
    # what nbval lets through, under make verify
    "wrong output under an ignoring comment, verified": Kind(
        files, MARKER, both(printed("sum: 1059", "sum: 1060"), write_first("# NBVAL_IGNORE_OUTPUT"))
    ),
    "wrong output under an ignoring tag, verified": Kind(
        executed, EDITOR, both(printed("sum: 1059", "sum: 1060"), put(metadata, tags=["nbval-ignore-output"]))
    ),
    "text before a carriage return, verified": Kind(executed, PRINTED, printed("sum: 1059", "sum: 1060\rsum: 1059")),
    "PNG beside a figure, verified": Kind(executed, ADDED, put(data_of_figure, PNG)),
    # what an editor, or a hand, does to a chapter
    "saved by an editor": Kind(executed, "cell 2 (collapsed, scrolled)", saved_by_an_editor),
    "number word in prose": Kind(stamps, UNVERIFIED, replace("two", "three")),
    "number word in alt text": Kind(
        stamps, UNVERIFIED, put(shown("image"), alt="Three panels, and three curves in each.")
    ),
    "number word in a caption": Kind(
        stamps, UNVERIFIED, put(shown("figure"), caption="Three losses, in three panels.")
    ),
    "cells of prose exchanged": Kind(stamps, UNVERIFIED, exchange_prose),
    "cell without a bound name deleted with its prose": Kind(stamps, UNVERIFIED, with_good_counts(delete_with_prose)),
    # pages of exercises
    "comment that ignores a check": Kind(files, MARKER, write_first("# NBVAL_IGNORE_OUTPUT"), EXERCISES),
    "tag that ignores a check": Kind(executed, EDITOR, put(metadata, tags=["nbval-ignore-output"]), EXERCISES),
    "hidden output of a check": Kind(executed, EDITOR, put(metadata, jupyter={"outputs_hidden": True}), EXERCISES),
    "stripped check": Kind(executed, COUNT, put(first, STRIPPED), EXERCISES),
    "check that says nothing": Kind(executed, MISSING, put(first, outputs=[]), EXERCISES),
    "solution without its mark": Kind(files, UNMARKED, typed("### BEGIN SOLUTION\n", ""), EXERCISES),
    "fold of another name": Kind(files, HTML, replace("<summary>Hint 1<", "<summary>Open me<"), EXERCISES),
    # cells and their counts
    "everything stripped": Kind(executed, COUNT, strip),
    "one cell stripped": Kind(executed, COUNT, put(first, STRIPPED)),
    "count missing": Kind(executed, COUNT, put(first, execution_count=None)),
    "count twice": Kind(executed, COUNT, put(first, execution_count=2)),
    "wrong counts": Kind(executed, COUNT, shift_counts),
    "count 1.0 for 1": Kind(executed, COUNT, float_counts),
    "extra cell never run": Kind(executed, COUNT, more_cell(**STRIPPED)),
    "deleted cell": Kind(executed, COUNT, delete_cell),
    "moved cell": Kind(executed, COUNT, move_cell),
    "empty cell": Kind(files, "empty", more_cell("markdown", " ")),
    "raw cell": Kind(files, "neither code nor Markdown", more_cell("raw", "<b>anything</b>")),
    "deleted cell, counts made good": Kind(stamps, UNVERIFIED, with_good_counts(delete_cell)),
    "deleted imports, counts made good": Kind(executed, "NameError", with_good_counts(delete_imports)),
    "moved cell, counts made good": Kind(executed, "NameError", with_good_counts(run_before_imports)),
    "extra cell never run, with a count": Kind(
        executed, "NameError", with_good_counts(more_cell(source="nobody", **STRIPPED))
    ),
    # metadata, tags and comments
    "kernel missing": Kind(executed, "the notebook (", drop(of_notebook, "kernelspec")),
    "another language": Kind(executed, "the notebook (", put(of_notebook, language_info={"name": "julia"})),
    "key that the format lacks": Kind(executed, LAYOUT, put(first, hidden="text")),
    "tag that lets a cell fail": Kind(executed, EDITOR, put(metadata, tags=["raises-exception"])),
    "tag that ignores the output": Kind(executed, EDITOR, put(metadata, tags=["nbval-ignore-output"])),
    "tag that ignores the output, old name": Kind(
        executed, EDITOR, put(metadata, tags=["pytest-validate-ignore-output"])
    ),
    "tag that hides the output": Kind(executed, EDITOR, put(metadata, tags=["remove-output"])),
    "setting that hides the output": Kind(
        files, "something else set", put(metadata, mystnb={"remove_code_outputs": True})
    ),
    "comment that ignores the output": Kind(files, MARKER, write_first("# NBVAL_IGNORE_OUTPUT")),
    "comment that ignores the output, old name": Kind(files, MARKER, write_first("# PYTEST_VALIDATE_IGNORE_OUTPUT")),
    "comment that skips the cell": Kind(files, MARKER, write_first("#NBVAL_SKIP")),
    "comment that lets a cell fail": Kind(files, MARKER, write_first("# NBVAL_RAISES_EXCEPTION")),
    # sources
    "changed source": Kind(executed, PRINTED, typed("np.arange(0, 5.01, 0.01)", "np.arange(0, 5.01, 0.02)")),
    "source that fails": Kind(executed, "ZeroDivisionError", write_first("1 / 0")),
    "changed source under a semicolon": Kind(files, "trailing semicolon", typed("plt.show()", "plt.show();")),
    "line that the site would cut off": Kind(
        files, "more than 88 columns", typed("plt.show()", f"plt.show()  # {'x' * 80}")
    ),
    "changed source under a magic": Kind(files, "not plain Python", write_first("%%capture")),
    # printed text
    "digit in printed text": Kind(executed, PRINTED, printed("0.0048 nats", "0.0049 nats")),
    "digit in a printed table": Kind(executed, PRINTED, printed("p_t = 0.9: 100", "p_t = 0.9: 101")),
    "printed 1.0 for 1": Kind(executed, PRINTED, printed("gamma 1   ", "gamma 1.0 ")),
    "space in printed text": Kind(executed, PRINTED, printed("mean: ", "mean:  ")),
    "line deleted from printed text": Kind(executed, PRINTED, delete_line),
    "lines of printed text exchanged": Kind(executed, PRINTED, exchange_lines),
    "text printed twice": Kind(executed, "output 2, output_type", print_twice),
    "printed texts of two cells exchanged": Kind(executed, PRINTED, exchange_outputs),
    "printed text deleted": Kind(executed, MISSING, delete_text),
    "printed text that no cell prints": Kind(executed, ADDED, print_in_a_cell_without_print),
    "text before a carriage return": Kind(files, HIDES, printed("sum: 1059", "sum: 1060\rsum: 1059")),
    "text under escape codes": Kind(files, HIDES, printed("sum: 1059", "\x1b[8msum: 1060\x1b[0m")),
    "text under backspaces": Kind(files, HIDES, printed("sum: 1059", "sum: 1060\b\b59")),
    "letter of no width": Kind(files, HIDES, printed("sum: 1059", "sum: 10\u200b59")),
    "more digits than hold elsewhere": Kind(files, "more than 5 digits", printed("0.0048 nats", "0.00481234 nats")),
    "absolute path": Kind(files, "absolute path", printed("0.0048 nats", "/home/someone/book")),
    "memory address": Kind(files, "memory address", printed("0.0048 nats", "<object at 0x7f0012345678>")),
    # tables
    "digit in a table": Kind(executed, TABLE, tabled("3.206e-05", "3.207e-05")),
    "more digits in a table than hold elsewhere": Kind(files, "more than 5 digits", tabled("1.4774", "1.47741")),
    "heading of a table emptied": Kind(files, "empty heading", tabled("<th>p</th>", "<th></th>")),
    "script in a table": Kind(files, NO_TABLE, tabled("</tbody>", f"{SCRIPT}</tbody>")),
    "handler in a table": Kind(files, NO_TABLE, tabled("<td>", '<td onclick="alert(1)">')),
    "picture from elsewhere in a table": Kind(files, NO_TABLE, tabled("<td>", '<td><img src="//example.org/a.png">')),
    "style of a table that hides": Kind(files, NO_TABLE, tabled(".dataframe thead", "body")),
    "style of a table that loads": Kind(
        files, NO_TABLE, tabled("text-align: right", "background: url(//example.org/a)")
    ),
    # outputs of other kinds, types and orders
    "fake traceback": Kind(executed, ADDED, error),
    "error for an output": Kind(executed, ADDED, only_an_error),
    "text on stderr": Kind(executed, "output 1, name", put(output, name="stderr")),
    "reordered outputs": Kind(executed, NUMBER, reverse_outputs),
    "another output type": Kind(executed, "output_type", put(figure, AS_RESULT)),
    "output of another execution": Kind(executed, "output_type", put(figure, {**AS_RESULT, "execution_count": 7})),
    "metadata of an output": Kind(executed, "metadata", put(figure, metadata={"width": 10})),
    "JSON with 1 for 1.0": Kind(files, OTHER_KIND, displayed({"application/json": {"loss": 1}})),
    "HTML with a script": Kind(files, NO_TABLE, displayed({"text/html": SCRIPT})),
    "script as an output": Kind(files, OTHER_KIND, displayed({"application/javascript": "alert(1)"})),
    # figures
    "coordinate in a figure": Kind(executed, PICTURE, drawn("L 251.837034", "L 251.837035")),
    "color in a figure": Kind(executed, PICTURE, drawn("stroke: #5a6472", "stroke: #5a6473")),
    "pixel in a figure": Kind(executed, PICTURE, a_pixel, EVIDENCE),
    "figures exchanged": Kind(executed, PICTURE, exchange_figures, EVIDENCE),
    "garbage for a figure": Kind(executed, PICTURE, put(data_of_figure, {FIGURE: "garbage"})),
    "text for screens without figures": Kind(
        executed, "output 1, text/plain", put(data_of_figure, {"text/plain": "<Figure size 1x1>"})
    ),
    "figure deleted": Kind(executed, FIGURE, put(cell_of_figure, outputs=[])),
    "figure twice": Kind(executed, FIGURE, figure_twice),
    "PNG for a figure": Kind(files, OTHER_KIND, put(figure, data=PNG)),
    "PNG beside a figure": Kind(files, OTHER_KIND, put(data_of_figure, PNG)),
    "script in a figure": Kind(executed, PICTURE, drawn("</svg>", f"{SCRIPT}</svg>")),
    "handler in a figure": Kind(executed, PICTURE, drawn("<path ", '<path onclick="alert(1)" ')),
    "figure that loads a picture": Kind(
        executed, PICTURE, drawn("</svg>", '<image xlink:href="https://example.org/a.png"/></svg>')
    ),
    "alt text missing": Kind(files, "alt text", put(shown("image"), alt="")),
    "caption missing": Kind(files, "without caption", drop(shown("figure"), "caption")),
    # bound numbers
    "bound number": Kind(executed, NUMBER, bound("wrong", "'99%'")),
    "bound numbers exchanged": Kind(executed, NUMBER, exchange_numbers),
    "name of a bound number, in data": Kind(executed, RECORD_NAME, put(data_of_record, {RECORD_NAME: "other"})),
    "name of a bound number, in metadata": Kind(executed, "metadata", put(name_of_record, name="other")),
    "bound number deleted": Kind(executed, MISSING, delete_number),
    "bound number that is no text": Kind(executed, NUMBER, bound("wrong", 0.98)),
    "unbound name in prose": Kind(files, f"{UNBOUND}: nobody", say("{glue:text}`nobody`")),
    "one name bound twice": Kind(files, "bound more than once", bind_again),
    "bound number no longer shown": Kind(files, f"{UNBOUND}: relative", replace("{glue:text}`relative`", "little")),
    # prose
    "number in prose": Kind(files, TYPED, replace("bring $p_t$ down to 0.05", "bring $p_t$ down to 0.06")),
    "number in a table of the prose": Kind(files, TYPED, replace("| .25 | 33.7 |", "| .25 | 33.8 |")),
    "number in a formula": Kind(files, TYPED, replace(r"$\gamma = 2$ with", r"$\gamma = 3$ with")),
    "number in a caption": Kind(files, TYPED, replace("from 0 to 5, after", "from 0 to 6, after")),
    "number in alt text": Kind(files, TYPED, replace("squares, of 10 and", "squares, of 12 and"), "07"),
    "number moved to another sentence": Kind(files, STALE, move_number),
    "number in the place of a bound one": Kind(files, TYPED, replace("{glue:text}`relative`", "0.61%")),
    "number bound as it was typed": Kind(
        files, "bound to a typed text: factor", replace('factor=f"{factor:.2f}"', 'factor="0.01"')
    ),
    "chapter in a link": Kind(files, TYPED, replace("[chapter 3](03-", "[chapter 2](03-")),
    "number deleted from the list": Kind(files, TYPED, in_file(LIST, to("definition: $\\gamma$ is at least 0,\n", ""))),
    "another source in the list": Kind(
        files, SOURCE, in_file(LIST, to("focalbook.training.LOSSES: has", "focalbook.scenes.TEST: has"))
    ),
    "script in prose": Kind(files, HTML, say(SCRIPT)),
    "HTML in prose": Kind(files, HTML, say("```{raw} html\nanything\n```")),
    "picture from elsewhere": Kind(files, "picture from elsewhere", say("![A curve.](https://example.org/a.png)")),
    "prose under a sign that turns it": Kind(files, HIDES, say("left to right \u202e")),
    "title missing": Kind(files, "no title at the top", replace("# Focal loss", "Focal loss")),
    "opening incomplete": Kind(files, "the opening lacks **You need**", replace("**You need**", "You need")),
    "take-aways missing": Kind(files, "no take-aways at the end", replace("## Take-aways", "## The end")),
    "next chapter not linked": Kind(
        files, "does not link 05-gradient", replace("(05-gradient.ipynb) looks", "(#) looks")
    ),
    "link to no page": Kind(files, NO_LINK, replace("03-balanced-cross-entropy.ipynb", "03-balanced.ipynb")),
    "link to another thread": Kind(files, UNLISTED, replace(THREAD, THREAD.replace("2371", "2372")), "03"),
    "thread deleted from the list": Kind(files, UNLISTED, in_file("book/links.txt", to(f"{THREAD}\n", "")), "03"),
    # the notebooks as files, and the contents
    "key twice in a file": Kind(
        executed, LAYOUT, in_file(f"{CHAPTER}.ipynb", to('"nbformat": 4', '"nbformat": 3, "nbformat": 4'))
    ),
    "file in another layout": Kind(executed, LAYOUT, in_file(f"{CHAPTER}.ipynb", compact)),
    "deleted chapter": Kind(contents, f"there is no notebook {CHAPTER}", delete(f"{CHAPTER}.ipynb")),
    "chapter deleted from the contents": Kind(
        contents,
        f"not in the contents: {CHAPTER}",
        in_file(TOC, to(f"      - file: {CHAPTER}\n        sections:\n          - file: {EXERCISE}\n", "")),
    ),
    "chapters in another order": Kind(contents, "in another order", in_file(TOC, chapters_exchanged)),
    "two figures of one name": Kind(
        contents, "two figures are called fig-gradient-logit", put(shown("figure"), name="fig-gradient-logit")
    ),
    "reference to no figure": Kind(
        contents,
        "no figure is called fig-focal-curve",
        replace("{numref}`fig-focal-curves`", "{numref}`fig-focal-curve`"),
    ),
    # records, measurements, stamps and stored pictures
    "broken record": Kind(records, EDITED, in_file(RECORD_FILE, lambda whole: whole[:-100])),
    "edited record": Kind(records, EDITED, in_file(RECORD_FILE, in_json(better))),
    "1 for 1.0 in a record": Kind(records, EDITED, in_file(RECORD_FILE, in_json(one_for_1_0))),
    "another run's record": Kind(records, EDITED, copy_to(RECORD_FILE.replace("seed0", "seed1"), RECORD_FILE)),
    "deleted record": Kind(records, AGAIN, delete(RECORD_FILE)),
    "record of other code": Kind(records, AGAIN, in_file(RECORD_FILE, in_json(from_other_code, checksum=True))),
    "record that no study asks for": Kind(
        records, "seed99.json", copy_to(RECORD_FILE, RECORD_FILE.replace("seed0", "seed99"))
    ),
    "edited record with a good checksum": Kind(
        executed, PICTURE, in_file(EVIDENCE_FILE, in_json(better, checksum=True)), EVIDENCE
    ),
    "edited measurement": Kind(executed, PRINTED, in_file(MEASURED_FILE, in_json(faster)), MEASURED),
    "measurement of other code": Kind(
        records, "make bench measures again", in_file(MEASURED_FILE, in_json(from_other_code))
    ),
    "edited stamp": Kind(stamps, UNVERIFIED, in_file(STAMPS, in_json(stamped_as_another))),
    "deleted stamp": Kind(stamps, UNVERIFIED, in_file(STAMPS, in_json(lambda stamps: stamps.pop("04-focal-loss")))),
    "outputs changed since the stamp": Kind(stamps, UNVERIFIED, printed("0.0048 nats", "0.0049 nats")),
    "coordinate in a stored picture": Kind(
        pictures, "detector.svg, coordinates", in_file(f"{DRAWN}.svg", to("L 68.289785", "L 68.389785"))
    ),
    "color in a stored picture": Kind(
        pictures, "detector.svg, words", in_file(f"{DRAWN}.svg", to("#4cc9f0", "#4cc9f1"))
    ),
    "pixel in a stored picture": Kind(pictures, "detector.svg, pixels", in_file(f"{DRAWN}.svg", repaint_a_pixel)),
    "score behind a stored picture": Kind(
        pictures, "detector-data.js", in_file(f"{DRAWN}-data.js", to("62.43,1.0,", "62.43,0.9,"))
    ),
}


def path_in(folder, chapter):
    return folder / NOTEBOOKS[chapter].relative_to(ROOT)


def plant_in(folder, kind):
    """Plant a kind of corruption in a copy of the project's folder."""
    if hasattr(kind.plant, "in_folder"):
        kind.plant(folder)
        return
    path = path_in(folder, kind.chapter)
    notebook = read(path)
    kind.plant(notebook)
    path.write_text(json.dumps(notebook), "utf-8")


def files_in(folder):
    return {path.relative_to(folder): path.stat() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of what the checks look at."""
    root = tmp_path_factory.mktemp("project")
    for part in ("book", "focalbook"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    shutil.copy2(ROOT / TOC, root)
    return root


@pytest.fixture
def folder(project):
    """The copy, put back as it was after every test."""
    before = files_in(project)
    yield project
    for name, now in files_in(project).items():
        if name not in before:
            (project / name).unlink()
        elif (now.st_mtime_ns, now.st_size) != (before[name].st_mtime_ns, before[name].st_size):
            shutil.copy2(ROOT / name, project / name)
    for name in before.keys() - files_in(project).keys():
        shutil.copy2(ROOT / name, project / name)


STATIC = {name: kind for name, kind in KINDS.items() if kind.check is not executed}
CHECKED = {f"{kind.check.__name__} {kind.chapter}": kind for kind in KINDS.values()}


@pytest.mark.parametrize("kind", CHECKED.values(), ids=CHECKED)
def test_a_copy_without_corruption_has_no_faults(kind, folder):
    assert list(kind.check(folder, path_in(folder, kind.chapter))) == []


@pytest.mark.parametrize("kind", STATIC.values(), ids=STATIC)
def test_a_corruption_is_caught_by_name(kind, folder):
    plant_in(folder, kind)
    found = list(kind.check(folder, path_in(folder, kind.chapter)))
    assert any(kind.named in fault for fault in found), found


@pytest.mark.parametrize("name", [name for name in KINDS if name not in STATIC])
def test_a_corruption_is_caught_where_it_was_planted_when_the_cells_are_run(name, folder):
    kind = KINDS[name]
    path = path_in(folder, kind.chapter)
    before = code_cells(read(path))
    plant_in(folder, kind)
    found = executed(folder, path)
    place = next((place for place, said in found.items() if kind.named in said), None)
    assert place, found
    pairs = enumerate(zip_longest(code_cells(read(path)), before), start=1)
    changed = ["the file", *(f"code cell {n}" for n, (now, then) in pairs if json.dumps(now) != json.dumps(then))]
    assert place in changed or hasattr(kind.plant, "in_folder")


def test_every_kind_is_there_and_named():
    """None that has been caught once may be forgotten."""
    assert len(KINDS) >= 151 and all(kind.named for kind in KINDS.values())
