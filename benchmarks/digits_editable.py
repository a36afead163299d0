"""`python -m benchmarks.digits_editable`: Editable Training on the embedded digits, beside as much plain training.

Both models start from the same plain training and train 40 epochs more, one plainly, one editably. They are edited by
RMSProp on chain 3 with the same rates, on the same test edits. The objective's weights and rates were chosen
with seed 0 (its split and first weights), so that seed is none of those reported.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from benchmarks.report import HEADINGS, environment, markdown, row
from errata.editing.editable_training import train_editable
from errata.editing.editors.gradient import GradientEditor, GradientState
from errata.editing.model import EditableModel, ModelSpec
from errata.editing.rules import RMSProp, Rule
from errata.editing.scopes import Scope
from errata.editing.settings import EditableSettings, ViewSettings
from errata.editing.studies.analysis import Subject, draw_harm, draw_maps, edit_map, harm_matrix, kl_profiles
from errata.editing.studies.protocol import Control, Demand, Trial, draw_demands, run_protocol
from errata.editing.training import train

CLASSES = tuple("0123456789")
TRAIN = 350
RATES = (1e-3, 2e-3, 3e-3)
DRAWN = 3e-3  # the rate of the figures: nearly every edit succeeds
VIEWS = ViewSettings(max_shift=0.13, flip=False)
FIRST = EditableSettings(epochs=30, batch=64, learning_rate=0.1)
SECOND = EditableSettings(epochs=40, batch=64, learning_rate=0.01, clip=1.0)


def subject(
    name: str, editor: GradientEditor, control: Control, demands: Sequence[Demand], trials: Sequence[Trial]
) -> Subject:
    """What the figures show of one model: harm by class, and the map of the edits that ask for a change."""
    asked = [one for one, trial in zip(demands, trials, strict=True) if not trial.already]
    places = edit_map(kl_profiles(editor, GradientState(), control, asked))
    return Subject(name, harm_matrix(trials, control.labels), places, control.labels[[one.image for one in asked]])


def trained_pair(seed: int) -> tuple[EditableModel, EditableModel, Rule, float, Tensor, Tensor]:
    """The plain model, the editable one, its learned rule, the CPU seconds of Editable Training, and the test split."""
    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(seed))
    images = torch.tensor(digits.images * 255 / 16).round().to(torch.uint8)[order, :, :, None]
    labels = torch.tensor(digits.target)[order]
    torch.manual_seed(seed)
    spec = ModelSpec("resnet", CLASSES, (8, 8, 1), (0.3,), (0.38,), {"width": 16, "blocks": 1})
    plain = EditableModel.from_spec(spec)
    train(plain, images[:TRAIN], labels[:TRAIN], FIRST, seed=seed)
    editable = copy.deepcopy(plain)
    train(plain, images[:TRAIN], labels[:TRAIN], SECOND, seed=seed + 1)
    started = time.process_time()
    learned = train_editable(editable, images[:TRAIN], labels[:TRAIN], SECOND, seed=seed + 1).rule
    return plain, editable, learned, time.process_time() - started, images[TRAIN:], labels[TRAIN:]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.digits_editable", description=__doc__)
    parser.add_argument("--edits", type=int, default=200, help="of each model and setting, for each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="splits and first weights")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--note", default="", help="a sentence for the table, about the machine's other load, say")
    chosen = parser.parse_args()
    rows: dict[tuple[str, str], list[Trial]] = {}
    seconds, subjects = 0.0, []
    for seed in chosen.seeds:
        plain, editable, learned, spent, images, labels = trained_pair(seed)
        seconds += spent / len(chosen.seeds)
        fixed: dict[str, Rule] = {f"rate {rate:g}": RMSProp(rate, 0.5) for rate in RATES}
        for name, model, rules in (
            ("plain", plain, fixed),
            ("editable", editable, {**fixed, "learned rule": learned}),
        ):
            control = Control(model, images, labels)
            demands = draw_demands(chosen.edits, len(control.labels), 10, seed)
            for settings, rule in rules.items():
                editor = GradientEditor(rule, Scope("chain3"))
                trials = list(run_protocol(editor, GradientState(), control, demands, VIEWS))
                rows.setdefault((name, settings), []).extend(trials)
                if settings == f"rate {DRAWN:g}" and seed == chosen.seeds[0]:
                    subjects.append(subject(name, editor, control, demands, trials))
                print(seed, " | ".join(row(name, settings, trials, with_already=False)), flush=True)
    cells = [row(name, settings, trials, with_already=False) for (name, settings), trials in rows.items()]
    text = (
        "# Editable Training on the embedded digits\n\n"
        f"ResNet of width 16 with one block a chain, {TRAIN} training images, {len(images)} test images, "
        f"{len(chosen.seeds)} splits and first weights (seeds {', '.join(map(str, chosen.seeds))}) together; both "
        f"models train {FIRST.epochs} epochs plainly, then {SECOND.epochs} more, plainly or editably (c_edit = c_loc "
        f"= 1, {seconds:.0f} CPU seconds a model). RMSProp on chain 3, at most 10 steps, edits that ask for a change; "
        f"in brackets bootstrap 95% intervals over edits, exact ones of success.\n\n{markdown(HEADINGS, cells)}\n"
        f"{environment('cpu')} Made by `python -m benchmarks.digits_editable`. {chosen.note}".rstrip()
        + "\n"
    )
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
