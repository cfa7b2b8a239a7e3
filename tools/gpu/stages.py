"""The stages: what is asked of a GPU, part by part, and how long it may take.

``parts(device, tiny, done)`` gives pairs of a part's name and a function that answers it with something that JSON can
hold; what is ``done`` need not be given again.
"""

import ast
import contextlib
import importlib
import io
import json
import math
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock
from xml.etree import ElementTree

import torch

from focalbook import prose, training
from focalbook.evaluation import evaluate
from focalbook.fused import runs_on
from focalbook.reproducibility import scenes_hash
from focalbook.scenes import TEST, TRAIN, SceneSettings
from focalbook.sources import SOURCES
from focalbook.studies import AGAIN, MAP, STUDIES
from focalbook.training import PULSE, TrainSettings, new_model, train
from tasks import ROOT
from tools import bench, throughput

Parts = Iterator[tuple[str, Callable[[], Any]]]

LARGE = SceneSettings(size=192, distractors=30)
TOY = TrainSettings(steps=PULSE, batch=1, channels=8, scenes=SceneSettings(size=24, distractors=0))


class Stage(NamedTuple):
    """What it is there to answer, how many seconds it may take, its parts, and the modules that decide the answer."""

    question: str
    seconds: int
    parts: Callable[[str, bool, set[str]], Parts]
    modules: tuple[str, ...] = SOURCES


# ---- the tests that need a GPU ----

FILES = ("fused", "sigmoid_focal_loss", "drop_in", "scenes", "retinanet", "step")


def tests(device: str, tiny: bool, done: set[str]) -> Parts:
    with ThreadPoolExecutor() as pool:
        files = [name for name in (("step",) if tiny else FILES) if name not in done]
        futures = {name: pool.submit(tested, f"tests/module/test_{name}.py") for name in files}
        for name, future in futures.items():
            yield name, future.result


def tested(file: str) -> dict[str, Any]:
    """What the tests of a file say whose name has a GPU in it. Without the project's conftest.py, which asks for what
    only notebooks need."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = ["-m", "pytest", "--noconftest", "-q", "-p", "no:cacheprovider", "-W", "default", "-k", "gpu or cuda"]
        done = subprocess.run(
            [sys.executable, *command, f"--junitxml={report}", file],
            cwd=ROOT,
            env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
        )
        cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
    if not cases:
        raise RuntimeError(f"no test ran: {(done.stderr + done.stdout).strip().splitlines()[-1]}")
    bad = [(case, found) for case in cases for kind in ("failure", "error") for found in case.findall(kind)]
    failed = {case.get("name"): (found.get("message") or "").splitlines()[:1] for case, found in bad}
    skipped = sum(case.find("skipped") is not None for case in cases)
    return {"tests": len(cases), "skipped": skipped, "failed": failed}


# ---- the same scenes ----


def scenes(device: str, tiny: bool, done: set[str]) -> Parts:
    for name, settings in {"192 px": LARGE, **MAP}.items() if not tiny else [("24 px", TOY.scenes)]:
        yield name, partial(compared, settings, 4 if tiny else 10_000, device)
    yield "as float32", partial(alike, TOY.scenes if tiny else SceneSettings(), 4 if tiny else 10_000, device)
    yield "to be made again", partial(begun, TOY if tiny else TrainSettings(steps=PULSE), device)


def compared(settings: SceneSettings, count: int, device: str, batch: int = 100) -> dict[str, Any]:
    """The first ``count`` test scenes, from the CPU and from the device, in float64."""
    largest, same = 0.0, True
    for first in range(0, count, batch):
        indices = range(first, min(count, first + batch))
        ours, theirs = (settings.batch(indices, TEST, where, torch.float64) for where in ("cpu", device))
        largest = max(largest, (ours.images - theirs.images.cpu()).abs().max().item())
        same &= torch.equal(ours.boxes, theirs.boxes.cpu()) and torch.equal(ours.labels, theirs.labels.cpu())
    return {
        "scenes": count,
        "largest difference of a pixel": largest,
        "boxes and labels equal": same,
        "agree": largest <= 1e-9 and same,
    }


def alike(settings: SceneSettings, count: int, device: str, batch: int = 100) -> dict[str, int]:
    """How many numbers of the same scenes differ at all, where the images are cast to float32."""
    differing = numbers = 0
    for first in range(0, count, batch):
        indices = range(first, min(count, first + batch))
        ours, theirs = (settings.batch(indices, TEST, where).images for where in ("cpu", device))
        differing, numbers = differing + (ours != theirs.cpu()).sum().item(), numbers + ours.numel()
    return {"scenes": count, "numbers": numbers, "differing": differing}


def begun(settings: TrainSettings, device: str) -> dict[str, Any]:
    """What a reader without a GPU can make again: the hash of the first training scenes, and the losses of the first
    steps, in float64."""
    scenes = settings.scenes.batch(range(64), TRAIN, device, torch.float64)
    return {
        "scenes": scenes_hash(scenes),
        "losses": train("focal loss", 0, settings, device, torch.float64).losses,
    }


# ---- the loss ----


def loss(device: str, tiny: bool, done: set[str]) -> Parts:
    # The goal's size first; then where a detector's batch lies.
    for size in (1000,) if tiny else (16_000_000, 10**5, 10**6, 10**8, 10**7):
        for pages in ("as usual", "replayed") if device == "cuda" else ("as usual",):
            yield f"{size:,} logits, {pages}", partial(raced, size, device, pages, tiny)


@cache
def _fvcores() -> Callable[..., torch.Tensor]:
    return torch.jit.script(bench.torchvision_formula)


def fvcores(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The sum of fvcore's loss: torchvision's formula, scripted, as detectron2 calls it."""
    return _fvcores()(inputs, targets).sum()


def raced(size: int, device: str, pages: str, tiny: bool) -> dict[str, Any]:
    """All variants of the loss on so many logits, forward and backward, called from Python or "replayed", and what a
    copy on this device says of the least that any can take."""
    losses = bench.variants()
    if tiny:
        losses = {name: losses[name] for name in (bench.BASE, "focalbook")}
    else:
        losses |= {"fvcore's function": fvcores}
    rows = bench.measured(device, pages, size, losses)
    took = {row["variant"]: row["milliseconds"] for row in rows}
    return {
        "rows": rows,
        "kernel": "Triton" if device == "cuda" and runs_on(torch.device(device)) else "torch's operations",
        "times faster than torchvision's formula": round(took[bench.BASE] / took["focalbook"], 2),
        "times the floor": round(took["focalbook"] / took["limit"], 2),
    }


# ---- the step ----


def step(device: str, tiny: bool, done: set[str]) -> Parts:
    kinds = {"96 px": SceneSettings(), "192 px": LARGE} if not tiny else {"24 px": TOY.scenes}
    base = TOY if tiny else TrainSettings()
    pulses = 1 if tiny else 8
    yield "one core of the CPU, steps a second", partial(on_one_core, base, 1 if tiny else 2)
    for batch in (1,) if tiny else (8, 64, 256):
        for name, kind in kinds.items():
            settings, what = replace(base, batch=batch, scenes=kind), f"{name}, batch {batch}"
            yield f"{what}, scenes a second", partial(rendered, kind, device, batch, tiny)
            for way in WAYS if settings == base else WAYS[:2]:  # a compilation takes half a minute
                yield f"{what}, steps a second, {way}", partial(stepped, settings, device, pulses, way, tiny)
    for count in (2,) if tiny else (16, 1, 4):
        yield f"{count} runs at once, steps a second in all", partial(together, count, base, device, pulses)
    if not tiny:
        name = "16 runs at once without sharing, steps a second in all"
        yield name, partial(together, 16, base, device, pulses, contextlib.nullcontext)


WAYS = ("replayed", "eager", "compiled and replayed")
"""How a step is run: recorded as a graph of kernels where the device has such graphs, or kernel by kernel."""


@contextlib.contextmanager
def shared() -> Iterator[bool]:
    """Within it, kernels of several processes run side by side on one GPU: NVIDIA's multi-process service (MPS), where
    the driver brings it. Without it they take turns. Gives whether it is there."""
    places = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/nvidia/bin"))
    control = shutil.which("nvidia-cuda-mps-control", path=places)
    if not control or not torch.cuda.is_available():
        yield False
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        own = dict.fromkeys(("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"), folder)
        quiet = subprocess.DEVNULL  # or the service holds this command's output open
        with mock.patch.dict(os.environ, own):
            subprocess.run([control, "-d"], check=True, timeout=30, stdout=quiet, stderr=quiet)
            try:
                yield True
            finally:
                subprocess.run([control], input="quit\n", text=True, timeout=30, stdout=quiet)


def rendered(settings: SceneSettings, device: str, batch: int, tiny: bool) -> float:
    with mock.patch.object(throughput, "SECONDS", 0.01 if tiny else 2.0):
        return round(throughput.scenes_per_second(settings, device, batch), 1)


def stepped(settings: TrainSettings, device: str, pulses: int, way: str, tiny: bool = False) -> float:
    """Steps a second of ``train``, after a first pulse in which it warms up."""
    model = new_model(0, settings)
    if way.startswith("compiled"):
        model.compile(backend="eager" if tiny else "inductor")
    with mock.patch.object(training, "_replays", lambda *_: False) if way == "eager" else contextlib.nullcontext():
        return round(rate(settings, device, pulses, model=model), 2)


def rate(settings: TrainSettings, device: str, pulses: int, ready: Callable[[], Any] = int, **options: Any) -> float:
    """Steps a second of a training of ``pulses`` pulses after a first one, at whose end ``ready`` is called. The losses
    are read at the end of a pulse, so a GPU has no step left to do when the time is taken."""
    steps, times = PULSE * (1 + pulses), []

    def look(step: int, _: Any) -> None:
        if step == PULSE:
            ready()
        if step in (PULSE, steps):
            times.append(time.perf_counter())

    train("focal loss", 0, replace(settings, steps=steps), device, look=look, **options)
    return PULSE * pulses / (times[1] - times[0])


def on_one_core(settings: TrainSettings, pulses: int) -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return round(rate(settings, "cpu", pulses), 2)
    finally:
        torch.set_num_threads(threads)


def together(count: int, settings: TrainSettings, device: str, pulses: int, sharing: Any = shared) -> float:
    """Steps a second of so many trainings at once, each in a process of its own, added up."""
    context = multiprocessing.get_context("spawn")
    with sharing(), context.Pool(count, _meet_at, (context.Barrier(count),)) as pool:
        return round(sum(pool.starmap(_rate_after_meeting, [(settings, device, pulses)] * count, chunksize=1)), 2)


def _meet_at(barrier: Any) -> None:
    global _barrier
    _barrier = barrier
    torch.set_num_threads(1)


def _rate_after_meeting(settings: TrainSettings, device: str, pulses: int) -> float:
    return rate(settings, device, pulses, partial(_barrier.wait, 120))


# ---- torchvision's RetinaNet ----


def rival(device: str, tiny: bool, done: set[str]) -> Parts:
    settings = replace(TOY, steps=2) if tiny else TrainSettings()
    yield "steps a second", partial(raced_step, settings, device, tiny)
    seeds = (0,) if tiny else range(5)
    with shared(), ProcessPoolExecutor(len(seeds), multiprocessing.get_context("spawn")) as pool:
        futures = {
            pool.submit(both_judged, seed, settings, device, 4 if tiny else 256): f"AP, seed {seed}"
            for seed in seeds
            if f"AP, seed {seed}" not in done
        }
        for future in as_completed(futures):
            yield futures[future], future.result


def raced_step(settings: TrainSettings, device: str, tiny: bool) -> dict[str, float]:
    theirs = importlib.import_module("tools.gpu.rival")
    times: list[float] = []

    def look(step: int) -> None:
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter())

    theirs.train_rival(0, replace(settings, steps=2 if tiny else 3 * PULSE), device, look)
    warm = len(times) // 3
    rates = {"torchvision": (len(times) - 1 - warm) / (times[-1] - times[warm]), "focalbook": rate(settings, device, 2)}
    return {
        name: round(value, 2) for name, value in (rates | {"times": rates["focalbook"] / rates["torchvision"]}).items()
    }


def both_judged(seed: int, settings: TrainSettings, device: str, count: int) -> dict[str, float]:
    theirs = importlib.import_module("tools.gpu.rival")
    ours = evaluate(train("focal loss", seed, settings, device).model, count, settings.scenes)["AP"]
    return {
        "focalbook": round(ours, 5),
        "torchvision": round(theirs.judged(theirs.train_rival(seed, settings, device), count, settings, device), 5),
    }


# ---- the live chapters ----

CHAPTERS = ("08-retinanet", "09-training", "10-average-precision", "21-your-own-data")
"""Those that train while one watches."""

NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def chapters(device: str, tiny: bool, done: set[str]) -> Parts:
    for name in CHAPTERS if not tiny else ("02-cross-entropy",):
        yield name, partial(executed, name, device)


def executed(name: str, device: str) -> dict[str, Any]:
    """Run the cells of a chapter, trainings on the device, and compare what they print and the tables that they show
    with what is stored.

    Numbers are equal where they differ by at most one percent of the larger, or by one unit of their last digit.
    """
    notebook = json.loads((ROOT / "book" / f"{name}.ipynb").read_text("utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {"__name__": "__main__"}
    differing: dict[str, list[str]] = {}
    shown = identical = 0
    folder = os.getcwd()
    with mock.patch.object(prose, "bind", lambda **values: None), mock.patch("matplotlib.pyplot.show", lambda: None):
        os.chdir(ROOT / "book")
        try:
            for number, cell in enumerate(cells, start=1):
                source = "".join(cell["source"]).replace('"cpu"', f'"{device}"')
                found = told_by(source, f"{name}, cell {number}", names)
                stored = "".join(map(told, cell["outputs"]))
                shown += bool(stored)
                identical += bool(stored) and stored == found
                if not close(stored, found):
                    differing[f"cell {number}"] = [stored, found]
        finally:
            os.chdir(folder)
    return {"shown": shown, "identical": identical, "differing": differing, "agree": shown > 0 and not differing}


def told(output: dict[str, Any]) -> str:
    """The text of a stored output: what was printed, or the value of a cell's last line, such as a table."""
    if output["output_type"] == "execute_result":
        return "".join(output["data"]["text/plain"])
    return "".join(output["text"]) if output.get("name") == "stdout" else ""


def told_by(source: str, name: str, names: dict[str, Any]) -> str:
    """Run a cell among these names, and return what it prints and the value of its last line."""
    *body, last = ast.parse(source).body
    if not isinstance(last, ast.Expr):
        body.append(last)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(ast.Module(body, []), name, "exec"), names)
        value = eval(compile(ast.Expression(last.value), name, "eval"), names) if isinstance(last, ast.Expr) else None
    return printed.getvalue() + ("" if value is None else repr(value))


def close(stored: str, found: str, tolerance: float = 0.01) -> bool:
    """Whether two texts have the same words and numbers that agree."""
    if NUMBER.sub("#", stored) != NUMBER.sub("#", found):
        return False
    for one, other in zip(NUMBER.findall(stored), NUMBER.findall(found)):
        last_digit = 10.0 ** -len(one.partition(".")[2]) if "e" not in one else 0.0
        if not math.isclose(float(one), float(other), rel_tol=tolerance, abs_tol=1.01 * last_digit):
            return False
    return True


# ---- studies ----

KEPT = ("study", "arm", "seed", "AP", "AP by class", "recall", "training loss", "diverged", "seconds")
"""What is kept of a run's record."""


def studies(device: str, tiny: bool, done: set[str]) -> Parts:
    """The studies that are declared for a GPU, seed after seed, as many runs at once as the device holds."""
    from focalbook import evidence, experiments  # not above: they need libraries that no other stage needs

    _know(tiny)
    tasks = {" ".join(map(str, (name, *run))): (name, *run) for name in AGAIN for run in experiments.runs(name)}
    if tiny:
        tasks = dict(list(tasks.items())[:1])
    context, at_a_time = multiprocessing.get_context("spawn"), 1 if tiny else evidence._at_a_time()
    with shared(), ProcessPoolExecutor(at_a_time, context, evidence._end_with_the_command) as pool:
        futures = {pool.submit(_make, task, device, tiny): name for name, task in tasks.items() if name not in done}
        for future in as_completed(futures):
            yield futures[future], future.result


def _know(tiny: bool) -> None:
    """Tell this process of these studies; in ``tiny`` as toys."""
    toy = dict(settings=TOY, scenes_from="", scenes=4) if tiny else {}
    STUDIES.update({name: replace(study, **toy) for name, study in AGAIN.items()})


def _make(task: tuple[str, str, float, int], device: str, tiny: bool) -> dict[str, Any]:
    from focalbook import evidence

    torch.set_num_threads(1)
    _know(tiny)
    record = evidence.run(*task, device)
    return {key: record[key] for key in KEPT if key in record}


STAGES = {
    "tests": Stage("Does all that was written for a GPU hold on one?", 180, tests),
    "scenes": Stage("Are its scenes those of the CPU?", 120, scenes, ("scenes",)),
    "loss": Stage("How fast is the loss beside others, and beside the memory?", 240, loss, ("fused", "losses")),
    "step": Stage("How many scenes and steps a second, alone and several runs at once?", 240, step),
    "rival": Stage("How fast and how good is torchvision's RetinaNet of the same parts?", 240, rival),
    "chapters": Stage("Do the chapters that train say the same?", 180, chapters),
    "studies": Stage("Do the claims hold with other seeds?", 600, studies),
}
"""In the order in which they are asked: the cheapest and most important first."""
