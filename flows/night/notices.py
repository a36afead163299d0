"""What people are told of a night without having to look: by webhook, wherever the night runs.

    ERRATA_WEBHOOK          who is told that a night was refused, was inconclusive, failed, ...: `notify.events`
    ERRATA_REPORT_WEBHOOK   who is told what became of each report, a gateway that knows the reporters say
    ERRATA_WEBHOOK_SECRET   the key that both are signed with

Nothing that is told, and nobody who cannot be told, changes what a night does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from errata.data.belief.report_states import states_of
from errata.editing.errors import ErrataError
from errata.flows.gate.criterion import GateResult
from errata.flows.gate.tables import in_the_way
from errata.flows.night.state import Night, open_night
from errata.flows.night.summary import NightSummary
from errata.flows.night.webhook import Webhook, webhook_of
from errata.flows.params.sections import Event
from errata.flows.workspace import Log, operator

OPERATOR, REPORTS = "ERRATA_WEBHOOK", "ERRATA_REPORT_WEBHOOK"
MOST_REPORTS = 500  # in one message


@dataclass(frozen=True)
class Notices:
    """Who is told of a night: `operator` of what `notify.events` names, `reports` of what became of reports."""

    night: Night
    operator: Webhook | None
    reports: Webhook | None

    def around(self, work: Callable[[], NightSummary]) -> NightSummary:
        """The work of a night, of which people are told: also if it fails, with what it fails with."""
        try:
            summary = work()
        except Exception as fault:
            self.tell("failed", f"failed: {fault}", {"error": type(fault).__name__})
            raise
        for event, text in events_of(summary):
            self.tell(event, text, told(summary))
        self._tell_reports(summary)
        return summary

    def asked(self, gate_result: GateResult) -> None:
        """A run waits for a person."""
        text = f"inconclusive: {in_the_way(gate_result)}. The run waits for a person: `errata approve`"
        self.tell("approval", text, {"sentence": gate_result.sentence})

    def tell(self, event: Event, text: str, data: Mapping[str, Any]) -> None:
        """Tell the operator, if they want to know of such."""
        if self.operator is None or event not in self.night.workspace.params.notify.events:
            return
        place = {"store": self.night.storage.url, "run": self.night.name, "by": self.night.by}
        identity = f"{self.night.name}-{event}"
        self.operator.send(identity, f"night.{event}", f"Errata: {text}", {**place, **data}, self.night.log)

    def _tell_reports(self, summary: NightSummary) -> None:
        """Tell what became of each report that this night settled, refused or left out; of others there is no news."""
        if self.reports is None:
            return
        looked_at = [*summary.settled, *(each.report_id for each in summary.refused)]
        looked_at += [report for each in summary.deferred for report in each.reports]
        try:
            states = list(states_of(self.night.storage, looked_at))
        except Exception as fault:
            self.night.log(f"what became of reports cannot be told: {fault}")
            return
        for first in range(0, len(states), MOST_REPORTS):
            some = states[first : first + MOST_REPORTS]
            data = [
                {"report": each.id, "state": each.state, "reason": each.reason, "version": each.version}
                for each in some
            ]
            identity = f"{self.night.name}-reports-{first}"
            text = f"Errata: what became of {len(some)} reports"
            self.reports.send(identity, "reports.decided", text, {"reports": data}, self.night.log)


def open_notices(night: Night, environment: Mapping[str, str] = os.environ) -> Notices:
    """Who is to be told of this night. Raises DataError on an address or a secret that cannot be used."""
    return Notices(night, webhook_of(OPERATOR, environment), webhook_of(REPORTS, environment))


def begin_night(
    store: str | None,
    folder: str | None,
    by: str | None,
    log: Log,
    *,
    create: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> Night:
    """`open_night`. If it fails the operator is told, also if `notify.events` does not say so: it may be unreadable."""
    try:
        return open_night(store, folder, by, log, create=create)
    except ErrataError as fault:
        run, data = token_hex(8), {"by": by or operator(), "error": type(fault).__name__}
        if receiver := webhook_of(OPERATOR, environment):
            text = f"Errata: failed before it began: {fault}"
            receiver.send(f"{run}-failed", "night.failed", text, {"store": store, "run": run, **data}, log)
        raise


def events_of(summary: NightSummary) -> list[tuple[Event, str]]:
    """What of a night a person should know, each with a sentence."""
    events: list[tuple[Event, str]] = []
    if summary.outcome == "not released":
        inconclusive = summary.gate_result is not None and summary.gate_result.verdict == "inconclusive"
        event: Event = "inconclusive" if inconclusive else "refused"
        events.append((event, f"not released: {summary.sentence}; the old model stays live"))
    if summary.budget:
        events.append(("budget", summary.budget))
    if summary.waiting:
        events.append(("waiting", f"{len(summary.waiting)} claims wait for more people: `errata waiting`"))
    return events


def told(summary: NightSummary) -> dict[str, Any]:
    """What of a night leaves the house: numbers and sentences, no reports and nobody's name."""
    return {
        "outcome": summary.outcome,
        "sentence": summary.sentence,
        "version": summary.version,
        "reports": summary.reports,
        "corrections": summary.corrections,
        "in_force": summary.in_force,
        "refused": len(summary.refused),
        "deferred": len(summary.deferred),
        "waiting": len(summary.waiting),
    }
