"""Records that stages write: each comes back as it was, and another type is refused by the field's name."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.data.records import canonical_json
from errata.data.releases.edit_record import EditRecord, SlotRecord
from errata.data.releases.evaluation import ClassOutcome, CorrectionOutcome, Evaluation, SlotOutcome
from errata.data.releases.ledger import Correction, Ledger
from errata.editing.errors import Damaged, DataError

EDIT = EditRecord(
    success=False,
    steps=3,
    reason="one does not hold",
    holds={"a": True, "b": False},
    slots=(SlotRecord("a", 0, 1.5, 0.01, separated=True), SlotRecord("b", -1, -2.0, 0.0, separated=False)),
)
EVALUATION = Evaluation(
    (CorrectionOutcome("a", "7", "1", 0.75, "7", 0.875, 0, 6, 8),),
    (ClassOutcome("7", 10, 8, 9, 0, 1),),
    (SlotOutcome(0, 2),),
)
counts = st.integers(0, 10**6)
shares = st.floats(0, 1)
outcomes = st.builds(
    CorrectionOutcome, *[st.text()] * 3, shares, st.text(), shares, st.integers(-1, 10**6), counts, counts
)
slots = st.builds(
    SlotRecord,
    st.text(),
    st.integers(-1, 10**6),
    st.floats(allow_nan=False, allow_infinity=False),
    shares,
    st.booleans(),
)


@given(st.booleans(), counts, st.text(), st.dictionaries(st.text(), st.booleans()), st.lists(slots).map(tuple))
def test_an_edit_comes_back(
    success: bool, steps: int, reason: str, holds: dict[str, bool], found: tuple[SlotRecord, ...]
) -> None:
    record = EditRecord(success, steps, reason, holds, found)
    assert EditRecord.from_json(record.to_json()) == record


@given(
    st.lists(outcomes).map(tuple),
    st.lists(st.builds(ClassOutcome, st.text(), *[counts] * 5)).map(tuple),
    st.lists(st.builds(SlotOutcome, counts, counts)).map(tuple),
)
def test_an_evaluation_comes_back(
    corrections: tuple[CorrectionOutcome, ...], classes: tuple[ClassOutcome, ...], decided: tuple[SlotOutcome, ...]
) -> None:
    evaluation = Evaluation(corrections, classes, decided)
    assert Evaluation.from_json(evaluation.to_json()) == evaluation


@given(
    counts,
    st.lists(
        st.builds(
            Correction, st.text(), st.text(), st.lists(st.text(), unique=True).map(lambda each: tuple(sorted(each)))
        ),
        unique_by=lambda each: each.id,
    ),
)
def test_a_ledger_comes_back(version: int, corrections: list[Correction]) -> None:
    ledger = Ledger(version, tuple(corrections))
    assert Ledger.from_jsonl(ledger.to_jsonl()) == ledger


def test_only_written_slots_hold_a_correction() -> None:
    assert EDIT.by_slot == {0: "a"}
    assert EVALUATION.decided == {0: 2}


def test_no_number_is_null() -> None:
    record = EditRecord(True, 0, "", {}, (SlotRecord("a", 0, math.inf, math.nan, separated=True),))
    assert json.loads(record.to_json())["slots"][0]["margin"] is None
    (back,) = EditRecord.from_json(record.to_json()).slots
    assert math.isnan(back.margin) and math.isnan(back.calibration_firing)
    assert (
        canonical_json({"b": [math.inf, 1.0], "a": (2, None)})
        == b'{\n "a": [\n  2,\n  null\n ],\n "b": [\n  null,\n  1.0\n ]\n}\n'
    )


def changed(content: bytes, path: tuple[str | int, ...], value: Any) -> bytes:
    """A document with one field set to `value`."""
    document = json.loads(content)
    place = document
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("parse", "content", "path", "value"),
    [
        (EditRecord.from_json, EDIT.to_json(), ("success",), "yes"),
        (EditRecord.from_json, EDIT.to_json(), ("steps",), 3.5),
        (EditRecord.from_json, EDIT.to_json(), ("holds", "a"), 1),
        (EditRecord.from_json, EDIT.to_json(), ("slots", 1, "slot"), "1"),
        (EditRecord.from_json, EDIT.to_json(), ("slots", 0, "fires"), 0.0),
        (EditRecord.from_json, EDIT.to_json(), ("slots", 0, "margin"), "1.5"),
        (Evaluation.from_json, EVALUATION.to_json(), ("format",), "errata-evaluation/2"),
        (Evaluation.from_json, EVALUATION.to_json(), ("corrections", 0, "slot"), "0"),
        (Evaluation.from_json, EVALUATION.to_json(), ("corrections", 0, "before"), 1),
        (Evaluation.from_json, EVALUATION.to_json(), ("classes", 0, "n"), -1),
        (Evaluation.from_json, EVALUATION.to_json(), ("slots", 0, "decided"), 2.0),
        (Evaluation.from_json, EVALUATION.to_json(), ("more",), None),
    ],
)
def test_another_type_is_refused_and_the_field_named(
    parse: Callable[[bytes], object], content: bytes, path: tuple[str | int, ...], value: object
) -> None:
    parse(content)
    with pytest.raises(Damaged, match=r"\.".join(map(str, path))):
        parse(changed(content, path, value))


HEADER = {"format": "errata-ledger/1", "version": 2}
LINE = {"id": "a", "expected": "7", "reports": ["r"]}


@pytest.mark.parametrize(
    ("number", "line", "named"),
    [
        (1, {**HEADER, "version": "2"}, "version"),
        (1, {**HEADER, "version": -1}, "version"),
        (1, {**HEADER, "format": "errata-ledger/2"}, "format"),
        (1, {**HEADER, "more": 1}, "more"),
        (2, {**LINE, "id": 7}, "id"),
        (2, {**LINE, "expected": 7}, "expected"),
        (2, {**LINE, "reports": "r"}, "reports"),
        (2, {**LINE, "reports": [1]}, r"reports\.0"),
        (2, {**LINE, "more": 1}, "more"),
        (2, [], "the line"),
    ],
)
def test_a_line_of_a_ledger_of_another_type_is_refused(number: int, line: object, named: str) -> None:
    lines: list[object] = [HEADER, LINE]
    lines[number - 1] = line
    with pytest.raises(DataError, match=f"ledger line {number} .*{named}"):
        Ledger.from_jsonl("".join(json.dumps(each) + "\n" for each in lines))
