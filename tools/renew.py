"""Renew constraints.txt: install afresh what requirements.txt pins, test with it, and only then put it in place.

    python -m tools.renew

The fresh installation is _build/renew/venv; what it brought is written to _build/renew/constraints.txt. If the whole
test command holds with it, that file replaces constraints.txt and what changed is printed; otherwise it stays where it
is. Change a pin in requirements.txt first to renew that too.
"""

import json
import os
import re
import subprocess
import sys
import venv

from tasks import REQUIREMENTS as FILES
from tasks import ROOT, TEST, python_of

REQUIREMENTS, CONSTRAINTS = ROOT / "requirements.txt", ROOT / "constraints.txt"
FOLDER = ROOT / "_build" / "renew"
PYTHON = python_of(FOLDER / "venv")
HEADER = (
    "# What a tested installation brought beside requirements.txt; "
    "torch is left to find its own needs on each platform.\n"
)
NEVER = {"focalbook", "pip", "setuptools", "wheel"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
PIN = re.compile(rf"({NAME.pattern})(?:\[.*?\])?==([^\s;#]+)")


def normal(name):
    """The name under which packages are compared: PyYAML and pyyaml are one."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text):
    """The pinned lines of a requirements file: normal name -> version."""
    return {normal(pin[1]): pin[2] for pin in map(PIN.match, text.splitlines()) if pin}


def graph(installed):
    """Normal name -> normal names that it needs, from what ``pip inspect`` says; what only an extra needs aside."""
    return {
        normal(package["name"]): {
            normal(NAME.match(need)[0]) for need in package.get("requires_dist", ()) if "extra ==" not in need
        }
        for package in (entry["metadata"] for entry in installed)
    }


def reachable(needs, roots):
    """All that these packages need, themselves included."""
    found, todo = set(), list(roots)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += needs.get(name, ())
    return found


def constraints(installed, direct):
    """The text of constraints.txt: all that is installed but the direct ones and what only torch needs."""
    needs = graph(installed)
    others = reachable(needs, set(direct) - {"torch"})
    left_out = NEVER | set(direct) | (reachable(needs, ["torch"]) - others)
    named = [(entry["metadata"]["name"], entry["metadata"]["version"]) for entry in installed]
    lines = [f"{name}=={version.split('+')[0]}" for name, version in named if normal(name) not in left_out]
    return HEADER + "".join(f"{line}\n" for line in sorted(lines, key=str.lower))


def changes(before, after):
    """What differs between two constraints files, one line each."""
    old, new = pins(before), pins(after)
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{name}: {old.get(name, 'new')} -> {new.get(name, 'gone')}"


def install():
    """Make the fresh installation; returns what it holds, as ``pip inspect`` says it."""
    print("installing afresh, without constraints: some minutes", flush=True)
    venv.create(FOLDER / "venv", with_pip=True, clear=True)
    free = FOLDER / "requirements.txt"
    lines = REQUIREMENTS.read_text("utf-8").splitlines(keepends=True)
    free.write_text("".join(line for line in lines if not line.startswith("-c")), "utf-8")
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check"]
    if subprocess.call([*pip, "install", "--quiet", "-r", str(free)], cwd=ROOT):
        sys.exit("the installation failed, see above: is there a network, and room on the disk? constraints.txt stays")
    inspected = subprocess.run([*pip, "inspect", "--local"], stdout=subprocess.PIPE, check=True).stdout
    for name, *options in FILES[1:]:  # after the look: what comes without its needs is no constraint
        if subprocess.call([*pip, "install", "--quiet", *options, "-r", name], cwd=ROOT):
            sys.exit(f"the installation of {name} failed, see above: is there a network? constraints.txt stays")
    return json.loads(inspected)["installed"]


def main():
    installed = install()
    before = CONSTRAINTS.read_text("utf-8")
    candidate = FOLDER / "constraints.txt"
    candidate.write_text(constraints(installed, pins(REQUIREMENTS.read_text("utf-8"))), "utf-8")
    changed = list(changes(before, candidate.read_text("utf-8")))
    print(*changed or ["nothing changes"], sep="\n")
    print("testing with it: unit tests, every stored output compared, the site built", flush=True)
    if subprocess.call([str(PYTHON), *TEST], cwd=ROOT):
        print(f"constraints.txt stays: see above what does not hold with {candidate}")
        return 1
    os.replace(candidate, CONSTRAINTS)
    print(f"constraints.txt renewed, {len(changed)} lines changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
