"""gate.json: what is written comes back, another type is refused by the field's name, a verdict is never believed."""

import json
import math
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.editing.errors import Damaged
from errata.flows.gate.criterion import Criterion, Name, criterion, not_applicable
from errata.flows.gate.measurements import CriterionRow, ErrorRates, GateMeasurements, SplitErrors
from tests.flows.gate.gate_rows import PARAMS, passing_rows

ERROR = SplitErrors(ErrorRates(0.04, 0.05), ErrorRates(0.02, 0.02))


def measured(*criteria: Criterion, confidence: float | None = 0.95) -> GateMeasurements:
    rows = {each.name: CriterionRow.of(each) for each in criteria}
    return GateMeasurements("edit", 2, "a" * 64, "b" * 64, 3, rows, ERROR, confidence)


def document(**changes: Any) -> dict[str, Any]:
    """A whole gate.json as plain data."""
    return {**json.loads(measured(*passing_rows()).to_json()), **changes}


criteria = st.builds(
    Criterion,
    st.sampled_from([name.value for name in Name]),
    *[st.floats()] * 3,
    st.sampled_from(["at most", "at least"]),
    st.integers(0, 10**9),
    st.text(string.printable, max_size=20),
)


@given(st.lists(criteria, unique_by=lambda each: each.name), st.none() | st.floats(0.5, 1, exclude_min=True, width=16))
def test_what_is_written_comes_back_with_infinity_as_nan(rows: list[Criterion], confidence: float | None) -> None:
    confidence = None if confidence == 1 else confidence
    found = GateMeasurements.from_json(measured(*rows, confidence=confidence).to_json())
    assert (found.kind, found.version, found.error, found.confidence) == ("edit", 2, ERROR, confidence)
    assert [each.name for each in found.rows] == sorted(each.name for each in rows)
    for before, after in zip(sorted(rows, key=lambda each: each.name), found.rows, strict=True):
        for name in ("value", "bound", "limit"):
            old, new = getattr(before, name), getattr(after, name)
            assert new == old if math.isfinite(old) else math.isnan(new)
        assert (after.direction, after.n, after.not_applicable) == (before.direction, before.n, before.not_applicable)


def test_what_was_not_measured_is_null_and_no_pass() -> None:
    content = measured(Criterion("drawdown", math.nan, math.inf, 0.02, "at most", 100)).to_json()
    row = json.loads(content)["criteria"]["drawdown"]
    assert (row["value"], row["bound"]) == (None, None)
    (back,) = GateMeasurements.from_json(content).rows
    assert math.isnan(back.value) and math.isnan(back.bound)
    assert back.verdict == "inconclusive"


def test_a_forged_verdict_is_ignored() -> None:
    bad = criterion(Name.DRAWDOWN, 0.5, 0.6, 100, PARAMS)
    content = json.loads(measured(bad).to_json())
    content["criteria"]["drawdown"]["verdict"] = "pass"
    found = GateMeasurements.from_json(json.dumps(content).encode())
    assert found.rows == (bad,)
    assert found.gate_result.verdict == "fail"


def test_what_does_not_apply_stays_so() -> None:
    idle = not_applicable(Name.TRIGGER, "no class has enough", PARAMS)
    (back,) = GateMeasurements.from_json(measured(idle).to_json()).rows
    assert (back.verdict, back.not_applicable) == ("not applicable", "no class has enough")


ROW = document()["criteria"]["drawdown"]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"version": "2"}, "version"),
        ({"version": 2.5}, "version"),
        ({"version": True}, "version"),
        ({"kind": "patch"}, "kind"),
        ({"corrections": -1}, "corrections"),
        ({"model": "b" * 63}, "model"),
        ({"confidence": 95}, "confidence"),
        ({"more": 1}, "more"),
        ({"error": {"gate": {"before": "0.1", "after": 0.1}, "test": {"before": 0, "after": 0}}}, "error.gate.before"),
        ({"criteria": {"drawdown": {**ROW, "value": "0.0"}}}, "criteria.drawdown.value"),
        ({"criteria": {"drawdown": {**ROW, "value": False}}}, "criteria.drawdown.value"),
        ({"criteria": {"drawdown": {**ROW, "n": 2.0}}}, "criteria.drawdown.n"),
        ({"criteria": {"drawdown": {**ROW, "direction": "about"}}}, "criteria.drawdown.direction"),
        ({"criteria": {"reach": ROW}}, "the row of reach has another name"),
        ({"format": "errata-gate/2"}, "format"),
    ],
)
def test_another_type_is_refused_and_the_field_named(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(Damaged, match=named.replace(".", r"\.")):
        GateMeasurements.from_json(json.dumps(document(**wrong)).encode())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff"])
def test_another_document_is_refused(content: bytes) -> None:
    with pytest.raises(Damaged, match=r"gate\.json cannot be read"):
        GateMeasurements.from_json(content)
    for name in document():
        if name not in {"confidence", "format"}:
            less = {key: value for key, value in document().items() if key != name}
            with pytest.raises(Damaged, match=name):
                GateMeasurements.from_json(json.dumps(less).encode())
