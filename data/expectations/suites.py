"""Tables held against an operator's expectations by Great Expectations, which shows the outcome as Data Docs.

A file of expectations is a suite as Great Expectations writes it: `type`, `kwargs`, `severity` of each. Great
Expectations drops an expectation that it does not know, with a word in its log. So each is built here one by one; and
what could not be computed is an error whatever its severity.

The import takes seconds: import this file where a table is checked.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import JsonValue

from errata.data.expectations.observations import Outcome
from errata.editing.errors import DataError

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read when it is imported

import great_expectations as gx
from great_expectations.checkpoint.actions import UpdateDataDocsAction
from great_expectations.data_context.store import validation_results_store
from great_expectations.data_context.types import base
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

DEFAULTS = Path(__file__).parent / "defaults"
PARAMETER = "$PARAMETER"
FEWEST = "fewest_rows"
_SITE = "data_docs"


@dataclass(frozen=True)
class Rule:
    """One expectation of a suite, built; from `fewest` rows on it is held against a table."""

    expectation: Any
    fewest: int


@dataclass(frozen=True)
class Suite:
    """The expectations of a file, and the file, to name it."""

    name: str
    path: Path
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Checked:
    """What was observed, and for each row that breaks expectations of severity `critical`, which."""

    outcomes: tuple[Outcome, ...]
    refused: Mapping[int, tuple[str, ...]]


def load_suite(name: str, folder: Path, values: Mapping[str, JsonValue], columns: Collection[str]) -> Suite:
    """The suite `name`: of `<name>.json` in `folder`, else the one that comes with Errata.

    `{"$PARAMETER": "x"}` in an expectation becomes `values["x"]`; where that is None the expectation is left out, for
    there is nothing yet to hold anything against. Raises DataError on anything that Great Expectations does not know,
    and on a column that is none of `columns`.
    """
    path = folder / f"{name}.json"
    path = path if path.exists() else DEFAULTS / f"{name}.json"
    try:
        written = json.loads(path.read_text())["expectations"]
        if not isinstance(written, list) or not written:
            raise ValueError("it holds no expectations")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no suite of expectations ({error!r}); mend or remove it") from error
    rules = []
    for number, each in enumerate(written, 1):
        try:
            rule = _rule(each, values, columns)
        except Exception as error:  # Great Expectations raises what comes
            kind = each.get("type") if isinstance(each, dict) else each
            said = " ".join(str(error).split())
            raise DataError(f"{path}: expectation {number} ({kind}) cannot be used: {said}; mend it") from error
        rules += [rule] if rule else []
    return Suite(name, path, tuple(rules))


def _rule(written: Mapping[str, Any], values: Mapping[str, JsonValue], columns: Collection[str]) -> Rule | None:
    kwargs = {}
    for name, value in written["kwargs"].items():
        kwargs[name] = value
        if isinstance(value, dict) and PARAMETER in value:
            if value[PARAMETER] not in values:
                raise ValueError(f"{value[PARAMETER]!r} is no parameter; there are {', '.join(sorted(values))}")
            kwargs[name] = values[value[PARAMETER]]
            if kwargs[name] is None:
                return None
    if kwargs.get("column", next(iter(columns))) not in columns:
        raise ValueError(f"{kwargs['column']!r} is no column; there are {', '.join(columns)}")
    fewest = (written.get("meta") or {}).get(FEWEST, 0)
    if not isinstance(fewest, int) or fewest < 0:
        raise ValueError(f"meta.{FEWEST} must be a number of rows")
    with _quiet():
        return Rule(ExpectationConfiguration(**{**written, "kwargs": kwargs}).to_domain_obj(), fewest)


def check_table(table: pd.DataFrame, suite: Suite, docs: Path, run: str, part: str = "") -> Checked:
    """Hold `table` against `suite`, and add the outcome to the Data Docs in the folder `docs`, under the name `run`.

    `part` tells tables of one suite apart. Raises DataError if an expectation cannot be computed (a column that is not
    there, say), or if one of severity `critical` does not hold for the table as a whole. Of one that is about rows, the
    rows are `refused`.
    """
    rules = [rule.expectation for rule in suite.rules if len(table) >= rule.fewest]
    if not rules:
        return Checked((), {})
    with _quiet():
        results = _run(table.reset_index(drop=True), gx.ExpectationSuite(suite.name), rules, docs, run, part)
    outcomes: list[Outcome] = []
    refused: dict[int, list[str]] = {}
    for result in results:
        rows = result.result.get("unexpected_index_list") or []
        outcome = _outcome(result, len(rows))
        outcomes.append(outcome)
        if fault := _fault(result):
            raise DataError(f"{suite.path}: {outcome.sentence}; it cannot be computed, mend it: {fault}")
        if outcome.severity == "critical" and not outcome.holds:
            if not rows:
                raise DataError(f"the table of {part or suite.name} breaks the rule {outcome.sentence} ({suite.path})")
            for row in rows:
                refused.setdefault(int(row), []).append(outcome.sentence)
    return Checked(tuple(outcomes), {row: tuple(broken) for row, broken in sorted(refused.items())})


def _outcome(result: Any, broken: int) -> Outcome:
    rule, found = result.expectation_config, result.result
    whole = "element_count" not in found  # the expectation is about the table, not about rows
    observed = found.get("observed_value") if whole else f"{broken} of {found['element_count']} rows break it"
    if "partial_missing_list" in found:  # of a set, which has no observed value
        observed = f"without {', '.join(map(str, found['partial_missing_list'])) or 'none'}"
    limits = {name: value for name, value in rule.kwargs.items() if name not in {"column", "batch_id"}}
    return Outcome(
        expectation=rule.type,
        column=str(rule.kwargs.get("column", "")),
        limits=_plain(limits),
        severity=rule.severity.value,
        holds=bool(result.success),
        observed=_plain(observed),
        broken=broken,
        notes=_line(rule.notes),
    )


def _line(notes: str | list[str] | None) -> str:
    """An expectation's notes as one line."""
    return " ".join(" ".join([notes] if isinstance(notes, str) else notes or []).split())


def _plain(value: Any) -> Any:
    """Great Expectations' numpy numbers and moments as JSON's own; what is no number is null."""
    written = json.dumps(value, default=lambda each: each.item() if hasattr(each, "item") else str(each))
    return json.loads(written, parse_constant=lambda _: None)


def _fault(result: Any) -> str:
    """The first message of an expectation that raised, in a dictionary or in one for each metric; empty if none did."""
    info = result.exception_info
    found = [info, *(each for each in info.values() if isinstance(each, dict))]
    return next((str(each["exception_message"]) for each in found if each.get("raised_exception")), "")


class ValidationResultsStore(validation_results_store.ValidationResultsStore):
    """Great Expectations' own without its traps: numpy's truth in a result cannot be written as JSON, and its pages,
    which are made from what is stored, take a reporter's name for HTML.

    Of another name it would be replaced by the one in memory.
    """

    def serialize(self, value: Any) -> Any:
        for each in value.results:
            each.success = bool(each.success)
        return escape(super().serialize(value), quote=False)  # type: ignore[no-untyped-call]


def _run(table: pd.DataFrame, suite: Any, rules: list[Any], docs: Path, run: str, part: str) -> list[Any]:
    """The results, in any order. They are kept beside the pages, so that the index has earlier ones too."""
    context = _context(docs)
    for rule in rules:
        suite.add_expectation(rule)
    context.suites.add(suite)
    name = part or suite.name
    asset = context.data_sources.add_pandas("errata").add_dataframe_asset(name)
    data = asset.add_batch_definition_whole_dataframe("all")
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=data, suite=suite))
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(
            name=name,
            validation_definitions=[definition],
            actions=[UpdateDataDocsAction(name="pages", site_names=[_SITE])],
            result_format={"result_format": "COMPLETE"},
        )
    )
    # without a time it would read one out of the name, which is random: one of digits alone is a year that nobody knows
    now = gx.RunIdentifier(run_name=run, run_time=datetime.now(UTC))
    outcome = checkpoint.run(batch_parameters={"dataframe": table}, run_id=now)
    [validated] = outcome.run_results.values()
    if len(validated.results) != len(rules):
        raise DataError(f"of {len(rules)} expectations Great Expectations held {len(validated.results)} against {name}")
    return list(validated.results)


def _context(docs: Path) -> Any:
    """Everything in memory but the site and the results that it shows."""

    def folder(path: Path) -> dict[str, str]:
        return {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(path.resolve())}

    memory = base.InMemoryStoreBackendDefaults()
    results = {
        "class_name": "ValidationResultsStore",
        "module_name": __name__,
        "store_backend": folder(docs / "results"),
    }
    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "store_backend": folder(docs),
    }
    config = base.DataContextConfig(
        stores={**memory.stores, memory.validation_results_store_name: results},
        expectations_store_name=memory.expectations_store_name,
        validation_results_store_name=memory.validation_results_store_name,
        checkpoint_store_name=memory.checkpoint_store_name,
        data_docs_sites={_SITE: site},
        analytics_enabled=False,
        progress_bars=base.ProgressBarsConfig(globally=False, metric_calculations=False),
    )
    return gx.get_context(mode="ephemeral", project_config=config)


@contextmanager
def _quiet() -> Iterator[None]:
    """Great Expectations inside prints nothing."""
    # It sets this logger's level itself when imported, and announces each temporary folder: a filter outlasts that.
    logging.getLogger("great_expectations.data_context.types.base").addFilter(_no_announcement)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _no_announcement(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING
