"""The history of one report: what happened to it, in order, each with its time and who did it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from errata.data.belief.report_states import ReportState, State, report_state
from errata.data.releases.erasure import erasures
from errata.data.releases.manifest import read_live
from errata.data.storage.base import Storage
from errata.flows.releases.decision import Decision, recorded_decisions
from errata.flows.releases.pointer import log_entries
from errata.flows.releases.standing import decisions


@dataclass(frozen=True, order=True)
class Event:
    """That something happened, `at` a time in ISO 8601 ("": now), by whom ("": by a night)."""

    at: str
    what: str
    by: str = ""


@dataclass(frozen=True)
class ReportHistory:
    """Where a report stands now, and what led there. `decided` is the decision that stands on its claim."""

    now: ReportState
    events: tuple[Event, ...]
    decided: Decision | None = None


def report_history(storage: Storage, report_id: str) -> ReportHistory:
    """The history of a report. Raises NotStored if there is none of this identity, Damaged, StoreError."""
    now = report_state(storage, report_id)
    events = []
    if report := now.report:
        was = f", was predicted {report.predicted}" if report.predicted else ""
        events.append(
            Event(_utc(report.filed_at.isoformat()), f"filed: should be {report.expected}{was}", report.reporter)
        )
    found = read_live(storage)
    if found is not None and now.version is not None:
        log = {each.version: each for each in reversed((*log_entries(storage), found[0])) if each.action == "released"}
        if entry := log.get(now.version):
            events.append(Event(_utc(entry.at), f"taken into release {now.version}", entry.by))
    made = [each for each in recorded_decisions(storage) if report_id in each.reports]
    standing = decisions(storage, found[0]).values() if found else ()
    stands = [each for each in standing if report_id in each.reports]
    for each in (*made, *(one for one in stands if not one.number and one.cause == "rollback")):
        word = "withdrawn" if each.action == "retracted" else "brought back"
        events.append(Event(_utc(each.at), f"{word}: {each.why}", each.by))
    for erasure in erasures(storage):
        if report_id in erasure.reports:
            events.append(Event(_utc(erasure.at), f"erased: {erasure.why}", erasure.by))
    if now.state in (State.REFUSED, State.WAITING):
        events.append(Event(_utc(now.at), f"{now.state}: {now.sentence}"))
    elif now.state == State.DEFERRED:
        events.append(Event("", now.sentence))
    return ReportHistory(now, tuple(sorted(events, key=lambda each: each.at or "~")), stands[-1] if stands else None)


def _utc(at: str) -> str:
    """The time in UTC to the second, so that times of several writers sort."""
    return datetime.fromisoformat(at).astimezone(UTC).isoformat(timespec="seconds") if at else ""
