"""The gate's limits, declared in Great Expectations from params.yaml: a second, independent word on every number.

The gate's table is laid out as one row with a column for each criterion's value, bound and n. A bound in Great
Expectations passes on null and on an empty table; so every column has its not-null beside it, the table must have
exactly one row, and every range is closed at both ends, which infinity is outside of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from data.validation import quiet
from flows.gate.criterion import REQUIRED, Criterion, Kind, Name, limit_of
from flows.params import GateParams

if TYPE_CHECKING:
    import pandas as pd

LOWEST = -1.0  # a drawdown may be negative: an edit can lower the error


@dataclass(frozen=True)
class Checked:
    """What the declared limits say: `objections` in words, one for each broken one; none is a pass."""

    objections: tuple[str, ...]
    outcome: Any


def gate_table(criteria: Iterable[Criterion]) -> pd.DataFrame:
    """One row; columns `<criterion> value`, `<criterion> bound` and `<criterion> n`."""
    import pandas as pd  # noqa: PLC0415 - slow

    row = {f"{each.name} {part}": getattr(each, part) for each in criteria for part in ("value", "bound", "n")}
    return pd.DataFrame([row] if row else [])


def declare(kind: Kind, names: Iterable[str], params: GateParams, idle: Collection[str] = ()) -> Any:
    """The expectation suite: every criterion that `kind` requires and every one in `names`, within its limit.

    Those in `idle` have nothing to measure.
    """
    with quiet():
        import great_expectations as gx  # noqa: PLC0415 - takes seconds
    gxe: Any = gx.expectations  # its members are not declared as exported
    expectations = [gxe.ExpectTableRowCountToEqual(value=1)]
    for name in sorted((REQUIRED[kind] | {Name(each) for each in names}) - set(idle)):
        limit = limit_of(name, params)
        lowest, highest = (LOWEST, limit.value) if limit.direction == "at most" else (limit.value, 1.0)
        for part, low, high in (("value", lowest, highest), ("bound", lowest, highest), ("n", 1, None)):
            column = f"{name} {part}"
            expectations.append(gxe.ExpectColumnValuesToNotBeNull(column=column))
            expectations.append(gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high))
    return gx.ExpectationSuite("gate", expectations=expectations)


def check_expectations(kind: Kind, criteria: Iterable[Criterion], params: GateParams) -> Checked:
    """Validate the gate's rows against the limits; a required criterion that is missing is an objection."""
    known = tuple(criteria)
    rows = tuple(each for each in known if each.verdict != "not applicable")
    idle = {each.name for each in known} - {each.name for each in rows}
    suite = declare(kind, [each.name for each in rows], params, idle)
    import great_expectations as gx  # noqa: PLC0415
    from great_expectations.data_context.types.base import ProgressBarsConfig  # noqa: PLC0415

    with quiet():
        context = gx.get_context(mode="ephemeral")
        context.enable_analytics(enable=False)
        context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
        asset = context.data_sources.add_pandas("night").add_dataframe_asset("gate")
        batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": gate_table(rows)})
        outcome = batch.validate(suite)
    broken = [result for result in outcome.results if not result.success]
    return Checked(tuple(sorted({_words(result) for result in broken})), outcome)


def _words(result: Any) -> str:
    rule = result.expectation_config
    name = rule.type.removeprefix("expect_").replace("_", " ")
    column = rule.kwargs.get("column", "")
    observed = (result.result or {}).get("partial_unexpected_list") or (result.result or {}).get("observed_value")
    return f"{column} {name}".strip() + (f" (found {observed})" if observed is not None else "")
