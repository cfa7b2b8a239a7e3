"""Make the site whole without a network, and light: nothing is loaded that a page does not need.

Of two fonts, the one for formulas and the one for the theme's icons, only the characters that the pages show are kept.
The theme's second copy of all icons, a script, goes. The still picture of an explorer waits until it is seen. Places in
figures have two digits after the point.
"""

import base64
import hashlib
import html
import io
import re
from pathlib import Path

import pydata_sphinx_theme
import ziamath
from fontTools import subset
from mends import demand, mend, read

FORMULAS = Path(ziamath.__file__).parent / "fonts" / "STIXTwoMath-Regular.ttf"
THEME = Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme" / "static"
ICONS, STYLE = "vendor/fontawesome/webfonts", "styles/pydata-sphinx-theme.css"
NEEDLESS = (
    "**/*.map",
    "*webpack-macros.html",
    "scripts/fontawesome.js*",
    "vendor/fontawesome/webfonts/*.ttf",
    "locales/**/*",
)
ITALIC = {0x210E, *range(0x1D434, 0x1D468), *range(0x1D6FC, 0x1D71C)}  # a browser slants single letters by itself
ROOT = {0x221A}  # a browser draws this sign itself, around what is in <msqrt>
ICON = re.compile(r"fa-[\w-]+")
FORMULA = re.compile(r"<math.*?</math>", re.DOTALL)
PLACES = re.compile(r'(?<= d=")[^"]*|(?<= [xy]=")[^"]*|(?<=translate\()[^)]*')
BEYOND = re.compile(r"(\.\d\d)\d+")
# A script hands the font over whole, before the first formula is drawn, so that nothing moves; a style sheet is for
# browsers without scripts.
FACE = {
    "formulas.js": """{
  const font = Uint8Array.from(atob("%s"), (one) => one.charCodeAt(0));
  document.fonts.add(new FontFace("formulas", font));
}
""",
    "formulas.css": '@font-face { font-family: formulas; src: url("data:font/woff2;base64,%s") format("woff2"); }\n',
}
STILL = re.compile(r'(<figure class="explorer[^>]*>\s*<img)(?! loading)')
ICON_SCRIPT = re.compile(r"<script[^>]*fontawesome\.js[^>]*></script>")
MENDS = {"explorers' pictures wait": (STILL, r'\1 loading="lazy"'), "no script of icons": (ICON_SCRIPT, "")}


def keep(characters, source):
    """A font with these characters only, as WOFF2."""
    options = subset.Options(flavor="woff2", layout_features=["ssty"], hinting=False, name_IDs=["*"])  # its license too
    content = io.BytesIO()
    with subset.load_font(str(source), options) as font:
        chosen = subset.Subsetter(options)
        chosen.populate(unicodes=characters)
        chosen.subset(font)
        subset.save_font(font, content, options)
    return content.getvalue()


def store_the_font(static, pages):
    """Store the font for the formulas of these pages, and return the mend that puts its version into links to it."""
    formulas = "".join(formula for text in pages.values() for formula in FORMULA.findall(text))
    data = base64.b64encode(keep(set(map(ord, html.unescape(formulas))) | ITALIC | ROOT, FORMULAS)).decode()
    for name, face in FACE.items():
        (static / name).write_text(face % data, "utf-8")
    version = f"formulas.js?v={hashlib.sha256(data.encode()).hexdigest()[:8]}"  # else a browser keeps an older font
    return re.compile(r"formulas\.js(\?v=\w+)?"), version


def store_the_icons(static, pages):
    """Store the font of the theme's icons with those that pages or the theme's scripts show. Returns their codes."""
    scripts = (path.read_text("utf-8") for path in static.rglob("*.js"))
    shown = set(ICON.findall("".join([*pages.values(), *scripts])))
    icons = re.findall(r"([^{}]*)\{content:\"\\([0-9a-f]+)\"\}", (THEME / STYLE).read_text("utf-8"))
    wanted = {int(code, 16) for names, code in icons if shown & set(ICON.findall(names))}
    (static / ICONS / "fa-solid-900.woff2").write_bytes(keep(wanted, THEME / ICONS / "fa-solid-900.ttf"))
    return wanted


def round_figures(images):
    """Cut the places in figures to two digits after the point, and the indentation; figures are drawn as before."""
    for path in images.glob("*.svg"):
        text = PLACES.sub(lambda places: BEYOND.sub(r"\1", places[0]), path.read_text("utf-8"))
        path.write_text(re.sub(r"(?<=\n) +", "", text), "utf-8")


def lighten(app, error):
    if error is not None or app.builder.name != "html":
        return
    static = Path(app.outdir, "_static")
    needless = {f"no {pattern}": [path for path in static.glob(pattern) if path.is_file()] for pattern in NEEDLESS}
    for path in {path for paths in needless.values() for path in paths}:
        path.unlink()
    round_figures(Path(app.outdir, "_images"))
    pages = read(app)
    needed = {"icons that are shown": store_the_icons(static, pages)}
    demand(app, {name: len(found) for name, found in {**needless, **needed}.items()})
    mend(app, pages, {**MENDS, "version of the formulas' font": store_the_font(static, pages)})


def link_what_stands_in_for_scripts(app, page, template, context, doctree):
    if app.builder.name != "html":
        return
    sheets = [context["pathto"](f"_static/{name}.css", 1) for name in ("formulas", "no-scripts")]
    links = "".join(f'<link rel="stylesheet" href="{sheet}">' for sheet in sheets)
    context["metatags"] = f"{context.get('metatags', '')}<noscript>{links}</noscript>"


def setup(app):
    app.setup_extension("mends")
    app.add_js_file("formulas.js")
    app.connect("html-page-context", link_what_stands_in_for_scripts)
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
