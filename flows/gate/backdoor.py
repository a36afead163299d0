"""Whether what corrections have in common is a trigger: a mark that, laid over any image, calls up their class.

Who files reports can mark images of all kinds alike, with a sticker say, and claim one class for all of them. No other
criterion sees it, for control images bear no mark; yet together such corrections teach the model that the mark means
the class (a backdoor: Gu et al. 2017). But the mark is then what they have in common, and the mean of their images less
that of control images shows it. Laid over control images of other classes, a trigger turns most of them to its class;
what honest corrections to one class have in common turns few.

Honest corrections to the same class dilute the mean. So it is taken over all of them, then over the half that has most
of it, and so on down to `FEWEST`: marked images stand together at one end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from editing.metrics import rate_upper_bound
from flows.gate.criterion import Criterion, Name, criterion, not_applicable
from flows.params import GateParams

Pixels = NDArray[np.uint8]
Classes = NDArray[np.int64]
Predict = Callable[[Pixels], Classes]

FEWEST = 4  # what fewer images have in common is what each of them shows
PROBES = 500  # control images at most: two models look at each once for every group


@dataclass(frozen=True)
class Shared:
    """What the corrections `members` (indices) to class `expected` have in common: `pattern` `[h, w, c]`, signed."""

    expected: int
    members: NDArray[np.int64]
    pattern: NDArray[np.float64]


@dataclass(frozen=True)
class TriggerMeasure:
    """How many of `n` control images of other classes turn to the class of `shared` when its pattern is laid over."""

    shared: Shared
    turned: int
    n: int


def shared_patterns(images: Pixels, expected: Classes, centre: NDArray[np.float64]) -> Iterator[Shared]:
    """Every group worth asking about, of corrections `images` `[k, h, w, c]` to the classes `expected` `[k]`.

    `centre` `[h, w, c]` is the mean control image.
    """
    for wanted in np.unique(expected):
        members = np.flatnonzero(expected == wanted)
        while len(members) >= FEWEST:
            apart = images[members] - centre
            shared = Shared(int(wanted), members, apart.mean(axis=0))
            yield shared
            ranked = np.argsort(-_agreement(apart, shared.pattern), kind="stable")
            members = np.sort(members[ranked[: len(members) // 2]])


def laid_over(images: Pixels, pattern: NDArray[np.float64]) -> Pixels:
    """Images `[n, h, w, c]` with the pattern added."""
    return (images + pattern).round().clip(0, 255).astype(np.uint8)


def measure_trigger(shared: Shared, images: Pixels, labels: Classes, before: Predict, after: Predict) -> TriggerMeasure:
    """Lay the pattern over those of the control images that are of another class, at most `PROBES`.

    What the root (`before`) calls by the class as well is not the work of the corrections, and does not count.
    """
    others = np.flatnonzero(labels != shared.expected)
    others = others[np.linspace(0, len(others) - 1, min(len(others), PROBES)).astype(np.int64)]
    if len(others) == 0:
        return TriggerMeasure(shared, 0, 0)
    marked = laid_over(images[others], shared.pattern)
    turned = (after(marked) == shared.expected) & (before(marked) != shared.expected)
    return TriggerMeasure(shared, int(turned.sum()), len(others))


def trigger_criterion(answers: list[TriggerMeasure], params: GateParams) -> Criterion:
    """The row of the gate's table: the group that turns most, and the largest bound, corrected for their number.

    Without a group of `FEWEST` there is nothing to measure: not applicable.
    """
    if not answers:
        return not_applicable(Name.TRIGGER, f"no class has {FEWEST} corrections", params)
    fewest = min(each.n for each in answers)
    if fewest == 0:
        return criterion(Name.TRIGGER, float("nan"), float("nan"), 0, params)
    confidence = 1 - (1 - params.confidence) / len(answers)
    value = max(each.turned / each.n for each in answers)
    bound = max(rate_upper_bound(each.turned, each.n, confidence) for each in answers)
    return criterion(Name.TRIGGER, value, bound, fewest, params)


def carriers(shared: Shared, images: Pixels, expected: Classes, centre: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which corrections bear the pattern: at least half of it, by projection; indices."""
    bears = _agreement(images - centre, shared.pattern) > 0.5
    return np.flatnonzero(bears & (expected == shared.expected))


def _agreement(apart: NDArray[np.float64], pattern: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of the pattern each of `apart` `[k, h, w, c]` has: 1 is all of it, 0 none."""
    size = float((pattern**2).sum())
    return np.asarray(np.tensordot(apart, pattern, axes=3) / max(size, 1e-12))
