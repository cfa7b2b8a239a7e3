"""The hash of the code that determines a result: it follows what the code means, not how or where it is written."""

import ast
from pathlib import Path

import pytest
from small_studies import remembered_hash

from focalbook import calibration, owners, sources
from focalbook.sources import SOURCES, definitions, sources_hash

CODE = '''
"""A module."""

from typing import NamedTuple

from focalbook import mining
from focalbook.boxes import iou

SCALE = 2


def area(width, height=2):
    """The area."""
    if width < 0:
        raise ValueError(f"width must be at least 0, got {width}")
    assert height, "no height"
    return width * height + SCALE - iou(width) * mining.hardest(width)


class Size(NamedTuple):
    """Two sides."""

    width: int
    height: int = 3
'''


def changed(*pairs):
    code = CODE
    for old, new in pairs:
        assert old in code
        code = code.replace(old, new, 1)
    return code


@pytest.mark.parametrize(
    "same",
    {
        "docstring": changed(("The area.", "Another text.")),
        "no docstring": changed(('    """The area."""\n', "")),
        "comment": changed(("    return", "    # why\n    return")),
        "formatting": changed(("width * height", "(width\n            * height)")),
        "spelling of a number": changed(("height=2", "height=0x2")),
        "annotated arguments": changed(("area(width, height=2)", "area(width: float, height: float = 2) -> float")),
        "annotated constant": changed(("SCALE = 2", "SCALE: int = 2")),
        "annotation without a value": changed(("    return", "    found: float\n    return")),
        "another annotation of a field": changed(("width: int", "width: float")),
        "import for annotations": changed(
            ("import NamedTuple", "import Any, NamedTuple"), ("area(width,", "area(width: Any,")
        ),
        "reworded error": changed(('f"width must be at least 0, got {width}"', '"too narrow"')),
        "reworded assertion": changed((', "no height"', "")),
        "import from the package": changed(("from focalbook.boxes import iou", "from focalbook.overlap import iou")),
        "module or name of the package": changed(
            ("from focalbook import mining\n", "from focalbook.mining import hardest\n"), ("mining.hardest", "hardest")
        ),
        "order of definitions": changed(("SCALE = 2\n", "")) + "\nSCALE = 2\n",
    }.items(),
    ids=lambda case: case[0],
)
def test_what_does_not_decide_a_result_leaves_the_code_as_it_is(same):
    assert same[1] != CODE and definitions([same[1]]) == definitions([CODE])


@pytest.mark.parametrize(
    "other",
    {
        "operator": changed(("*", "+")),
        "number": changed(("SCALE = 2", "SCALE = 3")),
        "type of a number": changed(("SCALE = 2", "SCALE = 2.0")),
        "order of operands": changed(("width * height", "height * width")),
        "name": changed(("area", "surface")),
        "statement": changed(("    return", "    width += 0\n    return")),
        "default": changed(("height=2", "height=3")),
        "default None": changed(("height=2", "height=None")),
        "no default": changed(("height=2", "height")),
        "default of a field": changed(("height: int = 3", "height: int = 4")),
        "field": changed(("    width: int\n", "")),
        "a field no more": changed(("height: int = 3", "height = 3")),
        "order of fields": changed(("    width: int\n", "")) + "    width: int\n",
        "condition of an error": changed(("width < 0", "width <= 0")),
        "type of an error": changed(("ValueError", "TypeError")),
        "condition of an assertion": changed(("assert height", "assert width")),
        "module from elsewhere": changed(("from typing", "from elsewhere")),
        "function of the package": changed(("mining.hardest", "mining.easiest")),
    }.items(),
    ids=lambda case: case[0],
)
def test_any_other_change_is_a_change_of_the_code(other):
    assert definitions([other[1]]) != definitions([CODE])


@pytest.mark.parametrize("name", SOURCES)
def test_a_change_of_any_source_changes_the_hash(copied_sources, name):
    before = remembered_hash()
    with open(copied_sources / f"{name}.py", "a", encoding="utf-8") as file:
        file.write("\n# a comment\n")
    assert sources_hash() == before
    with open(copied_sources / f"{name}.py", "a", encoding="utf-8") as file:
        file.write("\nADDED = 1\n")
    assert sources_hash() != before


def test_a_function_may_move_to_another_module(copied_sources):
    before, (source, target) = remembered_hash(), (copied_sources / "boxes.py", copied_sources / "matching.py")
    text = source.read_text("utf-8")
    node = next(node for node in ast.parse(text).body if getattr(node, "name", "") == "iou")
    lines = text.splitlines(keepends=True)
    moved, rest = lines[node.lineno - 1 : node.end_lineno], lines[: node.lineno - 1] + lines[node.end_lineno :]
    source.write_text("from focalbook.matching import iou\n" + "".join(rest), "utf-8")
    assert sources_hash() != before
    there = target.read_text("utf-8").replace("from focalbook.boxes import iou\n", "from focalbook.boxes import area\n")
    target.write_text(there + "\n\n" + "".join(moved), "utf-8")
    assert sources_hash() == before


def test_a_file_may_get_another_name(copied_sources):
    before = remembered_hash()
    (copied_sources / "boxes.py").rename(copied_sources / "rectangles.py")
    for path in copied_sources.glob("*.py"):
        path.write_text(path.read_text("utf-8").replace("focalbook.boxes", "focalbook.rectangles"), "utf-8")
    assert sources_hash([{"boxes": "rectangles"}.get(name, name) for name in SOURCES]) == before


def test_the_figures_do_not_belong_to_the_code_behind_a_result(copied_sources):
    before = remembered_hash()
    (copied_sources / "plots.py").write_text("COLORS = {}\n", "utf-8")
    assert sources_hash() == before


def trees():
    return {name: ast.parse((Path(sources.__file__).parent / f"{name}.py").read_text("utf-8")) for name in SOURCES}


def imports(tree):
    """What a module imports from the package: pairs of the module imported from and the name as imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "focalbook":
            yield from ((node.module, alias) for alias in node.names)


def test_every_module_that_a_result_imports_is_hashed_but_those_that_keep_files_and_memory():
    imported = [pair for tree in trees().values() for pair in imports(tree)]
    names = {alias.name if module == "focalbook" else module.split(".")[1] for module, alias in imported}
    assert names - {"files", "checkpoints", "allocator"} <= set(SOURCES)


def test_what_the_hash_leaves_out_cannot_be_told_in_two_ways():
    """It joins the modules, so a name has one meaning in all of them: one definition, and no other name for it."""
    assert not [alias.name for tree in trees().values() for _, alias in imports(tree) if alias.asname]
    named = [node.name for tree in trees().values() for node in tree.body if hasattr(node, "name")]
    targets = [target for tree in trees().values() for node in tree.body for target in getattr(node, "targets", [])]
    named += [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
    assert len(set(named)) == len(named)


@pytest.mark.parametrize("measure", [owners.owners_of, calibration.calibrate])
def test_what_a_record_says_of_a_model_is_measured_by_code_that_is_hashed(measure):
    assert measure.__module__.removeprefix("focalbook.") in SOURCES
