"""Everything that needs a GPU, by one command: tests, comparisons, measurements and studies, in stages.

    python -m tools.gpu                           every stage, the cheapest and most important first (make gpu)
    python -m tools.gpu loss step                 only these
    python -m tools.gpu --out FOLDER              writes there, in place of book/measured
    python -m tools.gpu studies --seconds 1800    gives a stage another time than its own
    python -m tools.gpu --device cpu --tiny       tries every stage where there is no GPU, in seconds, on toy sizes

A stage runs in a process of its own, which ends when its time is up. Its answers come part by part, and each is written
at once into gpu-STAGE.json: a stage that is started again goes on with the parts that are missing. Answers of another
device, torch or code are not mixed with new ones: they are made again.

What it needs beside torch, and how that gets to a machine without a network, says CONTRIBUTING.md.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from focalbook.files import cure, write
from focalbook.sources import sources_hash
from tasks import ROOT
from tools.gpu.stages import STAGES

OUT = ROOT / "book" / "measured"


def main(arguments=None):
    options = parsed(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("torch sees no CUDA device: run this where there is one, or try it with --device cpu --tiny")
        return 1
    try:
        if options.inside:
            return made(options.stages[0], options)
        return int(any([run(stage, options) for stage in options.stages]))
    except OSError as error:
        print(f"stopped, what was written stays: {cure(error)}")
        return 1


def parsed(arguments):
    parser = argparse.ArgumentParser(prog="python -m tools.gpu", description="Ask a GPU what only a GPU can tell.")
    known = ", ".join(f"{name} ({stage.seconds} s)" for name, stage in STAGES.items())
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {known}; all without a name")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the answers (book/measured)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, to see that everything runs")
    parser.add_argument("--seconds", type=int, help="time for each stage, in place of its own")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)  # this is the stage's own process
    options = parser.parse_args(arguments)
    unknown = [name for name in options.stages if name not in STAGES]
    if unknown:
        parser.error(f"there is no stage {unknown[0]!r}: choose from {', '.join(STAGES)}")
    options.stages = options.stages or list(STAGES)
    options.out = options.out.resolve()
    return options


def run(stage, options):
    """Run a stage in a process of its own and end it, with all that it started, when its time is up. Returns its exit
    status."""
    seconds = STAGES[stage].seconds if options.seconds is None else options.seconds
    print(f"{stage}: {STAGES[stage].question} (at most {seconds} s)", flush=True)
    command = [sys.executable, "-m", "tools.gpu", stage, "--inside", "--out", options.out, "--device", options.device]
    environment = os.environ | {"FOCALBOOK_QUIET": "1"}
    child = subprocess.Popen([*command, *["--tiny"] * options.tiny], cwd=ROOT, env=environment, start_new_session=True)
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        print("  its time is up; what was written stays, and the same command goes on", flush=True)
        return 1
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL) if hasattr(os, "killpg") else child.kill()
            child.wait()


def made(stage, options):
    """Make the parts of a stage that are missing, and write each as it comes. Returns the exit status."""
    path = options.out / f"gpu-{stage}.json"
    record = begun(path, identity(options.device, options.tiny, STAGES[stage].modules))
    bad = 0
    start = time.perf_counter()
    for name, work in STAGES[stage].parts(options.device, options.tiny, set(record["parts"])):
        if name in record["parts"]:
            continue
        try:
            answer = json.loads(json.dumps(work()))
        except Exception as error:  # one part's failure is no reason to lose the others
            bad = 1
            record["failed"][name] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            print(f"  {name}: failed, {record['failed'][name]}", flush=True)
        else:
            record["failed"].pop(name, None)
            record["parts"][name] = answer
            print(f"  {name}: {shown(answer)}", flush=True)
        now = time.perf_counter()
        record["seconds"][name], start = round(now - start, 2), now
        write(path, json.dumps(record, indent=1, sort_keys=True) + "\n")
    return bad


def begun(path, made_by):
    """The record of a stage so far, or a new one where there is none by the same device, torch and code."""
    try:
        record = json.loads(path.read_text("utf-8"))
        if {"parts", "failed", "seconds"} <= set(record) and record["made"] | {"date": made_by["date"]} == made_by:
            return record
        print(f"  {path.name} is of another device, torch, code or size: made again", flush=True)
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError):
        print(f"  {path.name} is broken: made again", flush=True)
    return {"made": made_by, "parts": {}, "failed": {}, "seconds": {}}


def identity(device, tiny, modules):
    """What an answer depends on beside the question, the code of these modules too; and its date."""
    cuda = device == "cuda"
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if cuda else "CPU",
        "driver": driver() if cuda else "",
        "cores": os.cpu_count(),
        "cuda": torch.version.cuda if cuda else "",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "sources": sources_hash(modules),
        "tiny": tiny,
    }


def driver():
    """The version of the GPU's driver, or "" where no program tells it."""
    ask = shutil.which("nvidia-smi")
    if not ask:
        return ""
    command = [ask, "--query-gpu=driver_version", "--format=csv,noheader"]
    return (subprocess.run(command, capture_output=True, text=True).stdout.split() or [""])[0]


def shown(answer):
    """An answer in one line: without what is long in it."""
    if isinstance(answer, dict):
        short = (f"{key} {json.dumps(value)}" for key, value in answer.items() if len(json.dumps(value)) <= 80)
        return ", ".join(short)
    return json.dumps(answer)


if __name__ == "__main__":
    sys.exit(main())
