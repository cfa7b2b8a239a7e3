"""What is wrong with the book's files that running its cells cannot tell, line by line.

``make verify`` and the tests hold the book to no fault; the harness plants faults to see that each is named.
"""

from pathlib import Path

from tools.faults import contents, notebooks, numbers, pictures, records, stamps
from tools.notebooks import chosen

__all__ = ["contents", "notebooks", "numbers", "of_book", "of_notebook", "pictures", "records", "stamps"]


def of_notebook(root: Path, path: Path) -> list[str]:
    """Faults of one notebook in the project's folder: a chapter, or a page of exercises."""
    notebook, listed = notebooks.read(path), numbers.audited((root / numbers.LIST).read_text("utf-8"))
    found = [*notebooks.faults(notebook), *notebooks.link_faults(notebook, path.parent, root / "book")]
    if any(notebooks.NO_PYTHON in fault for fault in found):  # the rules of its numbers could not read it
        return found
    if path.parent == root / "book":
        following = [later.stem for later in chosen(root / "book", ()) if later.parent == path.parent and later > path]
        found += notebooks.frame_faults(notebook, following[0] if following else None)
        return found + list(numbers.faults(notebook, listed.get(path.stem, [])))
    name = path.parent.name
    checks = (root / "focalbook" / "checks" / f"chapter{name[:2]}.py").read_text("utf-8")
    return found + list(numbers.exercise_faults(notebook, listed.get(f"exercises/{name}", []), checks))


def of_book(root: Path) -> list[str]:
    """Faults of what belongs to no one notebook: contents, pages in Markdown, records and the explorers' pictures."""
    listed = numbers.audited((root / numbers.LIST).read_text("utf-8"))
    found = [*contents.faults(root), *records.faults(), *pictures.faults(root / "book" / "_static" / "explorers")]
    for page in sorted((root / "book").glob("*.md")):
        found += [f"{page.name}: {fault}" for fault in numbers.faults(numbers.read(page), listed.get(page.stem, []))]
    pages = {path.stem for path in (root / "book").glob("*.*")}
    pages |= {f"exercises/{path.parent.name}" for path in (root / "book").glob("exercises/*/*.ipynb")}
    return found + [f"numbers are listed of a page that is not there: {name}" for name in listed.keys() - pages]
