"""Train one detector and judge it on what it has not seen (chapters 19 and 20).

python -m focalbook                                        on rendered scenes, in one process
torchrun --standalone --nproc-per-node 2 -m focalbook      in two, with the same result
python -m focalbook --data FOLDER                          on your own images, in COCO format
"""

import argparse
import io
import re
import sys
from collections.abc import Sequence

import torch

from focalbook import distributed
from focalbook.coco import CocoFolder, anchors_for
from focalbook.evaluation import evaluate
from focalbook.training import LOSSES, TrainSettings, train

SCENES = 256
"""Rendered scenes to be judged on."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with these ``arguments``, a list of texts; those of the command line without (chapter 19)."""
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # your classes and files may have names beyond the terminal's
    try:
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
        size = f" or --size (it is {options.size})" if options.data else ""
        return f"out of memory: lower --batch (it is {options.batch}){size}"
    if isinstance(error, ModuleNotFoundError):
        return f"{error}: install pillow, pycocotools and tqdm beside focalbook"
    return str(error) if isinstance(error, (ValueError, FloatingPointError, OSError)) else ""


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
    parser.add_argument("--data", metavar="FOLDER", help="your images, beside their annotations.json")
    parser.add_argument("--size", type=int, default=256, help="side in pixels that your images are fitted into")
    return parser


def _train_and_judge(options: argparse.Namespace) -> None:
    for name, cure in (("data", "to train on rendered scenes"), ("checkpoint", "to keep none")):
        value = getattr(options, name)
        if value is not None and not value.strip():
            raise ValueError(f"{name} must name a place, got {value!r}: leave --{name} out {cure}")
    given = dict(steps=options.steps, batch=options.batch, lr=options.lr)
    first, judged = distributed.rank() == 0, SCENES
    if options.data:
        data = CocoFolder(options.data, options.size)
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


def _means(score: dict[str, float]) -> str:
    """The means over the classes, or why there are none: without an object, COCO's AP is no number."""
    if score["AP"] != score["AP"]:
        return "no AP, as they hold no object: there is nothing to judge by, annotate more images"
    return ", ".join(f"{name} {score[name]:.3f}" for name in ("AP", "AP50", "AP75"))


if __name__ == "__main__":
    main()
