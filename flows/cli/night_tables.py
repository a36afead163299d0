"""What a night came to, for a terminal: its one table, and the gate's."""

from __future__ import annotations

import typer
from rich.table import Table

from flows.cli.base import GATE_SAID_NO, out, say_json
from flows.gate.tables import HEAD, gate_rows
from flows.night.summary import NightSummary

COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow", "not applicable": "dim"}


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
    if summary.gate_result and summary.gate_result.criteria:
        gate = Table(title="The gate, measured on the exported file", title_justify="left")
        for name in HEAD:
            gate.add_column(name, justify="left" if name in {"criterion", "verdict", "limit"} else "right")
        for row in gate_rows(summary.gate_result):
            gate.add_row(*row[:-1], f"[{COLOURS[row[-1].partition(':')[0]]}]{row[-1]}[/]")
        out.print(gate)
