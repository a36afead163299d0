"""What runs are called in Prefect's lists: when they were, and what became of them."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from errata.flows.night.summary import NightSummary

TAG = "errata"


def run_name() -> str:
    """The name of a run that has just begun: its date and time (UTC)."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} at work"


def outcome_name(began: str, summary: NightSummary) -> str:
    """The name of the same run once it has ended, by its first one."""
    what = f"{summary.outcome} {summary.version}" if summary.outcome == "released" else summary.outcome
    return f"{began.removesuffix(' at work')} {what}"


def outcome_tags(summary: NightSummary) -> set[str]:
    """Tags by which runs are found: the outcome, and the release that it made."""
    release = {f"release-{summary.version}"} if summary.outcome == "released" else set()
    return {TAG, summary.outcome.replace(" ", "-"), *release}


def name_by_outcome(summary: NightSummary) -> None:
    """Give the flow run in which this is called, if in any, its name and its tags."""
    context = FlowRunContext.get()
    if context is None or (run := context.flow_run) is None:
        return
    with get_client(sync_client=True) as client:
        client.update_flow_run(run.id, name=outcome_name(run.name, summary), tags={*run.tags, *outcome_tags(summary)})
