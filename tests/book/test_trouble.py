"""The page "If it does not run" quotes messages as they are: each stands in the code, or in the list of others' here.

A message is a term of the page's lists that is set in backticks. What varies in it is left out, as an ellipsis.
"""

import ast
import re

import pytest

from tasks import ROOT

PAGE = (ROOT / "book" / "trouble.md").read_text("utf-8")
MESSAGES = re.findall(r"^`(.+)`\n(?=: )", PAGE, re.MULTILINE)
SOURCES = [ROOT / "tasks.py", ROOT / "tests" / "site" / "conftest.py"]
SOURCES += [path for folder in ("focalbook", "tools") for path in sorted((ROOT / folder).rglob("*.py"))]
OTHERS = {
    "`make`, in a shell": "make: command not found",
    "Python 2, 3, for a line it cannot read": "SyntaxError: invalid syntax",
    "Python, for a missing module": "ModuleNotFoundError: No module named 'focalbook'",
    "Python, for an unknown name": "NameError: name '…' is not defined",
    "Python, for a full disk": "OSError: [Errno 28] No space left on device",
    "Python, for nbgrader's missing program": "FileNotFoundError: [Errno 2] No such file or directory: 'alembic'",
    "pip, without a network": "WARNING: Retrying",
    "pip, without a build": "ERROR: No matching distribution found for torch==…",
    "pip, on Windows": "HINT: This error might have occurred since this system does not have Windows Long Path support "
    "enabled.",
    "torch, on Windows": "Microsoft Visual C++ Redistributable is not installed, this may lead to the DLL load "
    "failure.",
    "torch, on a CPU": "DefaultCPUAllocator: can't allocate memory: you tried to allocate … bytes.",
    "torch, on a GPU": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate … GiB.",
    "matplotlib, for a figure that is not shown": "<Figure size … with 1 Axes>",
    "JupyterLab": "The kernel for … appears to have died. It will restart automatically.",
    "nbval": "Cell outputs differ",
}


def texts(path):
    """The texts of a source file, those within f-strings too."""
    tree = ast.parse(path.read_text("utf-8"))
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def stands_in(message, said):
    """Whether each piece of a message is among these texts; what varies and colons part them."""
    pieces = [piece.strip() for piece in re.split("…|: ", message)]
    return all(any(piece in text for text in said) for piece in pieces)


@pytest.fixture(scope="module")
def code():
    return {path.relative_to(ROOT).as_posix(): texts(path) for path in SOURCES}


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_on_the_page_is_one_of_the_code_or_of_others(message, code):
    assert message in OTHERS.values() or any(stands_in(message, said) for said in code.values())


@pytest.mark.parametrize("message", sorted(set(MESSAGES) - set(OTHERS.values())))
def test_a_message_with_another_word_is_no_message(message, code):
    for word in re.finditer(r"[A-Za-z]{4,}", message):
        changed = f"{message[: word.start()]}otherwise{message[word.end() :]}"
        assert not any(stands_in(changed, said) for said in code.values()), changed


def test_no_message_of_others_is_listed_in_vain():
    assert set(OTHERS.values()) <= set(MESSAGES) and len(MESSAGES) == len(set(MESSAGES)) > 30
