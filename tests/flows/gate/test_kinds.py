import numpy as np
import pytest
from scipy.stats import beta

from errata.editing.metrics import PairedOutcomes
from errata.flows.gate.kinds import KindMeasure, PairedClasses, kind_drawdown, kind_gain, measure_kind
from errata.flows.params import GateParams

PARAMS = GateParams()
BETTER = PairedOutcomes(n=120, both_right=60, negative_flips=2, positive_flips=40, both_wrong=18)


def answers(before: list[int], after: list[int], expected: list[int], kind: list[int]) -> PairedClasses:
    return PairedClasses(*(np.array(each, np.int64) for each in (before, after, expected, kind)))


def test_only_mistakes_on_which_the_kind_fires_count() -> None:
    held_out = answers([0, 0, 1, 0, 0], [1, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 1, -1])
    labelled = answers([1, 0, 1], [0, 1, 1], [1, 1, 1], [0, 0, -1])
    measure = measure_kind(0, held_out, labelled)
    assert (measure.wrong, measure.mended) == (2, 1)
    assert measure.inside == PairedOutcomes(n=2, both_right=0, negative_flips=1, positive_flips=1, both_wrong=0)
    assert measure_kind(2, held_out, labelled) == KindMeasure(0, 0, None)


@pytest.mark.parametrize(("mended", "count", "verdict"), [(8, 1, "pass"), (2, 1, "inconclusive"), (0, 1, "fail")])
def test_gain_is_bounded_exactly(mended: int, count: int, verdict: str) -> None:
    row = kind_gain([KindMeasure(10, mended, BETTER)], PARAMS)
    assert row.value == mended / 10 and row.n == 10 and row.verdict == verdict
    assert row.bound == pytest.approx(beta.ppf(0.05, mended, 11 - mended) if mended else 0.0)


def test_several_kinds_share_the_error_and_the_worst_counts() -> None:
    row = kind_gain([KindMeasure(20, 18, BETTER), KindMeasure(10, 8, BETTER)], PARAMS)
    assert row.value == 0.8 and row.bound == pytest.approx(beta.ppf(0.025, 8, 3))
    worse = PairedOutcomes(n=100, both_right=50, negative_flips=10, positive_flips=0, both_wrong=40)
    row = kind_drawdown([KindMeasure(20, 18, BETTER), KindMeasure(10, 8, worse)], PARAMS)
    assert row.value == pytest.approx(0.1) and row.verdict == "fail" and row.n == 100


def test_harm_inside_is_the_error_added_with_both_bounds() -> None:
    row = kind_drawdown([KindMeasure(20, 18, BETTER)], PARAMS)
    assert row.value == pytest.approx(-38 / 120)
    assert row.bound == pytest.approx(beta.ppf(0.975, 3, 118) - beta.ppf(0.025, 40, 81))
    assert row.verdict == "pass"


def test_without_labelled_images_of_a_kind_or_held_out_mistakes_nothing_passes() -> None:
    measures = [KindMeasure(20, 18, BETTER), KindMeasure(10, 8, None)]
    assert kind_drawdown(measures, PARAMS).verdict == "inconclusive"
    assert kind_gain([KindMeasure(0, 0, BETTER)], PARAMS).verdict == "inconclusive"


def test_a_model_without_kinds_has_nothing_to_prove() -> None:
    assert {row.verdict for row in (kind_gain([], PARAMS), kind_drawdown([], PARAMS))} == {"not applicable"}
