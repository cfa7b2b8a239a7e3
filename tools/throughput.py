"""How fast are scenes rendered, training steps taken, and AP gained? Prints it for each device; nothing depends on it.

python -m tools.throughput
"""

import os
import time

import torch

from focalbook.evaluation import evaluate
from focalbook.scenes import SceneSettings, render
from focalbook.training import LOSSES, TrainSettings, batch_loss, new_model, train

SETTINGS = {"default, 96 px": SceneSettings(), "large, 192 px": SceneSettings(size=192, distractors=30)}
SECONDS = 3.0


def per_second(work, device):
    """Calls of ``work(number)`` a second, over about ``SECONDS`` seconds, after one call to warm up."""
    work(0)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        done += 1
        work(done)
        if device == "cuda":
            torch.cuda.synchronize()
    return done / (time.perf_counter() - start)


def scenes_per_second(settings, device, batch=64):
    """Scenes rendered a second, in batches."""
    rate = per_second(lambda number: render(range(number * batch, (number + 1) * batch), 0, settings, device), device)
    return batch * rate


def steps_per_second(settings, device, batch=8):
    """Training steps with focal loss a second, rendering included."""
    settings = TrainSettings(batch=batch, scenes=settings)
    model = new_model(0, settings).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step(number):
        first = number * batch
        optimizer.zero_grad()
        batch_loss(model, range(first, first + batch), settings, **LOSSES["focal loss"]).backward()
        optimizer.step()

    return per_second(step, device)


def seconds_and_ap(settings, device, scenes=256):
    """A whole training with focal loss, seed 0, float32: its seconds, and its AP on test scenes."""
    start = time.perf_counter()
    model = train("focal loss", 0, settings, device).model
    return time.perf_counter() - start, evaluate(model, scenes, settings.scenes)["AP"]


if __name__ == "__main__":
    os.environ["FOCALBOOK_QUIET"] = "1"
    runs = [("cpu", threads) for threads in sorted({1, 2, os.cpu_count() or 1})]
    if torch.cuda.is_available():
        runs.append(("cuda", 1))
    for device, threads in runs:
        torch.set_num_threads(threads)
        name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, threads: {threads}"
        for setting, settings in SETTINGS.items():
            rates = scenes_per_second(settings, device), steps_per_second(settings, device)
            print(f"{name:30} {setting:16} {rates[0]:9.0f} scenes a second, {rates[1]:7.1f} steps of 8", flush=True)
        seconds, ap = seconds_and_ap(TrainSettings(), device)
        print(f"{name:30} default run: AP {ap:.3f} after {seconds:.0f} s, {ap / seconds:.4f} AP a second", flush=True)
