"""What a run leaves on its page in Prefect: markdown with a key, so that each has a history."""

from __future__ import annotations

from prefect.artifacts import create_markdown_artifact

from flows.gate import Judgement
from flows.summary import NightSummary, gate_rows, markdown_table


def publish_gate(judgement: Judgement, key: str) -> None:
    """The gate's table."""
    text = markdown_table(("criterion", "value", "bound", "limit", "n", "verdict"), gate_rows(judgement))
    create_markdown_artifact(text, key=key, description=f"Gate: {judgement.verdict}")


def publish_night(summary: NightSummary, key: str) -> None:
    """What was corrected and what was quarantined, and why."""
    text = markdown_table(("", ""), summary.lines())
    if summary.refused:
        rows = [(each.report_id[:12], str(each.reason), each.detail) for each in summary.refused]
        text += "\n\n### Quarantined\n\n" + markdown_table(("report", "reason", "detail"), rows)
    create_markdown_artifact(text, key=key, description=f"The night: {summary.outcome}")
