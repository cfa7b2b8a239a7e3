"""make constraints: what is renewed, and only if all holds with it."""

from importlib.metadata import distributions

import pytest
from packaging.specifiers import SpecifierSet

import tasks
from tools import renew


def package(name, version, *needs):
    return {"metadata": {"name": name, "version": version, "requires_dist": list(needs)}}


INSTALLED = [
    package("focalbook", "0.1.0", "numpy>=1.26", "torch>=2.6"),
    package("numpy", "2.4.6"),
    package("torch", "2.13.0+cpu", "sympy>=1.13", "jinja2", "nvidia-nccl-cu12==2.27; platform_system == 'Linux'"),
    package("sympy", "1.14.0", "mpmath<1.4,>=1.1.0"),
    package("nvidia-nccl-cu12", "2.27.3"),
    package("mpmath", "1.3.0"),
    package("jupyter-book", "1.0.4.post1", "Jinja2", "PyYAML", 'sympy; extra == "testing"'),
    package("Jinja2", "3.1.6", "MarkupSafe>=2.0"),
    package("MarkupSafe", "3.0.4"),
    package("PyYAML", "6.0.3"),
    package("jupyterlab", "4.6.6"),
    package("arrow", "1.4.0"),  # by an extra, of nothing that is seen
    package("pip", "23.2.1"),
]
DIRECT = "# pins\n-c constraints.txt\n-e .\njupyter_book==1.0.4.post1\nnumpy==2.4.6  # exactly\ntorch==2.13.0\n"


def test_the_renewed_constraints_are_what_is_neither_pinned_nor_only_torchs():
    text = renew.constraints(INSTALLED, renew.pins(DIRECT))
    assert text.startswith(renew.HEADER)
    expected = "arrow==1.4.0 Jinja2==3.1.6 jupyterlab==4.6.6 MarkupSafe==3.0.4 PyYAML==6.0.3"
    assert text.removeprefix(renew.HEADER).split() == expected.split()


def test_the_constraints_of_today_have_the_header_and_the_order_of_renewed_ones():
    text = renew.CONSTRAINTS.read_text("utf-8")
    lines = text.removeprefix(renew.HEADER).splitlines()
    assert text.startswith(renew.HEADER) and lines == sorted(lines, key=str.lower)
    assert len(renew.pins(text)) == len(lines)


def test_what_is_pinned_installs_on_the_oldest_python_that_is_promised():
    pinned = renew.pins(renew.REQUIREMENTS.read_text("utf-8")) | renew.pins(renew.CONSTRAINTS.read_text("utf-8"))
    oldest = "{}.{}.0".format(*tasks.OLDEST)
    asked = {
        found.name: found.metadata["Requires-Python"] or ""
        for found in distributions()
        if renew.normal(found.name) in pinned
    }
    assert len(asked) > 100
    assert {name: ask for name, ask in asked.items() if not SpecifierSet(ask).contains(oldest)} == {}


def test_what_changes_is_named_line_by_line():
    before, after = "# head\nPyYAML==6.0.2\nzipp==1\nsame==1\n", "pyyaml==6.0.3\nsame==1\narrow==1.4.0\n"
    assert list(renew.changes(before, after)) == ["arrow: new -> 1.4.0", "pyyaml: 6.0.2 -> 6.0.3", "zipp: 1 -> gone"]


@pytest.mark.parametrize("status", [0, 1])
def test_the_constraints_are_renewed_only_if_all_holds_with_them(tmp_path, monkeypatch, capsys, status):
    for name, content in (("REQUIREMENTS", DIRECT), ("CONSTRAINTS", "PyYAML==6.0.2\n")):
        monkeypatch.setattr(renew, name, tmp_path / name)
        (tmp_path / name).write_text(content, "utf-8")
    candidate = tmp_path / "constraints.txt"
    monkeypatch.setattr(renew, "FOLDER", tmp_path)
    monkeypatch.setattr(renew, "install", lambda: INSTALLED)
    monkeypatch.setattr(renew.subprocess, "call", lambda command, cwd: status)
    assert renew.main() == status
    said = capsys.readouterr().out
    assert "pyyaml: 6.0.2 -> 6.0.3" in said
    assert candidate.exists() == bool(status) == (str(candidate) in said)
    assert (renew.CONSTRAINTS.read_text("utf-8") == "PyYAML==6.0.2\n") == bool(status)
