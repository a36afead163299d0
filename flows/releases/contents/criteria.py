"""The gate's criteria as the report shows them: the nearest to its limit first, each with what it means, drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from errata.flows.gate.criterion import Criterion, GateResult, Name
from errata.flows.gate.tables import GateRow, gate_row

NEAREST = 3  # criteria that the page's first sentence names
MEANING: dict[str, str] = {
    Name.ACCURACY: "right predictions of the shipped file on control images",
    Name.PARITY: "largest difference of a logit between torch and ONNX Runtime",
    Name.CORRECTIONS_HOLD: "corrections that come out right in the shipped file",
    Name.GENERALIZATION: "unseen views of corrected images that come out right",
    Name.DRAWDOWN: "error rate added on control images, against the root",
    Name.DRAWDOWN_LIVE: "error rate added on control images, against the release before",
    Name.NEGATIVE_FLIPS_LIVE: "control images that the release before gets right and a new root wrong",
    Name.RECALL_DROP_LIVE: "recall lost against the release before, by the class that loses most",
    Name.NEGATIVE_FLIPS: "control images that the root gets right and the release wrong",
    Name.RECALL_DROP: "recall lost by the class that loses most",
    Name.BOUNDARY_FLIPS: "negative flips among the control images that the root is least sure of",
    Name.SLICE_FLIPS: "negative flips in the slice that loses most: a class and its rival, a column, a cluster",
    Name.TRIGGER: "control images that turn to a class when what its corrections have in common is laid over them",
    Name.KIND_GAIN: "held-out corrections of a kind that it mends, by the kind that mends least",
    Name.KIND_DRAWDOWN: "error rate added to labelled images of a kind, by the kind that loses most",
    Name.REACH: "control images that any slot can change at all",
    Name.REACH_TRAFFIC: "unlabelled traffic that any slot can change at all",
}


@dataclass(frozen=True)
class Bar:
    """A criterion drawn: positions in percent of the track's width; `start` is zero's, None is not drawn.

    `room`: the share of what the limit allows that is left between bound and limit. Negative: none, by so much; None:
    it was not measured, or the limit allows nothing at all.
    """

    row: GateRow
    meaning: str
    room: float | None
    start: float
    fill: tuple[float, float] | None
    whisker: float | None
    mark: float | None


def bars(criteria: Sequence[Criterion]) -> list[Bar]:
    """What stands in the way first, then the nearest to its limit; what allows nothing or does not apply is last."""
    return [criterion_bar(each) for each in sorted(criteria, key=_place)]


def room(criterion: Criterion) -> float | None:
    """The share of what the limit allows that is left: see `Bar`; all of it where the bound is below zero."""
    allowed = criterion.limit if criterion.direction == "at most" else 1 - criterion.limit
    used = criterion.bound if criterion.direction == "at most" else 1 - criterion.bound
    return min(1.0, 1 - used / allowed) if allowed > 0 and math.isfinite(used) else None


def decision(gate_result: GateResult) -> str:
    """The gate's answer in a sentence, with the criteria nearest to their limits."""
    if gate_result.verdict != "pass":
        return f"The gate says no: {gate_result.sentence.replace('_', ' ')}."
    measured = [(left, each) for each in gate_result.criteria if (left := room(each)) is not None]
    near = [
        f"{each.name.replace('_', ' ')} {left:.0%}"
        for left, each in sorted(measured, key=lambda pair: (pair[0], pair[1].name))[:NEAREST]
    ]
    count = sum(each.verdict == "pass" for each in gate_result.criteria)
    nearest = f" Nearest to theirs, by what is left of what they allow: {', '.join(near)}." if near else ""
    return f"The gate lets it pass: each of {count} criteria is within its limit.{nearest}"


def criterion_bar(criterion: Criterion) -> Bar:
    """Where value, bound and limit lie on a track that holds all three and zero."""
    known = [each for each in (criterion.value, criterion.bound, criterion.limit) if math.isfinite(each)]
    low, high = min(0.0, *known), max(0.0, *known)
    if criterion.direction == "at least":
        high = max(high, 1.0)
    else:
        high += 0.15 * (high - low or 1.0)
    low -= 0.08 * (high - low) if low < 0 else 0.0

    def place(value: float) -> float | None:
        return round(100 * (value - low) / (high - low), 3) if math.isfinite(value) else None

    start, value = place(0.0) or 0.0, place(criterion.value)
    return Bar(
        row=gate_row(criterion),
        meaning=MEANING.get(criterion.name, ""),
        room=room(criterion),
        start=start,
        fill=None if value is None else (min(start, value), abs(value - start)),
        whisker=None if criterion.bound == criterion.value else place(criterion.bound),
        mark=place(criterion.limit),
    )


def _place(criterion: Criterion) -> tuple[int, float, str]:
    left = room(criterion)
    last = criterion.verdict == "not applicable" or (criterion.verdict == "pass" and left is None)
    return (
        (0 if criterion.stands_in_the_way else 2 if last else 1),
        left if left is not None else -math.inf,
        criterion.name,
    )
