"""What services saw of a candidate, as a criterion: too little is never a pass, and more is never waited for."""

from itertools import repeat

import pytest
from scipy.stats import binom

from errata.data.releases.candidate import ShadowCounts
from errata.flows.gate.shadow import sample_of, shadow_row
from errata.flows.params import GateParams

PARAMS = GateParams(shadow=0.05, shadow_requests=100, confidence=0.95)


def saw(requests: int, changed: int = 0, failed: int = 0) -> ShadowCounts:
    return ShadowCounts("a" * 64, "b" * 64, requests, changed, failed)


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        ([], "inconclusive"),
        ([saw(99)], "inconclusive"),  # not enough, though nothing is against it
        ([saw(99, 99)], "inconclusive"),  # nor is it judged before its time
        ([saw(60), saw(40)], "pass"),
        ([saw(100, 1)], "pass"),
        ([saw(100, 4)], "inconclusive"),  # within the limit, but chance may have been kind
        ([saw(100, 6)], "fail"),
        ([saw(100, failed=6)], "fail"),  # no answer is no better than another one
        ([saw(100, 3, 3)], "fail"),
    ],
)
def test_verdicts(seen: list[ShadowCounts], verdict: str) -> None:
    assert shadow_row(sample_of(seen, PARAMS), PARAMS).verdict == verdict


def test_the_bound_is_the_exact_one() -> None:
    """Clopper and Pearson's: at the bound, so few are seen with 5% chance."""
    row = shadow_row(sample_of([saw(100, 1)], PARAMS), PARAMS)
    assert binom.cdf(1, 100, row.bound) == pytest.approx(0.05, abs=1e-9)
    assert row.at(0.999) == row  # looks at the gate split are no looks at this


def test_what_comes_after_enough_changes_nothing() -> None:
    """Else whoever asks often enough meets a lucky moment."""
    first = [saw(60, 0), saw(40, 4)]
    judged = shadow_row(sample_of(first, PARAMS), PARAMS)
    assert shadow_row(sample_of([*first, *repeat(saw(1000), 5)], PARAMS), PARAMS) == judged
    assert judged.verdict == "inconclusive"


def test_more_than_there_were_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 3 requests"):
        saw(3, 2, 2)
