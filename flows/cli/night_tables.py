"""What a night came to, for a terminal: its one table, and the gate's."""

from __future__ import annotations

from collections.abc import Sequence

import typer
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from errata.flows.cli.base import GATE_SAID_NO, out, say_json
from errata.flows.gate.criterion import GateResult, Verdict
from errata.flows.gate.tables import GateTable
from errata.flows.night.dry_run import DryRun
from errata.flows.night.summary import WAITING_HEAD, NightSummary, waiting_rows

MOST_ROWS = 20
COLOURS: dict[Verdict, str] = {"pass": "green", "fail": "red", "inconclusive": "yellow", "not applicable": "dim"}
LONGEST = {"criterion": len("generalization"), "verdict": len("inconclusive")}  # which a narrow terminal may not cut
JUSTIFY: tuple[JustifyMethod, ...] = ("left", "right", "right", "left", "right", "left")


def finish(summary: NightSummary, as_json: bool, title: str = "The night") -> None:
    """Print a night's summary; exit code 3 if the gate said no."""
    if as_json:
        say_json(summary.to_json())
    else:
        print_summary(summary, title)
    if summary.outcome == "not released":
        raise typer.Exit(GATE_SAID_NO)


def print_summary(summary: NightSummary, title: str) -> None:
    """The run's one table under `title`, and the gate's."""
    table = Table(title=title, show_header=False, title_justify="left")
    for label, value in summary.lines():
        table.add_row(label, value)
    out.print(table)
    if summary.waiting:
        print_rows(WAITING_HEAD, waiting_rows(summary.waiting), "Claims that wait, the least doubtful first")
    if summary.gate_result and summary.gate_result.criteria:
        print_gate(summary.gate_result, "The gate, measured on the exported file")


def print_dry_run(found: DryRun, as_json: bool) -> None:
    """What a night would do."""
    if as_json:
        say_json(found.to_json())
        return
    table = Table(title="The night, if it were now", show_header=False, title_justify="left")
    for label, value in found.lines():
        table.add_row(label, value)
    out.print(table)
    if found.corrections:
        rows = [(each.id[:12], each.expected, str(len(each.reports))) for each in found.corrections]
        print_rows(("correction", "should be", "reports"), rows, "Would be corrected")
    if found.waiting:
        print_rows(WAITING_HEAD, waiting_rows(found.waiting), "Would wait, the least doubtful first")
    if found.refused:
        rows = [(each.report_id[:12], str(each.reason), each.detail) for each in found.refused]
        print_rows(("report", "reason", "detail"), rows, "Would be quarantined")


def print_rows(head: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    """A table of at most MOST_ROWS rows, and how many more there are."""
    table = Table(*head, title=title, title_justify="left")
    for cells in rows[:MOST_ROWS]:
        table.add_row(*map(Text, cells))
    out.print(table)
    if (more := len(rows) - MOST_ROWS) > 0:
        out.print(f"and {more} more; `errata correct --json` lists all")


def print_gate(gate_result: GateResult, title: str) -> None:
    """The gate's table under `title`: numbers to the right, verdicts in colour."""
    content = GateTable.of(gate_result)
    table = Table(title=title, title_justify="left")
    for name, justify in zip(content.head, JUSTIFY, strict=True):
        table.add_column(name, justify=justify, min_width=LONGEST.get(name))
    for row in content.rows:
        table.add_row(*row.cells[:-1], Text(row.cells[-1], COLOURS[row.verdict]))
    out.print(table)
