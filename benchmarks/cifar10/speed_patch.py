"""`python -m benchmarks.cifar10.speed_patch`: what a joint patch costs, by stages, and its slots at inference.

Claims measured here: 1,000 corrections with 20,000 calibration images, features included, in under 60 s on 2 cores (at
width 16), linear in the number of corrections, under 4 GB; 1,000 slots add little to a prediction in ONNX Runtime.
Wall time and processor time are both given: on a shared machine only the second repeats.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.cifar10.data import VIEWS, Cifar10, load_cifar10
from benchmarks.cifar10.models import plain_model
from benchmarks.report import environment, markdown
from errata.editing.editors.detectors import calibrate, directions
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.model import EditableModel, batched_features
from errata.editing.onnx.classifier import OnnxClassifier
from errata.editing.onnx.export import onnx_bytes
from errata.editing.training.plain import predict
from errata.editing.types import Constraint
from errata.editing.views import fitting_views

SIZES = (250, 500, 1000)
CALIBRATION = 20_000
REFERENCE = 10_000


class Clock:
    """Rows of (stage, wall seconds, processor seconds)."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        wall, processor = time.perf_counter(), time.process_time()
        yield
        spent = time.perf_counter() - wall, time.process_time() - processor
        self.rows.append([name, *(f"{seconds:.1f}" for seconds in spent)])
        print(self.rows[-1], flush=True)


def patch_costs(root: EditableModel, data: Cifar10) -> list[list[str]]:
    """Stages of the largest joint patch, then whole patches of growing size."""
    clock = Clock()
    editor = CalibratedPatch(views=VIEWS)
    calibration = torch.cat([data.validation.images, data.train.images[: CALIBRATION - len(data.validation)]])
    with clock.stage(f"prepare: features of {REFERENCE:,} reference and {CALIBRATION:,} calibration images"):
        state = editor.prepare(root, data.train.images[-REFERENCE:], calibration)
    found = predict(root, data.test.images).argmax(1)
    wrong = (found != data.test.labels).nonzero()[:, 0][: max(SIZES)]
    with clock.stage(f"  of {len(wrong):,} corrections: draw 17 views each"):
        views = torch.cat([fitting_views(image, editor.views) for image in data.test.images[wrong]])
    with clock.stage("  their features"), torch.no_grad():
        seen = root.patch.directions(batched_features(root, views)).unflatten(0, (len(wrong), -1))
    with clock.stage("  their directions"):
        weight = directions(seen, state.controls, editor.gamma)
    with clock.stage("  their thresholds"):
        calibrate(weight, state.controls, editor.alpha)
    constraints = [Constraint(data.test.images[one], int(data.test.labels[one]), f"{one:05}") for one in wrong.tolist()]
    for size in SIZES:
        with clock.stage(f"edit, all of it, {size:,} corrections"):
            result = editor.edit(root, constraints[:size], state)
        print(f"{sum(result.holds)} of {size} hold {result.reason}", flush=True)
    return clock.rows


def latency(root: EditableModel, slots: int, batch: int, repeats: int) -> float:
    """Median ratio of the time of one batch with `slots` slots to that with a single one, measured in turns."""
    images = np.random.default_rng(0).integers(0, 256, (batch, *root.spec.image_shape), dtype=np.uint8)
    sessions = []
    for count in (1, slots):
        model = EditableModel.from_spec(replace(root.spec, slots=count)).eval()
        torch.nn.init.normal_(model.patch.weight)
        sessions.append(OnnxClassifier(onnx_bytes(model, {}), batch=batch, threads=1))
    ratios = []
    for _ in range(repeats):
        spent = []
        for session in sessions:
            start = time.process_time()
            session.predict(images)
            spent.append(time.process_time() - start)
        ratios.append(spent[1] / spent[0])
    return statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cifar10.speed_patch", description=__doc__)
    parser.add_argument("--width", type=int, default=16, help="of the ResNet-18")
    parser.add_argument("--data-root", type=Path, default=Path(os.environ.get("ERRATA_DATA", "artifacts/data")))
    parser.add_argument("--cache", type=Path, default=Path("artifacts/benchmarks"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--repeats", type=int, default=100)
    chosen = parser.parse_args()
    data = load_cifar10(chosen.data_root)
    root = plain_model(chosen.cache / f"plain-{chosen.width}", chosen.width, data)
    rows = patch_costs(root, data)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    ratios = [
        [str(width), str(batch), f"{latency(shaped(root, width), 1000, batch, chosen.repeats):.3f}"]
        for width in (16, 64)
        for batch in (1, 64)
    ]
    text = (
        f"{environment('cpu')} Width {chosen.width}. Peak memory {memory:.1f} GiB, data set included.\n\n"
        + markdown(("stage", "wall s", "processor s"), rows)
        + "\nOne batch in ONNX Runtime with 1,000 slots against one slot, same run, one thread, median of "
        + f"{chosen.repeats} turns:\n\n"
        + markdown(("width", "batch", "time ratio"), ratios)
    )
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / f"speed_patch-{chosen.width}.md").write_text(f"# What a patch costs\n\n{__doc__}\n{text}")
    print(text)


def shaped(root: EditableModel, width: int) -> EditableModel:
    """An untrained model of another width: what a prediction costs does not depend on the weights."""
    return EditableModel.from_spec(replace(root.spec, arguments={**root.spec.arguments, "width": width}))


if __name__ == "__main__":
    main()
