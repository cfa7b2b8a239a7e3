"""What an address turns on, in a book of two pages, and what is not there without one."""

import re
import subprocess
import sys

import pytest
import yaml
from bs4 import BeautifulSoup
from published import site_of

import tasks
from tools import address

HOME = "https://github.com/Owner/the-book"
SITE = "https://owner.github.io/the-book/"
START = """# A book

How rare is an object, {term}`really`? Count them.

```{published}
Get it: `git clone {repository}`, or read it at <{site}>.
```

```{glossary}
really
  In truth.
```
"""
CONFIG = {
    "title": "A book",
    "only_build_toc_files": True,
    "execute": {"execute_notebooks": "off"},
    "sphinx": {
        "local_extensions": {
            "published": str(tasks.ROOT / "book" / "_ext"),
            "chapter_line": str(tasks.ROOT / "book" / "_ext"),
        },
        "config": {"html_title": "A book"},
    },
}


@pytest.fixture(scope="module", params=[HOME + ".git", ""], ids=["with an address", "without one"])
def built(request, tmp_path_factory):
    """The address that is set, and the folder of a small site that was built with it."""
    folder = tmp_path_factory.mktemp("book")
    (folder / "book").mkdir()
    config = CONFIG | {"repository": {"url": request.param.removesuffix(".git"), "branch": "main"}}
    (folder / "_config.yml").write_text(yaml.safe_dump(config))
    (folder / "_toc.yml").write_text("format: jb-book\nroot: book/index\nchapters:\n  - file: book/other\n")
    (folder / "book" / "index.md").write_text(START)
    (folder / "book" / "other.md").write_text(
        "# Another\n\nHere is $x^2$, a formula. And this is a sentence without one.\n"
    )
    command = [sys.executable, *tasks.JUPYTER_BOOK, "build", str(folder), *tasks.BUILD]
    done = subprocess.run(command, cwd=tasks.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return request.param, folder / "_build" / "html"


def test_an_address_turns_on_all_that_needs_one_and_without_it_nothing_points_nowhere(built):
    url, folder = built
    pages = {
        name: BeautifulSoup((folder / "book" / f"{name}.html").read_text("utf-8"), "html.parser")
        for name in ("index", "other")
    }
    assert pages["other"].select_one("meta[name=description]")["content"] == "And this is a sentence without one."
    outside = {tag["href"] for soup in pages.values() for tag in soup.select("article a[href^=http]")}
    if not url:
        assert outside == set() and not (folder / "sitemap.xml").exists()
        assert not any(soup.select("link[rel=canonical], meta[property]") for soup in pages.values())
        assert "Get it" not in pages["index"].get_text()
        return
    assert f"git clone {HOME}, or" in pages["index"].get_text()
    report = f"{HOME}/issues/new?template=error.yml&title=book/index.md%3A%20"
    assert outside >= {SITE, report, f"{HOME}/edit/main/book/index.md", f"{HOME}/edit/main/book/other.md"}
    assert re.findall("<loc>(.*?)</loc>", (folder / "sitemap.xml").read_text("utf-8")) == [
        f"{SITE}book/index.html",
        f"{SITE}book/other.html",
    ]
    for name, soup in pages.items():
        assert soup.select_one("link[rel=canonical]")["href"] == f"{SITE}book/{name}.html"
        card = {tag["property"]: tag["content"] for tag in soup.select("meta[property^=og]")}
        assert card["og:url"] == f"{SITE}book/{name}.html" and len(card["og:description"]) > 30
        assert (folder / card["og:image"].removeprefix(SITE)).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    "url, site",
    [
        (HOME, SITE),
        (HOME + ".git", SITE),
        ("https://github.com/owner/owner.github.io", "https://owner.github.io/"),
        ("https://gitlab.com/owner/book", ""),
        ("https://github.com/owner", ""),
        ("", ""),
    ],
)
def test_where_a_repository_is_published(url, site):
    assert site_of(url) == site


def test_the_files_that_name_the_address_are_as_it_is_set():
    for name, text in address.written(tasks.ROOT).items():
        assert (tasks.ROOT / name).read_text("utf-8") == text, "python -m tools.address writes them anew"


def test_the_readme_and_the_citation_get_an_address_and_lose_it_again(tmp_path):
    for name in ("README.md", "CITATION.cff", "_config.yml"):
        (tmp_path / name).write_text((tasks.ROOT / name).read_text("utf-8"), "utf-8")
    settings = re.sub('url: "[^"]*"', f'url: "{HOME}"', (tmp_path / "_config.yml").read_text("utf-8"))
    (tmp_path / "_config.yml").write_text(settings, "utf-8")
    made = address.written(tmp_path)
    assert made["README.md"].count(SITE) == 1 and f"{HOME}/actions" in made["README.md"]
    assert yaml.safe_load(made["CITATION.cff"])["repository-code"] == HOME
    for name, text in made.items():
        (tmp_path / name).write_text(text, "utf-8")
    (tmp_path / "_config.yml").write_text(settings.replace(HOME, ""), "utf-8")
    assert "github.com/Owner" not in "".join(address.written(tmp_path).values())
