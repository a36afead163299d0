"""What services saw of a candidate in shadow, as a criterion: the share of requests that it would answer otherwise.

The first `gate.shadow_requests` requests count, in order of time and in whole records, and no more: so the same answer
comes however often it is asked for, and nobody waits until chance is kind. Fewer are inconclusive, never a pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from errata.data.releases.candidate import ShadowCounts
from errata.flows.gate.counts import Counts, Sample
from errata.flows.gate.criterion import Criterion, Name, criterion
from errata.flows.params import GateParams


@dataclass(frozen=True)
class ShadowSample:
    """Of `requests` the candidate would have answered `worse` otherwise, or not at all."""

    requests: int
    worse: int

    def enough(self, params: GateParams) -> bool:
        """Whether as many were seen as shall be."""
        return self.requests >= params.shadow_requests


def sample_of(seen: Iterable[ShadowCounts], params: GateParams) -> ShadowSample:
    """The first requests of those seen: as many as are asked for, and the rest of the record with the last of them."""
    requests = worse = 0
    for each in seen:
        if requests >= params.shadow_requests:
            break
        requests += each.requests
        worse += each.changed + each.failed
    return ShadowSample(requests, worse)


def shadow_row(sample: ShadowSample, params: GateParams) -> Criterion:
    """The criterion's row; its bound is one-sided, at the gate's confidence, as of requests drawn independently."""
    n = sample.requests
    value = sample.worse / n if n else math.nan
    row = criterion(Name.SHADOW, value, math.nan, n, params)
    if not n or not sample.enough(params):
        return row
    return replace(row, bound=Sample("rate", (Counts(n, sample.worse),)).bound(params.confidence))
