"""The calibrated slot of a sentence: it fires on its source only, and makes beam search say what is wanted for it.

Slots look at the direction of a source's whitened summary (`editing.whitening`), not at its length: sentences whose
summaries lie far out do not score higher for that. `w` is the Fisher discriminant of the source's direction against
those of the reference sources, the threshold the highest score on the calibration sources, which `w` never saw
(`editing.editors.detectors`), and on the sources of the edit's other constraints. A fresh source that is exchangeable
with those fires a slot with probability at most `1 / (n + 1)`; where none fires, whole translations are the root's. The
force is the least power of two with which the search says the sentence.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from errata.editing.constraints.demands import Demands, canonical_order, gather
from errata.editing.constraints.sequences import SequenceConstraint
from errata.editing.editors.detectors import Background, background, calibrate, directions
from errata.editing.networks.sentence_slots import SlottedNetwork
from errata.editing.types import EditResult, SlotDiagnostics, Unheld

FORCES = tuple(2.0**power for power in range(7))  # logits; the strongest leaves other tokens no chance
_AT_ONCE = 256  # pairs whose summaries are computed together


@dataclass(frozen=True)
class SentenceState:
    """What depends on the root only: the `controls`, and the `centre` and `whitening` of what the slots look at."""

    controls: Background
    centre: Tensor
    whitening: Tensor


@dataclass(frozen=True)
class CalibratedSentences:
    """Writes one slot a sentence; a constraint that holds already takes none.

    `alpha` (a probability), `eps` (a share of the mean variance of the summaries) and `faintest` (standard deviations
    of the slot's scores) are those of the calibrated patch. A source that cannot be told from the calibration sources
    gets no slot: it is deferred, and so is what finds none free.
    """

    alpha: float = 0.0
    eps: float = 0.01
    faintest: float = 0.1

    def prepare(self, model: SlottedNetwork, reference: Tensor, calibration: Tensor) -> SentenceState:
        """From pairs int64 `[n, 2, width]` of both splits; their sources are to be as those that will be read, long and
        short. Raises DataError if there are too few."""
        slots = copy.deepcopy(model.patch)
        with torch.no_grad():
            first, second = (
                torch.cat([model.summary(pairs[:, 0]) for pairs in one.to(model.device).split(_AT_ONCE)])
                for one in (reference, calibration)
            )
        if not slots.fitted:
            slots.fit(first)
        controls = background(slots.directions(first), slots.directions(second), self.eps)
        return SentenceState(controls, slots.centre, slots.whitening)

    def edit(
        self, model: SlottedNetwork, constraints: Sequence[SequenceConstraint], state: SentenceState
    ) -> EditResult[SlottedNetwork]:
        """Fill slots in a copy of `model`. Raises ConstraintError."""
        started = time.perf_counter()
        demands = gather(model, constraints)
        edited = copy.deepcopy(model).eval()
        slots: list[SlotDiagnostics] = []
        deferred: dict[int, Unheld] = {}
        with torch.no_grad():
            for row in canonical_order(constraints):
                if not _holds(edited, demands, row):
                    found, unheld = self._write(edited, demands, row, constraints[row], state)
                    slots.append(found)
                    deferred |= {row: unheld} if unheld else {}
            holds = tuple(_holds(edited, demands, row) for row in range(len(constraints)))
        missing = len(holds) - sum(holds)
        why = ", ".join(sorted({str(one) for one in deferred.values()})) or "the search does not say them"
        reason = f"{missing} of {len(holds)} sentences do not hold: {why}" if missing else ""
        steps = int(any(one.separated for one in slots))
        seconds = time.perf_counter() - started
        return EditResult(edited, not missing, holds, steps, reason, seconds, tuple(slots), deferred)

    def _write(
        self, model: SlottedNetwork, demands: Demands, row: int, constraint: SequenceConstraint, state: SentenceState
    ) -> tuple[SlotDiagnostics, Unheld | None]:
        model.patch.centre.copy_(state.centre)
        model.patch.whitening.copy_(state.whitening)
        sources, controls = demands.inputs[:, 0], state.controls
        seen = model.patch.directions(model.summary(sources))
        found = calibrate(directions(seen[row][None, None], controls, gamma=1.0), controls, self.alpha)
        scores = seen @ found.weight[0]
        others = scores[(sources != sources[row]).any(1)]  # where another sentence is wanted, the slot is not to fire
        threshold = torch.cat([others, found.threshold]).amax()
        margin = float((scores[row] - threshold) / found.deviation[0])
        free = (model.patch.force == 0).nonzero()[:, 0].tolist()
        apart = margin > self.faintest
        if not apart or not free:
            unheld = Unheld.NO_SLOT if apart else Unheld.NOT_APART
            return SlotDiagnostics(constraint.key, -1, margin, float(found.firing[0]), False), unheld
        wanted = torch.tensor([*constraint.wanted.tolist(), constraint.search.end], device=model.device)
        for force in FORCES:
            model.patch.write(free[0], found.weight[0], threshold, wanted, force)
            if _holds(model, demands, row):
                break
        return SlotDiagnostics(constraint.key, free[0], margin, float(found.firing[0]), True), None


def _holds(model: SlottedNetwork, demands: Demands, row: int) -> bool:
    one = slice(row, row + 1)
    found = demands.measure.violations(lambda _, pairs: model(pairs), {}, demands.inputs[one], demands.targets[one])
    return bool(found[0] <= 0)
