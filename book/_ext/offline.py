"""Make the site whole without a network, and light: nothing is loaded that a page does not need.

Of two fonts, the one for formulas and the one for the theme's icons, only the characters that the pages show are kept.
The theme's second copy of all icons, a script, goes. The still picture of an explorer waits until it is seen.
"""

import base64
import html
import io
import re
from pathlib import Path

import pydata_sphinx_theme
import ziamath
from fontTools import subset

FORMULAS = Path(ziamath.__file__).parent / "fonts" / "STIXTwoMath-Regular.ttf"
THEME = Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme" / "static"
ICONS, STYLE = "vendor/fontawesome/webfonts", "styles/pydata-sphinx-theme.css"
NEEDLESS = ("*.map", "scripts/fontawesome.js*", "vendor/fontawesome/webfonts/*.ttf", "locales/**/*")
ITALIC = {0x210E, *range(0x1D434, 0x1D468), *range(0x1D6FC, 0x1D71C)}  # a browser slants single letters by itself
FORMULA = re.compile(r"<math.*?</math>", re.DOTALL)
# Within a style sheet the font is there before the first formula is drawn: nothing moves when it comes.
FACE = '@font-face { font-family: formulas; src: url("data:font/woff2;base64,%s") format("woff2"); }\n'
STILL = re.compile(r'(<figure class="explorer[^>]*>\s*<img)')
ICON_SCRIPT = re.compile(r"<script[^>]*fontawesome\.js[^>]*></script>")


def keep(characters, source):
    """A font with these characters only, as WOFF2."""
    options = subset.Options(flavor="woff2", layout_features=["ssty"], hinting=False)
    font = subset.load_font(str(source), options)
    chosen = subset.Subsetter(options)
    chosen.populate(unicodes=characters)
    chosen.subset(font)
    content = io.BytesIO()
    subset.save_font(font, content, options)
    return content.getvalue()


def lighten(app, error):
    if error is not None or app.builder.format != "html":
        return
    out = Path(app.outdir)
    pages = {path: path.read_text("utf-8") for path in out.rglob("*.html")}
    for path, text in pages.items():
        path.write_text(STILL.sub(r'\1 loading="lazy"', ICON_SCRIPT.sub("", text)), "utf-8")
    formulas = "".join(formula for text in pages.values() for formula in FORMULA.findall(text))
    letters = set(map(ord, html.unescape(formulas))) | ITALIC
    data = base64.b64encode(keep(letters, FORMULAS)).decode()
    (out / "_static" / "formulas.css").write_text(FACE % data, "utf-8")
    shown = set(re.findall(r"fa-[\w-]+", "".join(pages.values()))) | {"fa-xmark", "fa-chevron-down"}
    icons = re.findall(r"([^{}]*)\{content:\"\\([0-9a-f]+)\"\}", (THEME / STYLE).read_text("utf-8"))
    wanted = {int(code, 16) for names, code in icons if shown & set(re.findall(r"fa-[\w-]+", names))}
    (out / "_static" / ICONS / "fa-solid-900.woff2").write_bytes(keep(wanted, THEME / ICONS / "fa-solid-900.ttf"))
    for pattern in NEEDLESS:
        for path in (out / "_static").glob(pattern):
            path.unlink() if path.is_file() else None


def setup(app):
    app.add_css_file("formulas.css")
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
