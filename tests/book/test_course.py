"""The exercises as a course: every page is whole, the student's edition fails only in its friendly way, and nbgrader
grades what comes back, whatever it does."""

import copy
import csv
import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from focalbook.checks import BEGIN, END
from focalbook.checks.check import Check
from tasks import ROOT
from tools.contents import EXERCISES

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
    made = run(root, "-m", "tools.student")
    assert made.returncode == 0, made.stdout
    return root


def run(root, *command):
    return subprocess.run([sys.executable, *command], cwd=root, env=ENVIRONMENT, capture_output=True, encoding="utf-8")


def released(course, name):
    (path,) = (course / "course" / "exercises" / name).glob("*.ipynb")
    return path


@pytest.mark.parametrize("name", SOURCES)
def test_in_the_students_edition_the_checks_fail_in_their_friendly_way_and_nothing_else_does(name, course):
    notebook = read(released(course, name))
    stored = read(SOURCES[name])
    for cell, solved in zip(of(notebook, "solution"), of(stored, "solution"), strict=True):
        inside = solved.source.split(f"{BEGIN}\n")[1].split(END)[0]
        assert inside.strip() not in cell.source and "SOLUTION" not in cell.source
    assert not any(cell.get("outputs") for cell in notebook.cells)
    resources = {"metadata": {"path": str(course)}}
    NotebookClient(notebook, timeout=120, allow_errors=True, resources=resources).execute()
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


def edit_the_checks(notebook):
    for cell in of(notebook, "check"):
        cell.source = "print('Right.')"


def remove_a_check(notebook):
    fill(notebook)
    notebook.cells.remove(of(notebook, "check")[1])


def leave(notebook):
    """Hand in what was handed out."""


SUBMITTED = {
    "complete": (fill, 1.0),
    "untouched": (leave, 0.0),
    "hangs in a function": (answer("def my_focal_loss(p, y, alpha, gamma):\n    while True:\n        pass"), "but one"),
    "hangs at once": (answer("while True:\n    pass"), "but one"),
    "wrong": (answer("def my_focal_loss(p, y, alpha, gamma):\n    return p"), "but one"),
    "raises": (answer("1 / 0"), "but one"),
    "no Python": (answer("def my_focal_loss(p, y:"), "but one"),
    "crashes": (answer("import os\n\nos._exit(1)"), 0.0),
    "edits the checks": (edit_the_checks, 0.0),
    "removes a check": (remove_a_check, "but one"),
}


def test_submissions_are_graded_end_to_end_those_that_hang_crash_or_were_edited_too(course):
    handed_out = read(released(course, GRADED))
    points = [cell.metadata.nbgrader.points for cell in of(handed_out, "check")]
    for who, (change, _) in SUBMITTED.items():
        notebook = copy.deepcopy(handed_out)
        change(notebook)
        folder = course / "course" / "submitted" / who / GRADED
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / released(course, GRADED).name)
    graded = run(course, "-m", "nbgrader", "autograde", GRADED, "--ExecutePreprocessor.timeout=40")
    assert graded.returncode != 0 and f"error processing assignment '{GRADED}' for student 'crashes'" in graded.stderr
    exported = run(course, "-m", "nbgrader", "export", "--to", "grades.csv")
    assert exported.returncode == 0, exported.stderr
    with open(course / "grades.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["assignment"] == GRADED]
    scores = {row["student_id"]: float(row["score"]) for row in rows}
    but_one = sum(points) - points[1]
    wanted = {who: but_one if part == "but one" else part * sum(points) for who, (_, part) in SUBMITTED.items()}
    assert scores == wanted
