import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from errata.editing.errors import MeasurementError
from errata.editing.metrics import (
    PairedOutcomes,
    bootstrap_mean,
    compare_predictions,
    exact_rate,
    generalization,
    predicted_classes,
    rate_lower_bound,
    rate_upper_bound,
    success_rate,
)


def test_paired_outcomes_are_counted_one_by_one() -> None:
    rng = np.random.default_rng(0)
    labels, before, after = (rng.integers(0, 3, 200) for _ in range(3))
    outcomes = compare_predictions(before, after, labels)
    negative = sum(b == y and a != y for b, a, y in zip(before, after, labels, strict=True))
    positive = sum(b != y and a == y for b, a, y in zip(before, after, labels, strict=True))
    assert (outcomes.negative_flips, outcomes.positive_flips) == (negative, positive)
    assert outcomes.n == outcomes.both_right + outcomes.both_wrong + negative + positive == 200
    assert outcomes.error_increase == pytest.approx(np.mean(after != labels) - np.mean(before != labels))
    assert outcomes.error_before == np.mean(before != labels)
    assert outcomes.error_after == np.mean(after != labels)
    assert outcomes.drawdown == abs(outcomes.error_increase)


def test_clopper_pearson_inverts_the_binomial() -> None:
    for count, n in ((0, 20), (3, 50), (49, 50), (7, 5000)):
        assert binom.cdf(count, n, rate_upper_bound(count, n, 0.95)) == pytest.approx(0.05)
    for count, n in ((1, 20), (3, 50), (50, 50)):
        assert binom.sf(count - 1, n, rate_lower_bound(count, n, 0.95)) == pytest.approx(0.05)
    assert rate_upper_bound(0, 100) == pytest.approx(1 - 0.05 ** (1 / 100))  # the rule of three, exactly
    assert rate_upper_bound(20, 20) == 1.0
    assert rate_lower_bound(0, 20) == 0.0


def test_bound_of_the_error_increase_covers() -> None:
    rng = np.random.default_rng(1)
    covered = []
    for p_negative, p_positive in ((0.001, 0.0005), (0.02, 0.02), (0.0, 0.01)):
        draws = rng.multinomial(2000, [p_negative, p_positive, 1 - p_negative - p_positive], size=400)
        for negative, positive, rest in draws.tolist():
            bound = PairedOutcomes(2000, rest, negative, positive, 0).error_increase_bound(0.95)
            covered.append(bound >= p_negative - p_positive)
    assert np.mean(covered) >= 0.95
    assert np.mean(covered[:400]) >= 0.95


@pytest.mark.parametrize(("n", "negative", "positive"), [(350, 0, 0), (350, 5, 2), (2000, 40, 60), (34, 2, 0)])
def test_bound_of_the_error_increase_is_bonferronis_union_of_two_exact_ones(
    n: int, negative: int, positive: int
) -> None:
    for confidence in (0.9, 0.95, 0.995):
        half = 1 - (1 - confidence) / 2
        more = binomtest(negative, n, alternative="less").proportion_ci(half, "exact").high
        less = binomtest(positive, n, alternative="greater").proportion_ci(half, "exact").low
        outcomes = PairedOutcomes(n, n - negative - positive, negative, positive, 0)
        assert outcomes.error_increase_bound(confidence) == pytest.approx(more - less)
        whole = binomtest(negative, n, alternative="less").proportion_ci(confidence, "exact").high
        assert outcomes.negative_flip_bound(confidence) == pytest.approx(whole)


def test_bound_tightens_with_more_images_and_exceeds_the_estimate() -> None:
    small, large = PairedOutcomes(1000, 990, 5, 5, 0), PairedOutcomes(100_000, 99_000, 500, 500, 0)
    assert small.error_increase < large.error_increase_bound() < small.error_increase_bound()


def test_generalization_by_hand() -> None:
    shares = generalization(np.array([[1, 1, 2, 1], [0, 0, 0, 0]]), np.array([1, 3]))
    assert shares.tolist() == [0.75, 0.0]


def test_bootstrap_agrees_with_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(5, 2, 2000)
    estimate = bootstrap_mean(values, 0.95, resamples=4000)
    half = 1.959964 * values.std(ddof=1) / math.sqrt(2000)
    assert estimate.mean == pytest.approx(values.mean())
    assert estimate.high - estimate.mean == pytest.approx(half, rel=0.1)
    assert estimate.mean - estimate.low == pytest.approx(half, rel=0.1)
    assert estimate == bootstrap_mean(values, 0.95, resamples=4000)


def test_the_interval_of_a_rate_is_exact_where_a_bootstrap_is_sure() -> None:
    for count, n in ((100, 100), (97, 100), (0, 12), (5, 12)):
        found, known = exact_rate(count, n, 0.95), binomtest(count, n).proportion_ci(0.95, "exact")
        assert (found.mean, found.n) == (count / n, n)
        assert [found.low, found.high] == pytest.approx([known.low, known.high])
    assert exact_rate(100, 100).low < bootstrap_mean(np.ones(100)).low == 1


NOTHING = np.array([], dtype=np.int64)


@pytest.mark.parametrize(
    "measure",
    [
        lambda: compare_predictions(NOTHING, NOTHING, NOTHING),
        lambda: compare_predictions(np.array([1]), np.array([1, 2]), np.array([1, 2])),
        lambda: compare_predictions(np.array([np.nan]), np.array([1]), np.array([1])),
        lambda: predicted_classes(np.array([[0.0, np.nan]])),
        lambda: predicted_classes(np.zeros((0, 10))),
        lambda: success_rate(np.array([], dtype=np.bool_)),
        lambda: generalization(np.zeros((0, 8), dtype=int), NOTHING),
        lambda: generalization(np.zeros((2, 8), dtype=int), np.array([1])),
        lambda: bootstrap_mean(np.array([])),
        lambda: bootstrap_mean(np.array([1.0, np.nan])),
        lambda: rate_upper_bound(0, 0),
        lambda: rate_upper_bound(3, 2),
        lambda: rate_lower_bound(1, 2, confidence=1.0),
        lambda: rate_upper_bound(1, 2, confidence=math.nan),
    ],
)
def test_what_cannot_be_measured_is_an_error(measure: object) -> None:
    with pytest.raises(MeasurementError):
        measure()  # type: ignore[operator]
