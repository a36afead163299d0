"""The gate's error over many looks: by simulation, and by the exact power that is left."""

import numpy as np
import pytest
from scipy.stats import binom

from errata.flows.gate.counts import Counts, Sample, rate
from errata.flows.gate.spending import confidence_at, share_spent
from errata.flows.params import GateParams
from tests.flows.gate.test_measures import upper

LIMIT, LOOKS = 0.03, 150


def most_that_pass(n: int, confidences: list[float]) -> np.ndarray:
    """The most flips of `n` images whose bound is within the limit at each confidence; -1: not even none."""
    counts = np.arange(-1, int(n * LIMIT) + 2)
    # Clopper and Pearson's bound is within the limit iff so few flips are as unlikely as the error at the limit itself
    unlikely = np.concatenate([[0.0], binom.cdf(counts[1:], n, LIMIT)])
    return np.array([counts[unlikely <= 1 - each].max() for each in confidences])


@pytest.mark.parametrize("n", [350, 2000, 10_000])
def test_a_candidate_at_the_limit_passes_ever_in_many_looks_at_most_as_often_as_one_look_may(n: int) -> None:
    """150 nights, each with its own candidate at the limit exactly: what 2,000 such series come to."""
    params = GateParams()
    flips = np.random.default_rng(n).binomial(n, LIMIT, (2000, LOOKS))
    spent = most_that_pass(n, [confidence_at(look, params) for look in range(1, LOOKS + 1)])
    assert (flips <= spent).any(axis=1).mean() <= 1 - params.confidence
    every_night_anew = most_that_pass(n, [params.confidence] * LOOKS)
    assert (flips <= every_night_anew).any(axis=1).mean() > 0.99  # what was so before looks were counted


@pytest.mark.parametrize("looks", [1, 10, 365])
def test_the_error_of_all_looks_together_is_the_gates(looks: int) -> None:
    params = GateParams(looks=looks)
    errors = np.array([1 - confidence_at(look, params) for look in range(1, 5001)])
    assert (np.diff(errors) < 0).all()
    for count in (1, looks, 5000):
        assert errors[:count].sum() / (1 - params.confidence) == pytest.approx(share_spent(count, params), rel=1e-6)
    assert share_spent(looks, params) == 0.5


@pytest.mark.parametrize("look", [1, 6, 35, 150])
def test_a_bound_at_a_later_look_is_the_exact_one_at_the_confidence_that_is_left(look: int) -> None:
    confidence = confidence_at(look, GateParams())
    assert rate(3, 350).bound(confidence) == pytest.approx(upper(3, 350, confidence))
    two = Sample("rate", (Counts(350, 3), Counts(60, 2)))
    assert two.bound(confidence) == pytest.approx(upper(2, 60, 1 - (1 - confidence) / 2))
    assert two.value == 2 / 60


def test_most_flips_that_pass_agree_with_the_bounds_themselves() -> None:
    for n in (350, 2000):
        for confidence in (0.95, 0.9999):
            (most,) = most_that_pass(n, [confidence])
            assert rate(int(most), n).bound(confidence) <= LIMIT < rate(int(most) + 1, n).bound(confidence)
