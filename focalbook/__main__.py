"""Train one detector and judge it on what it has not seen, or find objects with one (chapters 20 and 21).

python -m focalbook                                        on rendered scenes, in one process
torchrun --standalone --nproc-per-node 2 -m focalbook      in two, with the same result
python -m focalbook --data FOLDER --checkpoint FILE        on your own images: COCO, Pascal VOC or YOLO
python -m focalbook detect PHOTO... --checkpoint FILE      what it finds in your photos
"""

import argparse
import io
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from focalbook import distributed, trees
from focalbook.annotations import plain
from focalbook.coco import CocoFolder, anchors_for
from focalbook.detector import Detector, load
from focalbook.evaluation import evaluate
from focalbook.files import write
from focalbook.pictures import Unusable
from focalbook.retinanet import Detections
from focalbook.training import LOSSES, TrainSettings, train

TREES = "trees"
"""The folder that is made of what chapter 22 has installed, where there is none of this name."""

SCENES = 256
"""Rendered scenes to be judged on."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with these ``arguments``, a list of texts; those of the command line without (chapter 20)."""
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # your classes and files may have names beyond the terminal's
    try:
        if options.task:
            return _detect(options)
        with distributed.joined(options.device):
            _train_and_judge(options)
    except (ValueError, FloatingPointError, OSError, MemoryError, RuntimeError, ModuleNotFoundError) as error:
        said = _in_words(error, options)
        if not said:
            raise
        sys.stderr.write(f"focalbook: {' '.join(said.splitlines())}\n")  # in one piece: other processes write there too
        sys.exit(1)


def _in_words(error: Exception, options: argparse.Namespace) -> str:
    """What to say about an error that is to be expected; nothing about another, whose traceback is worth more."""
    # On a CPU torch has no class of its own for a lack of memory.
    if isinstance(error, MemoryError) or re.search(
        r"out of memory|not enough memory|allocate memory|bad_alloc|ALLOC_FAILED", str(error)
    ):
        if options.task:
            return "out of memory: the photo is too large"
        size = f" or --size (it is {options.size})" if options.data else ""
        return f"out of memory: lower --batch (it is {options.batch}){size}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{error}: install pillow, pycocotools, tqdm and pyyaml beside focalbook"
    return str(error) if isinstance(error, (ValueError, FloatingPointError, OSError, ModuleNotFoundError)) else ""


def _parser() -> argparse.ArgumentParser:
    description, _, examples = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        "python -m focalbook",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    usual = TrainSettings()
    parser.add_argument("--loss", choices=LOSSES, default="focal loss")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=usual.steps)
    parser.add_argument("--batch", type=int, default=usual.batch, help="images a step, over all processes together")
    parser.add_argument("--lr", type=float, default=usual.lr, help="peak learning rate")
    parser.add_argument("--checkpoint", metavar="FILE", help="saved to on the way, and resumed from")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="CUDA where present, else the CPU")
    parser.add_argument("--float64", action="store_true", help="for digits that hold on another machine")
    parser.add_argument("--data", metavar="FOLDER", help="your images: COCO, Pascal VOC or YOLO; or trees")
    parser.add_argument("--size", type=int, default=256, help="side in pixels that your images are fitted into")
    parser.add_argument("--turns", action="store_true", help="flip and turn your images, for those without an up")
    tasks = parser.add_subparsers(dest="task", metavar="detect", help="find objects in photos: detect --help")
    detect = tasks.add_parser("detect", description="Find objects in photos, in their own pixels, and draw them.")
    detect.add_argument("photos", nargs="+", metavar="PHOTO")
    detect.add_argument("--checkpoint", metavar="FILE", required=True, help="of a run: the detector")
    detect.add_argument("--score", type=float, default=0.3, help="least score of what is told, from 0 to 1")
    detect.add_argument("--json", action="store_true", help="print JSON: a list, photo by photo")
    detect.add_argument("--to", metavar="FOLDER", default="found", help="where the photos with boxes go (found)")
    detect.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    return parser


def _train_and_judge(options: argparse.Namespace) -> None:
    for name, cure in (("data", "to train on rendered scenes"), ("checkpoint", "to keep none")):
        value = getattr(options, name)
        if value is not None and not value.strip():
            raise ValueError(f"{name} must name a place, got {value!r}: leave --{name} out {cure}")
    given = dict(steps=options.steps, batch=options.batch, lr=options.lr)
    first, judged = distributed.rank() == 0, SCENES
    if options.data:
        if options.data == TREES and not Path(TREES).exists():
            trees.write_tiles(TREES)
        data = CocoFolder(options.data, options.size, options.turns)
        given |= dict(scenes=data, anchors=anchors_for(data.size))
        judged = data.held_out
        if first:
            print(data.report(), flush=True)
    settings = TrainSettings(**given)
    dtype = torch.float64 if options.float64 else torch.float32
    run = train(options.loss, options.seed, settings, options.device, dtype, options.checkpoint)
    if first:
        score = evaluate(run.model, judged, settings.scenes)
        print(f"loss {run.losses[0]:.3f} at the first step, {run.losses[-1]:.3f} at the last")
        print(f"on {judged} images not seen: {_means(score)}")
        for name, value in score["by class"].items():
            print(f"  AP {value:.3f}  {name}" if value == value else f"  no AP, as these images hold none  {name}")


def _detect(options: argparse.Namespace) -> None:
    """Find, tell and draw; a photo that cannot be used is named, does not hold up the others, and makes the exit status
    1."""
    if not 0 <= options.score < 1:
        raise ValueError(f"score must be at least 0 and below 1, got {options.score:g}")
    drawings = _drawings(options.photos, Path(options.to))
    detector, told, status = load(options.checkpoint, options.device), [], 0
    for photo, drawing in drawings.items():
        try:
            found = detector.detect(photo, options.score)
            picture, content = detector.drawn(photo, found), io.BytesIO()
        except Unusable as fault:
            sys.stderr.write(f"focalbook: photo {plain(photo)} is left out: {' '.join(str(fault).splitlines())}\n")
            status = 1
            continue
        picture.save(content, "PNG")
        write(drawing, content.getvalue())
        objects = _objects(found, detector)
        told.append({"photo": photo, "drawn": str(drawing), "objects": objects})
        if not options.json:
            print(f"{plain(photo)}: {len(objects)} found, drawn in {plain(str(drawing))}")
            for one in objects:
                print(f"  {one['score']:.3f}  {one['class']}  {' '.join(f'{side:.1f}' for side in one['box'])}")
    if options.json:
        print(json.dumps(told, indent=1))
    if status:
        sys.exit(status)


def _objects(found: Detections, detector: Detector) -> list[dict[str, Any]]:
    """What was found, for JSON: boxes as corners x1, y1, x2, y2 in pixels of the photo."""
    return [
        {"class": detector.classes[label], "score": round(score, 4), "box": [round(side, 2) for side in box]}
        for box, score, label in zip(*(part.tolist() for part in found))
    ]


def _drawings(photos: Sequence[str], folder: Path) -> dict[str, Path]:
    """Where each photo goes with its boxes: nowhere over itself, or over another."""
    drawings = {photo: folder / f"{Path(photo).stem}.png" for photo in photos}
    for photo, drawing in drawings.items():
        others = [other for other in drawings if other != photo and drawings[other] == drawing]
        if others or drawing.resolve() == Path(photo).resolve():
            over = f"{others[0]} goes too" if others else "it lies itself"
            raise ValueError(f"{photo} would be drawn to {drawing}, where {over}: name another folder with --to")
    return drawings


def _means(score: dict[str, float]) -> str:
    """The means over the classes, or why there are none: without an object, COCO's AP is no number."""
    if score["AP"] != score["AP"]:
        return "no AP, as they hold no object: there is nothing to judge by, annotate more images"
    return ", ".join(f"{name} {score[name]:.3f}" for name in ("AP", "AP50", "AP75"))


if __name__ == "__main__":
    main()
