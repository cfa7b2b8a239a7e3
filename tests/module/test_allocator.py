"""Memory that a step frees is kept, where the C library can."""

import ctypes
import platform
import sys

import pytest

from focalbook.allocator import keep_freed_memory


class Library:
    """A C library that accepts no parameter, or has no such function."""

    def __init__(self, accepts):
        if accepts is not None:
            self.mallopt = lambda parameter, value: accepts


@pytest.mark.parametrize("accepts, kept", [(1, True), (0, False), (None, False)])
def test_it_says_whether_the_c_library_keeps_memory(monkeypatch, accepts, kept):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library(accepts))
    assert keep_freed_memory() is kept


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_are_left_alone(monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", None)
    assert keep_freed_memory() is False


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_glibc_keeps_freed_memory():
    assert keep_freed_memory() is True
