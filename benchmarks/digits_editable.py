"""`python -m benchmarks.digits_editable`: Editable Training on the embedded digits, beside as much plain training.

All models start from the same plain training and train 40 epochs more: plainly, editably with one edit a batch, and
with four. They are edited by RMSProp on chain 3 with the same rates, on the same test edits. Editable + CNP trains on
for 2,500 batches of 16 edits. The objective's weights and rates were chosen with seed 0 (its split and first weights),
so that seed is none of those reported.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from benchmarks.report import HEADINGS, environment, markdown, row
from benchmarks.rows import SIDE_BY_SIDE
from errata.editing.editors.gradient import GradientEditor, GradientState
from errata.editing.model import EditableModel, ModelSpec
from errata.editing.rules import RMSProp
from errata.editing.scopes import Scope
from errata.editing.settings import EditableSettings, ViewSettings
from errata.editing.studies.analysis import Subject, draw_harm, draw_maps, edit_map, harm_matrix, kl_profiles
from errata.editing.studies.cnp import ConditionalEditor, conditioned, train_conditional
from errata.editing.studies.protocol import Control, Demand, Trial, draw_demands, run_protocol
from errata.editing.training.editable import train_editable
from errata.editing.training.plain import train
from errata.editing.types import Editor

CLASSES = tuple("0123456789")
TRAIN = 350
RATES = (1e-3, 2e-3, 3e-3)
DRAWN = 3e-3  # the rate of the figures: nearly every edit succeeds
VIEWS = ViewSettings(max_shift=0.13, flip=False)
FIRST = EditableSettings(epochs=30, batch=64, learning_rate=0.1)
SECOND = EditableSettings(epochs=40, batch=64, learning_rate=0.01, clip=1.0)
MORE = SECOND.model_copy(update={"edits": 4})
CONDITIONAL = EditableSettings(epochs=417, batch=64, learning_rate=1e-3, weight_decay=0.0, edits=16)  # 2,502 batches


def subject(
    name: str, editor: GradientEditor, control: Control, demands: Sequence[Demand], trials: Sequence[Trial]
) -> Subject:
    """What the figures show of one model: harm by class, and the map of the edits that ask for a change."""
    asked = [one for one, trial in zip(demands, trials, strict=True) if not trial.already]
    places = edit_map(kl_profiles(editor, GradientState(), control, asked))
    return Subject(name, harm_matrix(trials, control.labels), places, control.labels[[one.image for one in asked]])


@dataclass(frozen=True)
class Trained:
    """Models of one seed by name, each with the editors that it is edited by, and the test split."""

    models: dict[str, tuple[EditableModel, dict[str, Editor[Any]]]]
    images: Tensor
    labels: Tensor
    seconds: dict[str, float]


def trained(seed: int) -> Trained:
    """All models of one split and one draw of first weights; `seconds` are CPU time of what came after the start."""
    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(seed))
    images = torch.tensor(digits.images * 255 / 16).round().to(torch.uint8)[order, :, :, None]
    labels = torch.tensor(digits.target)[order]
    torch.manual_seed(seed)
    spec = ModelSpec("resnet", CLASSES, (8, 8, 1), (0.3,), (0.38,), {"width": 16, "blocks": 1})
    start = EditableModel.from_spec(spec)
    learn_from = images[:TRAIN], labels[:TRAIN]
    train(start, *learn_from, FIRST, seed=seed)
    fixed: dict[str, Editor[Any]] = {
        f"rate {rate:g}": GradientEditor(RMSProp(rate, 0.5), Scope("chain3")) for rate in RATES
    }
    models: dict[str, tuple[EditableModel, dict[str, Editor[Any]]]] = {}
    seconds = {}
    for name, settings in (("plain", None), ("editable", SECOND), ("editable, 4 edits a batch", MORE)):
        model, started = copy.deepcopy(start), time.process_time()
        editors = dict(fixed)
        if settings is None:
            train(model, *learn_from, SECOND, seed=seed + 1)
        else:
            learned = train_editable(model, *learn_from, settings, seed=seed + 1).rule
            editors["learned rule"] = GradientEditor(learned, Scope("chain3"))
        models[name], seconds[name] = (model, editors), time.process_time() - started
    model, started = conditioned(start), time.process_time()
    network, _ = train_conditional(model, *learn_from, CONDITIONAL, seed=seed + 1)
    models["Editable + CNP"] = model, {"one pass": ConditionalEditor(network)}
    seconds["Editable + CNP"] = time.process_time() - started
    return Trained(models, images[TRAIN:], labels[TRAIN:], seconds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.digits_editable", description=__doc__)
    parser.add_argument("--edits", type=int, default=200, help="of each model and setting, for each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="splits and first weights")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--note", default="", help="a sentence for the table, about the machine's other load, say")
    chosen = parser.parse_args()
    rows: dict[tuple[str, str], list[Trial]] = {}
    seconds: dict[str, float] = {}
    subjects = []
    for seed in chosen.seeds:
        found = trained(seed)
        seconds = {name: seconds.get(name, 0.0) + spent / len(chosen.seeds) for name, spent in found.seconds.items()}
        for name, (model, editors) in found.models.items():
            control = Control(model, found.images, found.labels)
            demands = draw_demands(chosen.edits, len(control.labels), 10, seed)
            for settings, editor in editors.items():
                trials = list(run_protocol(editor, GradientState(), control, demands, VIEWS, SIDE_BY_SIDE))
                rows.setdefault((name, settings), []).extend(trials)
                drawn = settings == f"rate {DRAWN:g}" and seed == chosen.seeds[0] and name in ("plain", "editable")
                if drawn and isinstance(editor, GradientEditor):
                    subjects.append(subject(name, editor, control, demands, trials))
                print(seed, " | ".join(row(name, settings, trials, with_already=False)), flush=True)
    cells = [row(name, settings, trials, with_already=False) for (name, settings), trials in rows.items()]
    spent = ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
    text = (
        "# Editable Training on the embedded digits\n\n"
        f"ResNet of width 16 with one block a chain, {TRAIN} training images, {len(found.images)} test images, "
        f"{len(chosen.seeds)} splits and first weights (seeds {', '.join(map(str, chosen.seeds))}) together; all "
        f"models train {FIRST.epochs} epochs plainly, then {SECOND.epochs} more, plainly or editably (c_edit = c_loc "
        f"= 1), or for {CONDITIONAL.epochs} epochs of {CONDITIONAL.edits} edits a batch with the network that edits "
        f"(CNP). CPU seconds of that: {spent}. RMSProp on chain 3, at most 10 steps, edits that ask for a change; "
        "in brackets bootstrap 95% intervals over edits, exact ones of success. *Near the boundary*: right images "
        f"whose two highest probabilities differ by less than 0.05.\n\n{markdown(HEADINGS, cells)}\n"
        f"{environment('cpu')} Made by `python -m benchmarks.digits_editable --edits {chosen.edits}`. {chosen.note}"
    ).rstrip() + "\n"
    text += (
        f"\nAt rate {DRAWN:g}, first seed: change of the error rate by class edited and class harmed, and a map of the "
        "edits by what they\ndo to each test image (t-SNE of square roots of KL).\n\n"
        "![Harm by class](editable-digits-harm.png)\n\n![Map of edits](editable-digits-map.png)\n"
    )
    draw_harm(subjects, CLASSES, chosen.out / "editable-digits-harm.png")
    draw_maps(subjects, CLASSES, chosen.out / "editable-digits-map.png")
    (chosen.out / "editable-digits.md").write_text(text)


if __name__ == "__main__":
    main()
