"""What a run leaves on its page in Prefect, each under a key, so that it has a history: the gate's table, the night's
page (what was corrected, what was quarantined and why), and a link to the release report.
"""

from __future__ import annotations

import os
from pathlib import Path

from prefect.artifacts import create_link_artifact, create_markdown_artifact

from errata.data import layout
from errata.data.releases.evaluation import CorrectionOutcome, Evaluation
from errata.flows.gate.criterion import GateResult
from errata.flows.gate.tables import GateTable, markdown_table
from errata.flows.night.dry_run import DryRun
from errata.flows.night.state import Night
from errata.flows.night.summary import WAITING_HEAD, NightSummary, waiting_rows

MOST_ROWS = 200
PAGES = "ERRATA_PAGES"  # where `errata serve` serves pages: a browser follows no link to a file from Prefect's


def publish(night: Night, summary: NightSummary, prefix: str = "") -> None:
    """Everything about one run; keys are `gate`, `night`, `report` and `data-docs`, behind `prefix`."""
    evaluation: Evaluation | None = None
    if summary.gate_result:
        evaluation = Evaluation.from_json(night.workspace.read(night.workspace.evaluation))
        publish_gate(summary.gate_result, f"{prefix}gate", gate_note(summary))
    create_markdown_artifact(
        night_page(summary, evaluation), key=f"{prefix}night", description=f"The night: {summary.outcome}"
    )
    docs = night.workspace.data_docs / "index.html"
    if summary.reports and docs.exists():
        link = served("data_docs/index.html") or docs.as_uri()
        create_link_artifact(
            link, link_text="Data Docs of the reports", key=f"{prefix}data-docs", description=str(docs)
        )
    if summary.outcome == "released" and summary.version is not None:
        publish_report(night.storage.url, summary.version, f"{prefix}report")


def publish_dry_run(found: DryRun) -> None:
    """What a night would come to, under the key `dry-run`."""
    told = "What a night would come to; nothing was done"
    create_markdown_artifact(dry_run_page(found), key="dry-run", description=told)


def dry_run_page(found: DryRun) -> str:
    """Markdown: what a night would come to in short, what would be new, wait, or be refused and why."""
    text = markdown_table(("", ""), found.lines())
    if found.corrections:
        rows = [[each.id[:12], each.expected, str(len(each.reports))] for each in found.corrections]
        text += "\n\n### Would be new\n\n" + _table(("correction", "should be", "reports"), rows)
    if found.waiting:
        rows = [list(row) for row in waiting_rows(found.waiting)]
        text += "\n\n### Would wait, the least doubtful first\n\n" + _table(WAITING_HEAD, rows)
    if found.refused:
        rows = [[each.report_id[:12], str(each.reason), each.detail] for each in found.refused]
        text += "\n\n### Would be quarantined\n\n" + _table(("report", "reason", "detail"), rows)
    return text


def publish_gate(gate_result: GateResult, key: str, note: str) -> None:
    """The gate's table, and a note below it."""
    text = GateTable.of(gate_result).markdown + (f"\n\n{note}" if note else "")
    create_markdown_artifact(text, key=key, description=f"Gate: {gate_result.verdict}")


def publish_question(gate_result: GateResult) -> None:
    """The gate's table of a run that waits for a person, who has nothing else to decide by; under the key `gate`."""
    publish_gate(gate_result, "gate", "The run waits for a person: the form on its page, or `errata approve`.")


def gate_note(summary: NightSummary) -> str:
    """What became of a candidate that did not pass by itself; "" of one that did."""
    if summary.gate_result is None or (summary.outcome, summary.gate_result.verdict) == ("released", "pass"):
        return ""
    if summary.outcome == "released":
        return f"A person let it pass ({summary.gate_result.sentence}); `errata releases` says who and why."
    return f"The old model stays live: {summary.sentence}."


def served(page: str) -> str:
    """The URL of a page where pages are served; "" where they are not."""
    return f"{os.environ[PAGES]}/{page}" if os.environ.get(PAGES) else ""


def publish_report(store_url: str, version: int, key: str) -> None:
    """A link to the release's HTML report in the store."""
    where = f"{store_url}/{layout.release_file(version, layout.REPORT)}"
    link = served(f"releases/{version}") or (where if "://" in where else Path(where).as_uri())
    create_link_artifact(link, link_text=f"Report of release {version}", key=key, description=where)


def night_page(summary: NightSummary, evaluation: Evaluation | None) -> str:
    """Markdown: the night in short, every correction before and after, what was deferred or refused and why."""
    text = markdown_table(("", ""), summary.lines())
    if evaluation and evaluation.corrections:
        ordered = sorted(evaluation.corrections, key=lambda each: (each.after == each.expected, each.id))
        head = ("correction", "root", "release", "should be", "unseen views", "decided by")
        text += "\n\n### Corrections\n\n" + _table(head, [_correction_row(each) for each in ordered])
    if summary.waiting:
        rows = [list(row) for row in waiting_rows(summary.waiting)]
        text += "\n\n### Waiting, the least doubtful first\n\n" + _table(WAITING_HEAD, rows)
    if summary.deferred:
        rows = [[each.correction[:12], str(len(each.reports)), each.why] for each in summary.deferred]
        text += "\n\n### Deferred to another night\n\n" + _table(("correction", "reports", "why"), rows)
    if summary.without_slot:
        rows = [[name[:12], why] for name, why in summary.without_slot.items()]
        text += "\n\n### In the ledger, and no slot can hold it\n\n" + _table(("correction", "why"), rows)
    if summary.refused:
        rows = [[each.report_id[:12], str(each.reason), each.detail] for each in summary.refused]
        text += "\n\n### Quarantined\n\n" + _table(("report", "reason", "detail"), rows)
        text += "\n\n`errata quarantine` lists them; `errata requeue REPORT` sends one back."
    return text


def _correction_row(each: CorrectionOutcome) -> list[str]:
    mark = "" if each.after == each.expected else " **does not hold**"
    return [
        each.id[:12],
        f"{each.before} ({each.before_probability:.0%})",
        f"{each.after} ({each.after_probability:.0%}){mark}",
        each.expected,
        f"{each.views_right} of {each.views}",
        f"slot {each.slot}" if each.slot >= 0 else "-" if mark else "the weights",
    ]


def _table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    more = len(rows) - MOST_ROWS
    return markdown_table(head, rows[:MOST_ROWS]) + (f"\n\nand {more} more" if more > 0 else "")
