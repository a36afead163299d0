"""What the gate costs with a million control images of which the features are there: seconds and memory.

    python -m benchmarks.gate_million --images 1000000 --room FOLDER

Generated images of 32 pixels, a network that is next to nothing before its 512 features, ten classes, 20 corrections.
The first time the splits are made, root and release, and all features; what is there is used again. Then, each in a
process of its own: the stage `evaluate`, and judging what it measured, also against a live release. Memory is the
most that a process had anonymous (`benchmarks.memory.Watch`): beside it are mapped files, which the system takes back.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from benchmarks.memory import Watch, correct
from benchmarks.report import environment
from errata.data.datasets import LabelledImages
from errata.data.releases.ledger import Ledger, write_ledger
from errata.data.releases.looks import Looks
from errata.data.splits import SplitEntry, record_splits, splits_digest, write_split
from errata.data.storage import open_storage
from errata.editing.model import load_model
from errata.editing.networks.architectures import register
from errata.flows.gate.judge import LiveModel, judge_candidate
from errata.flows.stages.__main__ import run
from errata.flows.stages.answers import open_answers
from errata.flows.stages.common import open_features
from errata.flows.workspace import Workspace

SIDE, CLASSES, FEATURES = 32, 10, 512
SIZES = {"train": 2000, "reference": 5000, "calibration": 5000, "gate": 0, "test": 500, "traffic": 500}
PARAMS = """\
seed: 0
data: {dataset: csv, root: none, image_shape: [32, 32, 3]}
model: {architecture: gate-benchmark, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}
train: {method: plain, epochs: 1, batch: 128, learning_rate: 0.01}
views: {fitting: 4, unseen: 2}
"""
PARTS = ("evaluate", "judge")


@register("gate-benchmark")
def network(classes: int, _image_shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Linear]:
    """Means of places, and one layer."""
    backbone = nn.Sequential()
    backbone.add_module("first", nn.Sequential(nn.AvgPool2d(4), nn.Flatten()))
    backbone.add_module("last", nn.Sequential(nn.Linear(3 * (SIDE // 4) ** 2, FEATURES), nn.ReLU()))
    return backbone, nn.Linear(FEATURES, classes)


def write_images(path: Path, count: int, seed: int) -> SplitEntry:
    """A split of noise around a colour for each class, made without ever being in memory as a whole.

    Every 4,096 images repeat but for their first pixels, which number them: no two are equal.
    """
    rng = np.random.default_rng(seed)
    raw = path.with_suffix(".raw")
    images = np.memmap(raw, np.uint8, "w+", shape=(count, SIDE, SIDE, 3))
    kinds = np.arange(4096) % CLASSES
    colours = np.random.default_rng(0).integers(60, 196, (CLASSES, 8, 8, 3)).astype(np.uint8)
    block = colours[kinds].repeat(4, 1).repeat(4, 2) + rng.integers(0, 60, (4096, SIDE, SIDE, 3), dtype=np.uint8)
    for start in range(0, count, 4096):
        own = min(4096, count - start)
        block[:, 0, 0], block[:, 0, 1] = rng.integers(0, 256, (4096, 3)), start // 4096 % 256
        images[start : start + own] = block[:own]
    names = tuple(f"class {number}" for number in range(CLASSES))
    entry = write_split(LabelledImages(images, np.arange(count) % 4096 % CLASSES, names), path)
    del images
    raw.unlink()
    return entry


def make(folder: Path, images: int) -> Workspace:
    """Splits, root and release, where they are not there yet."""
    workspace = Workspace(folder)
    if not (workspace.onnx / "model.onnx").exists():
        workspace.splits.mkdir(parents=True, exist_ok=True)
        (folder / "params.yaml").write_text(PARAMS)
        sizes = {**SIZES, "gate": images}
        entries = {
            name: write_images(workspace.splits / f"{name}.npz", size, seed)
            for seed, (name, size) in enumerate(sizes.items(), 1)
        }
        record_splits(entries, workspace.splits)
        for name in ("replay", "ledger"):
            write_ledger(folder / "artifacts" / name, Ledger(0), {})
        run("train", workspace)
        correct(workspace)
        run("edit", workspace)
        run("export", workspace)
    return workspace


def judge(workspace: Workspace) -> None:
    """The gate's step of a night, with the root as the live release."""
    root = load_model(workspace.root)
    live = LiveModel((workspace.root / "root.onnx").read_bytes(), root.spec.classes, splits_digest(workspace.splits))
    by_features = partial(open_answers, root=root, features=open_features(workspace, root, "gate"))
    found = judge_candidate(
        workspace, live, Looks(open_storage(str(workspace.folder / "store"))), open_file=by_features
    )
    print(found.verdict, found.sentence, file=sys.stderr)


def measure_here(part: str, workspace: Workspace) -> dict[str, float]:
    """One part in this process: wall seconds, processor seconds, MB anonymous and in all, Python and torch included."""
    watch, started = Watch(), time.perf_counter()
    if part == "evaluate":
        run("evaluate", workspace)
    else:
        judge(workspace)
    watch.stop()
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "wall": time.perf_counter() - started,
        "processor": used.ru_utime + used.ru_stime,
        "anonymous": watch.anonymous / 1e3,
        "everything": watch.everything / 1e3,
    }


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--room", type=Path, required=True, help="a folder with room for 3 kB and 2 kB an image")
    parser.add_argument("--times", type=int, default=2, help="the first computes features that are not there")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    folder = chosen.room / str(chosen.images)
    if chosen.part:
        print(json.dumps(measure_here(chosen.part, Workspace(folder))))
        return
    folder.mkdir(parents=True, exist_ok=True)
    make(folder, chosen.images)
    print(environment("cpu"))
    command = [
        sys.executable,
        "-m",
        "benchmarks.gate_million",
        "--images",
        str(chosen.images),
        "--room",
        str(chosen.room),
    ]
    for turn in range(chosen.times):
        for part in PARTS:
            said = subprocess.run([*command, "--part", part], check=True, stdout=subprocess.PIPE, text=True).stdout
            print(turn, part, said.splitlines()[-1], flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
