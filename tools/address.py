"""The repository's address, where it cannot be asked for: ``repository: url`` in ``_config.yml`` is its one place.

    python -m tools.address             write it into the files below
    python -m tools.address --site      print where the site is published, or nothing while there is no address

On the site ``book/_ext/published.py`` turns on all that needs an address. A README, a citation and the settings of
GitHub cannot ask, so this writes them, and a test holds them to what it would write.
"""

import re
import sys
from pathlib import Path

import yaml

from tasks import ROOT

sys.path.append(str(ROOT / "book" / "_ext"))

from published import site_of  # noqa: E402

BEGIN, END = "<!-- made by tools/address.py -->", "<!-- until here -->"
NAME = "focal-loss-book"
UNKNOWN = "The book has no public address yet: this folder is all of it."


def readme(url: str, branch: str) -> str:
    """What the README says on where the book is."""
    site = site_of(url)
    if not site:
        return UNKNOWN
    slug, first = url.removeprefix("https://github.com/"), "book/01-imbalance.ipynb"
    latest = f"{url}/releases/latest/download/{NAME}"
    return f"""\
[![CI]({url}/actions/workflows/ci.yml/badge.svg)]({url}/actions/workflows/ci.yml)
[![Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/{slug}/{branch}?urlpath=lab/tree/{first})
[![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/{slug}/blob/{branch}/{first})

**Read it** at <{site}>, as [PDF]({latest}.pdf) or as [ePub]({latest}.epub); **show it** with the
[slides]({latest}-slides.zip); **run it** after `git clone {url}`."""


def citation(text: str, url: str) -> str:
    """The citation file with the two lines that name the address, or without them."""
    text = re.sub(r"^(?:repository-code|url): .*\n", "", text, flags=re.MULTILINE)
    lines = f"repository-code: {url}\nurl: {site_of(url)}\n" if site_of(url) else ""
    return text.replace("license:\n", lines + "license:\n", 1)


def written(root: Path) -> dict[str, str]:
    """The files that name the address, by name, as they should be."""
    repository = yaml.safe_load((root / "_config.yml").read_text("utf-8"))["repository"]
    url, branch = repository["url"].removesuffix(".git").rstrip("/"), repository["branch"]
    if url and not site_of(url):
        raise SystemExit(f"focalbook: repository: url must be https://github.com/OWNER/NAME or empty, got {url}")
    before, rest = (root / "README.md").read_text("utf-8").split(BEGIN)
    after = rest.split(END)[1]
    return {
        "README.md": f"{before}{BEGIN}\n{readme(url, branch)}\n{END}{after}",
        "CITATION.cff": citation((root / "CITATION.cff").read_text("utf-8"), url),
    }


def main(arguments: list[str]) -> int:
    if arguments == ["--site"]:
        url = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["repository"]["url"]
        print(site_of(url.rstrip("/")))
        return 0
    for name, text in written(ROOT).items():
        (ROOT / name).write_text(text, "utf-8")
        print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
