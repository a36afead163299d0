"""The gate fails closed, and its bounds are what scipy's exact tests say."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from flows.gate import Criterion, Judgement, control_criteria, correction_criteria, from_rows
from flows.params import GateParams

PARAMS = GateParams(drawdown=0.02, negative_flips=0.02, generalization=0.5, accuracy=0.8, parity=1e-3)


def paired(n: int, negative: int, positive: int, wrong: int) -> tuple[Any, Any, Any]:
    """Labels and two predictions with so many flips: right -> wrong, wrong -> right, wrong twice."""
    labels = np.zeros(n, np.int64)
    before, after = labels.copy(), labels.copy()
    after[:negative] = 1
    before[negative : negative + positive] = 1
    before[negative + positive : negative + positive + wrong] = 1
    after[negative + positive : negative + positive + wrong] = 1
    return labels, before, after


@pytest.mark.parametrize(("n", "negative", "positive"), [(350, 0, 0), (350, 2, 0), (2000, 5, 30), (50, 3, 1)])
def test_bounds_are_exact(n: int, negative: int, positive: int) -> None:
    found = {each.name: each for each in control_criteria(*paired(n, negative, positive, 5), PARAMS, edited=True)}
    flips = binomtest(negative, n, alternative="less").proportion_ci(0.95, "exact").high
    assert found["negative_flips"].bound == pytest.approx(flips)
    assert found["negative_flips"].value == negative / n
    worst = binomtest(negative, n, alternative="less").proportion_ci(0.975, "exact").high
    best = binomtest(positive, n, alternative="greater").proportion_ci(0.975, "exact").low
    assert found["drawdown"].bound == pytest.approx(worst - best)
    assert found["drawdown"].value == pytest.approx((negative - positive) / n)
    right = n - negative - 5
    assert found["accuracy"].bound == pytest.approx(binomtest(right, n).proportion_ci(0.9, "exact").low)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["value", "bound", "limit"])
def test_what_is_no_number_never_passes(field: str, bad: float) -> None:
    numbers = {"value": 0.0, "bound": 0.01, "limit": 0.02}
    assert Criterion("x", **numbers, direction="at most", n=10).verdict == "pass"
    assert Criterion("x", **{**numbers, field: bad}, direction="at most", n=10).verdict == "inconclusive"


def test_verdicts() -> None:
    assert Criterion("x", 0.03, 0.05, 0.02, "at most", 10).verdict == "fail"
    assert Criterion("x", 0.01, 0.05, 0.02, "at most", 10).verdict == "inconclusive"
    assert Criterion("x", 0.01, 0.02, 0.02, "at most", 10).verdict == "pass"
    assert Criterion("x", 0.01, 0.02, 0.02, "at most", 0).verdict == "inconclusive"
    assert Criterion("x", 0.9, 0.85, 0.8, "at least", 10).verdict == "pass"
    assert Criterion("x", 0.9, 0.75, 0.8, "at least", 10).verdict == "inconclusive"
    assert Criterion("x", 0.7, 0.65, 0.8, "at least", 10).verdict == "fail"


def test_too_few_images_are_no_pass_although_nothing_flipped() -> None:
    found = {each.name: each for each in control_criteria(*paired(40, 0, 0, 0), PARAMS, edited=True)}
    assert found["negative_flips"].value == 0
    assert found["negative_flips"].verdict == "inconclusive"  # 1 - 0.05 ** (1 / 40) = 7.2% > 2%


def test_no_images_give_no_criteria_and_so_no_pass() -> None:
    empty = np.zeros(0, np.int64)
    judgement = Judgement("edit", tuple(control_criteria(empty, empty, empty, PARAMS, edited=True)))
    assert judgement.verdict == "inconclusive"
    assert "drawdown was not computed" in judgement.sentence
    assert Judgement("root", ()).verdict == "inconclusive"


def test_one_missing_criterion_is_no_pass() -> None:
    held = correction_criteria(np.array([True]), np.array([[1, 1]]), np.array([1]), PARAMS)
    criteria = (
        *control_criteria(*paired(5000, 0, 0, 5), PARAMS, edited=True),
        *held,
        Criterion("parity", 0.0, 0.0, 1e-3, "at most", 5000),
    )
    assert Judgement("edit", criteria).verdict == "pass"
    for index in range(len(criteria)):
        left = criteria[:index] + criteria[index + 1 :]
        assert Judgement("edit", left).verdict == "inconclusive", criteria[index].name


def test_a_correction_that_does_not_hold_fails() -> None:
    held, general = correction_criteria(
        np.array([True, False]), np.array([[1, 1, 0, 0], [2, 2, 2, 2]]), np.array([1, 2]), PARAMS
    )
    assert (held.value, held.verdict) == (0.5, "fail")
    assert general.value == pytest.approx((0.5 + 1.0) / 2)


def test_rows_round_trip_and_a_forged_verdict_is_ignored() -> None:
    criterion = Criterion("drawdown", 0.5, 0.6, 0.02, "at most", 100)
    row = {**criterion.to_row(), "verdict": "pass"}
    (back,) = from_rows({"drawdown": row})
    assert back == criterion
    assert back.verdict == "fail"
    assert from_rows({"drawdown": {**row, "value": None}})[0].verdict == "inconclusive"
