"""Tables 1 to 3 of the paper (section 4.1) on CIFAR-10, with the editors past the paper on the same edits.

Every row is tuned on the validation split: the rule's coefficients on `TUNING_EDITS` edits. All rows of all tables are
measured on the same test edits and the whole test set.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.cifar10.data import VIEWS, Cifar10
from benchmarks.report import HEADINGS, environment, markdown, row
from benchmarks.rows import kept_value, run_row
from errata.editing.editors.ewc import ElasticPenalty
from errata.editing.editors.gradient import GradientEditor
from errata.editing.editors.natural import NaturalGradient
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.model import EditableModel
from errata.editing.rules import RULES, Rule
from errata.editing.scopes import Scope
from errata.editing.studies.protocol import Control, Demand, Trial, draw_demands
from errata.editing.studies.tuning import TuningSettings, tune
from errata.editing.types import Editor

TUNING_EDITS = 20
TUNING_CONTROL = 1_000
TUNING_TRIALS = {"momentum": 10, "rmsprop": 10, "adam": 12}  # those with one coefficient need fewer
STARTS = {"gd": 0.01, "scaled_gd": 0.1, "rprop": 3e-4, "rmsprop": 3e-4, "momentum": 5e-3, "adam": 3e-4}
SCOPE_RATES = {"head": 100.0}  # a single layer has much farther to go
PENALTIES = (1e2, 1e8)  # the Fisher of a confident model is small
FIRST_TUNING_IMAGE = 5_000  # the validation images before it may be fitted to, or set thresholds


@dataclass(frozen=True)
class Bench:
    """What every row is measured with."""

    cache: Path
    out: Path
    data: Cifar10
    width: int
    edits: int
    device: str = "cpu"
    note: str = ""

    def key(self, name: str) -> str:
        """The name under which something of this width is kept."""
        return f"{name}-{self.width}"

    @property
    def demands(self) -> tuple[Demand, ...]:
        """The test edits: a longer run starts with the edits of a shorter one."""
        everything = draw_demands(len(self.data.test), len(self.data.test), 10, seed=0)
        return everything[: self.edits]

    def control(self, root: EditableModel, precision: str = "float32") -> Control:
        """The whole test set."""
        return Control(root.to(self.device), self.data.test.images, self.data.test.labels, precision=precision)

    def rough_control(self, root: EditableModel) -> Control:
        """The whole test set for edits that change predictions by per cents: on a CPU in bfloat16, twice as fast."""
        return self.control(root, "float32" if self.device.startswith("cuda") else "bfloat16")

    def validation(self, root: EditableModel) -> Control:
        """What rules are tuned on."""
        part = slice(FIRST_TUNING_IMAGE, FIRST_TUNING_IMAGE + TUNING_CONTROL)
        held_out = self.data.validation
        precision = "float32" if self.device.startswith("cuda") else "bfloat16"
        return Control(root.to(self.device), held_out.images[part], held_out.labels[part], precision=precision)


@dataclass(frozen=True)
class Row:
    """A row of a table: the editor, what it is called, and the cells measured."""

    name: str
    settings: str
    trials: Sequence[Trial]


def tuned_rule(bench: Bench, root: EditableModel, key: str, rule_name: str, scope: str) -> Rule:
    """The coefficients found for `rule_name` on validation edits of `root`, kept under `key`."""

    found = _search(bench, root, key, rule_name, scope)
    return RULES[rule_name](**found["rule"])


def elastic_editor(bench: Bench, root: EditableModel, key: str, rule_name: str, scope: str) -> GradientEditor:
    """The rule and the weight of the elastic penalty (EWC) found together in the same way."""
    found = _search(bench, root, key, rule_name, scope, PENALTIES)
    return GradientEditor(RULES[rule_name](**found["rule"]), Scope(scope), penalty=ElasticPenalty(found["penalty"]))


def _search(
    bench: Bench,
    root: EditableModel,
    key: str,
    rule_name: str,
    scope: str,
    penalties: tuple[float, float] | None = None,
) -> dict[str, Any]:
    def search() -> dict[str, Any]:
        rate = STARTS[rule_name] * SCOPE_RATES.get(scope, 1.0)
        start = RULES[rule_name](rate)  # type: ignore[call-arg] # every rule's first field is its rate
        control = bench.validation(root)
        demands = draw_demands(TUNING_EDITS, TUNING_CONTROL, 10, seed=1)
        rates = rate / 30, rate * 30
        trials = TUNING_TRIALS.get(rule_name, 7) + (6 if penalties else 0)
        settings = TuningSettings(trials, rates, penalties=penalties)
        found = tune(start, [scope], control, demands, settings, report=lambda line: print("  " + line, flush=True))
        print(f"{key}: {describe(found.editor)} validation drawdown {found.drawdown:.4f}", flush=True)
        penalty = found.editor.penalty
        held = {"penalty": penalty.weight} if isinstance(penalty, ElasticPenalty) else {}
        return {"rule": asdict(found.editor.rule), "drawdown": found.drawdown, "success": found.success, **held}

    return kept_value(bench.cache / "tuned" / f"{key}.json", search)


def gradient_row(
    bench: Bench, root: EditableModel, control: Callable[[], Control], key: str, name: str, rule_name: str, scope: str
) -> Row:
    """A row of the paper's kind: tuned rule, scope, 10 steps."""
    rule = tuned_rule(bench, root, key, rule_name, scope)
    return measured(bench, control, key, name, GradientEditor(rule, Scope(scope)))


def measured(bench: Bench, control: Callable[[], Control], key: str, name: str, editor: Editor[Any]) -> Row:
    """Any editor's row; it may fit to the first 4,000 validation images and set thresholds on the next 1,000."""
    held_out = bench.data.validation.images

    def prepare(root: EditableModel) -> Any:
        return editor.prepare(root, held_out[:4_000], held_out[4_000:FIRST_TUNING_IMAGE])

    trials = run_row(bench.cache / "rows" / f"{key}.jsonl", editor, prepare, control, bench.demands, VIEWS)
    print(" | ".join(row(name, "", trials, with_already=False)), flush=True)
    return Row(name, describe(editor), trials)


def describe(editor: Any) -> str:
    """An editor's settings in a few words."""
    if isinstance(editor, GradientEditor):
        values = re.sub(r"epsilon=[^,)]*|\w+\(|\)", "", repr(editor.rule)).strip(", ")
        numbers = re.sub(r"\d+\.\d+(e-?\d+)?", lambda one: f"{float(one.group()):.2g}", values)
        penalty = f", penalty={editor.penalty.weight:.2g}" if isinstance(editor.penalty, ElasticPenalty) else ""
        return f"{', '.join(editor.scope.patterns)}; {numbers}{penalty}"
    if isinstance(editor, NaturalGradient):
        return f"{', '.join(editor.scope.patterns)}; damping={editor.damping:g}, at most {editor.steps} steps"
    if isinstance(editor, CalibratedPatch):
        return f"alpha={editor.alpha:g}, gamma={editor.gamma:g}, {editor.views.fitting} views"
    return repr(editor)


def write_table(bench: Bench, name: str, title: str, about: str, rows: Sequence[Row]) -> None:
    """The table with and without edits whose class was predicted already, and how it was measured."""
    parts = [f"# {title}\n", f"CIFAR-10, ResNet-18 of width {bench.width}. {about}\n"]
    for with_already in (True, False):
        heading = "All edits, as in the paper" if with_already else "Only edits that ask for a change"
        cells = [row(one.name, one.settings, one.trials, with_already=with_already) for one in rows]
        parts += [f"## {heading}\n", markdown(HEADINGS, cells)]
    parts.append(
        "Each edit: a random test image, a uniformly random class, from the unedited model, at most 10 steps "
        "where the row does not say otherwise. Drawdown "
        "and negative flips over the entire test set (10,000 images); generalization on 8 views of the image that were "
        "never fitted. In brackets: bootstrap 95% intervals over edits, exact ones of success. Rules are tuned on "
        "validation edits. On a CPU the control predictions of gradient rows are in bfloat16, before and after alike, "
        "of the others in float32.\n"
    )
    made = f"Made by `python -m benchmarks.cifar10 --width {bench.width}`."
    parts.append(f"{environment(bench.device)} {made} {bench.note}".rstrip() + "\n")
    path = bench.out / f"{name}-width{bench.width}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts))
