"""Checkpoints: torch reads them, and not a bit of them may change."""

import hashlib
import io
import random
import zipfile

import pytest
import torch

from focalbook import checkpoints

CONTENT = {"weights": torch.arange(1000.0), "losses": [0.5, 0.25], "identity": {"sizes": (4, 8), "clip": None}}


@pytest.fixture
def path(tmp_path):
    checkpoints.save(tmp_path / "run.pt", CONTENT)
    return tmp_path / "run.pt"


def same(found):
    return torch.equal(found["weights"], CONTENT["weights"]) and all(
        found[key] == CONTENT[key] for key in ("losses", "identity")
    )


def test_what_was_saved_comes_back(path):
    assert same(checkpoints.read(path))


def test_torch_and_zip_read_it_too(path):
    assert same(torch.load(path, weights_only=True))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None and len(archive.comment) == 32


def test_any_flipped_bit_is_noticed(path):
    whole = path.read_bytes()
    places = {0, 1, len(whole) - 1, len(whole) - 33, *random.Random(0).sample(range(len(whole)), 60)}
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="run.pt is no checkpoint of this book, or is damaged: delete it"):
            checkpoints.read(path)


def test_a_file_that_torch_alone_has_saved_is_none(tmp_path):
    torch.save(CONTENT, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="other.pt is no checkpoint of this book"):
        checkpoints.read(tmp_path / "other.pt")


def test_a_file_of_an_earlier_version_is_told_apart_from_a_damaged_one(tmp_path):
    content = io.BytesIO()
    torch.save(CONTENT, content)
    old = hashlib.sha256(content.getvalue()).digest() + content.getvalue()
    (tmp_path / "old.pt").write_bytes(old)
    with pytest.raises(ValueError, match="old.pt was saved by an earlier version of this book: train again"):
        checkpoints.read(tmp_path / "old.pt")
    (tmp_path / "old.pt").write_bytes(old[:-1])
    with pytest.raises(ValueError, match="damaged"):
        checkpoints.read(tmp_path / "old.pt")
