"""The package, built and installed, far from the book: the loss, the detector and the command work without it."""

import os
import subprocess
import sys

import pytest

from focalbook import losses
from tasks import ROOT
from tools.matrix import copy

FAR = """
import torch, focalbook
from focalbook import experiments
from focalbook.losses import sigmoid_focal_loss
from focalbook.retinanet import RetinaNet
from focalbook.scenes import render
from focalbook.checks import chapter04

print(focalbook.__file__)
print(sigmoid_focal_loss(torch.zeros(1), torch.ones(1), alpha=0.25, gamma=2.0, reduction="sum").item())
print(len(RetinaNet(3, 96).detect(render(range(2)).images)))
try:
    experiments.load_study("verdict")
except FileNotFoundError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def far(tmp_path_factory):
    """Runs Python in an empty folder with the built package and without the book; gives what it said."""
    folder = tmp_path_factory.mktemp("far")
    copy(ROOT, folder / "book")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    offline = ["--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "wheel", *offline, "--wheel-dir", folder / "made", folder / "book"], check=True)
    (wheel,) = (folder / "made").iterdir()
    subprocess.run([*pip, "install", *offline, "--target", folder / "installed", wheel], check=True)
    (folder / "empty").mkdir()

    def run(*arguments):
        environment = os.environ | {"PYTHONPATH": str(folder / "installed")}
        return subprocess.run(
            [sys.executable, *arguments], cwd=folder / "empty", env=environment, capture_output=True, text=True
        )

    run.installed = folder / "installed"
    return run


@pytest.mark.slow
def test_far_from_the_book_the_loss_and_the_detector_work_and_records_are_missed_by_name(far):
    told = far("-c", FAR)
    assert told.returncode == 0, told.stderr
    place, loss, images, missing = told.stdout.splitlines()
    assert place.startswith(str(far.installed)) and images == "2"
    assert float(loss) == pytest.approx(0.25 * losses.cross_entropy(0.5, 1) / 4)
    assert missing.startswith("there is no record ") and missing.endswith("run this in the book's folder")


@pytest.mark.slow
def test_far_from_the_book_the_command_trains(far):
    told = far("-m", "focalbook", "--steps", "1", "--batch", "1")
    assert told.returncode == 0 and "AP" in told.stdout, told.stderr
