"""What determines a recorded result, as one hash (chapter 11).

The hash follows meaning, not wording: it sees the top-level definitions of the modules, in no order and in no file, and
of each the code alone. Annotations, docstrings, comments, what an error says, and imports from within the package leave
it as it is; an operator, a constant or a default changes it.
"""

import ast
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SOURCES = (
    *("fused", "losses", "imbalance", "scenes", "boxes", "anchors", "matching", "retinanet"),
    *("mining", "cousins", "distributed", "training", "evaluation", "calibration", "owners"),
)
"""The modules that determine a result. No two of them define the same name, and none imports under another name."""

PACKAGE = "focalbook"


def sources_hash(names: Iterable[str] = SOURCES) -> str:
    """Hash of the code of these modules: 16 hexadecimal digits (chapter 11)."""
    texts = [(Path(__file__).parent / f"{name}.py").read_text("utf-8") for name in names]
    return hashlib.sha256(json.dumps(definitions(texts)).encode()).hexdigest()[:16]


def definitions(texts: Iterable[str]) -> list[str]:
    """The top-level statements of these modules, given as texts, in what decides a result: sorted, each once (chapter
    11)."""
    found = set()
    for text in texts:
        tree = ast.parse(text)
        body = _Meaning(_imported_modules(tree)).visit(tree).body
        used = {node.id for statement in body for node in ast.walk(statement) if isinstance(node, ast.Name)}
        found |= {json.dumps(_as_lists(part)) for node in body for part in _parts(node, used)}
    return sorted(found)


def _imported_modules(tree: ast.Module) -> set[str]:
    """Names of the package's modules that a module calls by name, as in ``from focalbook import mining``."""
    imports = (node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == PACKAGE)
    return {alias.name for node in imports for alias in node.names}


def _parts(node: ast.stmt, used: set[str]) -> list[ast.stmt]:
    """A statement; or, of an import, an import each of the names that the code uses, beyond its annotations."""
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return [node]
    parts = {alias.asname or alias.name.split(".")[0]: alias for alias in node.names}
    module = getattr(node, "module", None)
    return [ast.ImportFrom(module, [alias], 0) for name, alias in parts.items() if name in used]


class _Meaning(ast.NodeTransformer):
    """A syntax tree without what does not decide a result."""

    def __init__(self, modules: set[str]) -> None:
        self.modules = modules
        self.in_class = False

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        outer, self.in_class = self.in_class, True
        self.generic_visit(node)
        self.in_class = outer
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        outer, self.in_class = self.in_class, False
        self.generic_visit(node)
        self.in_class = outer
        node.returns = None
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        if self.in_class:  # where an annotation makes a field: which one it is does not matter
            node.annotation = ast.Constant(None)
            return node
        return ast.Assign([node.target], node.value) if node.value else None

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if text else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc.args, node.exc.keywords = [], []
        return self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        node.msg = None
        return self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if (node.module or "").split(".")[0] == PACKAGE else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        called = isinstance(node.value, ast.Name) and node.value.id in self.modules
        return ast.Name(node.attr, node.ctx) if called else node


def _as_lists(node: object) -> list[Any] | str:
    """A syntax tree as nested lists, without positions and empty fields: alike on every Python version."""
    if isinstance(node, list):
        return [_as_lists(item) for item in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, [])]
    return [type(node).__name__, *((name, _as_lists(value)) for name, value in sorted(fields, key=lambda f: f[0]))]
