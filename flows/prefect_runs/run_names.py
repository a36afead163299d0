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


def outcome_name(summary: NightSummary) -> str:
    """What became of a night, in a few words."""
    if summary.outcome != "released":
        return summary.outcome
    return f"released {summary.version}{summary.holding and ', '}{summary.holding}"


def outcome_tags(summary: NightSummary) -> set[str]:
    """Tags by which runs are found: the outcome, and the release that it made."""
    release = {f"release-{summary.version}"} if summary.outcome == "released" else set()
    return {summary.outcome.replace(" ", "-"), *release}


def ended(began: str, what: str) -> str:
    """The name of a run once it has ended, by its first one."""
    return f"{began.removesuffix(' at work')} {what}"


def name_by_outcome(summary: NightSummary) -> None:
    """Give the flow run in which this is called, if in any, the name and the tags of what it came to."""
    name_run(outcome_name(summary), outcome_tags(summary))


def name_run(what: str, tags: set[str]) -> None:
    """Give the flow run in which this is called, if in any, its last name and more tags."""
    context = FlowRunContext.get()
    if context is None or (run := context.flow_run) is None:
        return
    with get_client(sync_client=True) as client:
        client.update_flow_run(run.id, name=ended(run.name, what), tags={*run.tags, TAG, *tags})
