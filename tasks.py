"""The project's commands, the same on every platform: python3 tasks.py COMMAND (make COMMAND calls this).

book      build the site into _build/html
serve     build it, then serve it on 127.0.0.1 (serve 8001 for another port)
lab       open the chapters and the exercises in JupyterLab
test      unit tests, every stored output re-computed and compared, the site built and checked
          (what follows goes to pytest: test book/04-focal-loss.ipynb)
test-site drive the built site through Chromium, every page light and dark, wide and narrow (part of test where it is)
test-matrix  run every notebook elsewhere: another folder, user, language, processor, Python (test-matrix 04 for one)
check     style, spelling, types, and how much of focalbook its unit tests cover
links     ask every outside link of the book whether it still answers
verify    run every cell, compare every output, print a table, and stamp what held (verify 04 for one)
student   write the exercises without their solutions into course/exercises, by nbgrader (student 04 for one)
run       re-execute every notebook and store its outputs (run 04 for one)
evidence  make the recorded runs that are missing or out of date (evidence verdict for one study), saying first how long
evidence-check  name those, then make a sample of every study again and compare
constraints  renew the pinned packages that others bring, and keep them if all holds with them
bench     measure speed and memory of the loss beside others, into _build/bench
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
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
SITE = ROOT / "_build" / "html"
OLDEST = (3, 11)
JUPYTER_BOOK = ("-c", "from jupyter_book.cli.main import main; main()")  # a script would break when the folder moves
BUILD = ("-W", "--keep-going", "-n", "--quiet", "--all")  # a warning is an error, and nothing stays of a former build
ROOM = 3e9  # bytes that an installation takes, about


def fail(message):
    sys.exit("focalbook: " + message)


def call(*command, **environment):
    """Run .venv's Python with these arguments in the project's folder; leave with its exit status if it fails."""
    status = subprocess.call([str(PYTHON), *command], cwd=str(ROOT), env=dict(os.environ, **environment))
    if status:
        sys.exit(status)


def wanted():
    """What an installation depends on, as a hash: it is made anew when this changes, or the folder moves."""
    parts = [(ROOT / name).read_bytes() for name in ("requirements.txt", "constraints.txt", "pyproject.toml")]
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
    if subprocess.call(pip + ["install", "--quiet", "-r", "requirements.txt"], cwd=str(ROOT)):
        fail("the installation failed, see above: is there a network, and room on the disk? then try again")
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


def book():
    install()
    print("building the site", flush=True)
    call(*JUPYTER_BOOK, "build", ".", *BUILD)
    print("the site is in %s" % (SITE / "index.html"))


def serve(port="8000"):
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


def lab():
    install()
    student()
    print("opening JupyterLab: chapters in book, exercises in course/exercises (Ctrl+C twice stops)", flush=True)
    call("-m", "jupyterlab", "--ip=127.0.0.1", "--ServerApp.default_url=/lab/tree/book/01-imbalance.ipynb")


def student(*names):
    install()
    call("tools/student.py", *names)


def test(*arguments):
    install()
    print("unit tests, every stored output compared, the site built: some minutes", flush=True)
    options = ["--nbval", "--nbval-current-env", "--doctest-modules", "-n", "2", "--dist", "loadfile"]
    call("-m", "pytest", *options, *arguments)
    print("all holds")


def test_site():
    install()
    files = ["tests/test_site.py", "tests/test_browser.py", "tests/test_explorers.py"]
    call("-m", "pytest", *files, "-n", "2", "--dist", "loadfile", FOCALBOOK_BROWSER="1")


def test_matrix(*names):
    install()
    call("tools/matrix.py", *names)


def check():
    install()
    call("-m", "ruff", "check")
    call("-m", "ruff", "format", "--check", "--quiet")
    call("-m", "codespell_lib")
    call("-m", "mypy")
    names = sorted(path.stem for path in (ROOT / "focalbook").iterdir()) + ["sigmoid_focal_loss"]
    files = ["tests/test_%s.py" % name for name in names if (ROOT / "tests" / ("test_%s.py" % name)).exists()]
    options = ["-q", "-m", "not slow", "-n", "2", "--dist", "loadfile", "--cov", "--cov-report", "term"]
    call("-m", "pytest", *files, *options, OMP_NUM_THREADS="1")


def constraints():
    install()
    call("tools/renew.py")


def links():
    install()
    call(*JUPYTER_BOOK, "build", ".", "--builder", "linkcheck")


def verify(*names):
    install()
    call("tools/verify.py", *names)


def run(*names):
    install()
    call("tools/execute.py", *names, FOCALBOOK_QUIET="1", OMP_NUM_THREADS="1")


def evidence(*arguments):
    install()
    call("-m", "focalbook.experiments", *arguments)


def evidence_check(*arguments):
    install()
    call("-m", "focalbook.experiments", "--check", *arguments)
    call("-m", "focalbook.experiments", "--verify", *arguments)


def bench():
    install()
    call("tools/bench.py")


def clean():
    for folder in (SITE.parent, VENV):
        shutil.rmtree(str(folder), ignore_errors=True)
        print("removed %s" % folder)


TASKS = (book, serve, lab, test, test_site, test_matrix, check, links, verify, student, run)
TASKS += (evidence, evidence_check, constraints, bench, clean)
ALONE = ("book", "lab", "test-site", "check", "links", "constraints", "bench", "clean")  # these take no arguments
COMMANDS = {task.__name__.replace("_", "-"): task for task in TASKS}


def main(arguments):
    if sys.version_info < OLDEST:
        cure = "make PYTHON=python3.12, or py -3.12 tasks.py on Windows"
        fail("needs Python %d.%d or newer, this is %d.%d: %s" % (OLDEST + sys.version_info[:2] + (cure,)))
    if not arguments or arguments[0] not in COMMANDS:
        print(__doc__)
        sys.exit(0 if arguments in ([], ["help"]) else 2)
    name, rest = arguments[0], arguments[1:]
    if rest and name in ALONE or len(rest) > 1 and name == "serve":
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
