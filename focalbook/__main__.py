"""Train one detector and judge it on what it has not seen (chapters 19 and 20).

python -m focalbook                                        on rendered scenes, in one process
torchrun --standalone --nproc-per-node 2 -m focalbook      in two, with the same result
python -m focalbook --data FOLDER                          on your own images, in COCO format
"""

import argparse
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
    try:
        with distributed.joined(options.device):
            _train_and_judge(options)
    except (ValueError, FloatingPointError, OSError) as error:
        sys.stderr.write(f"focalbook: {error}\n")  # in one piece: other processes write there too
        sys.exit(1)


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
        print(f"on {judged} images not seen: AP {score['AP']:.3f}, AP50 {score['AP50']:.3f}, AP75 {score['AP75']:.3f}")
        for name, value in score["by class"].items():
            print(f"  AP {value:.3f}  {name}")


if __name__ == "__main__":
    main()
