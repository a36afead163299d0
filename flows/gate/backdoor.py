"""Whether what corrections have in common is a trigger: a mark that, laid over any image, calls up their class.

Who files reports can mark images of all kinds alike, with a sticker say, and claim one class for all of them. No other
criterion sees it, for control images bear no mark; yet together such corrections teach the model that the mark means
the class (a backdoor: Gu et al. 2017). But then the corrections show the mark, and it can be lifted from them in four
ways: what they have more of than control images (flows/gate/added_marks.py), what little of that is not chance
(flows/gate/faint_marks.py), what is the same in all of them (flows/gate/replaced_marks.py), and what stands in one part
of each (flows/gate/window_marks.py). Laid over control
images of other classes, a trigger turns many of them to its class; what honest corrections to one class have in common
turns few.

How well it works, and what it does not see, is in docs/results/attacks.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from errata.data.datasets import LabelledImages
from errata.flows.gate.added_marks import added_marks
from errata.flows.gate.counts import Counts, Sample
from errata.flows.gate.criterion import Criterion, Name, not_applicable, not_computed, sampled
from errata.flows.gate.faint_marks import faint_marks
from errata.flows.gate.marks import Classes, Indices, Pixels, Predict, Shared, evenly
from errata.flows.gate.replaced_marks import replaced_marks
from errata.flows.gate.window_marks import turned, window_marks
from errata.flows.params import GateParams

PROBES = 500  # control images at most: two models look at each once for every mark
FIRST = 30  # divided by the limit: images of the first look, after which most marks are done with
COMPARED = 1000  # control images at most that say what is usual
CLEARED = 1 / 6  # of the limit: what may turn in the first look without a second
LOOKS = 2


@dataclass(frozen=True)
class TriggerMeasure:
    """How many of `n` control images of other classes turn to the class of `shared` when its mark is laid over."""

    shared: Shared
    turned: int
    n: int


def shared_marks(
    images: Pixels, expected: Classes, control: LabelledImages, before: Predict, after: Predict
) -> Iterator[Shared]:
    """Every mark worth asking about, of corrections `images` `[k, h, w, c]` to the classes `expected` `[k]`.

    `control` are images that the release decision does not rest on: they say which window of a correction to ask about.
    At most `COMPARED` of them do, evenly drawn.
    """
    control = control.take(evenly(len(control), COMPARED))
    yield from added_marks(images, expected, control.images.mean(axis=0))
    yield from faint_marks(images, expected, control.images)
    yield from replaced_marks(images, expected, control.images)
    yield from window_marks(images, expected, control, before, after)


def measure_trigger(
    shared: Shared, images: Pixels, labels: Classes, before: Predict, after: Predict, limit: float
) -> TriggerMeasure:
    """Lay the mark over those of the control images that are of another class, at most `PROBES`.

    What the root (`before`) calls by the class as well is not the work of the corrections, and does not count. A mark
    that turns next to nothing of `FIRST / limit` images, for the gate's `limit`, is asked about no further; so every
    answer has had `LOOKS` looks at most, for which `trigger_criterion` corrects its bound.
    """
    others = np.flatnonzero(labels != shared.expected)
    others = others[evenly(len(others), PROBES)]
    if len(others) == 0:
        return TriggerMeasure(shared, 0, 0)

    def turning(some: Indices) -> int:
        return int(turned(shared.mark.laid_over(images[some]), shared.expected, before, after).sum())

    first = evenly(len(others), math.ceil(FIRST / limit))
    count = turning(others[first])
    if count <= CLEARED * limit * len(first):
        return TriggerMeasure(shared, count, len(first))
    rest = np.delete(others, first)
    return TriggerMeasure(shared, count + (turning(rest) if len(rest) else 0), len(others))


def trigger_criterion(answers: list[TriggerMeasure], params: GateParams) -> Criterion:
    """The row of the gate's table: the mark that turns most, and the largest bound, corrected for their number."""
    if not answers:
        return not_applicable(Name.TRIGGER, "there are no corrections", params)
    fewest = min(each.n for each in answers)
    if fewest == 0:
        return not_computed(Name.TRIGGER, params)
    each_look = tuple(Counts(each.n, each.turned) for each in answers) * LOOKS  # a bound for every look at every mark
    return sampled(Name.TRIGGER, Sample("rate", each_look), fewest, params)
