"""How fast is the book's focal loss, and how much does it keep? Prints a table, writes JSON, draws the picture.

python -m tools.bench         (make bench; about two minutes; writes _build/bench/)

Forward and backward of the sum, hard labels, gamma = 2, all variants in turn in one process: each round runs every
variant a few times and takes its median, so that a ratio compares what was measured side by side. On a CPU twice: with
the allocator as it is, and told to keep its pages, because much of what large temporaries cost is the system's work of
handing out memory (the variable MALLOC_MMAP_MAX_, for glibc).
"""

import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from focalbook import plots
from focalbook.files import cure, write
from focalbook.losses import sigmoid_focal_loss
from focalbook.sources import sources_hash
from tasks import ROOT

FOLDER = ROOT / "_build" / "bench"
SIZES = {"cpu": (10**5, 10**6, 10**7), "cuda": (10**5, 10**6, 10**7, 16 * 10**6)}
THREADS = 2
ROUNDS = 9
SECONDS = 0.05  # how long one variant runs in one round, three calls at least
PAGES = {"as usual": {}, "kept": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}}
BASE = "torchvision's formula"


def torchvision_formula(inputs, targets, alpha: float = 0.25, gamma: float = 2.0):
    """The formula of ``torchvision.ops.sigmoid_focal_loss``, written out, without its reduction."""
    p = torch.sigmoid(inputs)
    ce = F.binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    p_t = p * targets + (1 - p) * (1 - targets)
    loss = ce * (1 - p_t) ** gamma
    return loss if alpha < 0 else (alpha * targets + (1 - alpha) * (1 - targets)) * loss


def stable_rewrite(inputs, targets):
    """Exact in both tails, left to autograd: a logarithm and a sigmoid for either class (chapter 18)."""
    ce = -(targets * F.logsigmoid(inputs) + (1 - targets) * F.logsigmoid(-inputs))
    not_p_t = targets * torch.sigmoid(-inputs) + (1 - targets) * torch.sigmoid(inputs)
    return ((0.25 * targets + 0.75 * (1 - targets)) * not_p_t**2 * ce).sum()


def variants():
    """Name -> function (inputs, targets) -> scalar; the compiled ones are called "compiled ..."."""
    eager = {
        BASE: lambda x, t: torchvision_formula(x, t).sum(),
        "focalbook": lambda x, t: sigmoid_focal_loss(x, t, reduction="sum"),
        "BCE with logits": lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction="sum"),
        "stable rewrite": stable_rewrite,
    }
    try:
        from torchvision.ops import sigmoid_focal_loss as theirs

        eager["torchvision"] = lambda x, t: theirs(x, t, reduction="sum")
    except (ImportError, RuntimeError):
        pass  # its formula stands for it
    return eager | {f"compiled {name}": torch.compile(run) for name, run in eager.items()}


def limit(inputs, targets):
    """The least that any forward and backward must move, 20 bytes a logit: read logits and labels, write the slope;
    read the slope, write the gradient."""
    slope, gradient = torch.empty_like(inputs), torch.empty_like(inputs)

    def run():
        torch.add(inputs, targets, out=slope)
        torch.mul(slope, 2, out=gradient)

    return run


def forward_backward(loss, inputs, targets):
    inputs.grad = None
    loss(inputs, targets).backward()


def seconds(run, device):
    """Median seconds of ``run`` over as many calls as fit in ``SECONDS`` seconds, three or more."""
    taken, start = [], time.perf_counter()
    while len(taken) < 3 or time.perf_counter() - start < SECONDS:
        before = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - before)
    return statistics.median(taken)


def kept_bytes(loss, inputs, targets):
    """Bytes that a forward pass keeps for the backward pass, the two arguments aside."""
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = loss(inputs, targets)
    del value
    for argument in (inputs, targets):
        storages.pop(argument.untyped_storage().data_ptr(), None)
    return sum(storages.values())


def peak_bytes(run, device):
    """Most bytes allocated at one time during ``run``, beyond what was allocated before."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            run()
        profile.export_chrome_trace(f"{folder}/trace.json")
        events = json.loads(Path(folder, "trace.json").read_text("utf-8"))["traceEvents"]
    changes = [(event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]"]
    now = peak = 0
    for _, change in sorted(changes, key=lambda pair: pair[0]):
        now += change
        peak = max(peak, now)
    return peak


def recorded(run):
    """The same work as a CUDA graph, without Python: a call that starts its kernels, as a training on a GPU does."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def measured(device, pages, size, losses):
    """Rows of the table for one device and size, each with its times faster than ``BASE``: quartiles over the
    rounds. ``losses``: ``variants()``, or some of them and others. ``pages``: "as usual", "kept", or on a GPU
    "replayed" for the kernels alone."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(size, generator=generator).to(device).requires_grad_()
    targets = (torch.rand(size, generator=generator) < 0.01).float().to(device)
    runs = {name: partial(forward_backward, loss, inputs, targets) for name, loss in losses.items()}
    runs["limit"] = limit(inputs.detach(), targets)
    for run in runs.values():  # compiles, and warms up
        run(), run()
    if pages == "replayed":
        inputs.grad = None
        runs = {name: recorded(run) for name, run in runs.items()}
    rounds = [{name: seconds(run, device) for name, run in runs.items()} for _ in range(ROUNDS)]
    rows = []
    for name, run in runs.items():
        times = statistics.quantiles((taken[BASE] / taken[name] for taken in rounds), n=4, method="inclusive")
        row = {"device": device, "pages": pages, "logits": size, "variant": name}
        row["milliseconds"] = round(1e3 * statistics.median(taken[name] for taken in rounds), 4)
        row["times"] = [round(value, 3) for value in times]
        if name != "limit" and pages != "replayed":
            row["kept"] = round(kept_bytes(losses[name], inputs, targets) / size, 1)
            inputs.grad = None
            row["peak"] = round(peak_bytes(run, device) / size, 1)
        rows.append(row)
    torch.compiler.reset()
    return rows


def measure(device, pages):
    """Rows of the table for one device, size after size."""
    return [row for size in SIZES[device] for row in measured(device, pages, size, variants())]


def table(rows):
    """The rows as text: one block for each device, allocator and size."""
    lines, block = [], None
    for row in rows:
        if block != (block := (row["device"], row["pages"], row["logits"])):
            lines.append(f"\n{row['device']}, pages {row['pages']}, {row['logits']:,} logits")
            lines.append(f"  {'':32}{'ms':>9} {'times faster':>14} {'quartiles':>15} {'kept B':>8} {'peak B':>8}")
        low, middle, high = row["times"]
        memory = "".join(f" {row[key]:8.1f}" for key in ("kept", "peak") if key in row)
        spread = f"{low:.2f} - {high:.2f}"
        lines.append(f"  {row['variant']:32}{row['milliseconds']:9.3f} {middle:14.2f} {spread:>15}{memory}")
    return "\n".join(lines)


def main():
    if sys.argv[1:2] == ["rows"]:  # a child, started below with the allocator set
        torch.set_num_threads(THREADS)
        print(json.dumps(measure(*sys.argv[2:])))
        return
    rows = []
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for pages, setting in PAGES.items() if device == "cpu" else [("as usual", {})]:
            print(f"measuring on {device}, pages {pages}", flush=True)
            child = [sys.executable, "-m", "tools.bench", "rows", device, pages]
            done = subprocess.run(child, cwd=ROOT, env=os.environ | setting, capture_output=True, text=True)
            if done.returncode:  # what it wrote else is the profiler's noise
                sys.exit(done.stderr)
            rows += json.loads(done.stdout)
    print(table(rows))
    made = {"date": time.strftime("%Y-%m-%d"), "python": platform.python_version(), "torch": torch.__version__}
    record = {"made": made | {"threads": THREADS}, "sources": sources_hash(["losses"]), "rows": rows}
    plots.use_style()
    plots.show_speed(plt.figure(), rows)
    picture = io.StringIO()
    plt.savefig(picture, format="svg")
    try:
        write(FOLDER / "loss-speed.json", json.dumps(record, indent=1, sort_keys=True) + "\n")
        write(FOLDER / "loss-speed.svg", picture.getvalue())
    except OSError as error:
        sys.exit(f"not stored: {cure(error)}")
    print(f"\nwrote loss-speed.json and loss-speed.svg into {FOLDER}")


if __name__ == "__main__":
    main()
