"""What nbgrader gets of a submission: every cell of the student's, and each check as it was handed out, in its place.

A student copies or splits a cell with its marks, deletes one, or turns it into text; an editor drops nbgrader's
metadata, or adds its own. nbgrader 0.9.6 then stops for the whole class, or gives zero in silence. ``Mend`` is the
first step of ``nbgrader autograde`` (``nbgrader_config.py`` names it). It mends what can be mended with certainty, and
says what it found in lines that begin with the student's name.

No check is ever taken from a submission: its text, its marks and its points come from the gradebook, where nbgrader
wrote them when the exercises were handed out. What a student made of a check is run as a cell like any other, and gives
no points.
"""

import re
from dataclasses import dataclass, field

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell
from nbgrader.api import Gradebook
from nbgrader.converters import NbGraderException
from nbgrader.nbgraderformat import SCHEMA_VERSION
from nbgrader.preprocessors import NbGraderPreprocessor

NEW = {"code": new_code_cell, "markdown": new_markdown_cell, "raw": new_raw_cell}
NAME = re.compile(r"^(?:def +)?(\w+) *[(=]", re.MULTILINE)  # what a cell defines, not indented

COPIED = "copied, counts once"
EDITED = "edited, the original is run after it"
MISSING = "missing, put back"
MOVED = "out of order, moved to its place"
TURNED = "turned into another kind of cell, turned back"
ALTERED = "nbgrader's metadata altered, put right"
STRIPPED = "nbgrader's metadata missing, recognized by the text"
FOREIGN = "of another assignment, not counted"
LOST = "no such cell, so its check may find no answer"
UNKNOWN = "no cell of what was handed out: is it another notebook under its name?"
UNSOUND = "the file breaks the format of notebooks, see the ERROR above; its cells count all the same"


@dataclass(frozen=True)
class Released:
    """A cell that was handed out with marks. A student writes into it, unless it is ``given``; a check is."""

    kind: str
    source: str
    marks: dict

    @property
    def given(self) -> bool:
        return self.marks["locked"]

    def is_in(self, cell: "Cell") -> bool:
        """Whether the text of a cell tells that it is this one: all of it if given, else the name that it defines."""
        if self.given:
            return cell.source.strip() == self.source.strip()
        name = NAME.search(self.source)
        return cell.kind == "code" and name is not None and name[1] in NAME.findall(cell.source)


@dataclass(eq=False)
class Cell:
    """What counts of a cell; ``name`` is that of the released cell which it is.

    Tags do not count, and would do harm: nbclient does not run a cell with the tag "skip-execution", and to nbgrader a
    check that has not failed has passed.
    """

    kind: str
    source: str
    marks: dict = field(default_factory=dict)
    attached: dict = field(default_factory=dict)
    name: str | None = None

    @classmethod
    def of(cls, node: NotebookNode) -> "Cell":
        marks = node.get("metadata", {}).get("nbgrader")
        kind = node.cell_type if node.cell_type in NEW else "raw"
        attached = {"attachments": node.attachments} if kind == "markdown" and "attachments" in node else {}
        return cls(kind, node.get("source", ""), marks if isinstance(marks, dict) else {}, attached)

    def node(self) -> NotebookNode:
        return NEW[self.kind](self.source, metadata={"nbgrader": self.marks} if self.marks else {}, **self.attached)


def released(database: str, assignment: str, notebook: str) -> dict[str, Released]:
    """The cells of a notebook that were handed out with marks, by name, from top to bottom."""
    with Gradebook(database) as gradebook:
        stored = gradebook.find_notebook(notebook, assignment)
        checks, answers, tasks = (
            {cell.name: cell for cell in cells}
            for cells in (stored.grade_cells, stored.solution_cells, stored.task_cells)
        )
        found = {}
        for cell in stored.source_cells:  # as they were stored, from top to bottom; nbgrader relies on that too
            name = cell.name
            marks = dict(grade=name in checks, solution=name in answers, task=name in tasks, locked=cell.locked)
            if name in {**checks, **tasks}:
                marks["points"] = {**checks, **tasks}[name].max_score
            marks.update(grade_id=name, schema_version=SCHEMA_VERSION, cell_type=cell.cell_type)
            found[name] = Released(cell.cell_type, cell.source, {**marks, "checksum": cell.checksum})
        return found


class Submission:
    """The cells that a student handed in, mended; ``told`` lists the names of cells by what was found about them."""

    def __init__(self, cells: list[Cell], handed_out: dict[str, Released]):
        self.cells, self.handed_out = cells, handed_out
        self.told: dict[str, list[str]] = {}
        self._recognize()
        # A name such as answer alone tells nothing: it may stand in the notebook of another chapter.
        self.known = any(cell.name and (cell.marks or handed_out[cell.name].given) for cell in cells)
        if not self.known:
            return
        for name in handed_out:
            self._choose(name)
        for name, each in handed_out.items():
            if each.given:
                self._place(name)
        for cell in cells:
            self._mark(cell)

    def _tell(self, what: str, name: str) -> None:
        self.told.setdefault(what, []).append(name)

    def _recognize(self) -> None:
        """Which cell is which: by its marks, or where no marks have a name, by the text of a cell without marks."""
        for cell in self.cells:
            name = cell.marks.get("grade_id")
            if name in self.handed_out:
                cell.name = name
            elif name:
                self._tell(FOREIGN, str(name))
        for name, each in self.handed_out.items():
            bare = [cell for cell in self.cells if not cell.name and not cell.marks.get("grade_id")]
            alike = [cell for cell in bare if each.is_in(cell)]
            if alike and not self._at(name):
                self._tell(STRIPPED, name)
                for cell in alike:
                    cell.name = name

    def _choose(self, name: str) -> None:
        """Of cells with one name, the first keeps it. Where a given one was edited, the original gets it."""
        each, copies = self.handed_out[name], [self.cells[place] for place in self._at(name)]
        if len(copies) > 1:
            self._tell(COPIED, name)
        if not copies and not each.given:
            self._tell(LOST, name)
        chosen = [cell for cell in copies if not each.given or each.is_in(cell)]
        if copies and not chosen:
            self._tell(EDITED, name)
            chosen = [Cell(each.kind, each.source)]
            self.cells.insert(self.cells.index(copies[0]) + 1, chosen[0])
        for cell in copies:
            cell.name = None
        for cell in chosen[:1]:
            cell.name = name
            if cell.kind != each.kind:
                self._tell(TURNED, name)
                cell.kind, cell.attached = each.kind, {}

    def _place(self, name: str) -> None:
        """Put a given cell where it belongs, if it is not there: a check after its answer and what was tried beside
        that, another one before all that was handed out after it."""
        each, names = self.handed_out[name], list(self.handed_out)
        before, after = names[: names.index(name)], names[names.index(name) + 1 :]
        check, here = each.marks["grade"], self._at(name)
        first = self._answer(name) + 1 if check else 0
        last = len(self.cells) if check else min(self._at(*after), default=len(self.cells))
        if here and first <= here[0] < last:
            return
        self._tell(MOVED if here else MISSING, name)
        cell = self.cells.pop(here[0]) if here else Cell(each.kind, each.source, name=name)
        start = 1 + max(self._at(*before) if self._answer(name) < 0 else [self._answer(name)], default=-1)
        code = [place for place in range(start, len(self.cells)) if self.cells[place].kind == "code"]
        following = min((place for place in self._at(*names) if place >= start), default=len(self.cells))
        if check:
            place = 1 + max((place for place in code if place < following), default=start - 1)
        else:
            place = min([*code, *self._at(*after)], default=len(self.cells))
        self.cells.insert(place, cell)

    def _mark(self, cell: Cell) -> None:
        """The marks as they were handed out, on the cells that have a name, and on no other."""
        marks = self.handed_out[cell.name].marks if cell.name else {}
        if any(cell.marks.get(key, value) != value for key, value in marks.items() if key != "checksum"):
            self._tell(ALTERED, cell.name)
        cell.marks = marks

    def _at(self, *names: str) -> list[int]:
        """Where the cells with these names are, from the top."""
        return [place for place, cell in enumerate(self.cells) if cell.name in names]

    def _answer(self, name: str) -> int:
        """Where the answer is that a check is about, the last one that was handed out before it; -1 without one."""
        names = list(self.handed_out)
        answers = [other for other in names[: names.index(name)] if self.handed_out[other].marks["solution"]]
        return max(self._at(*answers[-1:]) if self.handed_out[name].marks["grade"] else [], default=-1)


class Mend(NbGraderPreprocessor):
    """Mends a submission before nbgrader looks at it, and says in the log what there was to mend, and whose it is."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        where = resources["nbgrader"]
        student, handed_out = where["student"], released(where["db_url"], where["assignment"], where["notebook"])
        submission = Submission([Cell.of(node) for node in nb.cells], handed_out)
        try:
            nbformat.validate(nb)
        except nbformat.ValidationError:
            self.log.warning("%s: %s", student, UNSOUND)
        for what, names in submission.told.items():
            self.log.warning("%s: %s: %s", student, what, ", ".join(names))
        if not submission.known:
            self.log.error("%s: %s", student, UNKNOWN)
            raise NbGraderException(UNKNOWN)
        return new_notebook(cells=[cell.node() for cell in submission.cells]), resources
