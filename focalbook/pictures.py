"""Pictures as cameras, microscopes and exporters leave them: found by name, opened as RGB or gray (chapter 21)."""

import os
import re
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

WHOLE = 2**31 - 1
"""The ``side`` for which ``opened`` gives every picture in its own pixels."""

_ORIENTATION = 0x0112  # Exif; values above 4 lie on their side
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_BITS, _PHOTOMETRIC = 258, 262  # TIFF


class Unusable(ValueError):
    """What cannot be learned from: ``reason``, the kind of fault, and ``found``, what was found there, both texts
    (chapter 21)."""

    def __init__(self, reason: str, found: str = "") -> None:
        super().__init__(f"{reason}: {found}" if found else reason)
        self.reason, self.found = reason, found


def find(folder: str | Path, name: str, within: Sequence[str] = ("", "images")) -> Path:
    """The file of that ``name`` in ``folder``, in the first of the places ``within`` it that has one: an absolute path
    without "..".

    The name counts as it is written; where there is no such file, also with the slashes of Windows, in the other forms
    of Unicode, and from or to the percent signs of a URL. Raises ``Unusable`` where there is none, and for a name that
    leads out of the folder, in which only the path's text counts: a link to another place is no way out. Explained in
    chapter 21.
    """
    root = os.path.abspath(folder)
    outside, found = PureWindowsPath(name).is_absolute(), ""
    for spelling in _spellings(name):
        inside = os.path.normpath(os.path.join(root, spelling))
        if not Path(inside).is_relative_to(root):
            outside = True
            continue
        for path in (os.path.normpath(os.path.join(root, place, spelling)) for place in within):
            if os.path.isfile(path):  # False, and no error, for a name that is too long for the file system
                return Path(path)
            if os.path.isdir(path):
                found = "a folder"
    raise Unusable("image path out of the folder" if outside and not found else "image missing", found)


def _spellings(name: str) -> dict[str, None]:
    """The name as it is written, and what other systems would have written for it, each once and in this order."""
    texts = [name, name.strip(), name.replace("\\", "/")]
    texts += [unquote(text) for text in texts] + [quote(name, errors="replace")]
    texts += [unicodedata.normalize(form, text) for text in texts for form in ("NFC", "NFD")]
    return dict.fromkeys(text for text in texts if "\0" not in text)  # some Pythons cut a path there


def opened(path: Path, side: int) -> tuple["Image", tuple[int, int]]:
    """The picture in a file, upright, and its (width, height) in pixels; a JPEG comes smaller where it is far larger
    than ``side``.

    It comes in Pillow's mode RGB, from 0 to 255; gray of 16 bits in mode F, also from 0 to 255, which 65535 becomes.
    What is transparent lies on black. Of several frames or pages it is the first. An Exif orientation that is none
    means upright. Raises ``Unusable`` for a file that is broken or no picture, for floats and for integers beyond 16
    bits, where no value is white by rule, and for more pixels than Pillow's ``MAX_IMAGE_PIXELS``. Needs Pillow.
    Explained in chapter 21.
    """
    return examined(path, side)[:2]


def examined(path: Path, side: int) -> tuple["Image", tuple[int, int], int]:
    """What ``opened`` gives, and the picture's Exif orientation, from 1 to 8, as ``decoded`` wants it (chapter 21)."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a corrupt Exif block does not hinder, and the reader cannot mend it
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return _upright(path, side, None)


def decoded(path: Path, side: int, orientation: int) -> "Image":
    """The picture that ``opened`` gives, where its ``orientation`` is known: for threads, because all threads of a
    process share the filters of warnings that a first look needs. Raises as ``opened`` does (chapter 21)."""
    return _upright(path, side, orientation)[0]


def _upright(path: Path, side: int, known: int | None) -> tuple["Image", tuple[int, int], int]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            size = image.size
            image.draft("RGB", (side, side))  # decodes no more of a JPEG than is needed, several times faster
            image.load()  # first, because a TIFF is set upright by it
            orientation = known or _orientation(image)
            flat = _flat(image)
        if orientation in _TURNS:
            flat = flat.transpose(Image.Transpose[_TURNS[orientation]])
        return flat, size[::-1] if orientation > 4 else size, orientation
    except (Unusable, MemoryError):  # a lack of memory is no fault of the file
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        count = re.findall(r"\d+", str(error))[0]
        raise Unusable("image of too many pixels", f"{count}, at most {Image.MAX_IMAGE_PIXELS}") from None
    except Exception as error:  # whatever a decoder raises at a broken file
        raise Unusable("image unreadable", _why(error)) from None


def _orientation(image: "Image") -> int:
    """From 1, upright, to 8."""
    try:
        with warnings.catch_warnings():
            # Of several values Pillow takes the first, with a warning: none of them is sure.
            warnings.filterwarnings("error", f"Metadata Warning, tag {_ORIENTATION} ")
            value = image.getexif().get(_ORIENTATION)
    except Exception:  # whatever Pillow raises at a corrupt block
        return 1
    return value if type(value) is int and value in _TURNS else 1


def _flat(image: "Image") -> "Image":
    """RGB without transparency, or gray as floats."""
    from PIL import Image

    if image.mode.startswith("I"):
        return Image.fromarray(_gray(image))
    if image.mode == "F":
        raise Unusable("image without a fixed white", "mode F")
    if not image.has_transparency_data:
        return image.convert("RGB")
    clear = image.convert("RGBA")
    flat = Image.new("RGB", image.size)
    flat.paste(clear, mask=clear.getchannel("A"))
    return flat


def _gray(image: "Image") -> np.ndarray:
    """Integers of 16 bits as (H, W) float32 from 0 to 255."""
    values = np.asarray(image)
    least, most = values.min(), values.max()
    if least < 0 or most > 65535:
        raise Unusable("image without a fixed white", f"mode {image.mode}, values {least} to {most}")
    tags = getattr(image, "tag_v2", {})  # of a TIFF, where Pillow leaves 12 bits and white at 0 as they are
    white = np.float32(4095 if tags.get(_BITS) == (12,) else 65535)
    scaled = values.astype(np.float32) * np.float32(255) / white
    return 255 - scaled if tags.get(_PHOTOMETRIC) == 0 else scaled


def _why(error: Exception) -> str:
    """What a decoder says, without the path."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "no picture that Pillow knows"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).split("\n")[0][:80]
