"""What a kind must prove: that it mends corrections which it was not fitted to, and does its own kind no harm.

Control images do not reach into a kind, for its detector fires on next to none of them. So harm is measured on labelled
images of the deployment: those on which the kind fires. Without any it is inconclusive, never a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from errata.editing.metrics import PairedOutcomes, compare_predictions, rate_lower_bound
from errata.flows.gate.criterion import Criterion, Name, criterion, not_applicable, not_computed
from errata.flows.params import GateParams

Classes = NDArray[np.int64]
NO_KINDS = "no kind is used"


@dataclass(frozen=True)
class PairedClasses:
    """The same images before and after: predicted classes `[n]` of the root and with kinds, the right ones, and which
    kind fires on each (-1: none)."""

    before: Classes
    after: Classes
    expected: Classes
    kind: Classes


@dataclass(frozen=True)
class KindMeasure:
    """One kind: of `wrong` held-out corrections that the root gets wrong it mends `mended`; `inside` is what became of
    labelled images of the kind, None if there are none."""

    wrong: int
    mended: int
    inside: PairedOutcomes | None


def measure_kind(kind: int, held_out: PairedClasses, labelled: PairedClasses) -> KindMeasure:
    """Count what kind number `kind` does where it fires, on held-out corrections and on labelled images."""
    wrong = (held_out.kind == kind) & (held_out.before != held_out.expected)
    mended = wrong & (held_out.after == held_out.expected)
    mine = labelled.kind == kind
    inside = None
    if mine.any():
        inside = compare_predictions(labelled.before[mine], labelled.after[mine], labelled.expected[mine])
    return KindMeasure(int(wrong.sum()), int(mended.sum()), inside)


def kind_gain(measures: Sequence[KindMeasure], params: GateParams, count: int | None = None) -> Criterion:
    """The share of held-out corrections mended by the kind that mends least, and the lowest exact bound of any.

    All bounds hold at once, of `count` kinds (by default of those given; Bonferroni).
    """
    if not measures:
        return not_applicable(Name.KIND_GAIN, NO_KINDS, params)
    if any(each.wrong == 0 for each in measures):
        return not_computed(Name.KIND_GAIN, params)
    confidence = _of_each(count or len(measures), params)
    value = min(each.mended / each.wrong for each in measures)
    bound = min(rate_lower_bound(each.mended, each.wrong, confidence) for each in measures)
    return criterion(Name.KIND_GAIN, value, bound, min(each.wrong for each in measures), params)


def kind_drawdown(measures: Sequence[KindMeasure], params: GateParams, count: int | None = None) -> Criterion:
    """The error added inside the kind that loses most, and the highest bound of any; as for `kind_gain`."""
    if not measures:
        return not_applicable(Name.KIND_DRAWDOWN, NO_KINDS, params)
    inside = [each.inside for each in measures if each.inside is not None]
    if len(inside) < len(measures):
        return not_computed(Name.KIND_DRAWDOWN, params)
    confidence = _of_each(count or len(measures), params)
    value = max(each.error_increase for each in inside)
    bound = max(each.error_increase_bound(confidence) for each in inside)
    return criterion(Name.KIND_DRAWDOWN, value, bound, min(each.n for each in inside), params)


def most_gain(held_out: int, count: int, params: GateParams) -> float:
    """The bound of `kind_gain` for one of `count` kinds that mends all of its `held_out` corrections, one or more."""
    return rate_lower_bound(held_out, held_out, _of_each(count, params))


def _of_each(count: int, params: GateParams) -> float:
    """The confidence of each of `count` bounds that shall hold at once."""
    return 1 - (1 - params.confidence) / count
