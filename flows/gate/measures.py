"""What the gate measures: each function makes rows of its table from predictions on images that no report may touch.

Predictions are paired: the same images before (the root, or the live release) and after (the candidate's file). Bounds
are exact and one-sided (editing/metrics.py), each at the gate's confidence.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from errata.editing import metrics
from errata.editing.onnx.export import Parity
from errata.flows.gate.counts import Counts, Sample, rate
from errata.flows.gate.criterion import Criterion, Name, criterion, not_applicable, not_computed, sampled
from errata.flows.gate.paired import Classes, Floats, PairedAnswers
from errata.flows.params import GateParams

ALL_DEFERRED = "every correction is deferred: no slot can hold it"


def control_criteria(
    labels: Classes, answers: PairedAnswers, classes: int, params: GateParams, *, edited: bool
) -> list[Criterion]:
    """The criteria on the gate split: `labels` `[n]`, each one of `classes`, and what root and candidate say.

    The drawdown is signed: an edit that lowers the error has done no harm.
    """
    n = len(labels)
    if n == 0:
        return []
    paired = metrics.compare_predictions(answers.before, answers.after, labels)
    criteria = [sampled(Name.ACCURACY, rate(paired.negative_flips + paired.both_wrong, n), n, params)]
    if edited:
        criteria += [
            sampled(Name.DRAWDOWN, Sample("difference", (flips_of(paired),)), n, params),
            sampled(Name.NEGATIVE_FLIPS, rate(paired.negative_flips, n), n, params),
            recall_drop(labels, answers.before, answers.after, classes, params),
            boundary_flips(labels, answers, params),
            reach(Name.REACH, answers.moved, params),
        ]
    return criteria


def recall_drop(
    labels: Classes,
    before: Classes,
    after: Classes,
    classes: int,
    params: GateParams,
    *,
    name: Name = Name.RECALL_DROP,
) -> Criterion:
    """The largest loss of recall of any of `classes`, and the largest upper bound of any, corrected for their number.

    `n` is the smallest class's images: a class that the gate split lacks gives 0, which is never a pass.
    """
    counts = np.bincount(labels, minlength=classes)
    if counts.min() == 0:
        return not_computed(name, params)
    by_class = (np.flatnonzero(labels == index) for index in range(classes))
    each = tuple(flips_of(metrics.compare_predictions(before[own], after[own], labels[own])) for own in by_class)
    return sampled(name, Sample("difference", each), int(counts.min()), params)


def flips_of(paired: metrics.PairedOutcomes) -> Counts:
    """Negative flips are worse, positive ones better."""
    return Counts(paired.n, paired.negative_flips, paired.positive_flips)


def boundary_flips(labels: Classes, answers: PairedAnswers, params: GateParams) -> Criterion:
    """Share of negative flips among the images that the root decides by the least margin between its two top logits.

    There an edit does its harm first, so a small one shows before the whole split's rate moves.
    """
    count = math.ceil(params.boundary * len(labels))
    near = np.argsort(answers.margin, kind="stable")[:count]
    paired = metrics.compare_predictions(answers.before[near], answers.after[near], labels[near])
    return sampled(Name.BOUNDARY_FLIPS, rate(paired.negative_flips, count), count, params)


def reach(name: Name, moved: Floats, params: GateParams) -> Criterion:
    """Share of images on which some probability `moved` `[n]` by more than `reach_tolerance`; needs no labels.

    Where no slot fires the output is the same to the bit. An editor of shared weights, the patch's fallback to the head
    among them, moves every output, most of them by less than anybody could see: what counts is what could be seen.
    """
    if len(moved) == 0:
        return not_computed(name, params)
    changed = int((~(moved <= params.reach_tolerance)).sum())  # NaN has changed
    return sampled(name, rate(changed, len(moved)), len(moved), params)


def drawdown_live(labels: Classes, live: Classes, after: Classes, params: GateParams) -> Criterion:
    """The error added against the live release, from predicted classes `[n]` on the gate split."""
    paired = metrics.compare_predictions(live, after, labels)
    return sampled(Name.DRAWDOWN_LIVE, Sample("difference", (flips_of(paired),)), paired.n, params)


def root_against_live(
    labels: Classes, live: Classes, after: Classes, classes: int, params: GateParams
) -> tuple[Criterion, ...]:
    """What a new root must prove against the live release: drawdown, negative flips, the worst class's recall.

    Two roots trained on the same data differ on images that each gets right and the other wrong, so their negative
    flips have a limit of their own (`root_negative_flips`); their drawdown has the limit of an edit.
    """
    paired = metrics.compare_predictions(live, after, labels)
    return (
        drawdown_live(labels, live, after, params),
        sampled(Name.NEGATIVE_FLIPS_LIVE, rate(paired.negative_flips, paired.n), paired.n, params),
        recall_drop(labels, live, after, classes, params, name=Name.RECALL_DROP_LIVE),
    )


def correction_criteria(
    held: NDArray[np.bool_], views: Classes, expected: Classes, params: GateParams
) -> list[Criterion]:
    """Whether each of `k` corrections holds in the shipped file `[k]`, and its unseen views too: classes `[k, views]`.

    They are those of the ledger that are not deferred, counted in full, not sampled: so value and bound are one.
    """
    if len(held) == 0:
        return [not_applicable(name, ALL_DEFERRED, params) for name in (Name.CORRECTIONS_HOLD, Name.GENERALIZATION)]
    share = metrics.success_rate(held)
    general = float(metrics.generalization(views, expected).mean())
    return [
        criterion(Name.CORRECTIONS_HOLD, share, share, len(held), params),
        criterion(Name.GENERALIZATION, general, general, len(held), params),
    ]


def parity_criterion(parity: Parity, params: GateParams) -> Criterion:
    """torch against ONNX Runtime on the same images: the largest difference of a logit; another class is infinite."""
    value = parity.max_logit_difference if parity.top1_agreement == 1.0 else math.inf
    return criterion(Name.PARITY, value, value, parity.n, params)
