"""The commands: what goes wrong on a newcomer's machine is said in one line with its cure."""

import collections
import errno
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import tasks


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A project folder where nothing is installed, and no program is run."""
    for name in ("requirements.txt", "requirements-trees.txt", "constraints.txt", "pyproject.toml"):
        (tmp_path / name).write_text("")
    monkeypatch.setattr(tasks, "ROOT", tmp_path)
    monkeypatch.setattr(tasks, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(tasks, "PYTHON", tmp_path / ".venv" / "python")
    monkeypatch.setattr(tasks.subprocess, "call", lambda *a, **k: pytest.fail("a program was run"))
    return tmp_path


def made(folder):
    (folder / ".venv").mkdir()
    (folder / ".venv" / "python").touch()


def message(call, *arguments):
    with pytest.raises(SystemExit) as stop:
        call(*arguments)
    text = str(stop.value)
    assert text.startswith("focalbook: ") and "\n" not in text
    return text


def test_an_old_python_is_told_which_one_it_needs(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    assert "3.11 or newer, this is 3.10: make PYTHON=" in message(tasks.main, ["book"])


def test_a_missing_venv_module_names_the_package_to_install(fresh, monkeypatch):
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    assert "apt install python3-venv" in message(tasks.install)


def test_too_little_disk_is_said_before_anything_is_installed(fresh, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 5e8))
    assert "0.5 GB are free: make room" in message(tasks.install)
    assert not (fresh / ".venv").exists()


def test_a_disk_that_fills_up_on_the_way_is_one_line(fresh, monkeypatch):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(tasks.COMMANDS, "book", full)
    assert "the disk is full" in message(tasks.main, ["book"])


def test_a_failed_installation_is_not_taken_for_a_done_one(fresh, monkeypatch):
    made(fresh)
    monkeypatch.setattr(tasks.subprocess, "call", lambda command, **k: int("install" in command))
    assert "the installation failed" in message(tasks.install)
    assert not list((fresh / ".venv").glob("installed*"))


def test_a_finished_installation_is_not_repeated_until_the_requirements_change(fresh, monkeypatch):
    calls = []
    made(fresh)
    monkeypatch.setattr(tasks.subprocess, "call", lambda command, **k: calls.append(command) or 0)
    tasks.install()
    once = len(calls)
    tasks.install()
    assert len(calls) == once > 0
    for name in ("requirements.txt", "requirements-trees.txt"):
        (fresh / name).write_text("numpy\n")
        tasks.install()
        assert len(calls) > once
        once = len(calls)


def test_the_trees_come_without_what_their_code_needs(fresh, monkeypatch):
    calls = []
    made(fresh)
    monkeypatch.setattr(tasks.subprocess, "call", lambda command, **k: calls.append(command[1:]) or 0)
    tasks.install()
    installed = [command[command.index("--no-compile") + 1 :] for command in calls if "install" in command]
    assert installed == [["-r", "requirements.txt"], ["--no-deps", "-r", "requirements-trees.txt"]]
    assert "deepforest==" in (Path(tasks.__file__).parent / "requirements-trees.txt").read_text("utf-8")


def test_a_port_in_use_is_named_before_anything_is_built(monkeypatch):
    monkeypatch.setattr(tasks, "book", lambda: pytest.fail("the site was built"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} is in use" in message(tasks.serve, str(port))


@pytest.mark.parametrize("port", ["eighty", "99999"])
def test_a_port_that_is_none_is_named_before_anything_is_built(monkeypatch, port):
    monkeypatch.setattr(tasks, "book", lambda: pytest.fail("the site was built"))
    assert f"got {port}" in message(tasks.serve, port)


@pytest.mark.parametrize("arguments", [("clean", "x"), ("book", "x"), ("serve", "1", "2")])
def test_an_argument_too_many_is_named(arguments):
    assert "does not take" in message(tasks.main, list(arguments))


def test_an_unknown_command_shows_the_list_and_fails(capsys):
    with pytest.raises(SystemExit) as stop:
        tasks.main(["bok"])
    assert stop.value.code == 2
    shown = capsys.readouterr().out
    assert all(f"\n{name} " in shown for name in tasks.COMMANDS)


def test_jupyterlab_listens_on_this_machine_alone(monkeypatch):
    calls = []
    monkeypatch.setattr(tasks, "install", lambda *extra: None)
    monkeypatch.setattr(tasks, "call", lambda *command, **environment: calls.append(command))
    tasks.main(["lab"])
    assert ["--ip=127.0.0.1" in command for command in calls if "jupyterlab" in command] == [True]


@pytest.mark.parametrize("user, allowed", [(0, True), (1000, False)])
def test_jupyterlab_starts_for_root_too_as_in_a_container(monkeypatch, user, allowed):
    calls = []
    monkeypatch.setattr(tasks, "install", lambda: None)
    monkeypatch.setattr(tasks, "call", lambda *command, **environment: calls.append(command))
    monkeypatch.setattr(tasks.os, "geteuid", lambda: user, raising=False)
    tasks.main(["lab"])
    assert ["--allow-root" in command for command in calls if "jupyterlab" in command] == [allowed]


def test_the_served_site_listens_on_this_machine_alone(monkeypatch):
    addresses = []
    monkeypatch.setattr(tasks, "book", lambda: None)
    monkeypatch.setattr(
        tasks.http.server.ThreadingHTTPServer, "serve_forever", lambda self: addresses.append(self.socket.getsockname())
    )
    tasks.main(["serve", "0"])
    assert [host for host, port in addresses] == ["127.0.0.1"]


def test_a_folder_that_cannot_be_written_is_one_line(fresh, monkeypatch):
    def refuse():
        raise OSError(errno.EROFS, "Read-only file system", "/book/.venv")

    monkeypatch.setitem(tasks.COMMANDS, "book", refuse)
    assert "/book/.venv cannot be written: make its folder writable" in message(tasks.main, ["book"])


def test_the_readme_names_every_command_and_no_other():
    named = set(re.findall(r"\bmake ([a-z-]+)\b(?!=)", (tasks.ROOT / "README.md").read_text("utf-8")))
    assert named - {"sure"} == set(tasks.COMMANDS) - {"clean"}


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_make_hands_every_target_on(tmp_path):
    command = ["make", "--no-print-directory", "-n", "book", "test", "evidence-check"]
    told = subprocess.run(command, cwd=tasks.ROOT, capture_output=True, encoding="utf-8")
    assert told.stdout.split("\n")[:3] == [f"python3 tasks.py {name}" for name in ("book", "test", "evidence-check")]
