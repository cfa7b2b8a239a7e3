"""How fast are scenes rendered? Prints scenes a second on each device of this machine; nothing depends on it.

python tools/throughput.py
"""

import os
import time

import torch

from focalbook.scenes import SceneSettings, render

SETTINGS = {"default, 96 px": SceneSettings(), "large, 192 px": SceneSettings(size=192, distractors=30)}
SECONDS = 3.0


def scenes_per_second(settings, device, batch=64):
    """Scenes rendered in about ``SECONDS`` seconds, after one batch to warm up."""
    render(range(batch), settings=settings, device=device)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        render(range(done, done + batch), settings=settings, device=device)
        if device == "cuda":
            torch.cuda.synchronize()
        done += batch
    return done / (time.perf_counter() - start)


if __name__ == "__main__":
    runs = [("cpu", threads) for threads in sorted({1, os.cpu_count() or 1})]
    if torch.cuda.is_available():
        runs.append(("cuda", 1))
    for device, threads in runs:
        torch.set_num_threads(threads)
        name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, threads: {threads}"
        for setting, settings in SETTINGS.items():
            print(f"{name:30} {setting:16} {scenes_per_second(settings, device):9.0f} scenes a second", flush=True)
