"""How much memory each stage takes for many photos, and how much it would take for 100,000.

    python -m benchmarks.memory --photos 2000 4000 --out docs/results/memory.md

Photos of 224 pixels are generated as JPEG files, a CSV names them, and every stage runs on them in a process of its
own, from the first to the gate. Measured is the most anonymous memory (`RssAnon` in /proc) that a process ever had:
what the system cannot take back. Pages of files that are mapped are beside it, in the page cache, and go when somebody
needs the room. From two numbers of photos follow a base, which is Python, torch and the network, and what each adds;
both are so many that what stops growing (samples of 500 and of 1,000 images) has stopped.

The network is next to nothing, but as wide as one of ImageNet size where it ends: 1,280 features and 1,000 classes.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from torch import nn

from benchmarks.report import environment, markdown
from errata.data.images import encode_png, pixel_digest
from errata.data.releases.ledger import Correction, Ledger, write_ledger
from errata.data.splits import load_split
from errata.editing.networks.architectures import register
from errata.flows.stages.__main__ import STAGES, run
from errata.flows.workspace import Workspace

SIDE, CLASSES, FEATURES, CORRECTIONS = 224, 1000, 1280, 20
SHARES = {"train": 0.1, "reference": 0.5, "calibration": 0.1, "gate": 0.25, "test": 0.025}  # and the rest is traffic
WANTED = 100_000  # photos
PARAMS = """\
seed: 0
data:
  dataset: csv
  root: {root}
  image_shape: [224, 224, 3]
  splits: {splits}
model: {{architecture: memory-benchmark, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}}
train: {{method: plain, epochs: 1, batch: 32, learning_rate: 0.01}}
views: {{fitting: 4, unseen: 2}}
edit: {{}}
gate: {{}}
trust: {{}}
deferral: {{}}
"""


@register("memory-benchmark")
def network(classes: int, _image_shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Linear]:
    """Two layers."""
    backbone = nn.Sequential()
    backbone.add_module("first", nn.Sequential(nn.Conv2d(3, 32, 16, 16), nn.ReLU()))
    backbone.add_module(
        "last", nn.Sequential(nn.Conv2d(32, FEATURES, 4, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    )
    return backbone, nn.Linear(FEATURES, classes)


def make_photos(folder: Path, count: int) -> None:
    """JPEG files of coloured noise at several scales, about as large as photos of that size are, and a CSV of them."""
    rng = np.random.default_rng(0)
    with (folder / "photos.csv").open("w", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(["path", "label"])
        for number in range(count):
            coarse = rng.integers(0, 256, (14, 14, 3), dtype=np.uint8)
            photo = np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.int16)
            photo = photo + rng.integers(-8, 9, (SIDE, SIDE, 1), dtype=np.int16)
            Image.fromarray(photo.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.jpg", quality=90)
            table.writerow([f"{number}.jpg", f"class {number % CLASSES}"])


def lay_out(folder: Path, photos: Path, count: int) -> Workspace:
    """A workspace with the first `count` of the photos, and nothing made yet."""
    lines = (photos / "photos.csv").read_text().splitlines(keepends=True)
    table = photos / f"{count}.csv"
    table.write_text("".join(lines[: count + 1]))
    sizes = {name: int(count * share) for name, share in SHARES.items()}
    sizes["traffic"] = -1
    (folder / "params.yaml").write_text(PARAMS.format(root=table, splits=json.dumps(sizes)))
    for name in ("replay", "ledger"):
        write_ledger(folder / "artifacts" / name, Ledger(0), {})
    return Workspace(folder)


def correct(workspace: Workspace) -> None:
    """A ledger of some traffic images, each with its own label."""
    traffic = load_split(workspace.splits, "traffic")
    images = {pixel_digest(image): image for image in traffic.images[:CORRECTIONS]}
    corrections = (
        Correction(digest, traffic.classes[label])
        for digest, label in zip(images, traffic.labels[:CORRECTIONS], strict=True)
    )
    write_ledger(
        workspace.ledger, Ledger(1, tuple(corrections)), {name: encode_png(image) for name, image in images.items()}
    )


class Watch:
    """The most kilobytes that this process had, looked at every few milliseconds: anonymous, and with mapped files."""

    def __init__(self) -> None:
        self.anonymous = self.everything = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._done.wait(0.005):
            lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
            found = {words[0]: int(words[1]) for words in lines if words[0] in {"RssAnon:", "RssShmem:", "VmRSS:"}}
            self.anonymous = max(self.anonymous, found["RssAnon:"] + found["RssShmem:"])
            self.everything = max(self.everything, found["VmRSS:"])

    def stop(self) -> None:
        """Look no more."""
        self._done.set()
        self._thread.join()


def measure_here(stage: str, folder: Path) -> dict[str, float]:
    """Run one stage in this process: MB anonymous, MB in all, seconds."""
    watch, started = Watch(), time.perf_counter()
    run(stage, Workspace(folder))
    watch.stop()
    return {
        "anonymous": watch.anonymous / 1e3,
        "everything": watch.everything / 1e3,
        "seconds": time.perf_counter() - started,
    }


def measure(count: int, photos: Path, folder: Path) -> dict[str, dict[str, float]]:
    """Every stage on `count` photos, each in a process of its own."""
    workspace = lay_out(folder, photos, count)
    found = {}
    for stage in STAGES:
        if stage == "edit":
            correct(workspace)
        command = [sys.executable, "-m", "benchmarks.memory", "--stage", stage, "--folder", str(folder)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found[stage] = json.loads(said.splitlines()[-1])
        print(count, stage, found[stage], file=sys.stderr, flush=True)
    return found


def page(few: int, many: int, found: Mapping[int, Mapping[str, Mapping[str, float]]], command: str) -> str:
    """The result as Markdown."""
    rows = []
    for stage in STAGES:
        low, high = (found[count][stage] for count in (few, many))
        slope = (high["anonymous"] - low["anonymous"]) / (many - few)
        rows.append(
            [
                stage,
                *(f"{each['anonymous']:,.0f} MB" for each in (low, high)),
                f"{1e3 * slope:.1f} kB",
                f"{max(slope, 0) * (WANTED - many) / 1e3 + high['anonymous'] / 1e3:.2f} GB",
                f"{high['everything'] - high['anonymous']:,.0f} MB",
                f"{high['seconds']:.0f} s",
            ]
        )
    heads = [
        "stage",
        f"{few:,} photos",
        f"{many:,} photos",
        "each photo adds",
        f"{WANTED:,} photos, extrapolated",
        f"mapped files, {many:,} photos",
        f"seconds, {many:,} photos",
    ]
    pixels = SIDE * SIDE * 3
    return f"""# Memory of every stage

`{command}`, one run of each. {environment("cpu")} Other work ran on the machine, so seconds say little.

Generated photos of {SIDE} pixels, {pixels / 1e3:.0f} kB of pixels each: {WANTED:,} are {WANTED * pixels / 1e9:.1f} GB.
{", ".join(f"{share:.0%} {name}" for name, share in SHARES.items())}, the rest traffic; {CORRECTIONS} corrections; a
network of two layers with {FEATURES:,} features and {CLASSES:,} classes. Given is the most anonymous memory that a
stage's process ever had, Python and torch included. Beside it is what of mapped files was in memory, which the system
takes back when it needs room.

{markdown(heads, rows)}
"""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=int, nargs=2, default=(2000, 4000), help="two numbers of photos")
    parser.add_argument("--out", type=Path, help="a page to write")
    parser.add_argument("--room", type=Path, help="a folder on a disk (not in memory) for photos and workspaces")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.stage:
        print(json.dumps(measure_here(chosen.stage, chosen.folder)))
        return
    few, many = sorted(chosen.photos)
    with TemporaryDirectory(dir=chosen.room) as room:
        photos = Path(room) / "photos"
        photos.mkdir()
        make_photos(photos, many)
        found = {}
        for count in (few, many):
            folder = Path(room) / str(count)
            folder.mkdir()
            found[count] = measure(count, photos, folder)
    told = page(few, many, found, f"python -m benchmarks.memory --photos {few} {many}")
    print(told)
    if chosen.out:
        chosen.out.write_text(told)


if __name__ == "__main__":
    main(sys.argv[1:])
