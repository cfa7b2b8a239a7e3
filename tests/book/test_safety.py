"""What the book runs is safe: nothing is unpickled, nothing asks the network, and no notebook calls itself trusted."""

import ast
import json

from tasks import ROOT


def code():
    """What the module, the tools and the notebooks run: name -> syntax tree."""
    for path in (*ROOT.glob("focalbook/**/*.py"), *ROOT.glob("tools/**/*.py"), ROOT / "tasks.py"):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))
    for path in ROOT.glob("book/**/*.ipynb"):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        for cell in cells:
            if cell["cell_type"] == "code":
                yield path.relative_to(ROOT).as_posix(), ast.parse("".join(cell["source"]))


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        yield from (
            name.split(".")[0] for name in names if name != "urllib.parse"
        )  # which reads addresses, and asks none


def test_checkpoints_are_loaded_as_weights_only_and_nothing_is_unpickled():
    loads = []
    for name, tree in code():
        assert not {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"} & set(imports(tree)), (
            name
        )
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "np.load", "numpy.load"):
                loads.append((name, {word.arg: ast.unparse(word.value) for word in node.keywords}))
            assert not (isinstance(node, ast.keyword) and node.arg == "allow_pickle"), name
    assert {name for name, _ in loads} == {"focalbook/checkpoints.py", "tools/finetune.py"}
    assert all(options.get("weights_only") == "True" for _, options in loads)


def test_nothing_that_the_book_runs_asks_the_network():
    asking = {"urllib", "http", "requests", "httpx", "ftplib", "urllib3"}
    # tasks.py serves the site; nothing else knows the word.
    assert [name for name, tree in code() if asking & set(imports(tree))] == ["tasks.py"]


def test_no_notebook_calls_itself_trusted():
    for path in ROOT.glob("book/**/*.ipynb"):
        notebook = json.loads(path.read_text("utf-8"))
        for part in (notebook, *notebook["cells"]):
            assert "trusted" not in part["metadata"], path
