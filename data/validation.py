"""The night's report table against declared rules (Great Expectations): what must hold of all that intake let through.

A bound passes on null and on an empty table. So every bound has its not-null beside it, and the suite demands the exact
number of rows; a column that may be null (the predicted class, the model version) says so here.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from data.refusals import Reason, Refusal
from data.reports import Report
from editing.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

ReportRow = tuple[Report, str]
_HEX = r"^[0-9a-f]{64}$"
_FIRST_POSSIBLE = datetime(2000, 1, 1, tzinfo=UTC)
_CLOCKS_MAY_DIFFER = timedelta(days=1)


@dataclass(frozen=True)
class Rule:
    """One declared rule, whether it holds, and how many rows break it."""

    name: str
    column: str
    holds: bool
    broken: int


@dataclass(frozen=True)
class Validation:
    """How the night's table came out: every rule, and a refusal for every report that breaks one.

    `waiting`: reports that break none but are from the future by this machine's clock. They stay in the inbox until the
    clock has passed them, for it may be the clock that is wrong.
    """

    rows: int
    rules: tuple[Rule, ...]
    refusals: tuple[Refusal, ...]
    waiting: tuple[str, ...] = ()


def report_table(rows: Sequence[ReportRow]) -> pd.DataFrame:
    """The night's table: one row for each report and the correction that it asks for."""
    import pandas as pd  # noqa: PLC0415 - slow

    reports = [report for report, _ in rows]
    return pd.DataFrame(
        {
            "report": [report.id for report in reports],
            "image": [report.image for report in reports],
            "correction": [correction for _, correction in rows],
            "expected": [report.expected for report in reports],
            "predicted": [report.predicted for report in reports],
            "reporter": [report.reporter for report in reports],
            "model_version": pd.array([report.model_version for report in reports], dtype="Int64"),
            "filed_at": pd.to_datetime([report.filed_at for report in reports], utc=True),
        }
    )


def validate_reports(
    table: pd.DataFrame, rows: int, classes: Sequence[str], live_version: int, now: datetime
) -> Validation:
    """Hold the night's table (`report_table`) against the rules; `rows` is how many reports intake let through.

    Neither what is refused nor what is waiting may become a correction tonight. Raises DataError if the table does not
    have exactly `rows` rows or lacks a column: then none of it can be believed.
    """
    if len(table) == rows == 0:
        return Validation(0, (), ())
    rules, broken = _check_expectations(table, _suite(rows, classes, live_version, now))
    early = {row for row in broken if table["filed_at"].iloc[row] > now + _CLOCKS_MAY_DIFFER and len(broken[row]) == 1}
    refusals = tuple(
        Refusal(str(table["report"].iloc[row]), Reason.INVALID, "breaks the rule " + ", ".join(names))
        for row, names in sorted(broken.items())
        if row not in early
    )
    return Validation(rows, rules, refusals, tuple(str(table["report"].iloc[row]) for row in sorted(early)))


def _suite(rows: int, classes: Sequence[str], live_version: int, now: datetime) -> Any:
    with quiet():
        import great_expectations as gx  # noqa: PLC0415 - takes seconds
    gxe: Any = gx.expectations  # its members are not declared as exported
    expectations = [gxe.ExpectTableRowCountToEqual(value=rows)]
    for column in ("report", "image", "correction", "expected", "reporter", "filed_at"):
        expectations.append(gxe.ExpectColumnValuesToNotBeNull(column=column))
    expectations.append(gxe.ExpectColumnValuesToBeUnique(column="report"))
    for column in ("report", "image", "correction"):
        expectations.append(gxe.ExpectColumnValuesToMatchRegex(column=column, regex=_HEX))
    for column in ("expected", "predicted"):
        expectations.append(gxe.ExpectColumnValuesToBeInSet(column=column, value_set=list(classes)))
    expectations += [
        gxe.ExpectColumnValueLengthsToBeBetween(column="reporter", min_value=1, max_value=200),
        gxe.ExpectColumnValuesToBeBetween(column="model_version", min_value=0, max_value=live_version),
        gxe.ExpectColumnValuesToBeBetween(
            column="filed_at", min_value=_FIRST_POSSIBLE, max_value=now + _CLOCKS_MAY_DIFFER
        ),
    ]
    return gx.ExpectationSuite("reports", expectations=expectations)


def _check_expectations(table: pd.DataFrame, suite: Any) -> tuple[tuple[Rule, ...], dict[int, list[str]]]:
    """Every rule's outcome, and for each row that breaks any, which."""
    import great_expectations as gx  # noqa: PLC0415
    from great_expectations.data_context.types.base import ProgressBarsConfig  # noqa: PLC0415

    with quiet():
        context = gx.get_context(mode="ephemeral")
        context.enable_analytics(enable=False)
        context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
        asset = context.data_sources.add_pandas("night").add_dataframe_asset("reports")
        batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": table.reset_index(drop=True)})
        outcome = batch.validate(suite, result_format={"result_format": "COMPLETE"})
    rules: list[Rule] = []
    broken: dict[int, list[str]] = {}
    for result in outcome.results:
        name = result.expectation_config.type.removeprefix("expect_")
        column = str(result.expectation_config.kwargs.get("column", ""))
        wrong = result.result.get("unexpected_index_list")
        if result.exception_info.get("raised_exception") or (not result.success and not wrong):
            raise DataError(f"the night's report table breaks {name} {column}: {result.result}; nothing of it is used")
        rules.append(Rule(name, column, bool(result.success), len(wrong or ())))
        for row in wrong or ():
            broken.setdefault(int(row), []).append(f"{column} {name}")
    return tuple(rules), broken


@contextmanager
def quiet() -> Iterator[None]:
    """Great Expectations inside prints nothing and phones nobody."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    # It sets this logger's level itself when imported, and announces each temporary folder: a filter outlasts that.
    logging.getLogger("great_expectations.data_context.types.base").addFilter(_no_announcement)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _no_announcement(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING
