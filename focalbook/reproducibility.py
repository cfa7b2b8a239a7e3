"""Do the digits of a training hold on another machine? A test that needs no second machine (chapter 17), and a
hash by which two machines compare their scenes (chapter 20)."""

import hashlib
from collections.abc import Callable

import torch
from torch import nn

from focalbook.scenes import Scenes
from focalbook.training import TrainSettings, new_model, train


def perturbation_drift(
    settings: TrainSettings, activation: Callable[[], nn.Module] = nn.SiLU, change: float = 1e-14, seed: int = 0
) -> float:
    """How far a change of one initial weight carries: the relative difference of the last loss, a float.

    Trains twice on the CPU in float64 with focal loss, the second time with one weight moved by ``change``, and with
    ``activation`` in place of every SiLU. Tiny for a smooth activation, large for a chaotic training. Explained in
    chapter 17.
    """
    last = []
    for shift in (0.0, change):
        model = new_model(seed, settings).double()
        for part in model.modules():
            if isinstance(part, nn.Sequential) and isinstance(part[-1], nn.SiLU):
                part[-1] = activation()
        with torch.no_grad():
            next(model.stem.parameters())[0, 0, 0, 0] += shift
        last.append(train("focal loss", seed, settings, "cpu", torch.float64, model=model).losses[-1])
    return abs(last[1] - last[0]) / abs(last[0])


def scenes_hash(scenes: Scenes) -> str:
    """Hash of scenes: 16 hexadecimal digits, the same wherever they were rendered in float64.

    It sees boxes and labels to the bit, and pixels to a part in 65,535, because the last bits of a pixel differ between
    processors. Explained in chapter 20.
    """
    pixels = (scenes.images.double() * 65535).round().int()
    parts = (part.cpu().contiguous().numpy().tobytes() for part in (pixels, scenes.boxes, scenes.labels))
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]
