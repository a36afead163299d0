"""One constraint after the other, each edit on the last model: for comparison only.

It is what repeated patching of a deployed model does, and what a release never is: an edit knows nothing of the ones
before it, so it may undo them, and harms add up. Every editor takes many constraints at once instead.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

import torch
from torch import Tensor

from errata.editing.constraints.classification import check_constraints, violation
from errata.editing.constraints.demands import canonical_order
from errata.editing.model import EditableModel
from errata.editing.types import Constraint, Editor, EditResult, State


@dataclass(frozen=True)
class Sequential(Generic[State]):
    """`editor`, applied to one constraint at a time; what it knows of the root is not computed anew in between."""

    editor: Editor[State]

    def prepare(self, model: EditableModel, reference: Tensor, calibration: Tensor) -> State:
        """As the editor itself."""
        return self.editor.prepare(model, reference, calibration)

    def edit(self, model: EditableModel, constraints: Sequence[Constraint], state: State) -> EditResult:
        """`holds` is judged at the end, so it shows what later edits undid. Raises ConstraintError and ScopeError."""
        started = time.perf_counter()
        images, expected = check_constraints(model, constraints)
        results: list[EditResult] = []
        edited = model
        for position in canonical_order(constraints):
            results.append(self.editor.edit(edited, [constraints[position]], state))
            edited = results[-1].model
        with torch.no_grad():
            logits = torch.cat([edited(part) for part in images.split(256)])
        holds = tuple((violation(logits, expected) <= 0).tolist())
        failed = sum(not one.success for one in results)
        missing = len(holds) - sum(holds)
        reason = f"{missing} of {len(holds)} constraints do not hold at the end; {failed} never did" if missing else ""
        steps = sum(one.steps for one in results)
        slots = tuple(slot for one in results for slot in one.slots)
        return EditResult(edited, not missing, holds, steps, reason, time.perf_counter() - started, slots)
