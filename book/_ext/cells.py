"""What a page shows of a code cell, by what the cell does.

- One that only keeps the books, binding numbers for the prose (``bind``) or setting the style (``use_style``), is left
  out: it calls one of the two or a function of the notebook that does, prints and draws nothing, and leaves no name
  that a cell in view needs.
- The code of a figure is folded above the figure.
- All others are shown as they are.

The notebooks carry no mark of this, and whoever runs or verifies them has every cell before them.
"""

import ast
import json
import symtable
from pathlib import Path

from docutils import nodes

BOOKKEEPING = {"bind", "use_style"}
FIGURE, RECORD = "image/svg+xml", "application/papermill.record/text/plain"
PROMPTS = {"prompt_show": "Show the code of this figure", "prompt_hide": "Hide the code of this figure"}


def names(source):
    """Two sets: the names that a cell binds for later ones, and those that it needs from earlier ones."""
    top = symtable.symtable(source, "a cell", "exec")
    bound = {one.get_name() for one in top.get_symbols() if one.is_assigned() or one.is_imported()}
    inner = [table for table in _tables(top) if table is not top]
    read = {one.get_name() for one in top.get_symbols() if one.is_referenced()}
    read |= {one.get_name() for table in inner for one in table.get_symbols() if one.is_global()}
    return bound, read - bound


def _tables(table):
    yield table
    for child in table.get_children():
        yield from _tables(child)


def _calls(tree, functions):
    called = (one.func for one in ast.walk(tree) if isinstance(one, ast.Call))
    return any(getattr(one, "id", getattr(one, "attr", None)) in functions for one in called)


def bookkeepers(cells):
    """Names of the functions that keep the books: the two, and those of these cells that call one of them."""
    found = set(BOOKKEEPING)
    for cell in cells:
        if cell["cell_type"] == "code":
            defined = (one for one in ast.walk(ast.parse("".join(cell["source"]))) if isinstance(one, ast.FunctionDef))
            found |= {one.name for one in defined if _calls(one, found)}
    return found


def left_out(cells):
    """Indices of the cells, as JSON has them, that only keep the books."""
    found, needed, functions = set(), set(), bookkeepers(cells)
    for index, cell in reversed([*enumerate(cells)]):
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        bound, read = names(source)
        silent = all(RECORD in output.get("data", ()) for output in cell["outputs"])
        if silent and _calls(ast.parse(source), functions) and not bound & needed:
            found.add(index)
        else:
            needed = needed - bound | read
    return found


def drawn(cells):
    """Indices of the cells that draw a figure."""
    return {n for n, cell in enumerate(cells) if any(FIGURE in one.get("data", ()) for one in cell.get("outputs", ()))}


def show(app, doctree):
    path = Path(app.env.doc2path(app.env.docname))
    if path.suffix != ".ipynb":
        return
    cells = json.loads(path.read_text("utf-8"))["cells"]
    out, figures = left_out(cells), drawn(cells)
    for container in [one for one in doctree.findall(nodes.container) if one.get("nb_element") == "cell_code"]:
        if container["cell_index"] in out:
            container.parent.remove(container)
        elif container["cell_index"] in figures and "hide_mode" not in container:
            container.attributes.update(PROMPTS, hide_mode="input")


def setup(app):
    app.connect("doctree-read", show)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
