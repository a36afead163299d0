"""`python -m benchmarks.cifar10.speed_protocol --width 16`: what the protocol and Editable Training cost, as ratios.

The yardstick is an edit by the plain way: the whole network is run again on every control image, in batches of 512 and
float32, and every step of the edit runs the whole network too. CPU seconds are compared, not wall seconds, so that a
busy machine changes little; each number is the best of a few.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.cifar10.data import VIEWS, Cifar10, load_cifar10
from benchmarks.cifar10.models import fresh_model, plain_model
from benchmarks.report import environment, markdown
from errata.editing.constraints.classification import violation
from errata.editing.editors.gradient import GradientEditor
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.model import EditableModel
from errata.editing.rules import RMSProp
from errata.editing.scopes import Scope
from errata.editing.settings import EditableSettings, TrainingSettings
from errata.editing.studies.protocol import Control, Demand, run_protocol
from errata.editing.studies.side_by_side import edit_side_by_side
from errata.editing.training.editable import EditableObjective
from errata.editing.training.plain import CrossEntropy, Objective, fit
from errata.editing.types import Constraint, Editor

STEPS = 4  # about what an edit takes
REPEATS = 2


def cpu_seconds(work: Callable[[], object]) -> float:
    """The least CPU seconds of a few runs, after one to warm up."""
    work()
    found = []
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found)


def plain_way(model: EditableModel, images: torch.Tensor, target: torch.Tensor) -> None:
    """An edit and its measurement without anything kept: `STEPS` passes forward and backward, then every image."""
    parameters = [value for name, value in model.named_parameters() if name.startswith("backbone.chain3")]
    for _ in range(STEPS):
        torch.autograd.grad(violation(model(images[:1]), target).sum(), parameters)
    with torch.no_grad():
        for part in images.split(512):
            model(part)


def protocol_seconds(
    model: EditableModel, data: Cifar10, images: torch.Tensor, editor: Editor[Any], precision: str
) -> float:
    """CPU seconds of one trial, once the control images have been prepared."""
    control = Control(model, images, data.test.labels[: len(images)], precision=precision)
    state = editor.prepare(model, data.validation.images[:4000], data.validation.images[4000:5000])
    expected = int(control.root_logits[0].argmin())
    return cpu_seconds(lambda: list(run_protocol(editor, state, control, [Demand(0, expected)])))


def edits_seconds(model: EditableModel, images: torch.Tensor, count: int) -> tuple[float, float]:
    """CPU seconds of `count` edits of chain 3, without measuring them: one by one, and side by side."""
    editor = GradientEditor(RMSProp(1e-6), Scope("chain3"), STEPS)
    state = editor.prepare(model, images[:1], images[:1])
    with torch.no_grad():
        expected = model(images[:count]).argmin(1).tolist()
    constraints = [Constraint(image, y) for image, y in zip(images[:count], expected, strict=True)]
    one_by_one = cpu_seconds(lambda: [editor.edit(model, [one], state) for one in constraints])
    return one_by_one, cpu_seconds(lambda: edit_side_by_side(editor, model, constraints, state))


def step_seconds(width: int, images: torch.Tensor, objective: Objective) -> float:
    """CPU seconds of one training step at batch 128, in bfloat16 autocast as the benchmark trains."""
    model, steps = fresh_model(width), 4
    labels = torch.arange(len(images)) % 10
    settings = TrainingSettings(
        epochs=1, batch=128, learning_rate=1e-3, shift=4, flip=True, precision="bfloat16", clip=10.0
    )
    count = 128 * steps
    return cpu_seconds(lambda: fit(model, images[:count], labels[:count], settings, objective)) / steps


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cifar10.speed_protocol", description=__doc__)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--data-root", type=Path, default=Path(os.environ.get("ERRATA_DATA", "artifacts/data")))
    parser.add_argument("--cache", type=Path, default=Path("artifacts/benchmarks"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--note", default="", help="a sentence for the table, about the machine's other load, say")
    chosen = parser.parse_args()
    data = load_cifar10(chosen.data_root)
    model = plain_model(chosen.cache / f"plain-{chosen.width}", chosen.width, data)
    images = data.test.images[: chosen.images]
    target = model(images[:1]).argmin(1)
    yardstick = cpu_seconds(lambda: plain_way(model, images, target))
    rows = [["an edit the plain way", f"{yardstick:.2f}", "1", "-"]]
    rmsprop = RMSProp(1e-6)  # too small to end early: every trial makes all its steps
    trials: tuple[tuple[str, Editor[Any], str, str], ...] = (
        ("RMSProp, chain 3", GradientEditor(rmsprop, Scope("chain3"), STEPS), "float32", "at least 5"),
        ("the same, control in bfloat16", GradientEditor(rmsprop, Scope("chain3"), STEPS), "bfloat16", ""),
        ("RMSProp, head", GradientEditor(rmsprop, Scope("head"), STEPS), "float32", "at least 100"),
        ("calibrated patch", CalibratedPatch(views=VIEWS), "float32", "at least 100"),
    )
    for name, editor, precision, goal in trials:
        seconds = protocol_seconds(model, data, images, editor, precision)
        rows.append([name, f"{seconds:.3f}", f"{yardstick / seconds:.1f}", goal])
    alone, together = edits_seconds(model, images, 32)
    rows.append(["32 edits of chain 3 alone, one by one", f"{alone:.3f}", "1", "-"])
    rows.append(["the same, side by side (vmap)", f"{together:.3f}", f"{alone / together:.2f}", ""])
    plain = step_seconds(chosen.width, images, CrossEntropy())
    rows.append(["a step of plain training", f"{plain:.3f}", "1", "-"])
    for share in (1.0, 0.5):
        editable = step_seconds(chosen.width, images, EditableObjective(EditableSettings(local_share=share), 0))
        name = f"a step of Editable Training, locality on {share:.0%} of the batch"
        rows.append([name, f"{editable:.3f}", f"{plain / editable:.2f}", "at least 0.56 (1.8 times the cost)"])
    about = (
        f"ResNet-18 of width {chosen.width}, trained plainly on CIFAR-10; {chosen.images} test images as control. An "
        "edit the plain way runs the whole network again at every step and on every control image. "
        f"{environment('cpu')}"
    )
    made = f"Made by `python -m benchmarks.cifar10.speed_protocol --width {chosen.width}`. {chosen.note}".rstrip()
    table = markdown(("what", "CPU seconds", "speed against the first of its kind", "goal"), rows)
    text = f"# Speed of the protocol and of Editable Training\n\n{about} {made}\n\n{table}"
    print(text)
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / f"speed-protocol-width{chosen.width}.md").write_text(text)


if __name__ == "__main__":
    main()
