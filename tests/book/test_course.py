"""The exercises as a course: every page is whole, the student's edition fails only in its friendly way, and nbgrader
grades what comes back, whatever it does."""

import collections
import copy
import csv
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from focalbook.checks import BEGIN, END
from focalbook.checks.check import Check
from tasks import ROOT
from tools import submissions
from tools.contents import EXERCISES
from tools.submissions import Cell, Submission

SOURCES = {Path(page).parent.name: ROOT / f"{page}.ipynb" for page in EXERCISES}
GRADED = "04-focal-loss"
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT), PYTHONWARNINGS="ignore")
ENVIRONMENT["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), ENVIRONMENT["PATH"]])


def read(path):
    return nbformat.read(path, as_version=4)


def role(cell):
    """What a cell is to nbgrader: "solution", "check", "given", or nothing for text."""
    grader = cell.metadata.get("nbgrader")
    return grader and ("check" if grader.grade else "solution" if grader.solution else "given")


def of(notebook, kind):
    return [cell for cell in notebook.cells if role(cell) == kind]


@pytest.mark.parametrize("name", SOURCES)
def test_a_page_has_two_questions_and_three_exercises_with_hints_solutions_and_checks(name):
    notebook = read(SOURCES[name])
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert text.startswith("# Exercises: ") and f"../../../book/{name}.ipynb" in text
    assert text.count("**Question ") == text.count("<summary>Answer</summary>") == 2
    exercises = re.split(r"^## ", text, flags=re.MULTILINE)[3:]
    solutions, checked = of(notebook, "solution"), of(notebook, "check")
    assert len(exercises) == len(solutions) == len(checked) >= 3
    assert all("<summary>Hint 2</summary>" in exercise for exercise in exercises)  # in stages
    for solution, check in zip(solutions, checked):
        assert solution.metadata.tags == ["hide-input"]
        assert solution.source.count(BEGIN) == solution.source.count(END) == 1
        assert re.fullmatch(r"checks\.\w+\(\w+\)", check.source)
        assert check.metadata.nbgrader.locked and check.metadata.nbgrader.points > 0
        assert check.outputs[0].text.startswith("Right")


def test_every_chapter_has_its_exercises_and_every_check_is_asked_once():
    assert list(SOURCES) == [path.stem for path in sorted((ROOT / "book").glob("[0-9]*.ipynb"))]
    for name, path in SOURCES.items():
        module = importlib.import_module(f"focalbook.checks.chapter{name[:2]}")
        there = [f"checks.{key}" for key, thing in vars(module).items() if isinstance(thing, Check)]
        assert sorted(cell.source.split("(")[0] for cell in of(read(path), "check")) == sorted(there)
    names = [cell.metadata.nbgrader.grade_id for path in SOURCES.values() for cell in read(path).cells if role(cell)]
    assert len(set(names)) == len(names)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A folder with the course's source, and the student's edition that ``make student`` makes of it."""
    root = tmp_path_factory.mktemp("course")
    for name in ("nbgrader_config.py", "tasks.py", "tools/__init__.py", "tools/student.py"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "book" / "exercises", root / "book" / "exercises")
    (root / "book" / "exercises" / "18-moved" / ".ipynb_checkpoints").mkdir(parents=True)  # what git would leave of it
    made = run(root, "-m", "tools.student")
    assert made.returncode == 0 and "18-moved" not in made.stdout, made.stdout
    return root


def run(root, *command):
    return subprocess.run([sys.executable, *command], cwd=root, env=ENVIRONMENT, capture_output=True, encoding="utf-8")


def released(course, name):
    (path,) = (course / "course" / "exercises" / name).glob("*.ipynb")
    return path


@pytest.fixture(scope="module")
def kernel():
    """One for all pages, since most of the time of a page is its kernel's start and its first imports."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env=ENVIRONMENT)
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.mark.parametrize("name", SOURCES)
def test_in_the_students_edition_the_checks_fail_in_their_friendly_way_and_nothing_else_does(name, course, kernel):
    notebook = read(released(course, name))
    stored = read(SOURCES[name])
    for cell, solved in zip(of(notebook, "solution"), of(stored, "solution"), strict=True):
        inside = solved.source.split(f"{BEGIN}\n")[1].split(END)[0]
        assert inside.strip() not in cell.source and "SOLUTION" not in cell.source
    assert not any(cell.get("outputs") for cell in notebook.cells)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))  # what the page before has left
    client = NotebookClient(notebook, kernel, timeout=120, allow_errors=True)
    client.execute()
    client.kc.stop_channels()
    for cell in notebook.cells:
        failed = [output.ename for output in cell.get("outputs", ()) if output.output_type == "error"]
        assert failed == (["NotYet"] if role(cell) == "check" else []), cell.source
    for cell in of(notebook, "check"):
        (shown,) = cell.outputs[-1].traceback
        assert shown.startswith("Not yet: ")


def test_the_students_edition_is_not_made_again_over_somebodys_work(course):
    path = released(course, "01-imbalance")
    before = path.read_text("utf-8")
    path.write_text(before.replace("# your code here", "# my work"), "utf-8")
    again = run(course, "-m", "tools.student", "01")
    assert again.returncode == 0 and "there already and kept: 01-imbalance" in again.stdout
    assert "# my work" in path.read_text("utf-8")
    path.write_text(before, "utf-8")


def fill(notebook):
    """Put the solutions in."""
    solutions = {cell.metadata.nbgrader.grade_id: cell.source for cell in of(read(SOURCES[GRADED]), "solution")}
    for cell in of(notebook, "solution"):
        cell.source = solutions[cell.metadata.nbgrader.grade_id]


def answer(source):
    """A submission that is right but for the second exercise."""

    def change(notebook):
        fill(notebook)
        of(notebook, "solution")[1].source = source

    return change


def leave(notebook):
    """Hand in what was handed out."""


def edit_the_checks(notebook):
    for cell in of(notebook, "check"):
        cell.source = "print('Right.')"


def remove_checks(notebook):
    """That of a right answer, and that of a wrong one."""
    answer("my_focal_loss = abs")(notebook)
    for cell in of(notebook, "check")[:2]:
        notebook.cells.remove(cell)


def remove_an_answer(notebook):
    fill(notebook)
    notebook.cells.remove(of(notebook, "solution")[1])


def copy_and_split(notebook):
    """As JupyterLab does it: the new cell has the marks of the old one."""
    fill(notebook)
    first, second, third, _ = of(notebook, "solution")
    check = of(notebook, "check")[0]
    for old, above, below in (
        (first, "tenth = 0.1", "answer = 1 / (0.75 * tenth**2)"),
        (second, "import math", second.source),
        (third, third.source, third.source),
        (check, check.source, check.source),
    ):
        new = copy.deepcopy(old)
        old.source, new.source, new.id = above, below, f"{old.id}-copied"
        notebook.cells.insert(notebook.cells.index(old) + 1, new)


def strip(notebook):
    """What services and filters do that drop the metadata of cells."""
    for cell in notebook.cells:
        cell.metadata = {}
        cell.id = f"new-{cell.id}"


def fill_and_strip(notebook):
    fill(notebook)
    strip(notebook)


def edit_the_checks_and_strip(notebook):
    edit_the_checks(notebook)
    strip(notebook)


def turn_into_text(notebook):
    fill(notebook)
    for cell, kind in zip(notebook.cells[3:7], ("raw", "markdown", "raw", "markdown")):
        cell.cell_type = kind
        for key in ("outputs", "execution_count"):
            cell.pop(key, None)


def reverse(notebook):
    fill(notebook)
    notebook.cells.reverse()


def skip_the_checks(notebook):
    for cell in of(notebook, "check"):
        cell.metadata.tags = ["skip-execution"]


def save_elsewhere(notebook):
    """Another editor: another kernel, metadata of its own, and a format that is neither the old nor the new one."""
    fill(notebook)
    notebook.metadata = {"kernelspec": {"name": "ir"}, "language_info": {"name": "R"}, "colab": {"provenance": []}}
    notebook.nbformat_minor = 4
    for cell in notebook.cells:
        cell.metadata.id = cell.id = "same"


def warn_and_import_more(notebook):
    fill(notebook)
    of(notebook, "given")[0].source += "\nimport sys"
    cell = of(notebook, "solution")[1]
    begin, rest = cell.source.split("\n", 1)
    cell.source = f"{begin}\n    print('started', file=sys.stderr)\n{rest}"


def bring_another_chapter(notebook):
    notebook.cells = read(SOURCES["05-gradient"]).cells


def bring_no_notebook(notebook):
    return "Dear teacher, I could not open the file."


def bring_an_empty_file(notebook):
    return ""


NAMED = "There was an error processing assignment"
SUBMITTED = {  # what is changed, the points, and what the log says, apart from the name
    "complete": (fill, 1.0, []),
    "untouched": (leave, 0.0, []),
    "hangs in a function": (
        answer("def my_focal_loss(p, y, alpha, gamma):\n    while True:\n        pass"),
        "but one",
        [],
    ),
    "hangs at once": (answer("while True:\n    pass"), "but one", []),
    "wrong": (answer("def my_focal_loss(p, y, alpha, gamma):\n    return p"), "but one", []),
    "raises": (answer("1 / 0"), "but one", []),
    "no Python": (answer("def my_focal_loss(p, y:"), "but one", []),
    "crashes": (answer("import os\n\nos._exit(1)"), 0.0, [NAMED]),
    "edits the checks": (edit_the_checks, 0.0, [submissions.EDITED]),
    "removes checks": (remove_checks, "but one", [submissions.MISSING]),
    "removes an answer": (remove_an_answer, "but one", [submissions.LOST]),
    "copies and splits": (copy_and_split, 1.0, [submissions.COPIED]),
    "has no metadata": (fill_and_strip, 1.0, [submissions.STRIPPED]),
    "edits without metadata": (edit_the_checks_and_strip, 0.0, [submissions.STRIPPED, submissions.MISSING]),
    "turns code into text": (turn_into_text, 1.0, [submissions.TURNED]),
    "from the end": (reverse, 1.0, [submissions.MOVED]),
    "skips the checks": (skip_the_checks, 0.0, []),
    "saves elsewhere": (save_elsewhere, 1.0, [submissions.UNSOUND]),
    "warns and imports more": (warn_and_import_more, 1.0, [submissions.EDITED]),
    "another chapter": (bring_another_chapter, 0.0, [submissions.FOREIGN, submissions.UNKNOWN, NAMED]),
    "no notebook": (bring_no_notebook, 0.0, [NAMED]),
    "an empty file": (bring_an_empty_file, 0.0, [NAMED]),
    "another name": (fill, 0.0, [NAMED]),
}


def test_submissions_are_graded_end_to_end_and_what_is_wrong_with_one_is_said_of_it_and_touches_no_other(course):
    handed_out = read(released(course, GRADED))
    points = [cell.metadata.nbgrader.points for cell in of(handed_out, "check")]
    for who, (change, *_) in SUBMITTED.items():
        notebook = copy.deepcopy(handed_out)
        text = change(notebook)
        folder = course / "course" / "submitted" / who / GRADED
        folder.mkdir(parents=True)
        name = "exercises-04 (1).ipynb" if who == "another name" else released(course, GRADED).name
        (folder / name).write_text(json.dumps(notebook) if text is None else text, "utf-8")
    graded = run(course, "-m", "nbgrader", "autograde", GRADED, "--ExecutePreprocessor.timeout=30")
    assert graded.returncode != 0
    said = {who: re.findall(rf"(?:WARNING|ERROR)\] {who}: (.+)", graded.stderr) for who in SUBMITTED}
    for who in re.findall(rf"{NAMED} '{GRADED}' for student '(.+)'", graded.stderr):
        said[who].append(NAMED)
    for who, (*_, wanted) in SUBMITTED.items():
        assert len(said[who]) == len(wanted), (who, said[who])
        assert all(line.startswith(what) for line, what in zip(said[who], wanted)), (who, said[who])
    exported = run(course, "-m", "nbgrader", "export", "--to", "grades.csv")
    assert exported.returncode == 0, exported.stderr
    with open(course / "grades.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["assignment"] == GRADED]
    scores = {row["student_id"]: float(row["score"]) for row in rows}
    but_one = sum(points) - points[1]
    wanted = {who: but_one if part == "but one" else part * sum(points) for who, (_, part, _) in SUBMITTED.items()}
    assert scores == wanted


def mended(course, notebook):
    database = f"sqlite:///{course / 'course' / 'gradebook.db'}"
    handed_out = submissions.released(database, GRADED, released(course, GRADED).stem)
    return Submission([Cell.of(cell) for cell in notebook.cells], handed_out)


def hand_out(course):
    notebook = read(released(course, GRADED))
    fill(notebook)
    return notebook


def texts(cells):
    return collections.Counter(cell.source for cell in cells)


def test_a_check_that_was_removed_comes_back_after_its_answer_and_what_was_tried_beside_it(course):
    notebook = hand_out(course)
    copy_and_split(notebook)
    for check in of(notebook, "check"):
        notebook.cells.remove(check)
    cells = mended(course, notebook).cells
    place = next(n for n, cell in enumerate(cells) if cell.name == "chapter04-shrinks-check")
    assert [cell.source for cell in cells[place - 2 : place]] == ["tenth = 0.1", "answer = 1 / (0.75 * tenth**2)"]
    assert cells[place + 1].source.startswith("## The loss itself")


def test_what_was_written_into_a_check_is_run_before_the_original(course):
    notebook = hand_out(course)
    solution, check = of(notebook, "solution")[1], of(notebook, "check")[1]
    check.source, original = f"{solution.source}\n\n{check.source}", check.source
    notebook.cells.remove(solution)
    submission = mended(course, notebook)
    place = next(n for n, cell in enumerate(submission.cells) if cell.source == check.source)
    assert not submission.cells[place].marks and submission.cells[place + 1].source == original
    assert submission.told == {
        submissions.LOST: ["chapter04-focal-loss"],
        submissions.EDITED: ["chapter04-focal-loss-check"],
    }


def test_of_two_attempts_each_with_its_check_the_first_counts_and_it_is_said(course):
    notebook = hand_out(course)
    place = notebook.cells.index(of(notebook, "solution")[1])
    notebook.cells[place + 2 : place + 2] = copy.deepcopy(notebook.cells[place : place + 2])
    submission = mended(course, notebook)
    assert [bool(cell.name) for cell in submission.cells[place : place + 4]] == [True, True, False, False]
    assert submission.told == {submissions.COPIED: ["chapter04-focal-loss", "chapter04-focal-loss-check"]}


@pytest.mark.parametrize("key, value", [("points", 100), ("grade", False), ("solution", True), ("schema_version", 1)])
def test_marks_that_were_altered_are_put_right(key, value, course):
    notebook = hand_out(course)
    check = of(notebook, "check")[0]
    before, check.metadata.nbgrader[key] = copy.deepcopy(check.metadata.nbgrader), value
    submission = mended(course, notebook)
    assert submission.told == {submissions.ALTERED: ["chapter04-shrinks-check"]}
    (cell,) = (cell for cell in submission.cells if cell.name == "chapter04-shrinks-check")
    assert cell.marks == before


def test_an_untouched_notebook_is_known_and_nothing_is_said_of_it(course):
    notebook = read(released(course, GRADED))
    submission = mended(course, notebook)
    assert submission.known and not submission.told
    assert [cell.source for cell in submission.cells] == [cell.source for cell in notebook.cells]
    assert [cell.marks for cell in submission.cells] == [cell.metadata.get("nbgrader", {}) for cell in notebook.cells]


def change(notebook, what, place, other):
    cell = notebook.cells[place % len(notebook.cells)]
    if what == "copy":
        notebook.cells.insert(other % len(notebook.cells), copy.deepcopy(cell))
    elif what == "move":
        notebook.cells.remove(cell)
        notebook.cells.insert(other % (len(notebook.cells) + 1), cell)
    elif what == "remove" and len(notebook.cells) > 1:
        notebook.cells.remove(cell)
    elif what == "edit":
        cell.source = f"{cell.source}\nanswer = {other}"
    elif what == "strip":
        cell.metadata = {}
    elif what == "turn":
        cell.cell_type = ("code", "markdown", "raw")[other % 3]
    elif what == "confuse":
        cell.metadata = copy.deepcopy(notebook.cells[other % len(notebook.cells)].metadata)


WHAT = st.sampled_from(["copy", "move", "remove", "edit", "strip", "turn", "confuse"])


@settings(max_examples=300, deadline=None)
@given(changes=st.lists(st.tuples(WHAT, st.integers(0, 60), st.integers(0, 60)), max_size=12))
def test_whatever_was_done_to_the_cells_each_check_is_the_original_once_and_no_text_of_the_student_is_lost(
    changes, course
):
    notebook = hand_out(course)
    for each in changes:
        change(notebook, *each)
    submission = mended(course, notebook)
    if not submission.known:
        return
    assert not texts(notebook.cells) - texts(submission.cells)
    named = [cell for cell in submission.cells if cell.name]
    place = {cell.name: n for n, cell in enumerate(named)}
    assert len(place) == len(named)
    for name, each in submission.handed_out.items():
        if each.given:
            cell = named[place[name]]
            assert (cell.kind, cell.source.strip()) == (each.kind, each.source)
        if each.marks["grade"]:
            assert place[name] > place.get(name.removesuffix("-check"), -1)
    assert place["chapter04-imports"] == 0
    for cell in submission.cells:
        assert cell.marks == (submission.handed_out[cell.name].marks if cell.name else {})
