"""The declared limits: Great Expectations sees what we see, and neither NaN nor an empty table gets by it."""

import math
from dataclasses import replace

import pytest

from flows.gate.criterion import Criterion, Name
from flows.gate.expectations import check_expectations, gate_table
from tests.flows.gate.gate_rows import PARAMS, passing_rows


def objections(*rows: Criterion) -> tuple[str, ...]:
    return check_expectations("edit", rows, PARAMS).objections


def test_a_table_within_its_limits_has_no_objection() -> None:
    assert objections(*passing_rows()) == ()


def test_an_empty_table_is_objected_to() -> None:
    found = objections()
    assert any("row count" in each for each in found)
    assert any(each.startswith("drawdown value") for each in found)
    assert check_expectations("root", (), PARAMS).objections


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_objected_to_in_every_cell(bad: float) -> None:
    rows = passing_rows()
    broken = tuple(replace(each, value=bad, bound=bad) for each in rows)
    found = objections(*broken)
    for each in rows:
        assert any(words.startswith(f"{each.name} value") for words in found), each.name
        assert any(words.startswith(f"{each.name} bound") for words in found), each.name


def test_each_missing_row_no_images_and_each_bound_over_its_limit_are_objected_to() -> None:
    rows = passing_rows()
    over = [row.limit * (1.01 if row.direction == "at most" else 0.99) for row in rows]
    tables = {
        "bound": [replace(row, bound=number) for row, number in zip(rows, over, strict=True)],
        "value": [replace(row, value=number) for row, number in zip(rows, over, strict=True)],
        "n": [replace(row, n=0) for row in rows],
    }
    for part, table in tables.items():
        found = objections(*table)
        assert all(any(words.startswith(f"{row.name} {part}") for words in found) for row in rows), part
    # a limit that somebody loosened in the file changes nothing: params.yaml declares them
    loosened = [replace(row, bound=number, limit=number) for row, number in zip(rows, over, strict=True)]
    assert objections(*loosened) == objections(*tables["bound"])
    without = [row for row in rows if row.name != Name.RECALL_DROP]
    assert {words.split()[0] for words in objections(*without)} == {Name.RECALL_DROP}


def test_the_table_has_one_row() -> None:
    table = gate_table(passing_rows())
    assert len(table) == 1
    assert len(table.columns) == 3 * len(Name)
    assert len(gate_table(())) == 0
