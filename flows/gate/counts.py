"""What a criterion counted, so that its bound can be taken at any confidence after it was measured.

At which confidence a candidate is judged depends on how often its gate split was looked at before
(flows/gate/spending.py), which is no function of root, ledger and parameters. So the stage `evaluate` records counts.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from errata.data.records import STRICT, Count
from errata.editing.metrics import rate_lower_bound, rate_upper_bound

Number = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=STRICT)
class Counts:
    """Of `n` images `worse` came out worse (wrong, flipped, changed), and `better` better."""

    n: Number
    worse: Count
    better: Count = 0

    def __post_init__(self) -> None:
        if self.worse + self.better > self.n:
            raise ValueError(f"{self.worse} worse and {self.better} better are more than {self.n} images")


@dataclass(frozen=True, config=STRICT)
class Sample:
    """Groups of images that are bounded together: the worst of them counts, and all bounds hold at once (Bonferroni).

    `measure`: the rate of `worse`, or its difference to that of `better`, which is bounded by the union of two exact
    bounds, each at half the error.
    """

    measure: Literal["rate", "difference"]
    groups: Annotated[tuple[Counts, ...], Field(min_length=1)]

    @property
    def value(self) -> float:
        """The largest of any group."""
        return max((each.worse - each.better * (self.measure == "difference")) / each.n for each in self.groups)

    def bound(self, confidence: float) -> float:
        """The largest upper bound of any group, at `confidence` for all groups together."""
        error = (1 - confidence) / len(self.groups)
        if self.measure == "rate":
            return max(rate_upper_bound(each.worse, each.n, 1 - error) for each in self.groups)
        half = 1 - error / 2
        return max(
            rate_upper_bound(each.worse, each.n, half) - rate_lower_bound(each.better, each.n, half)
            for each in self.groups
        )


def rate(worse: int, n: int) -> Sample:
    """A sample of one group, of which the rate is bounded."""
    return Sample("rate", (Counts(n, worse),))
