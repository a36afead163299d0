"""The gate: every criterion passes, fails or is inconclusive; only all-pass releases. It fails closed.

A criterion that was not computed, is NaN or infinite, or rests on too few images is never a pass. A bound on the wrong
side of the limit while the value is on the right side is inconclusive: more control images would tell.

What each criterion measures is in flows/gate/measures.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from errata.flows.gate.counts import Sample
from errata.flows.params import GateParams

Verdict = Literal["pass", "fail", "inconclusive", "not applicable"]
Direction = Literal["at most", "at least"]
Kind = Literal["root", "edit"]

LOWEST = -1.0  # a drawdown may be negative: an edit can lower the error
HIGHEST = 1.0  # of a share


class Name(StrEnum):
    """Every criterion there is."""

    ACCURACY = "accuracy"
    PARITY = "parity"
    CORRECTIONS_HOLD = "corrections_hold"
    GENERALIZATION = "generalization"
    DRAWDOWN = "drawdown"
    DRAWDOWN_LIVE = "drawdown_live"
    NEGATIVE_FLIPS_LIVE = "negative_flips_live"
    RECALL_DROP_LIVE = "recall_drop_live"
    NEGATIVE_FLIPS = "negative_flips"
    RECALL_DROP = "recall_drop"
    BOUNDARY_FLIPS = "boundary_flips"
    SLICE_FLIPS = "slice_flips"
    TRIGGER = "trigger"
    KIND_GAIN = "kind_gain"
    KIND_DRAWDOWN = "kind_drawdown"
    REACH = "reach"
    REACH_TRAFFIC = "reach_traffic"
    SHADOW = "shadow"


AGAINST_LIVE = frozenset({Name.DRAWDOWN_LIVE, Name.NEGATIVE_FLIPS_LIVE, Name.RECALL_DROP_LIVE})
KINDS = frozenset({Name.KIND_GAIN, Name.KIND_DRAWDOWN})  # `judge_candidate` requires them of a model that has kinds
REQUIRED: dict[Kind, frozenset[Name]] = {
    # what compares with the live release is no function of root, ledger and parameters: the night adds it to DVC's rows
    "edit": frozenset(Name) - AGAINST_LIVE - KINDS - {Name.REACH_TRAFFIC, Name.SHADOW},
    "root": frozenset({Name.ACCURACY, Name.PARITY}),
}
ABOUT_CONTROL = frozenset(
    {
        Name.ACCURACY,
        Name.DRAWDOWN,
        Name.DRAWDOWN_LIVE,
        Name.NEGATIVE_FLIPS,
        Name.RECALL_DROP,
        Name.BOUNDARY_FLIPS,
        Name.SLICE_FLIPS,
    }
)
LIMITED_AS = {  # criteria whose limit has another name in params.yaml
    Name.DRAWDOWN_LIVE: "drawdown",
    Name.NEGATIVE_FLIPS_LIVE: "root_negative_flips",
    Name.RECALL_DROP_LIVE: "recall_drop",
    Name.REACH_TRAFFIC: "reach",
}
# the others always have something to measure
MAY_NOT_APPLY = frozenset({Name.CORRECTIONS_HOLD, Name.GENERALIZATION, Name.SLICE_FLIPS, Name.TRIGGER, *KINDS})
# whose bounds do not rest on the gate split, the looks at which are counted
OF_NO_LOOK = frozenset({Name.PARITY, Name.CORRECTIONS_HOLD, Name.GENERALIZATION, Name.SHADOW, *KINDS})


@dataclass(frozen=True)
class Limit:
    """What a criterion's value and bound must be: `at most` or `at least` a number."""

    direction: Direction
    value: float


def limit_of(name: Name, params: GateParams) -> Limit:
    """The limit that params.yaml sets for a criterion."""
    match name:
        case Name.ACCURACY | Name.GENERALIZATION | Name.KIND_GAIN:
            return Limit("at least", getattr(params, name))
        case Name.CORRECTIONS_HOLD:
            return Limit("at least", 1.0)  # a release keeps every one of its promises
        case _:
            return Limit("at most", getattr(params, LIMITED_AS.get(name, name)))


@dataclass(frozen=True)
class Criterion:
    """One row of the gate's table: a measured `value`, its one-sided `bound`, and the `limit` that it is held against.

    `n` is how many images (or corrections) it rests on. What is counted in full, not sampled, has its value for bound.
    `not_applicable` says why there is nothing to measure; empty for all that was, or should have been, measured.
    `sample` is what was counted on the gate split: of what is wrong, where the criterion is `at least`.
    """

    name: str
    value: float
    bound: float
    limit: float
    direction: Direction
    n: int
    not_applicable: str = ""
    sample: Sample | None = None

    def at(self, confidence: float) -> Criterion:
        """The same with its bound at another confidence; one of a sample that was not recorded is not measured then."""
        if self.name in OF_NO_LOOK or self.n == 0:
            return self
        if self.sample is None:
            return replace(self, bound=math.nan)
        bound = self.sample.bound(confidence)
        return replace(self, bound=bound if self.direction == "at most" else 1 - bound)

    @property
    def verdict(self) -> Verdict:
        """pass iff value and bound are finite numbers within the limit, over at least one image.

        Only a criterion of MAY_NOT_APPLY may be not applicable, and only without a measurement. A share above 1 or a
        drawdown below -1 was not measured but made up: never a pass.
        """
        if self.not_applicable and self.name in MAY_NOT_APPLY and self.n == 0 and math.isnan(self.value):
            return "not applicable"
        if self.n <= 0 or not all(map(math.isfinite, (self.value, self.bound, self.limit))):
            return "inconclusive"
        if any(each < LOWEST if self.direction == "at most" else each > HIGHEST for each in (self.value, self.bound)):
            return "inconclusive"
        sign = 1.0 if self.direction == "at most" else -1.0
        if sign * self.value > sign * self.limit:
            return "fail"
        return "pass" if sign * self.bound <= sign * self.limit else "inconclusive"

    @property
    def stands_in_the_way(self) -> bool:
        """Whether it keeps a candidate from passing."""
        return self.verdict not in {"pass", "not applicable"}


def criterion(name: Name, value: float, bound: float, n: int, params: GateParams) -> Criterion:
    """A row held against the limit that params.yaml sets for it."""
    limit = limit_of(name, params)
    return Criterion(name.value, value, bound, limit.value, limit.direction, n)


def sampled(name: Name, sample: Sample, n: int, params: GateParams) -> Criterion:
    """A row of a sample of `n` images, bounded at the gate's confidence."""
    row = replace(criterion(name, sample.value, math.nan, n, params), sample=sample)
    return (row if row.direction == "at most" else replace(row, value=1 - row.value)).at(params.confidence)


def not_computed(name: Name, params: GateParams) -> Criterion:
    """The row of what could not be measured: never a pass."""
    return criterion(name, math.nan, math.nan, 0, params)


def not_applicable(name: Name, why: str, params: GateParams) -> Criterion:
    """The row of what has nothing to measure, because of `why`: no pass, and nothing in the way."""
    return replace(not_computed(name, params), not_applicable=why)


def rampant(criteria: Iterable[Criterion]) -> bool:
    """Whether a candidate breaks control images of all kinds: then any mark calls its classes up, and tells nothing."""
    return any(each.verdict == "fail" and each.name in ABOUT_CONTROL for each in criteria)


@dataclass(frozen=True)
class GateResult:
    """The gate's whole answer. `confidence` is that of the bounds; None where it was not recorded.

    `look` is which look at the gate split this was, from 1, and `spent` the share of the gate's error that is spent
    with it; None for measurements that nobody judged.
    """

    kind: Kind
    criteria: tuple[Criterion, ...]
    confidence: float | None = None
    look: int | None = None
    spent: float | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """Required criteria that nobody computed."""
        return tuple(sorted(REQUIRED[self.kind] - {each.name for each in self.criteria}))

    @property
    def verdict(self) -> Verdict:
        """fail if any criterion fails, else inconclusive if any is, or one is missing; else pass."""
        verdicts = {each.verdict for each in self.criteria} - {"not applicable"}
        if "fail" in verdicts:
            return "fail"
        return "pass" if verdicts == {"pass"} and not self.missing else "inconclusive"

    @property
    def sentence(self) -> str:
        """Which criteria stand in the way, for a person."""
        if self.verdict == "pass":
            return "every criterion passes"
        words = []
        for verdict, verb in (("fail", "fails"), ("inconclusive", "is inconclusive on")):
            names = [each.name.replace("_", " ") for each in self.criteria if each.verdict == verdict]
            words += [f"{verb} {', '.join(names)}"] if names else []
        said = [f"the candidate {' and '.join(words)}"] if words else []
        if self.missing:
            were = "was" if len(self.missing) == 1 else "were"
            said.append(f"{', '.join(self.missing).replace('_', ' ')} {were} not computed")
        return "; ".join(said)

    @property
    def looks_sentence(self) -> str:
        """Which look this was and what it spent, for a person; nothing where nobody judged."""
        if self.look is None or self.spent is None:
            return ""
        return f"this was look {self.look}; {self.spent:.0%} of the gate's error is spent with it"
