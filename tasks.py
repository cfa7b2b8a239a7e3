"""The project's commands, the same on every platform: python3 tasks.py COMMAND (make COMMAND calls this).

book      build the site into _build/html
serve     build it, then serve it on 127.0.0.1 (serve 8001 for another port)
lab       open the notebooks in JupyterLab
test      unit tests, every stored output re-computed and compared, the site built and checked
run       re-execute every notebook and store its outputs (run NAME for one)
evidence  make the recorded runs that are missing
clean     remove what was built, and .venv
"""

# Only the standard library, and no syntax newer than Python 3.6: an old Python must get as far as its error message.
import errno
import functools
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
SITE = ROOT / "_build" / "html"
OLDEST = (3, 11)
BUILD = ("-W", "--keep-going", "-n", "--quiet")  # a warning, a missing reference included, is an error
ROOM = 3e9  # bytes that an installation takes, about


def fail(message):
    sys.exit("focalbook: " + message)


def call(*command, **environment):
    """Run a program of .venv in the project's folder; leave with its exit status if it fails."""
    status = subprocess.call([str(part) for part in command], cwd=str(ROOT), env=dict(os.environ, **environment))
    if status:
        sys.exit(status)


def wanted():
    """What the installation depends on, as a hash: it is made anew when this changes."""
    parts = [(ROOT / name).read_bytes() for name in ("requirements.txt", "constraints.txt", "pyproject.toml")]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def install(*extra):
    """Make .venv with the requirements, or add ``extra`` to it, unless that is done."""
    stamp = VENV / "-".join(("installed",) + extra)
    if stamp.exists() and stamp.read_text() == wanted():
        return
    free = shutil.disk_usage(str(ROOT)).free
    if free < ROOM:
        fail("installing needs about %.0f GB of disk, %.1f GB are free: make room" % (ROOM / 1e9, free / 1e9))
    pip = [str(BIN / "python"), "-m", "pip", "--disable-pip-version-check"]
    if not BIN.exists() or subprocess.call(pip + ["--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        make_venv()
    print("installing %s into .venv: a few minutes, once" % (", ".join(extra) or "requirements.txt"), flush=True)
    what = ["-c", "constraints.txt"] + list(extra) if extra else ["-r", "requirements.txt"]
    if subprocess.call(pip + ["install", "--quiet"] + what, cwd=str(ROOT)):
        fail("the installation failed, see above: is there a network, and room on the disk? then try again")
    stamp.write_text(wanted())


def make_venv():
    print("making .venv", flush=True)
    cure = "this Python cannot make virtual environments: install python3-venv (apt install python3-venv)"
    try:
        import ensurepip  # noqa: F401

        venv.create(str(VENV), with_pip=True, clear=True)
    except (ImportError, subprocess.CalledProcessError):
        fail(cure)


def book():
    install()
    print("building the site", flush=True)
    call(BIN / "jupyter-book", "build", ".", *BUILD)
    print("the site is in %s" % (SITE / "index.html"))


def serve(port="8000"):
    book()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(SITE))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), handler)
    except ValueError:
        fail("the port must be a number, got %s" % port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        fail("port %s is in use: stop what uses it, or choose another (make serve PORT=8001)" % port)
    print("serving the site on http://127.0.0.1:%s (Ctrl+C stops)" % port, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()


def lab():
    install()
    install("jupyterlab")
    print("opening JupyterLab on book/ (Ctrl+C twice stops)", flush=True)
    call(BIN / "jupyter", "lab", "--ip=127.0.0.1", "book")


def test(*arguments):
    install()
    print("unit tests, every stored output compared, the site built", flush=True)
    options = ["--nbval", "--nbval-current-env", "--doctest-modules", "-n", "2", "--dist", "loadfile"]
    call(BIN / "python", "-m", "pytest", *options, *arguments)
    print("all holds")


def run(*names):
    install()
    call(BIN / "python", "tools/execute.py", *names, FOCALBOOK_QUIET="1", OMP_NUM_THREADS="1")


def evidence():
    install()
    call(BIN / "python", "-m", "focalbook.experiments")


def clean():
    for folder in (SITE.parent, VENV):
        shutil.rmtree(str(folder), ignore_errors=True)
        print("removed %s" % folder)


COMMANDS = {task.__name__: task for task in (book, serve, lab, test, run, evidence, clean)}


def main(arguments):
    if sys.version_info < OLDEST:
        fail(
            "needs Python %d.%d or newer, this is %d.%d: make PYTHON=python3.12 book" % (OLDEST + sys.version_info[:2])
        )
    if not arguments or arguments[0] not in COMMANDS:
        print(__doc__)
        sys.exit(0 if arguments in ([], ["help"]) else 2)
    try:
        COMMANDS[arguments[0]](*arguments[1:])
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        fail("the disk is full: make room and try again")


if __name__ == "__main__":
    main(sys.argv[1:])
