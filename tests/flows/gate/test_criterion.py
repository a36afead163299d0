"""The gate fails closed: no number, no images, no row is a pass."""

import math

import numpy as np
import pytest

from flows.gate.criterion import REQUIRED, Criterion, GateResult, Name, criterion, from_rows, limit_of, not_computed
from tests.flows.gate.gate_rows import PARAMS, passing_rows


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


def test_every_criterion_has_a_limit_in_the_parameters() -> None:
    assert all(math.isfinite(limit_of(name, PARAMS).value) for name in Name)
    assert limit_of(Name.DRAWDOWN_LIVE, PARAMS) == limit_of(Name.DRAWDOWN, PARAMS)
    assert limit_of(Name.CORRECTIONS_HOLD, PARAMS).value == 1.0
    assert limit_of(Name.ACCURACY, PARAMS).direction == "at least"
    for name in Name:
        assert not_computed(name, PARAMS).verdict == "inconclusive"


def test_no_rows_are_no_pass() -> None:
    gate_result = GateResult("edit", ())
    assert gate_result.verdict == "inconclusive"
    assert "drawdown was not computed" in gate_result.sentence
    assert GateResult("root", ()).verdict == "inconclusive"


def test_one_missing_criterion_is_no_pass() -> None:
    criteria = passing_rows()
    assert GateResult("edit", criteria).verdict == "pass"
    for index, gone in enumerate(criteria):
        left = GateResult("edit", criteria[:index] + criteria[index + 1 :])
        required = gone.name in REQUIRED["edit"]
        assert left.verdict == ("inconclusive" if required else "pass"), gone.name
        assert left.missing == ((gone.name,) if required else ())


def test_an_objection_of_the_declared_limits_is_no_pass() -> None:
    gate_result = GateResult("edit", passing_rows(), ("reach bound column values to be between",))
    assert gate_result.verdict == "inconclusive"
    assert "Great Expectations: reach bound" in gate_result.sentence


def test_rows_round_trip_and_a_forged_verdict_is_ignored() -> None:
    row = {**criterion(Name.DRAWDOWN, 0.5, 0.6, 100, PARAMS).to_row(), "verdict": "pass"}
    (back,) = from_rows({"drawdown": row})
    assert back == criterion(Name.DRAWDOWN, 0.5, 0.6, 100, PARAMS)
    assert back.verdict == "fail"
    assert from_rows({"drawdown": {**row, "value": None}})[0].verdict == "inconclusive"
    assert np.isnan(from_rows({"drawdown": {**row, "value": None}})[0].value)
