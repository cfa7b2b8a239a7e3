"""The package as a whole: what importing it needs, that every name leads to its chapter, and its version."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import focalbook

MODULES = re.findall(r"^``(\w+)``", focalbook.__doc__, re.MULTILINE)
"""In the order in which the package's first page lists them."""
CORE = [name for name in MODULES if name not in ("__main__", "plots", "prose", "checks")]

FOLDER = Path(focalbook.__file__).parent


def test_the_core_needs_only_numpy_and_torch():
    # In a fresh interpreter, after NumPy and torch, which may bring what they like.
    code = f"""
import sys
import numpy, torch

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("matplotlib", "pycocotools", "tqdm", "IPython", "PIL"):
            raise ImportError(f"the core imports {{name}}")

sys.meta_path.insert(0, Refuse())
import {", ".join("focalbook." + name for name in CORE)}
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_module_the_citation_and_the_changelog_tell_of_one_version():
    citation = yaml.safe_load((FOLDER.parent / "CITATION.cff").read_text("utf-8"))
    changelog = (FOLDER.parent / "CHANGELOG.md").read_text("utf-8")
    version, date = re.search(r"^## (\S+) \((\S+)\)$", changelog, re.MULTILINE).groups()
    assert version == citation["version"] == focalbook.__version__
    assert date == citation.get("date-released", "unreleased")


def public(name):
    """The functions and classes that a module defines for others."""
    module = importlib.import_module("focalbook." + name)
    for key, value in vars(module).items():
        if not key.startswith("_") and getattr(value, "__module__", None) == module.__name__:
            if inspect.isfunction(value) or inspect.isclass(value):
                yield key, value


@pytest.mark.parametrize("name", CORE)
def test_every_public_function_and_class_names_its_chapter(name):
    found = dict(public(name))
    assert found
    without = [key for key, value in found.items() if not re.search(r"chapters?\s+\d", value.__doc__ or "")]
    assert without == []


@pytest.mark.parametrize("name", CORE)
def test_every_public_method_says_what_it_does(name):
    without = [
        f"{key}.{method}"
        for key, value in public(name)
        if inspect.isclass(value)
        for method, function in vars(value).items()
        if not method.startswith("_")
        and (inspect.isfunction(function) or isinstance(function, property) and f"``{method}``" not in value.__doc__)
        and not function.__doc__
    ]
    assert without == []


def test_the_packages_docstring_lists_every_module():
    assert sorted(MODULES) == sorted({path.stem for path in FOLDER.glob("*.py")} - {"__init__"} | {"checks"})


def test_the_page_of_the_module_has_every_module_in_that_order():
    sections = re.findall(r"^## (\w+)", (FOLDER.parent / "book" / "api.md").read_text("utf-8"), re.MULTILINE)
    assert sections == [name for name in MODULES if name != "__main__"]


PATHS = sorted(set(FOLDER.glob("*.py")) - {FOLDER / "__init__.py"})  # which imports what it hands on when it is asked


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_module_imports_only_modules_that_are_listed_above_it(path):
    order = ["__init__", *MODULES]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module == "focalbook":
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("focalbook."):
            names = [node.module.removeprefix("focalbook.")]
        assert all(order.index(name) < order.index(path.stem) for name in names)
