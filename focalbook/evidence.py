"""The evidence: every run of the studies, made by one command, checked, and made again (chapter 11).

``python -m focalbook.evidence``
    Makes the records that are missing or stale, on all cores.
``python -m focalbook.evidence map``
    Those of one study.
``python -m focalbook.evidence --list``
    Says what each study asks, and how many of its runs are made.
``python -m focalbook.evidence --check``
    Names those that are missing, or whose code has changed since.
``python -m focalbook.evidence --replay``
    Tries a sample of the changed ones, and stamps them anew if it agrees.
``python -m focalbook.evidence --verify``
    Makes a sample of each study again and compares, changed or not.
"""

import argparse
import json
import multiprocessing
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from focalbook.calibration import calibrate
from focalbook.evaluation import as_rows, average_precision, detect_scenes, outcomes, reachable
from focalbook.experiments import as_planned, plan_of, planned, runs, settings_of, sources_of, stale
from focalbook.files import cure
from focalbook.owners import owners_of
from focalbook.platelets import FOLDER, Fold
from focalbook.records import RECORDS, Record, checksum, load, path_of, save
from focalbook.retinanet import Detections, RetinaNet
from focalbook.scenes import DataSet, Scenes
from focalbook.studies import LADDER, STUDIES
from focalbook.training import PULSE, train


def run(study: str, arm: str, lr: float, seed: int, device: str | torch.device | None = None) -> Record:
    """Train and judge one run of a study from nothing and return its record, a dict that JSON can hold.

    ``study``: a name from ``STUDIES``; ``arm``, ``lr``, ``seed``: one of its ``runs``. Everything but "seconds" and
    what names the machine ("device", "versions") comes out the same again. A training that diverges is a result: its
    record says at which step, and has AP 0. Explained in chapter 11.
    """
    plan = STUDIES[study]
    loss, settings = plan_of(study, arm, lr)
    owned = {}

    def look(step: int, model: RetinaNet) -> None:
        if step in plan.owners:
            owned[str(step)] = owners_of(model, settings)

    device = torch.device(device or _device())
    start = time.perf_counter()
    record = {
        "study": study,
        "arm": arm,
        "seed": seed,
        **planned(study, arm, lr),
        "device": device.type,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "sources": sources_of(study),
    }
    count = plan.scenes
    if isinstance(settings.scenes, Fold):
        count, record["images"] = settings.scenes.held_out, settings.scenes.fingerprint
    try:
        result = train(loss, seed, settings, device, getattr(torch, plan.dtype), look=look)
        detections, scenes = detect_scenes(result.model, count, settings.scenes, plan.collection)
    except FloatingPointError as error:
        zero = dict.fromkeys(("AP", "AP50", "AP75"), 0.0)
        record |= {"diverged": str(error), "AP": zero, "recall": 0.0, "training loss": [], "classification loss": []}
    else:
        score = average_precision(detections, scenes, settings.scenes.classes)
        record |= {
            "training loss": _pulses(result.losses),
            "classification loss": _pulses(result.classification),
            "AP": {name: score[name] for name in ("AP", "AP50", "AP75")},
            "AP by class": score["by class"],
            "recall": score["recall"],
            "detections": [as_rows(found) for found in detections[: plan.drawn]],
            "owners": owned,
            "calibration": calibrate(result.model, settings) if plan.calibration else {},
            "by scene": _by_scene(result.model, detections, scenes, settings.scenes.classes) if plan.by_scene else [],
        }
    record["seconds"] = round(time.perf_counter() - start)
    record = json.loads(json.dumps(record))  # tuples become the lists that a file would give back
    return dict(record, checksum=checksum(record))


def _pulses(losses: list[float]) -> list[float]:
    return [round(pulse.mean().item(), 5) for pulse in torch.tensor(losses).split(PULSE)]


def _by_scene(
    model: RetinaNet, detections: list[Detections], scenes: Scenes, classes: Sequence[str], most: int = 5
) -> list[Record]:
    """What became of each scene, to a thousandth: of each object its class, the score and the overlap of the detection
    that found it, and the largest overlap that the model proposed; and the ``most`` highest scores of false ones."""
    best = reachable(model, scenes)
    return [
        {
            "objects": [
                [label, *(round(value, 3) for value in values)]
                for label, *values in zip(one.labels, one.scores, one.overlaps, overlaps)
            ],
            "false": [round(score, 3) for score in one.false[:most]],
        }
        for one, overlaps in zip(outcomes(detections, scenes, classes), best)
    ]


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def expected_seconds(study: str, arm: str, steps: int = 10) -> float:
    """How long a run of this arm takes on this machine: measured now, over ``steps`` steps with cross-entropy.

    Once for all runs whose steps cost about the same. A run ends with an evaluation; a tenth more covers it. Explained
    in chapter 11.
    """
    plan = STUDIES[study]
    try:
        settings = settings_of(study, arm)
    except FileNotFoundError:  # its scenes are not chosen yet: reckon with the dearest
        dearest = replace(plan.settings, scenes=list(LADDER.values())[-1], steps=4800)
        settings = replace(dearest, **plan.arms[arm].changes)
    kind = (settings.scenes, settings.batch, plan.dtype)
    if kind not in _SECONDS:
        times = []
        for _ in range(2):  # the first time pays for the start
            start = time.perf_counter()
            train("cross-entropy", 0, replace(settings, steps=steps), _device(), getattr(torch, plan.dtype))
            times.append(time.perf_counter() - start)
        _SECONDS[kind] = min(times) / steps
    return 1.1 * settings.steps * _SECONDS[kind]


_SECONDS: dict[tuple[DataSet, int, str], float] = {}
"""Seconds a step, by what decides them."""


def replay(study: str) -> bool:
    """Make a sample of the runs again whose record is stale by its code alone; if they agree, stamp all such records.

    A change of the code need not change a result. The sample is a run of each of up to four arms. Agreement: the AP and
    the recorded training losses to a thousandth, or a hundredth for a float32 study; on the machine that made them it
    is the last digit, on another one rounding differs. Returns whether all replays agreed; where one does not, nothing
    is stamped. Explained in chapter 11.
    """
    old = [task for task in stale(study) if as_planned(study, *task)]
    if (old and not _pictures_are_here(study)) or not verify(study, old):
        return False
    for sample in old:
        record = dict(load(study, *sample), sources=sources_of(study))
        save(dict(record, checksum=checksum(record)))
    print(f"{study}: {len(old)} records stamped")
    return True


def verify(study: str, tasks: Sequence[tuple[str, float, int]] | None = None) -> bool:
    """Make a sample of the ``tasks`` (arm, lr, seed), without them of all recorded runs, again; whether all agree.

    The records stay as they are. A study whose pictures are not here is left out, with a line. Explained in chapter 11.
    """
    if not _pictures_are_here(study):
        return True
    sample = [(study, *task) for task in sample_of(_recorded(study) if tasks is None else tasks)]
    with _workers() as pool:
        return all(list(pool.map(_agrees, sample)))


def _pictures_are_here(study: str) -> bool:
    """Whether a study has the pictures that it reads; says so where it does not."""
    here = not STUDIES[study].reader or bool(os.environ.get(FOLDER))
    if not here:
        print(f"{study}: left out, its pictures are not here: name their folder by {FOLDER} (chapter 22 says how)")
    return here


def sample_of(tasks: Sequence[tuple[str, float, int]], most: int = 4) -> list[tuple[str, float, int]]:
    """The first run of up to ``most`` arms, spread over the ``tasks`` (arm, lr, seed), a list (chapter 11)."""
    first: dict[str, tuple[str, float, int]] = {}
    for task in tasks:
        first.setdefault(task[0], task)
    return list(first.values())[:: -(-len(first) // most) or 1]


def agrees(study: str, arm: str, lr: float, seed: int) -> bool:
    """Make one run again and say whether it agrees with its record, as ``replay`` demands (chapter 11)."""
    tolerance = 1e-3 if STUDIES[study].dtype == "float64" else 1e-2
    old, new = (
        [*record["AP"].values(), *record["training loss"]]
        for record in (load(study, arm, lr, seed), run(study, arm, lr, seed))
    )
    same = len(old) == len(new) and np.allclose(old, new, rtol=tolerance, atol=tolerance)
    print(study, arm, lr, seed, "agrees" if same else "differs: make its study again", flush=True)
    return same


@contextmanager
def _workers() -> Iterator[ProcessPoolExecutor]:
    """The pool. On an error, or Ctrl+C, the runs under way end too: a record is saved whole or not at all."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(_at_a_time(), mp_context=spawn, initializer=_end_with_the_command) as pool:
        try:
            yield pool
        except BaseException:
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise


def _end_with_the_command() -> None:
    """A worker whose command was killed would wait forever for the next run."""
    command = multiprocessing.parent_process()
    assert command, "this is no worker"

    def watch() -> None:
        command.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


ROOM = 2**31
"""Bytes of a GPU's memory that a run may take, with what its process takes to begin with."""


def _at_a_time() -> int:
    """A run for each core; on a GPU, which a single run leaves idle most of the time, at most what its memory holds."""
    cores = os.cpu_count() or 1
    if not torch.cuda.is_available():
        return cores
    free, _ = torch.cuda.mem_get_info()
    return max(1, min(cores, free // ROOM))


def _agrees(task: tuple[str, str, float, int]) -> bool:
    torch.set_num_threads(1)
    return agrees(*task)


def _make(task: tuple[str, str, float, int]) -> Record:
    torch.set_num_threads(1)
    record = run(*task)
    save(record)
    return record


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: make what is missing or stale, study after study. Returns the exit status (chapter 11)."""
    parser = argparse.ArgumentParser(prog="python -m focalbook.evidence", description="Make or check the records.")
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=f"of {', '.join(STUDIES)}; all without a name")
    alone = parser.add_mutually_exclusive_group()
    for option, text in (
        ("list", "only say what each study asks, and how many of its runs are made"),
        ("check", "only name the records that are missing or stale"),
        ("replay", "stamp stale records anew where samples of them agree"),
        ("verify", "only make a sample of each study again and compare"),
    ):
        alone.add_argument(f"--{option}", action="store_true", help=text)
    options = parser.parse_args(arguments)
    unknown = [name for name in options.studies if name not in STUDIES]
    if unknown:
        parser.error(f"there is no study {unknown[0]!r}: choose from {', '.join(STUDIES)}")
    os.environ["FOCALBOOK_QUIET"] = "1"
    studies = options.studies or list(STUDIES)
    try:
        if options.list:
            return _list(studies)
        if options.check:
            return _report(studies)
        if options.replay:
            return int(not all(list(map(replay, studies))))
        if options.verify:
            return int(not all(list(map(verify, studies))))
        return _make_all(studies)
    except (FileNotFoundError, ValueError) as error:  # a record that is broken, or missing where another needs it
        print(error)
    except OSError as error:
        print(f"stopped, what was made stays: {cure(error)}")
    except BrokenProcessPool:
        print("stopped, what was made stays: a run was killed. Is there enough memory? The same command goes on")
    return 1


def _make_all(studies: Sequence[str]) -> int:
    print(f"records in {RECORDS}; {_at_a_time()} runs at a time on {_device()}", flush=True)
    wanted = [study for study in studies if _arms_to_make(study)]
    without = [study for study in wanted if not _pictures_are_here(study)]
    studies = [study for study in studies if study not in without]
    seconds = sum(expected_seconds(study, arm) for study in studies for arm in _arms_to_make(study))
    print(f"about {seconds / _at_a_time() / 60:.0f} min in all", flush=True)
    with _workers() as pool:
        for study in studies:  # in this order: the later ones need what the first one chooses
            tasks, start = [(study, *task) for task in stale(study)], time.monotonic()
            print(f"{study}: {len(tasks)} of {len(runs(study))} runs to make", flush=True)
            for number, record in enumerate(pool.map(_make, tasks), start=1):
                name = f"{record['arm']}, lr {record['settings']['lr']:g}, seed {record['seed']}"
                left = (time.monotonic() - start) / number * (len(tasks) - number) / 60
                result = f"AP {record['AP']['AP']:.3f}, {record['seconds']} s; about {left:.0f} min left"
                print(f"  {number}/{len(tasks)} {name}: {result}", flush=True)
    return int(bool(without))


def _arms_to_make(study: str) -> list[str]:
    """The arm of each run that is missing or stale; of each run, where the learning rates are not chosen yet."""
    plan = STUDIES[study]
    try:
        return [arm for arm, _, _ in stale(study)]
    except FileNotFoundError:
        return [arm for arm in plan.arms for _ in plan.lrs or (None,) for _ in plan.seeds]


def _list(studies: Sequence[str]) -> int:
    for study in studies:
        try:
            made = f"{len(runs(study)) - len(stale(study)):3} of {len(runs(study)):3} runs made"
        except FileNotFoundError:  # nothing is chosen yet, so its runs have no learning rate
            made = f"waits for {STUDIES[study].rates_from}"
        print(f"{study:22}{made:28}{STUDIES[study].question}")
    return 0


def _recorded(study: str) -> list[tuple[str, float, int]]:
    """The runs of a study; of one that is under way, those that have a record, which may be none."""
    if not STUDIES[study].under_way:
        return runs(study)
    try:
        return [task for task in runs(study) if path_of(study, *task).exists()]
    except FileNotFoundError:  # what it chooses by is not made either
        return []


def _report(studies: Sequence[str]) -> int:
    for study in studies:  # a later study may need the earlier one's records
        made = _recorded(study)
        if STUDIES[study].under_way:
            print(f"under way: {study}, {len(made)} runs made")
        tasks = [task for task in stale(study) if task in made] if made else []
        for task in tasks:
            print("missing or stale:", study, *task)
        if tasks:
            return 1
    print(f"all records in {RECORDS} are whole and fresh")
    return 0


if __name__ == "__main__":
    sys.exit(main())
