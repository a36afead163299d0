"""The gate fails closed: no number, no images, no row is a pass."""

import math
from dataclasses import replace
from typing import Any

import pytest

from errata.flows.gate.criterion import (
    REQUIRED,
    Criterion,
    Direction,
    GateResult,
    Name,
    limit_of,
    not_applicable,
    not_computed,
)
from tests.flows.gate.gate_rows import PARAMS, passing_rows


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["value", "bound", "limit"])
def test_what_is_no_number_never_passes(field: str, bad: float) -> None:
    good = Criterion("x", 0.0, 0.01, 0.02, "at most", 10)
    assert good.verdict == "pass"
    numbers: dict[str, Any] = {field: bad}
    assert replace(good, **numbers).verdict == "inconclusive"


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


def test_only_what_may_not_apply_and_was_not_measured_is_out_of_the_way() -> None:
    """A reason does not excuse a criterion that always has something to measure, nor one that was measured."""
    idle = not_applicable(Name.TRIGGER, "no class has 4 corrections", PARAMS)
    assert (idle.verdict, idle.stands_in_the_way) == ("not applicable", False)
    assert not_applicable(Name.DRAWDOWN, "no reason", PARAMS).verdict == "inconclusive"
    assert replace(idle, value=0.5, bound=0.6, n=100).verdict == "fail"
    others = tuple(each for each in passing_rows() if each.name != Name.TRIGGER)
    assert GateResult("edit", (*others, idle)).verdict == "pass"
    assert GateResult("edit", others).verdict == "inconclusive"  # left out is not the same as not applicable
    assert GateResult("edit", (idle,)).verdict == "inconclusive"


def test_no_rows_are_no_pass() -> None:
    gate_result = GateResult("edit", ())
    assert gate_result.verdict == "inconclusive"
    assert "corrections hold, drawdown, generalization" in gate_result.sentence
    assert gate_result.sentence.endswith(" were not computed")
    assert GateResult("root", ()).verdict == "inconclusive"


def test_one_missing_criterion_is_no_pass() -> None:
    criteria = passing_rows()
    assert GateResult("edit", criteria).verdict == "pass"
    for index, gone in enumerate(criteria):
        left = GateResult("edit", criteria[:index] + criteria[index + 1 :])
        required = gone.name in REQUIRED["edit"]
        assert left.verdict == ("inconclusive" if required else "pass"), gone.name
        assert left.missing == ((gone.name,) if required else ())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["value", "bound"])
def test_one_cell_that_is_no_number_stops_the_whole_table(field: str, bad: float) -> None:
    criteria = passing_rows()
    for index, each in enumerate(criteria):
        broken = replace(each, value=bad) if field == "value" else replace(each, bound=bad)
        gate_result = GateResult("edit", (*criteria[:index], broken, *criteria[index + 1 :]))
        assert gate_result.verdict == "inconclusive", each.name
        assert gate_result.sentence == f"the candidate is inconclusive on {each.name.replace('_', ' ')}"


def test_one_cell_beyond_its_limit_or_without_images_stops_the_whole_table() -> None:
    criteria = passing_rows()
    for index, each in enumerate(criteria):
        over = each.limit * (1.01 if each.direction == "at most" else 0.99)
        stopped = {
            "value": replace(each, value=over),
            "bound": replace(each, bound=over),
            "n": replace(each, n=0),
        }
        for part, row in stopped.items():
            gate_result = GateResult("edit", (*criteria[:index], row, *criteria[index + 1 :]))
            assert gate_result.verdict == ("fail" if part == "value" else "inconclusive"), (each.name, part)


@pytest.mark.parametrize(("direction", "impossible"), [("at most", -1.01), ("at least", 1.01)])
def test_what_no_measurement_can_give_never_passes(direction: Direction, impossible: float) -> None:
    possible = -1.0 if direction == "at most" else 1.0
    assert Criterion("x", possible, possible, 0.5, direction, 10).verdict == "pass"
    assert Criterion("x", impossible, possible, 0.5, direction, 10).verdict == "inconclusive"
    assert Criterion("x", possible, impossible, 0.5, direction, 10).verdict == "inconclusive"
