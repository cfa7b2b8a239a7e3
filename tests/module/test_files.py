"""How files are written: whole or not at all."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from focalbook import files
from focalbook.files import cure, write

ROOT = Path(files.__file__).parent.parent
WRITER = """
import os, sys, time
from pathlib import Path
from focalbook.files import write

path, letter, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if times == 0:
    os.replace = lambda *arguments: print("now", flush=True) or time.sleep(60)
for _ in range(times or 1):
    write(path, letter * 10**6)
"""


def writer(path, letter, times):
    """Another process that writes a million of one letter; with 0 times it waits before it is done."""
    return subprocess.Popen([sys.executable, "-c", WRITER, path, letter, str(times)], cwd=ROOT, stdout=subprocess.PIPE)


@pytest.mark.parametrize("content, written", [("é\n", b"\xc3\xa9\n"), ("", b""), (b"\r\n\xff\x00", b"\r\n\xff\x00")])
def test_text_and_bytes_are_written_whole_with_their_folders_and_nothing_beside_them(tmp_path, content, written):
    path = tmp_path / "a" / "new" / "file.json"
    write(path, content)
    assert path.read_bytes() == written and list(path.parent.iterdir()) == [path]


def test_a_file_gives_way_to_the_next(tmp_path):
    path = tmp_path / "file"
    for content in ("a long text", b"short"):
        write(path, content)
    assert path.read_bytes() == b"short" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "number, told",
    [
        (errno.ENOSPC, "the disk is full: make room and try again"),
        (errno.EDQUOT, "the disk is full: make room and try again"),
        (errno.EROFS, "run.json cannot be written: make its folder writable, or work in a copy of the project"),
        (errno.EACCES, "run.json cannot be written: make its folder writable, or work in a copy of the project"),
        (errno.EPERM, "run.json cannot be written: make its folder writable, or work in a copy of the project"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
    ids=lambda value: errno.errorcode.get(value, "") if isinstance(value, int) else "",
)
def test_a_write_that_fails_leaves_the_file_before_alone_and_is_told_with_its_cure(tmp_path, monkeypatch, number, told):
    def fails(source, target):
        raise OSError(number, os.strerror(number), target)

    path = tmp_path / "run.json"
    write(path, "before")
    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError) as stopped:
        write(path, "after")
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
    assert told in cure(stopped.value) and "\n" not in cure(stopped.value)


def test_a_disk_that_fills_up_half_way_leaves_the_file_before_and_no_part_of_the_next(tmp_path, monkeypatch):
    def half(path, content, whole=Path.write_bytes):
        whole(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "file"
    write(path, "before")
    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError):
        write(path, "after")
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="Windows renames over no file that another process reads")
def test_two_processes_that_write_the_same_file_never_mix(tmp_path):
    path = tmp_path / "file"
    write(path, "c" * 10**6)
    seen = set()
    with writer(path, "a", 100) as one, writer(path, "b", 100) as other:
        while one.poll() is None or other.poll() is None:
            text = path.read_text("utf-8")
            assert len(text) == 10**6 and len(set(text)) == 1
            seen.add(text[0])
    assert one.returncode == other.returncode == 0 and len(seen) > 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_killed_while_it_writes_leaves_the_file_before_and_nothing_that_git_sees(tmp_path):
    path = tmp_path / "file"
    write(path, "before")
    with writer(path, "a", 0) as process:
        assert process.stdout.readline() == b"now\n"
        process.kill()
    assert path.read_text("utf-8") == "before"
    assert [left.suffix for left in tmp_path.iterdir() if left != path] == [".part"]
    assert "*.part" in (ROOT / ".gitignore").read_text("utf-8").split()
    write(path, "after")
    assert path.read_text("utf-8") == "after"
