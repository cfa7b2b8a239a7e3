"""Recorded runs: make them with one command, read them with care, replay any of them (chapter 11).

    python -m focalbook.experiments            makes the records that are missing, on all cores
    python -m focalbook.experiments --check    names the records whose code has changed since

A record is one small JSON file in ``book/records/<study>/``. It names its seed, settings, device and versions, the hash
of the code that determined it, and carries a checksum, so that a broken or edited one is refused by name.
"""

import argparse
import ast
import hashlib
import json
import multiprocessing
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from focalbook.evaluation import average_precision, detect_scenes
from focalbook.retinanet import Detections
from focalbook.scenes import TEST, VALIDATION
from focalbook.training import LOSSES, PULSE, TrainSettings, train

RECORDS = Path(__file__).parent.parent / "book" / "records"

SOURCES = ("losses", "scenes", "boxes", "anchors", "matching", "retinanet", "training", "evaluation")
"""The modules that determine a result."""


@dataclass(frozen=True)
class Study:
    """Runs that belong together: each of ``losses`` with each of ``lrs`` and each of ``seeds``, in ``dtype``, all else
    as in ``settings``; each judged on the first ``scenes`` scenes of the ``collection``.

    ``lrs``: peak learning rates; empty means one for each loss, the best of the study "learning rate". ``drawn``: of
    how many scenes the detections are recorded. Explained in chapter 11.
    """

    seeds: tuple[int, ...]
    collection: int
    lrs: tuple[float, ...] = ()
    losses: tuple[str, ...] = tuple(LOSSES)
    settings: TrainSettings = TrainSettings()
    dtype: str = "float64"
    scenes: int = 256
    drawn: int = 0

    def runs(self):
        """Every (loss, lr, seed) of the study, seed after seed."""
        rates = {loss: self.lrs or (best_lr(loss),) for loss in self.losses}
        return [(loss, lr, seed) for seed in self.seeds for loss in self.losses for lr in rates[loss]]


STUDIES = {
    "learning rate": Study(seeds=(100, 101), collection=VALIDATION, lrs=(0.003, 0.01, 0.03), dtype="float32"),
    "verdict": Study(seeds=tuple(range(10)), collection=TEST, drawn=4),
}
"""Written down before anyone looked at a result. First each loss gets its own learning rate from one grid, chosen on
validation scenes; then other seeds are judged on test scenes."""


def best_lr(loss):
    """The learning rate of the study "learning rate" with the highest mean validation AP for ``loss`` (chapter 11)."""
    records = load_study("learning rate")[loss]
    lrs = STUDIES["learning rate"].lrs
    return max(lrs, key=lambda lr: sum(r["AP"]["AP"] for r in records if r["settings"]["lr"] == lr))


def _canonical(node):
    """A syntax tree as nested lists, without docstrings, positions and empty fields: alike on every Python version."""
    if isinstance(node, list):
        return [_canonical(item) for item in node if not (isinstance(item, ast.Expr) and _is_text(item.value))]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, [])]
    return [type(node).__name__, *((name, _canonical(value)) for name, value in sorted(fields, key=lambda f: f[0]))]


def _is_text(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def sources_hash():
    """Hash of the code that determines a result: the syntax trees of ``SOURCES``, comments and docstrings aside.

    Explained in chapter 11.
    """
    trees = [_canonical(ast.parse((Path(__file__).parent / f"{name}.py").read_text("utf-8"))) for name in SOURCES]
    return hashlib.sha256(json.dumps(trees).encode()).hexdigest()[:16]


def _checksum(record):
    content = {key: value for key, value in record.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def run(study, loss, lr, seed, device=None):
    """Train and judge one run of a study from nothing and return its record, a dict that JSON can hold.

    ``study``: a name from ``STUDIES``; ``loss``, ``lr``, ``seed``: one of its runs. Everything but "seconds" and what
    names the machine ("device", "versions") comes out the same again. Explained in chapter 11.
    """
    plan = STUDIES[study]
    settings = replace(plan.settings, lr=lr)
    start = time.perf_counter()
    result = train(loss, seed, settings, device, getattr(torch, plan.dtype))
    detections, scenes = detect_scenes(result.model, plan.scenes, settings.scenes, plan.collection)
    score = average_precision(detections, scenes, settings.scenes.classes)
    record = {
        "study": study,
        "loss": loss,
        "seed": seed,
        "settings": asdict(settings),
        "collection": plan.collection,
        "scenes": plan.scenes,
        "dtype": plan.dtype,
        "device": result.model.anchors.device.type,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "sources": sources_hash(),
        "seconds": round(time.perf_counter() - start),
        "training loss": [round(pulse.mean().item(), 5) for pulse in torch.tensor(result.losses).split(PULSE)],
        "AP": {name: score[name] for name in ("AP", "AP50", "AP75")},
        "AP by class": score["by class"],
        "detections": [_rows(found) for found in detections[: plan.drawn]],
    }
    record = json.loads(json.dumps(record))  # tuples become the lists that a file would give back
    return dict(record, checksum=_checksum(record))


def _rows(found, score=0.3):
    """x1, y1, x2, y2, score, label of each detection worth drawing, to a hundredth."""
    return [
        [*(round(value, 2) for value in box), round(confidence, 2), label]
        for box, confidence, label in zip(*(values.tolist() for values in found))
        if confidence > score
    ]


def path_of(study, loss, lr, seed):
    """Where the record of a run lies (chapter 11)."""
    return RECORDS / study.replace(" ", "-") / f"{loss.replace(' ', '-')}-lr{lr:g}-seed{seed}.json"


def _place(record):
    return path_of(record["study"], record["loss"], record["settings"]["lr"], record["seed"])


def save(record):
    """Write a record beside its place, then rename: never half a file (chapter 11)."""
    path = _place(record)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", "utf-8")
    os.replace(beside, path)


def load(study, loss, lr, seed):
    """Read one record. Raises ``FileNotFoundError`` for a missing and ``ValueError`` for a broken or edited one, each
    naming the file and the command that makes it again (chapter 11)."""
    path = path_of(study, loss, lr, seed)
    cure = "make it again with: python -m focalbook.experiments"
    if not path.exists():
        raise FileNotFoundError(f"there is no record {path}: {cure}")
    try:
        record = json.loads(path.read_text("utf-8"))
        intact = record["checksum"] == _checksum(record) and _place(record) == path  # nor another run's, renamed
    except (ValueError, KeyError, TypeError, AttributeError):
        intact = False
    if not intact:
        raise ValueError(f"record {path} is broken or was edited by hand: delete it and {cure}")
    return record


def load_study(study):
    """All records of a study: a dict from loss to the list of its records, seed after seed (chapter 11)."""
    records = {loss: [] for loss in STUDIES[study].losses}
    for loss, lr, seed in STUDIES[study].runs():
        records[loss].append(load(study, loss, lr, seed))
    return records


def stale(study):
    """Runs (loss, lr, seed) of a study whose record is missing, or was made by other code or settings than today's.

    Explained in chapter 11.
    """
    plan, today, found = STUDIES[study], sources_hash(), []
    for loss, lr, seed in plan.runs():
        fresh = path_of(study, loss, lr, seed).exists()
        if fresh:
            record = load(study, loss, lr, seed)
            settings = json.loads(json.dumps(asdict(replace(plan.settings, lr=lr))))
            made_by = [record[key] for key in ("sources", "settings", "collection", "scenes", "dtype")]
            fresh = made_by == [today, settings, plan.collection, plan.scenes, plan.dtype]
        if not fresh:
            found.append((loss, lr, seed))
    return found


def bootstrap_interval(values, confidence=0.95, draws=10_000, seed=0):
    """Percentile bootstrap interval of the mean of ``values`` (N,): (low, high), for seeds as paired differences.

    ``draws`` means of N values drawn with replacement; the middle ``confidence`` of them. Explained in chapter 11.
    """
    values = np.asarray(values, dtype=np.float64)
    means = np.random.default_rng(seed).choice(values, (draws, len(values))).mean(axis=1)
    tail = (1 - confidence) / 2
    return tuple(np.quantile(means, [tail, 1 - tail]).tolist())


def as_detections(rows):
    """``Detections`` from a record's rows of x1, y1, x2, y2, score, label (chapter 11)."""
    values = torch.tensor(rows, dtype=torch.float64).view(-1, 6)
    return Detections(values[:, :4], values[:, 4], values[:, 5].long())


def _make(task):
    torch.set_num_threads(1)
    record = run(*task)
    save(record)
    return record


def main(arguments=None):
    """The command line: make what is missing or stale, study after study; ``--check`` only names it (exit status 1).

    Explained in chapter 11.
    """
    parser = argparse.ArgumentParser(prog="python -m focalbook.experiments", description="Make or check the records.")
    parser.add_argument("--check", action="store_true", help="only name the records that are missing or stale")
    if parser.parse_args(arguments).check:
        return _report()
    os.environ["FOCALBOOK_QUIET"] = "1"
    workers = 1 if torch.cuda.is_available() else os.cpu_count()
    print(f"records in {RECORDS}; {workers} runs at a time, about 2 minutes each on a laptop's core")
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for study in STUDIES:  # in this order: the second needs the first one's choice
            tasks = [(study, *task) for task in stale(study)]
            print(f"{study}: {len(tasks)} of {len(STUDIES[study].runs())} runs to make", flush=True)
            for number, record in enumerate(pool.imap(_make, tasks), start=1):
                name = f"{record['loss']}, lr {record['settings']['lr']:g}, seed {record['seed']}"
                print(f"  {number}/{len(tasks)} {name}: AP {record['AP']['AP']:.3f}, {record['seconds']} s", flush=True)
    return 0


def _report():
    """Name the missing and stale records of every study."""
    for study in STUDIES:
        try:
            runs = stale(study)
        except (FileNotFoundError, ValueError) as error:  # the choice of the learning rate needs whole records
            print(error)
            return 1
        for task in runs:
            print("missing or stale:", study, *task)
        if runs:
            return 1
    print(f"all records in {RECORDS} are whole and fresh")
    return 0


if __name__ == "__main__":
    sys.exit(main())
