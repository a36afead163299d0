"""The night's reports as one table, held against the operator's expectations; what was observed is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import JsonValue

from errata.data.belief.waiting import WaitingClaims, keep_waiting
from errata.data.expectations.observations import Observations, claimed_before, keep_observations, partition
from errata.data.inbox.refusals import Reason, Refusal
from errata.flows.night.state import Batch, Night, Parent
from errata.flows.night.step import STORE_AWAY, step

if TYPE_CHECKING:
    from errata.data.expectations.suites import Suite
    from errata.data.expectations.tables import ReportRow


def load_report_suite(night: Night, parent: Parent, now: datetime) -> Suite:
    """The expectations of tonight's reports; raises DataError if the file of them cannot be used."""
    from errata.data.expectations.suites import load_suite  # noqa: PLC0415 - takes seconds
    from errata.data.expectations.tables import report_table  # noqa: PLC0415

    claimed = claimed_before(night.storage)
    height, width, _ = parent.image_shape
    values: dict[str, JsonValue] = {
        "classes": list(parent.classes),
        "classes_before": partition(claimed, parent.classes) if claimed else None,
        "width": width,
        "height": height,
    }
    return load_suite("reports", night.workspace.expectations, values, tuple(report_table([], now).columns))


def check_reports(
    night: Night, suite: Suite, rows: Sequence[ReportRow], now: datetime
) -> tuple[tuple[Refusal, ...], Observations]:
    """Refusals of reports that break an expectation of severity `critical`, and what was observed of all of them.

    Raises DataError if the reports together break one.
    """
    from errata.data.expectations.suites import check_table  # noqa: PLC0415 - takes seconds
    from errata.data.expectations.tables import report_table  # noqa: PLC0415

    checked = check_table(report_table(rows, now), suite, night.workspace.data_docs, night.name)
    refusals = tuple(
        Refusal(rows[row].report.id, Reason.INVALID, "breaks the rule " + "; ".join(broken))
        for row, broken in checked.refused.items()
    )
    expected = Counter(row.report.expected for row in rows)
    return refusals, Observations(
        at=now, run=night.name, reports=len(rows), expected=dict(sorted(expected.items())), outcomes=checked.outcomes
    )


@step("keep observations", waits=STORE_AWAY)
def keep_observed(night: Night, batch: Batch) -> None:
    """Leave what was observed of the batch for the nights to come, and what waits for whoever asks."""
    if batch.observed is not None:
        keep_observations(night.storage, batch.observed)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    keep_waiting(night.storage, WaitingClaims(now, night.name, batch.sides_waiting))
