"""The book as ePub 3, made of the sources of the site: ``make epub``.

Sphinx writes it; what ``epubcheck`` and readers' programs would complain of is mended in the archive.
"""

import re
import sys
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path

import focalbook
from tools.editions import BUILT, DATE, NAME, build

STYLE = Path(__file__).with_suffix(".css")
IDENTIFIER = uuid.uuid5(uuid.NAMESPACE_DNS, f"{NAME} {focalbook.__version__}").urn  # one a version
SETTINGS = {
    "epub_basename": NAME,
    "epub_title": "The Focal Loss Book",
    "epub_description": "From cross-entropy to focal loss, and to a RetinaNet that you train yourself.",
    "epub_contributor": "The focal loss book's authors",
    "epub_copyright": "CC BY 4.0 (text and figures), BSD 3-Clause (code)",
    "epub_identifier": IDENTIFIER,
    "epub_scheme": "UUID",
    "epub_uid": "BookId",
    "epub_language": "en",
    "epub_tocscope": "includehidden",
    "epub_tocdup": False,
    "epub_show_urls": "no",
    "epub_css_files": [],
    "version": focalbook.__version__,
    "html_extra_path": [],
}
KEPT = ("_static/pygments.css", "_static/epub.css", "_static/file.png")  # the rest is for browsers
CODE = re.compile(r"<summary[^>]*>\s*<p[^>]*>Show the code of this figure<.*?</summary>", re.DOTALL)
SOLUTION = re.compile(r"<summary[^>]*>\s*<p[^>]*>Show a solution<.*?</summary>", re.DOTALL)
LISTED = re.compile(r'(<a href="book/0?(\d+)-[^"/]*">)')  # a chapter in the contents
POINT = re.compile(r'<text>([^<]*</text>\s*</navLabel>\s*<content src="book/0?(\d+)-[^"/]*")')  # in the old ones
MENDS = {
    ".svg": (
        (re.compile(r"<!DOCTYPE svg.*?>\s*", re.DOTALL), ""),
        (re.compile(r"<path(?![^>]*\bd=)"), '<path d="M0 0"'),  # a space, which other elements refer to
        (re.compile(r'(<image\b[^>]*?)\sid="image[0-9a-f]{10}"'), r"\1"),  # the same picture twice has its name twice
    ),
    ".xhtml": (
        (re.compile(r"<script\b.*?(?:</script>|/>)", re.DOTALL), ""),
        (re.compile(rf'<link rel="stylesheet"(?![^>]*(?:{"|".join(KEPT)}))[^>]*>'), ""),
        (re.compile(r'<meta name="viewport"[^>]*>(?=\s*<meta name="viewport")'), ""),
        (re.compile(r"<style scoped.*?</style>\s*", re.DOTALL), ""),  # of a table that pandas shows
        (re.compile(r"(<table\b[^>]*?) border=\"1\""), r"\1"),
        (re.compile(r"<math\b(?![^>]*\bxmlns)"), '<math xmlns="http://www.w3.org/1998/Math/MathML"'),  # HTML knows it
        # What these say holds without them; epubcheck knows MathML 3, where they stand on other elements.
        (re.compile(r'(<mtable\b[^>]*?) scriptlevel="0"'), r"\1"),
        (re.compile(r'<mfrac displaystyle="false">'), "<mfrac>"),
        (CODE, "<summary>The code of this figure</summary>"),
        (SOLUTION, "<summary>A solution</summary>"),
        (LISTED, r"\g<1>\g<2>. "),
        (re.compile(r'(<nav epub:type="toc")>'), r'\g<1> class="numbered">'),  # by chapters, and not by its list
        (re.compile(r"(<title>Table of Contents</title>)"), r"\g<1><style>.numbered ol { list-style: none; }</style>"),
    ),
    ".ncx": (
        (re.compile(r'(name="dtb:uid" content=")[^"]*'), rf"\g<1>{IDENTIFIER}"),
        (POINT, r"<text>\g<2>. \g<1>"),
    ),
}


def left_out(name: str) -> bool:
    """Whether a file of Sphinx's archive serves browsers only."""
    return name.startswith("_static/") and name not in KEPT


def package(text: str, files: Mapping[str, str]) -> str:
    """The list of all files: without those left out, and with what each page has in it besides text."""
    for line in re.findall(r"<item [^>]*/>", text):
        name = re.search(r'href="([^"]*)"', line)[1]
        marks = {"mathml": "<math", "svg": "<svg"} if name.endswith(".xhtml") else {}
        kinds = " ".join(kind for kind, mark in marks.items() if mark in files[name])
        if left_out(name):
            text = text.replace(line, "")
        elif kinds:
            text = text.replace(line, line.replace("<item ", f'<item properties="{kinds}" '))
    return text


def mended(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of an archive, mended, in their order."""
    texts = {}
    for name, content in files.items():
        if Path(name).suffix in (*MENDS, ".opf", ".css") and not left_out(name):
            texts[name] = content.decode()
            for pattern, replacement in MENDS.get(Path(name).suffix, ()):
                texts[name] = pattern.sub(replacement, texts[name])
    texts["_static/epub.css"] += STYLE.read_text("utf-8")
    texts["content.opf"] = package(texts["content.opf"], texts)
    return {name: texts[name].encode() if name in texts else files[name] for name in files if not left_out(name)}


def main() -> int:
    made = build("epub", **SETTINGS) / f"{NAME}.epub"
    with zipfile.ZipFile(made) as archive:
        files = mended({name: archive.read(name) for name in archive.namelist()})
    target = BUILT / f"{NAME}.epub"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():  # the first is the type, and must not be compressed
            kind = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name, DATE), content, kind)
    print(f"{target.stat().st_size / 1e6:.1f} MB: {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
