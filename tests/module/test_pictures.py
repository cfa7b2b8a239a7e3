"""Pictures as cameras, microscopes and exporters leave them."""

import os
import re
import struct
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from focalbook.pictures import Unusable, find, opened

RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
RAMP = np.linspace(0, 65535, 30).astype(np.uint16)[None].repeat(20, 0)


def saved(path, image, **options):
    image.save(path, **options)
    return path


def pixels(path, side=1000):
    """What is opened, (H, W, 3) or (H, W), and the size that it is said to have."""
    picture, size = opened(path, side)
    assert picture.size == size and picture.mode in ("RGB", "F")
    return np.asarray(picture)


def unusable(path):
    with pytest.raises(Unusable) as caught:
        opened(path, 8)
    return caught.value.reason, caught.value.found


# ---- pixels ----


ORDINARY = {
    "png": ("RGB", "L", "P", "1"),
    "jpg": ("RGB", "L", "CMYK", "YCbCr"),
    "tif": ("RGB", "L", "P", "1", "CMYK", "YCbCr", "LAB"),
    "gif": ("RGB", "L", "P", "1"),
    "bmp": ("RGB", "L", "P", "1"),
}


@pytest.mark.parametrize("kind, mode", [(kind, mode) for kind, modes in ORDINARY.items() for mode in modes])
def test_8_bits_without_transparency_are_pillows_own_rgb(tmp_path, kind, mode):
    path = saved(tmp_path / f"a.{kind}", Image.fromarray(COLORS).convert(mode))
    with Image.open(path) as image:
        assert (pixels(path) == np.asarray(image.convert("RGB"))).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_opaque_is_the_same_and_what_is_transparent_lies_on_black(tmp_path, mode):
    image = Image.fromarray(COLORS).convert(mode)
    plain = np.asarray(image.convert("RGB"))
    assert (pixels(saved(tmp_path / "opaque.png", image)) == plain).all()
    alpha = np.zeros((20, 30), np.uint8)
    alpha[:, 10:20], alpha[:, 20:] = 128, 255
    image.putalpha(Image.fromarray(alpha))
    found = pixels(saved(tmp_path / "a.png", image))
    assert (found[:, :10] == 0).all() and (found[:, 20:] == plain[:, 20:]).all()
    assert (abs(found[:, 10:20] - plain[:, 10:20] * (128 / 255)) <= 1).all()


@pytest.mark.parametrize("mode, clear", [("P", 1), ("L", 200), ("RGB", (200, 200, 200)), ("1", 255)])
def test_a_value_that_stands_for_transparent_is_black(tmp_path, mode, clear):
    image = Image.new(mode, (2, 1), {"P": 1}.get(mode, clear))
    if mode == "P":
        image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), {"P": 0, "L": 90, "RGB": (90, 90, 90), "1": 0}[mode])
    found = pixels(saved(tmp_path / "a.png", image, transparency=clear))
    other = {"P": [255, 0, 0], "1": [0, 0, 0]}.get(mode, [90] * 3)
    assert found[0].tolist() == [[0, 0, 0], other]


@pytest.mark.parametrize(
    "kind, mode", [("png", "I;16"), ("jp2", "I;16"), ("tif", "I;16"), ("tif", "I;16B"), ("tif", "I;16L")]
)
def test_16_bits_go_from_0_to_255(tmp_path, kind, mode):
    raw = RAMP.astype(">u2" if mode.endswith("B") else "<u2").tobytes()
    found = pixels(saved(tmp_path / f"a.{kind}", Image.frombytes(mode, (30, 20), raw)))
    assert found.dtype == np.float32 and found.min() == 0 and found.max() == 255
    np.testing.assert_allclose(found, RAMP / 257, atol=1e-4)


def test_32_bits_that_fit_16_are_scaled_alike_and_others_have_no_white(tmp_path):
    path = tmp_path / "a.tif"
    np.testing.assert_allclose(pixels(saved(path, Image.fromarray(RAMP.astype(np.int32)))), RAMP / 257, atol=1e-4)
    for values, found in ((RAMP.astype(np.int32) + 1, "mode I, values 1 to 65536"), (RAMP - 5.0, "mode F")):
        values = values.astype(np.int32) if values.dtype != float else values.astype(np.float32)
        assert unusable(saved(path, Image.fromarray(values))) == ("image without a fixed white", found)
    assert unusable(saved(path, Image.fromarray(np.full((4, 4), -1, np.int32))))[1] == "mode I, values -1 to -1"


def test_a_gray_map_is_scaled_by_the_largest_value_that_it_names(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 1023\n" + np.array([0, 511, 1023], ">u2").tobytes())
    np.testing.assert_allclose(pixels(tmp_path / "a.pgm"), [[0, 511 / 1023 * 255, 255]], atol=0.01)


def tiff(bits, photometric, data):
    """A TIFF of one row of four gray pixels, entry by entry."""
    tags = {256: 4, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 0, 277: 1, 278: 1, 279: len(data)}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags.items()
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + data


def test_a_tiff_of_12_bits_or_with_white_at_0_is_as_bright_as_it_should_be(tmp_path):
    path, values = tmp_path / "a.tif", np.array([0, 100, 40000, 65535], "<u2")
    path.write_bytes(tiff(16, 1, values.tobytes()))
    np.testing.assert_allclose(pixels(path)[0], values / 257, atol=1e-4)
    path.write_bytes(tiff(16, 0, values.tobytes()))
    np.testing.assert_allclose(pixels(path)[0], 255 - values / 257, atol=1e-4)
    path.write_bytes(tiff(12, 1, bytes([0xFF, 0xF0, 0x00, 0x80, 0x00, 0x00])))
    np.testing.assert_allclose(pixels(path)[0], [255, 0, 2048 / 4095 * 255, 0], atol=1e-4)


def test_of_several_frames_it_is_the_first(tmp_path):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    for kind in ("gif", "png", "tif", "webp"):
        path = saved(tmp_path / f"a.{kind}", frames[0], save_all=True, append_images=frames[1:])
        assert abs(pixels(path).astype(int) - [255, 0, 0]).max() <= 3


# ---- which side is up ----


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.transpose(1, 0, 2), 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["png", "tif", "webp"])
def test_every_turn_is_turned_back(tmp_path, orientation, kind):
    options = {"lossless": True} if kind == "webp" else {}
    path = saved(tmp_path / f"a.{kind}", Image.fromarray(COLORS), exif=turned(orientation), **options)
    assert (pixels(path) == UPRIGHT[orientation](COLORS)).all()


def test_16_bits_are_turned_back_too(tmp_path):
    found = pixels(saved(tmp_path / "a.png", Image.fromarray(RAMP), exif=turned(6)))
    np.testing.assert_allclose(found, np.rot90(RAMP, -1) / 257, atol=1e-4)


def exif(kind, count, value):
    """A block with an orientation of this type of TIFF."""
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI", 0x0112, kind, count) + value + bytes(4)


ODD = {
    "0": exif(3, 1, b"\0\0\0\0"),
    "9": exif(3, 1, b"\x09\0\0\0"),
    "65535": exif(3, 1, b"\xff\xff\0\0"),
    "a text": exif(2, 2, b"6\0\0\0"),
    "two numbers": exif(3, 2, b"\x06\0\x06\0"),
    "a float": exif(11, 1, struct.pack("<f", 6)),
    "bytes": exif(7, 1, b"\x06\0\0\0"),
    "a pointer to nowhere": exif(3, 9, b"\xff\xff\xff\x7f"),
}


def test_the_block_of_these_tests_is_one():
    block = Image.Exif()
    block.load(exif(3, 1, b"\x06\0\0\0"))
    assert dict(block) == {0x0112: 6}


@pytest.mark.parametrize("block", ODD.values(), ids=ODD)
@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_an_orientation_that_is_none_means_upright(tmp_path, block, kind):
    path = saved(tmp_path / f"a.{kind}", Image.fromarray(COLORS), exif=block)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert opened(path, 8)[1] == (30, 20) and pixels(path).shape == (20, 30, 3)


@pytest.mark.parametrize(
    "block",
    [b"", b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0XX*\0\x08\0\0\0", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01", b"no"],
)
@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_a_corrupt_exif_block_means_upright_without_a_word(tmp_path, block, kind):
    path = saved(tmp_path / f"a.{kind}", Image.fromarray(COLORS), exif=block)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert opened(path, 8)[1] == (30, 20) and pixels(path).shape == (20, 30, 3)


def test_a_large_jpeg_comes_smaller_and_keeps_its_size(tmp_path):
    path = saved(tmp_path / "a.jpg", Image.new("RGB", (1600, 800), "red"), exif=turned(6))
    picture, size = opened(path, 64)
    assert size == (800, 1600) and picture.size == (100, 200)


# ---- what cannot be opened ----


def header(width, height):
    """The start of a PNG, which is all that Pillow reads of a picture that it refuses for its size."""
    start = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((13, start), (0, b"IDAT"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", n) + c + struct.pack(">I", zlib.crc32(c)) for n, c in chunks
    )


@pytest.mark.parametrize("side", [10_000, 20_000])  # Pillow warns of the one and refuses the other
def test_too_many_pixels_are_a_reason_of_their_own(tmp_path, side):
    (tmp_path / "a.png").write_bytes(header(side, side))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        reason, found = unusable(tmp_path / "a.png")
    assert reason == "image of too many pixels" and found == f"{side**2}, at most {Image.MAX_IMAGE_PIXELS}"
    assert caught == []


def test_a_limit_of_ones_own_counts(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", Image.fromarray(COLORS))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 599)
    assert unusable(path) == ("image of too many pixels", "600, at most 599")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    assert opened(path, 8)[1] == (30, 20)


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "tif", "webp", "bmp"])
def test_a_truncated_file_is_unreadable(tmp_path, kind):
    path = saved(tmp_path / f"a.{kind}", Image.fromarray(COLORS))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    reason, found = unusable(path)
    assert reason == "image unreadable" and found and "\n" not in found and str(tmp_path) not in found


def test_no_picture_is_unreadable(tmp_path):
    path = tmp_path / "a.png"
    for content in (b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"II*\0\xff\xff\xff\xff"):
        path.write_bytes(content)
        assert unusable(path) == ("image unreadable", "no picture that Pillow knows")
    path.write_bytes(b"P6 0 5 255\n")
    assert unusable(path)[0] == "image unreadable"
    path.unlink()
    assert unusable(path) == ("image unreadable", "No such file or directory")


def test_a_lack_of_memory_is_no_fault_of_the_picture(tmp_path, monkeypatch):
    def fail(self):
        raise MemoryError

    path = saved(tmp_path / "a.png", Image.fromarray(COLORS))
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(MemoryError):
        opened(path, 8)


def test_a_lack_of_pillow_is_no_fault_of_the_picture(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ModuleNotFoundError):
        opened(tmp_path / "a.png", 8)


# ---- names ----


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images" / "day").mkdir(parents=True)
    for name in ("a.png", "images/b.png", "images/day/c.png", "e\u0301.png", "a b%.png", "wget%20c.png"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    "name, stored",
    [
        ("a.png", "a.png"),
        ("./a.png", "a.png"),
        ("b.png", "images/b.png"),
        ("images/../a.png", "a.png"),
        (r"images\day\c.png", "images/day/c.png"),
        (r"day\c.png", "images/day/c.png"),
        ("day%2Fc.png", "images/day/c.png"),
        ("\u00e9.png", "e\u0301.png"),
        ("%C3%A9.png", "e\u0301.png"),
        ("a b%.png", "a b%.png"),
        ("a%20b%25.png", "a b%.png"),
        ("wget c.png", "wget%20c.png"),
        ("a.png\n", "a.png"),
    ],
)
def test_a_file_is_found_however_its_name_was_written(folder, name, stored):
    assert find(folder, name) == folder / stored == find(str(folder), name)


def test_the_name_as_it_is_written_comes_first(folder):
    for name in (r"day\c.png", "%61.png", "\u00e9.png", " a.png"):
        (folder / name).touch()
        assert find(folder, name) == folder / name


@pytest.mark.parametrize(
    "name, found",
    [
        ("A.PNG.", ""),
        ("n" * 100_000, ""),
        ("a.png\0", ""),
        ("\0", ""),
        ("a.png%00", ""),
        ("\ud800.png", ""),
        ("images", "a folder"),
        ("day", "a folder"),
        (".", "a folder"),
        (" ", "a folder"),
        ("a.png/a.png", ""),
    ],
)
def test_a_file_that_is_not_there_is_missing(folder, name, found):
    with pytest.raises(Unusable) as caught:
        find(folder, name)
    assert (caught.value.reason, caught.value.found) == ("image missing", found)


@pytest.mark.parametrize(
    "name",
    [
        "../x.png",
        "../../x.png",
        "images/../../x.png",
        "/x.png",
        r"..\x.png",
        r"C:\x.png",
        r"\\host\x.png",
        "..%2Fx.png",
        "..",
    ],
)
def test_a_path_that_leads_out_is_told(folder, name):
    (folder.parent / "x.png").touch()
    with pytest.raises(Unusable, match="^image path out of the folder$"):
        find(folder, name)


def test_a_path_out_of_the_folder_that_leads_to_its_neighbor_of_a_like_name_leads_out(folder):
    (folder.parent / f"{folder.name}2").mkdir()
    (folder.parent / f"{folder.name}2" / "a.png").touch()
    with pytest.raises(Unusable, match="out of the folder"):
        find(folder, f"../{folder.name}2/a.png")
    assert find(folder, f"../{folder.name}/a.png") == folder / "a.png"  # out and in again


def test_a_link_is_no_way_out_and_a_folder_may_be_named_from_here(folder, monkeypatch):
    os.symlink(folder, folder.parent / "link")
    assert find(folder.parent / "link", "b.png") == folder.parent / "link" / "images" / "b.png"
    monkeypatch.chdir(folder.parent)
    assert find(folder.name, "a.png") == folder / "a.png"
    assert find(folder.name, str(folder / "a.png")) == folder / "a.png"


def test_what_is_wrong_is_said_in_one_line():
    assert str(Unusable("image missing")) == "image missing" and isinstance(Unusable("a"), ValueError)
    assert re.fullmatch("image missing: a folder", str(Unusable("image missing", "a folder")))
