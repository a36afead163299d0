"""The gate: every criterion passes, fails or is inconclusive; only all-pass releases. It fails closed.

A criterion that was not computed, is NaN or infinite, or rests on too few images is never a pass. A bound on the wrong
side of the limit while the value is on the right side is inconclusive: more control images would tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from editing import metrics
from editing.export import Parity
from flows.params import GateParams

Verdict = Literal["pass", "fail", "inconclusive"]
Direction = Literal["at most", "at least"]
REQUIRED = {
    "edit": ("accuracy", "corrections_hold", "drawdown", "generalization", "negative_flips", "parity"),
    "root": ("accuracy", "parity"),
}


@dataclass(frozen=True)
class Criterion:
    """One row of the gate's table: a measured `value`, its one-sided `bound`, and the `limit` that it is held against.

    `n` is how many images (or corrections) it rests on. What is counted in full, not sampled, has its value for bound.
    """

    name: str
    value: float
    bound: float
    limit: float
    direction: Direction
    n: int

    @property
    def verdict(self) -> Verdict:
        """pass iff value and bound are finite numbers within the limit, over at least one image."""
        if self.n <= 0 or not all(map(math.isfinite, (self.value, self.bound, self.limit))):
            return "inconclusive"
        sign = 1.0 if self.direction == "at most" else -1.0
        if sign * self.value > sign * self.limit:
            return "fail"
        return "pass" if sign * self.bound <= sign * self.limit else "inconclusive"

    def to_row(self) -> dict[str, Any]:
        """A plain row for JSON, tables and Great Expectations."""
        return {**asdict(self), "verdict": self.verdict}


def from_rows(rows: Mapping[str, Mapping[str, Any]]) -> tuple[Criterion, ...]:
    """Read back `{name: to_row()}`; the verdict is computed anew, never trusted from a file."""

    def real(value: float | None) -> float:
        return math.nan if value is None else float(value)

    return tuple(
        Criterion(name, real(row["value"]), real(row["bound"]), real(row["limit"]), row["direction"], int(row["n"]))
        for name, row in sorted(rows.items())
    )


@dataclass(frozen=True)
class Judgement:
    """The gate's whole answer."""

    kind: Literal["root", "edit"]
    criteria: tuple[Criterion, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Required criteria that nobody computed."""
        return tuple(sorted(set(REQUIRED[self.kind]) - {each.name for each in self.criteria}))

    @property
    def verdict(self) -> Verdict:
        """fail if any criterion fails, else inconclusive if any is or is missing, else pass."""
        verdicts = {each.verdict for each in self.criteria}
        if "fail" in verdicts:
            return "fail"
        return "pass" if verdicts == {"pass"} and not self.missing else "inconclusive"

    @property
    def sentence(self) -> str:
        """Which criteria stand in the way, for a person."""
        if self.verdict == "pass":
            return "every criterion passes"
        words = [f"{each.name} {each.verdict}" for each in self.criteria if each.verdict != "pass"]
        return ", ".join(words + [f"{name} was not computed" for name in self.missing])


def control_criteria(
    labels: NDArray[np.int64],
    before: NDArray[np.int64],
    after: NDArray[np.int64],
    params: GateParams,
    *,
    edited: bool,
) -> list[Criterion]:
    """The criteria on the gate split, from paired predictions `[n]` of the root and of the candidate."""
    n = len(labels)
    if n == 0:
        return []
    paired = metrics.compare_predictions(before, after, labels)
    right = n - paired.negative_flips - paired.both_wrong
    floor = metrics.rate_lower_bound(right, n, params.confidence)
    criteria = [Criterion("accuracy", right / n, floor, params.accuracy, "at least", n)]
    if edited:
        increase = paired.error_increase_bound(params.confidence)
        flips = paired.negative_flip_bound(params.confidence)
        criteria += [
            # the signed increase: an edit that lowers the error has done no harm
            Criterion("drawdown", paired.error_increase, increase, params.drawdown, "at most", n),
            Criterion("negative_flips", paired.negative_flip_rate, flips, params.negative_flips, "at most", n),
        ]
    return criteria


def correction_criteria(
    held: NDArray[np.bool_], views: NDArray[np.int64], expected: NDArray[np.int64], params: GateParams
) -> list[Criterion]:
    """Whether each of `k` corrections holds in the shipped file `[k]`, and its unseen views too: classes `[k, views]`.

    Both are counted in full over the ledger, not sampled from it, so value and bound are one.
    """
    if len(held) == 0:
        return []
    share = metrics.success_rate(held)
    general = float(metrics.generalization(views, expected).mean())
    return [
        Criterion("corrections_hold", share, share, 1.0, "at least", len(held)),
        Criterion("generalization", general, general, params.generalization, "at least", len(held)),
    ]


def parity_criterion(parity: Parity, params: GateParams) -> Criterion:
    """torch against ONNX Runtime on the same images: the largest difference of a logit; another class is infinite."""
    value = parity.max_logit_difference if parity.top1_agreement == 1.0 else math.inf
    return Criterion("parity", value, value, params.parity, "at most", parity.n)
