"""The stage `train` in two processes, as DVC starts it: one of them writes; one that dies is the stage's failure."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from errata.data.datasets import LabelledImages
from errata.data.releases.ledger import Ledger, write_ledger
from errata.data.splits import record_splits, write_split
from errata.flows.stages.__main__ import TORCHRUN
from errata.flows.stages.root_training import RootTraining
from errata.flows.workspace import Workspace, tree_digest
from tests.editing.models import small_images

REPOSITORY = Path(__file__).parents[3]
PARAMS = """\
model: {architecture: watched, plugins: [watched], mean: [0.5], std: [0.25], slots: 4}
train: {method: plain, epochs: 2, batch: 16, learning_rate: 0.05}
"""
WATCHED = """\
import os, signal, sys
from pathlib import Path
from torch import nn
from errata.editing.networks.architectures import register, resnet

RANK = os.environ.get("RANK", "alone")

def note(event, arguments):
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        if "artifacts" in str(arguments[0]):
            os.write(log, f"{arguments[0]}\\n".encode())

log = os.open(f"written-by-{RANK}", os.O_CREAT | os.O_WRONLY)
sys.addaudithook(note)

class Mortal(nn.Module):
    def forward(self, images):
        if Path("die").exists() and RANK == "1" and self.training:
            os.kill(os.getpid(), signal.SIGKILL)
        return images

@register("watched")
def network(classes, image_shape):
    backbone, head = resnet(classes, image_shape, width=4, blocks=1)
    backbone.stem = nn.Sequential(Mortal(), *backbone.stem)
    return backbone, head
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    found = Workspace(tmp_path)
    found.splits.mkdir(parents=True)
    images = LabelledImages(small_images(40).numpy(), np.arange(40) % 4, tuple("abcd"))
    record_splits({"train": write_split(images, found.splits / "train.npz")}, found.splits)
    write_ledger(found.replay, Ledger(0), {})
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "watched.py").write_text(WATCHED)
    return found


def train(workspace: Workspace, torchrun: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, TORCHRUN: torchrun, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "errata.flows.stages", "train"]
    return subprocess.run(command, cwd=workspace.folder, env=environment, capture_output=True, text=True, check=False)


def training(workspace: Workspace) -> RootTraining:
    return RootTraining.from_json((workspace.root / "training.json").read_bytes())


@pytest.mark.slow
def test_one_of_two_writes_and_one_that_dies_leaves_the_old_root(workspace: Workspace) -> None:
    assert train(workspace).returncode == 0
    alone = training(workspace)
    done = train(workspace, "--standalone --nproc-per-node 2")
    assert done.returncode == 0, done.stderr
    together = training(workspace)
    assert together.losses == pytest.approx(alone.losses, rel=1e-4)
    assert together.settings == {**alone.settings, "processes": 2}
    assert (workspace.folder / "written-by-0").read_text() and not (workspace.folder / "written-by-1").read_text()

    old = tree_digest(workspace.root)
    (workspace.folder / "die").touch()
    failed = train(workspace, "--standalone --nproc-per-node 2")
    assert failed.returncode != 0 and "Signal 9 (SIGKILL)" in failed.stderr
    assert tree_digest(workspace.root) == old
