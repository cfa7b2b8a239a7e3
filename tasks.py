"""The project's commands, the same on every platform: python3 tasks.py COMMAND (make COMMAND calls this)."""

# Only the standard library, and no syntax newer than Python 3.6: an old Python must get as far as its error message.
import errno
import functools
import hashlib
import http.server
import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
SITE = ROOT / "_build" / "html"
OLDEST = (3, 11)
JUPYTER_BOOK = ("-c", "from jupyter_book.cli.main import main; main()")  # a script would break when the folder moves
BUILD = ("-W", "--keep-going", "-n", "--quiet", "--all")  # a warning is an error, and nothing stays of a former build
# One more than there are cores, because tests wait too: for browsers and for answers that hang. conftest.py says what
# stays together on one.
WORKERS = ("-n", str((os.cpu_count() or 1) + 1))
TEST = ("-m", "pytest", "--nbval", "--nbval-current-env", "--doctest-modules") + WORKERS
ROOM = 3e9  # bytes that an installation takes, about
COMMANDS = {}


def command(task):
    """Make a command of a function: of its name, its first line and its arguments."""
    COMMANDS[task.__name__.replace("_", "-")] = task
    return task


def python_of(venv):
    """The Python of a virtual environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


PYTHON = python_of(VENV)
REQUIREMENTS = (("requirements.txt",), ("requirements-trees.txt", "--no-deps"))  # each with pip's options


def fail(message):
    sys.exit("focalbook: " + message)


def call(*command, **environment):
    """Run .venv's Python with these arguments in the project's folder; leave with its exit status if it fails."""
    status = subprocess.call([str(PYTHON), *command], cwd=str(ROOT), env=dict(os.environ, **environment))
    if status:
        sys.exit(status)


def wanted():
    """What an installation depends on, as a hash: it is made anew when this changes, or the folder moves."""
    names = [name for name, *_ in REQUIREMENTS] + ["constraints.txt", "pyproject.toml"]
    parts = [(ROOT / name).read_bytes() for name in names]
    return hashlib.sha256(b"\0".join([str(ROOT).encode()] + parts)).hexdigest()


def install():
    """Make .venv with the requirements, unless that is done."""
    stamp = VENV / "installed"
    if stamp.exists() and stamp.read_text() == wanted():
        return
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check"]
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if not PYTHON.exists() or subprocess.call(pip + ["--version"], **quiet):
        make_venv()
    print("installing requirements.txt into .venv: a few minutes, once", flush=True)
    for name, *options in REQUIREMENTS:
        if subprocess.call(pip + ["install", "--quiet", "--no-compile"] + options + ["-r", name], cwd=str(ROOT)):
            fail("the installation failed, see above: is there a network, and room on the disk? then try again")
    # pip compiles on one core, this on all. What does not compile, such as a template, is imported by nothing.
    subprocess.call([str(PYTHON), "-m", "compileall", "-qq", "-j0", str(VENV)], **quiet)
    stamp.write_text(wanted())


def make_venv():
    free = shutil.disk_usage(str(ROOT)).free
    if free < ROOM:
        fail("installing needs about %.0f GB of disk, %.1f GB are free: make room" % (ROOM / 1e9, free / 1e9))
    print("making .venv", flush=True)
    try:
        import ensurepip  # noqa: F401
        import venv

        venv.create(str(VENV), with_pip=True, clear=True)
    except (ImportError, subprocess.CalledProcessError):
        fail("this Python cannot make virtual environments: install python3-venv (apt install python3-venv)")


@command
def book():
    """build the site into _build/html"""
    install()
    print("building the site", flush=True)
    call(*JUPYTER_BOOK, "build", ".", *BUILD)
    print("the site is in %s" % (SITE / "index.html"))


@command
def serve(port=os.environ.get("PORT", "8000")):
    """build it, then serve it on 127.0.0.1 (serve 8001, or make serve PORT=8001, for another port)"""

    class Server(http.server.ThreadingHTTPServer):
        allow_reuse_address = os.name != "nt"  # on Windows it would let two servers have one port

    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(SITE))
    try:
        server = Server(("127.0.0.1", int(port)), handler)
    except (ValueError, OverflowError):
        fail("the port must be a number from 0 to 65535, got %s" % port)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        fail("port %s is in use or not allowed: choose another (make serve PORT=8001)" % port)
    with server:
        book()
        print("serving the site on http://127.0.0.1:%s (Ctrl+C stops)" % server.server_address[1], flush=True)
        server.serve_forever()


@command
def pdf():
    """print the book into _build/focal-loss-book.pdf, by Chromium"""
    install()
    print("printing the book: some minutes", flush=True)
    call("-m", "tools.editions.pdf")


@command
def epub():
    """write the book as an ePub, _build/focal-loss-book.epub"""
    install()
    call("-m", "tools.editions.epub")


@command
def slides():
    """make the lecture of 90 minutes, a deck and its handout, in _build/slides"""
    install()
    call("-m", "tools.editions.slides")


@command
def bundle():
    """make all of them and the site, and pack them with the notebooks into _build/bundle"""
    book()
    for edition in (pdf, epub, slides):
        edition()
    call("-m", "tools.editions.bundle")


@command
def lab():
    """open the chapters, and the exercises without their solutions, in JupyterLab"""
    install()
    student()
    print("opening JupyterLab: chapters in book, exercises in course/exercises (Ctrl+C twice stops)", flush=True)
    as_root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # the usual user of a container
    call("-m", "jupyterlab", "--ip=127.0.0.1", "--ServerApp.default_url=/lab/tree/book/01-imbalance.ipynb", *as_root)


@command
def student(*names):
    """write the exercises without their solutions into course/exercises, by nbgrader (student 04 for one)"""
    install()
    call("-m", "tools.student", *names)


@command
def test(*arguments):
    """unit tests, every stored output re-computed and compared, the site built and checked
    (what follows goes to pytest: test book/04-focal-loss.ipynb)"""
    install()
    print("unit tests, every stored output compared, the site built: some minutes", flush=True)
    call(*TEST, *arguments)
    print("all holds")


@command
def test_site():
    """drive the built site through Chromium, every page light and dark, wide and narrow (part of test where it is)"""
    install()
    call("-m", "pytest", "tests/site", *WORKERS, FOCALBOOK_BROWSER="1")


@command
def test_matrix(*names):
    """run every notebook elsewhere: another folder, user, language, processor, Python (test-matrix 04 for one)"""
    install()
    call("-m", "tools.matrix", *names)


@command
def check():
    """style, spelling, types, and how much of focalbook its unit tests cover"""
    install()
    call("-m", "ruff", "check")
    call("-m", "ruff", "format", "--check", "--quiet")
    call("-m", "codespell_lib")
    call("-m", "mypy")
    call("-m", "pytest", "tests/module", "-q", "-m", "not slow", *WORKERS, "--cov", "--cov-report", "term")


@command
def links():
    """ask every outside link of the book whether it still answers"""
    install()
    call(*JUPYTER_BOOK, "build", ".", "--builder", "linkcheck")


@command
def verify(*names):
    """run every cell, compare every output, print a table, and stamp what held (verify 04 for one)"""
    install()
    call("-m", "tools.verify", *names)


@command
def run(*names):
    """re-execute every notebook and store its outputs (run 04 for one)"""
    install()
    call("-m", "tools.run", *names)


@command
def evidence(*arguments):
    """make the recorded runs that are missing or out of date (evidence verdict for one study), saying first how long"""
    install()
    call("-m", "focalbook.evidence", *arguments)


@command
def evidence_check(*arguments):
    """name those, then make a sample of every study again and compare"""
    install()
    call("-m", "focalbook.evidence", "--check", *arguments)
    call("-m", "focalbook.evidence", "--verify", *arguments)


@command
def constraints():
    """renew the pinned packages that others bring, and keep them if all holds with them"""
    install()
    call("-m", "tools.renew")


@command
def bench():
    """measure speed and memory of the loss beside others, into _build/bench"""
    install()
    call("-m", "tools.bench")


@command
def gpu(*arguments):
    """ask a GPU what only a GPU can tell: tests, scenes, speed, studies, into book/measured (gpu loss for one stage)"""
    install()
    call("-m", "tools.gpu", *arguments)


@command
def clean():
    """remove what was built, and .venv"""
    for folder in (SITE.parent, VENV):
        shutil.rmtree(str(folder), ignore_errors=True)
        print("removed %s" % folder)


def help_text():
    """The commands, each with its first line."""
    lines = [__doc__, ""]
    for name, task in COMMANDS.items():
        first, *more = task.__doc__.splitlines()
        lines += ["%-16s%s" % (name, first)] + [" " * 16 + line.strip() for line in more]
    return "\n".join(lines)


def main(arguments):
    if sys.version_info < OLDEST:
        cure = "make PYTHON=python3.12, or py -3.12 tasks.py on Windows"
        fail("needs Python %d.%d or newer, this is %d.%d: %s" % (OLDEST + sys.version_info[:2] + (cure,)))
    if not arguments or arguments[0] not in COMMANDS:
        print(help_text())
        sys.exit(0 if arguments in ([], ["help"]) else 2)
    name, rest = arguments[0], arguments[1:]
    try:
        inspect.signature(COMMANDS[name]).bind(*rest)
    except TypeError:
        fail("%s does not take %s" % (name, " ".join(rest)))
    try:
        COMMANDS[name](*rest)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            fail("%s cannot be written: make its folder writable, or work in a copy of the project" % error.filename)
        if error.errno != errno.ENOSPC:
            raise
        fail("the disk is full: make room and try again")


if __name__ == "__main__":
    main(sys.argv[1:])
