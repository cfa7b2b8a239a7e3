"""Recorded runs: make them with one command, read them with care, replay any of them (chapter 11).

python -m focalbook.experiments            makes the records that are missing or stale, on all cores
python -m focalbook.experiments --check    names those that are missing, or whose code has changed since
python -m focalbook.experiments --replay   tries a sample of the changed ones, and stamps them anew if it agrees
"""

import argparse
import json
import multiprocessing
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from focalbook.evaluation import average_precision, detect_scenes
from focalbook.records import RECORDS, checksum, load, path_of, save, sources_hash
from focalbook.retinanet import Detections
from focalbook.scenes import TEST, VALIDATION
from focalbook.training import LOSSES, PULSE, TrainSettings, train


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
"""Written down before any of their runs was made. First each loss gets its own learning rate from one grid, chosen on
validation scenes; then other seeds are judged on test scenes."""


def best_lr(loss):
    """The learning rate of the study "learning rate" with the highest mean validation AP for ``loss`` (chapter 11)."""
    records = load_study("learning rate")[loss]
    lrs = STUDIES["learning rate"].lrs
    return max(lrs, key=lambda lr: sum(r["AP"]["AP"] for r in records if r["settings"]["lr"] == lr))


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
    return dict(record, checksum=checksum(record))


def _rows(found, score=0.3):
    """x1, y1, x2, y2, score, label of each detection worth drawing, to a hundredth."""
    return [
        [*(round(value, 2) for value in box), round(confidence, 2), label]
        for box, confidence, label in zip(*(values.tolist() for values in found))
        if confidence > score
    ]


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
    today = sources_hash()
    return [
        run for run in STUDIES[study].runs() if not (_as_planned(study, *run) and load(study, *run)["sources"] == today)
    ]


def _as_planned(study, loss, lr, seed):
    """Whether a run has a record, made by the settings that the study has today."""
    if not path_of(study, loss, lr, seed).exists():
        return False
    plan, record = STUDIES[study], load(study, loss, lr, seed)
    planned = {
        "settings": json.loads(json.dumps(asdict(replace(plan.settings, lr=lr)))),
        "collection": plan.collection,
        "scenes": plan.scenes,
        "dtype": plan.dtype,
    }
    return planned == {key: record[key] for key in planned}


def replay(study):
    """Make one run of each loss again whose record is stale by its code alone; if they agree, stamp all such records.

    A change of the code need not change a result. Agreement: the AP and the recorded training losses to a thousandth,
    or a hundredth for a float32 study; on the machine that made them it is the last digit, on another one rounding
    differs. Returns whether all replays agreed; where one does not, nothing is stamped. Explained in chapter 11.
    """
    runs = [run for run in stale(study) if _as_planned(study, *run)]
    tolerance = 1e-3 if STUDIES[study].dtype == "float64" else 1e-2
    for loss in STUDIES[study].losses:
        for sample in [run for run in runs if run[0] == loss][:1]:
            old, new = load(study, *sample), run(study, *sample)
            values = [[*record["AP"].values(), *record["training loss"]] for record in (old, new)]
            agrees = np.allclose(*values, rtol=tolerance, atol=tolerance)
            print(study, *sample, "agrees" if agrees else "differs: make its study again", flush=True)
            if not agrees:
                return False
    for sample in runs:
        record = dict(load(study, *sample), sources=sources_hash())
        save(dict(record, checksum=checksum(record)))
    print(f"{study}: {len(runs)} records stamped")
    return True


def paired_gains(records, loss, other, score="AP"):
    """What ``loss`` scores above ``other``, seed by seed: float64 (seeds,), in AP of [0, 1].

    ``records``: from ``load_study``. ``score``: "AP", "AP50" or "AP75". Raises ``ValueError`` where the seeds of the
    two do not pair up. Explained in chapter 11.
    """
    seeds, other_seeds = ([record["seed"] for record in records[name]] for name in (loss, other))
    if seeds != other_seeds:
        raise ValueError(f"{loss} and {other} must have the same seeds to be paired, got {seeds} and {other_seeds}")
    return np.array([a["AP"][score] - b["AP"][score] for a, b in zip(records[loss], records[other])])


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
    """The command line: make what is missing or stale, study after study. Returns the exit status.

    ``--check`` only names it; ``--replay`` first tries whether old records still hold under today's code. Explained in
    chapter 11.
    """
    parser = argparse.ArgumentParser(prog="python -m focalbook.experiments", description="Make or check the records.")
    parser.add_argument("--check", action="store_true", help="only name the records that are missing or stale")
    parser.add_argument("--replay", action="store_true", help="stamp stale records anew where samples of them agree")
    options = parser.parse_args(arguments)
    os.environ["FOCALBOOK_QUIET"] = "1"
    try:
        if options.check:
            return _report()
        if options.replay:
            return int(not all(map(replay, STUDIES)))
        return _make_all()
    except (FileNotFoundError, ValueError) as error:  # a record that is broken, or missing where another needs it
        print(error)
        return 1


def _make_all():
    workers = 1 if torch.cuda.is_available() else os.cpu_count() or 1
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
    for study in STUDIES:  # a later study may need the earlier one's records
        runs = stale(study)
        for task in runs:
            print("missing or stale:", study, *task)
        if runs:
            return 1
    print(f"all records in {RECORDS} are whole and fresh")
    return 0


if __name__ == "__main__":
    sys.exit(main())
