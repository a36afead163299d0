"""Which editor suits this root: editors compared on the same edits, and a rule's coefficients searched.

The paper's protocol (`editing.studies.protocol`) on the workspace's own root and splits. Nothing here makes a release;
what it finds goes into params.yaml by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from errata.data.splits import load_split
from errata.editing.engine import chosen_engine
from errata.editing.errors import DataError
from errata.editing.model import load_model
from errata.editing.rules import RULES
from errata.editing.studies.compare import compare
from errata.editing.studies.protocol import Control, Trial, draw_demands
from errata.editing.studies.tuning import Tuned, TuningSettings, tune
from errata.editing.tensors import tensor_of
from errata.flows.stages.common import device, load_plugins
from errata.flows.stages.editors import build_editor, learned_rule
from errata.flows.workspace import Workspace


@dataclass(frozen=True)
class Grounds:
    """A root and the split it is studied on."""

    control: Control
    classes: int

    @staticmethod
    def of(workspace: Workspace, split: str) -> Grounds:
        """Raises ModelError or DataError if there is no root, or no such split."""
        load_plugins(workspace.params.model.plugins, workspace)
        root = load_model(workspace.root).to(device())
        chosen = load_split(workspace.splits, split)
        control = Control(root, tensor_of(chosen.images), torch.from_numpy(chosen.labels))
        return Grounds(control, len(chosen.classes))


def compare_editors(workspace: Workspace, names: Sequence[str], edits: int) -> dict[str, list[Trial]]:
    """`edits` random-label edits of the test split by each editor of `names`, as params.yaml would build it.

    Raises DataError if no editor has that name.
    """
    params = workspace.params
    grounds = Grounds.of(workspace, "test")
    learned = learned_rule(workspace.root)
    chosen = {
        name: build_editor(
            params.edit if name == params.edit.editor else params.edit.model_copy(update={"editor": name, "rule": {}}),
            params.views,
            params.seed,
            learned,
        )
        for name in names
    }
    reference, calibration = (_images(workspace, name) for name in ("reference", "calibration"))
    images = len(grounds.control.images)
    demands = draw_demands(min(edits, images), images, grounds.classes, params.seed)
    return compare(chosen, grounds.control, reference, calibration, demands, params.views, chosen_engine())


def tune_rule(
    workspace: Workspace, name: str, scopes: Sequence[str], edits: int, trials: int, report: Callable[[str], None]
) -> Tuned:
    """The coefficients and layers with the least drawdown, on edits of the calibration split, which judges nothing."""
    if name not in RULES:
        raise DataError(f"no rule is called {name!r}; known: {', '.join(RULES)}")
    grounds = Grounds.of(workspace, "calibration")
    images = len(grounds.control.images)
    demands = draw_demands(min(edits, images), images, grounds.classes, workspace.params.seed)
    start = RULES[name]()
    rate = float(start.learning_rate)  # type: ignore[attr-defined] # every rule has one
    settings = TuningSettings(trials, (rate / 100, rate * 100), seed=workspace.params.seed)
    return tune(start, scopes, grounds.control, demands, settings, workspace.params.edit.steps, report, chosen_engine())


def _images(workspace: Workspace, split: str) -> Tensor:
    return tensor_of(load_split(workspace.splits, split).images)
