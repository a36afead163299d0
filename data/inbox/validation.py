"""Which of the night's reports cannot be true, whoever filed them: of a release that is not made, of another time.

What a report must be by itself is its type (`data/reports.py`); how the night's reports look together is held against
an operator's expectations (`data/expectations/suites.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from errata.data.inbox.refusals import Reason, Refusal
from errata.data.reports import Report

FIRST_POSSIBLE = datetime(2000, 1, 1, tzinfo=UTC)
NO_CLOCK_IS_SO_WRONG = datetime(2200, 1, 1, tzinfo=UTC)  # what says it is from later would wait for ever
CLOCKS_MAY_DIFFER = timedelta(days=1)


@dataclass(frozen=True)
class Validation:
    """A refusal for every report that cannot be true, and the reports that are from the future by this machine's clock.

    Those stay in the inbox until the clock has passed them, for it may be the clock that is wrong.
    """

    refusals: tuple[Refusal, ...]
    waiting: tuple[str, ...]


def validate_reports(reports: Iterable[Report], newest: int, now: datetime) -> Validation:
    """Hold reports against the newest release and the time. Neither refused nor waiting ones may be used tonight."""
    refusals: list[Refusal] = []
    waiting: list[str] = []
    for report in reports:
        if report.model_version is not None and report.model_version > newest:
            detail = f"model_version is {report.model_version}, the newest release is {newest}"
            refusals.append(Refusal(report.id, Reason.INVALID, detail))
        elif report.filed_at < FIRST_POSSIBLE:
            detail = f"filed_at is {report.filed_at.isoformat()}: before {FIRST_POSSIBLE.year}"
            refusals.append(Refusal(report.id, Reason.INVALID, detail))
        elif report.filed_at >= NO_CLOCK_IS_SO_WRONG:
            detail = f"filed_at is {report.filed_at.isoformat()}: after {NO_CLOCK_IS_SO_WRONG.year}"
            refusals.append(Refusal(report.id, Reason.INVALID, detail))
        elif report.filed_at > now + CLOCKS_MAY_DIFFER:
            waiting.append(report.id)
    return Validation(tuple(refusals), tuple(waiting))
