"""What the gate measures, against scipy's exact tests and against counting by hand."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from errata.editing.onnx.export import Parity
from errata.flows.gate import measures
from errata.flows.gate.criterion import Name
from errata.flows.gate.measures import (
    boundary_flips,
    control_criteria,
    correction_criteria,
    drawdown_live,
    reach,
    recall_drop,
)
from errata.flows.gate.paired import PairedAnswers, compare_answers, probability_moved
from tests.flows.gate.gate_rows import PARAMS, answered, one_hot, paired


def upper(count: int, n: int, confidence: float) -> float:
    """Clopper and Pearson's one-sided bound, by scipy."""
    return float(binomtest(count, n, alternative="less").proportion_ci(confidence, "exact").high)


@pytest.mark.parametrize(("n", "negative", "positive"), [(350, 0, 0), (350, 2, 0), (2000, 5, 30), (50, 3, 1)])
def test_bounds_are_exact(n: int, negative: int, positive: int) -> None:
    found = {
        each.name: each
        for each in control_criteria(*answered(*paired(n, negative, positive, 5)), 10, PARAMS, edited=True)
    }
    assert found["negative_flips"].bound == pytest.approx(upper(negative, n, 0.95))
    assert found["negative_flips"].value == negative / n
    best = binomtest(positive, n, alternative="greater").proportion_ci(0.975, "exact").low
    assert found["drawdown"].bound == pytest.approx(upper(negative, n, 0.975) - best)
    assert found["drawdown"].value == pytest.approx((negative - positive) / n)
    right = n - negative - 5
    assert found["accuracy"].bound == pytest.approx(binomtest(right, n).proportion_ci(0.9, "exact").low)
    assert found["reach"].value == pytest.approx((negative + positive) / n)
    assert found["reach"].bound == pytest.approx(upper(negative + positive, n, 0.95))


def test_too_few_images_are_no_pass_although_nothing_flipped() -> None:
    found = {each.name: each for each in control_criteria(*answered(*paired(40, 0, 0, 0)), 10, PARAMS, edited=True)}
    assert found["negative_flips"].value == 0
    assert found["negative_flips"].verdict == "inconclusive"  # 1 - 0.05 ** (1 / 40) = 7.2% > 2%
    assert found["recall_drop"].verdict == "inconclusive"


def test_no_images_give_no_criteria() -> None:
    classes, numbers = np.zeros(0, np.int64), np.zeros(0)
    nothing = PairedAnswers(classes, classes, classes, numbers, numbers)
    assert control_criteria(classes, nothing, 10, PARAMS, edited=True) == []


def test_recall_drop_is_the_worst_class_corrected_for_their_number() -> None:
    labels = np.arange(1000) % 10
    after = labels.copy()
    after[np.flatnonzero(labels == 3)[:4]] = 8  # class 3 loses 4 of its 100
    after[np.flatnonzero(labels == 5)[:1]] = 8
    found = recall_drop(labels, labels, after, 10, PARAMS)
    assert (found.value, found.n) == (0.04, 100)
    assert found.bound == pytest.approx(upper(4, 100, 1 - 0.05 / 10 / 2))
    # the whole split hides what one class suffers
    whole = {
        each.name: each
        for each in control_criteria(labels, compare_answers(one_hot(labels), one_hot(after)), 10, PARAMS, edited=True)
    }
    assert whole["drawdown"].value == 0.005


def test_a_class_without_images_is_no_pass() -> None:
    labels = np.arange(5000) % 9  # nobody is of class 9
    found = recall_drop(labels, labels, labels, 10, PARAMS)
    assert (found.n, found.verdict) == (0, "inconclusive")
    assert recall_drop(labels, labels, labels, 9, PARAMS).verdict == "pass"


def test_boundary_flips_look_at_the_least_margins_only() -> None:
    labels = np.zeros(100, np.int64)
    logits = np.zeros((100, 3))
    logits[:, 0] = np.arange(100) + 1.0  # image 0 has margin 1, image 99 margin 100
    after = labels.copy()
    after[[0, 7, 19]] = 1  # among the 20 nearest
    after[[20, 50, 99]] = 2  # not
    found = boundary_flips(labels, compare_answers(logits, one_hot(after, 3)), PARAMS)
    assert (found.value, found.n) == (3 / 20, 20)
    assert found.bound == pytest.approx(upper(3, 20, 0.95))


def test_reach_counts_what_could_be_seen() -> None:
    before = np.zeros((4, 2), np.float32)
    after = before.copy()
    # p = 1 / (1 + exp(-d)): the probability moves by about d / 4
    after[:, 0] = [0.0, 0.0039, 0.0041, 1.0]
    assert reach(Name.REACH, probability_moved(before, after), PARAMS).value == 2 / 4


def test_reach_counts_nan_as_a_change_and_nothing_as_no_measure() -> None:
    before = np.zeros((50, 4), np.float32)
    after = before.copy()
    after[4, 2] = math.nan
    assert reach(Name.REACH_TRAFFIC, probability_moved(before, after), PARAMS).value == 1 / 50
    assert reach(Name.REACH, np.zeros(0), PARAMS).verdict == "inconclusive"


def test_drawdown_against_the_live_release() -> None:
    labels, live, after = paired(1000, 7, 3, 10)
    found = drawdown_live(labels, live.argmax(1), after.argmax(1), PARAMS)
    assert (found.name, found.limit) == ("drawdown_live", PARAMS.drawdown)
    assert found.value == pytest.approx(0.004)


def test_a_correction_that_does_not_hold_fails() -> None:
    held, general = correction_criteria(
        np.array([True, False]), np.array([[1, 1, 0, 0], [2, 2, 2, 2]]), np.array([1, 2]), PARAMS
    )
    assert (held.value, held.verdict) == (0.5, "fail")
    assert general.value == pytest.approx((0.5 + 1.0) / 2)


def test_parity_fails_on_another_class_however_close_the_logits() -> None:
    assert measures.parity_criterion(Parity(1.0, 1e-6, 300), PARAMS).verdict == "pass"
    assert measures.parity_criterion(Parity(0.99, 1e-6, 300), PARAMS).verdict == "inconclusive"
    assert measures.parity_criterion(Parity(1.0, 0.1, 300), PARAMS).verdict == "fail"
