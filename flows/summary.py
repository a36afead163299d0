"""The night in tables: for a terminal (rich), for Prefect (markdown), for machines (plain dictionaries)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from data.refusals import Refusal
from flows.gate import Criterion, Judgement

Outcome = Literal["released", "nothing to correct", "not released"]
COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


@dataclass(frozen=True)
class LeftOut:
    """A valid correction that was deferred: left out of this release, because it did harm or could not hold."""

    correction: str
    reports: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class NightSummary:
    """What a night came to, for people and machines."""

    outcome: Outcome
    version: int | None
    reports: int
    corrections: int
    in_force: int
    refused: tuple[Refusal, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    error_before: float | None = None
    error_after: float | None = None
    where: str = ""
    sentence: str = ""
    judgement: Judgement | None = None
    budget: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        plain = {key: value for key, value in asdict(self).items() if key not in {"judgement", "refused", "left_out"}}
        plain["criteria"] = [each.to_row() for each in self.judgement.criteria] if self.judgement else []
        plain["deferred"] = [asdict(each) for each in self.left_out]
        plain["quarantined"] = [asdict(each) for each in self.refused]
        return plain

    def lines(self) -> list[tuple[str, str]]:
        """Label and value, for any table."""
        rows = [
            ("reports in", str(self.reports)),
            ("quarantined", str(len(self.refused))),
            ("new corrections", str(self.corrections)),
            ("deferred", str(len(self.left_out))),
            ("corrections in force", str(self.in_force)),
        ]
        if self.error_before is not None and self.error_after is not None:
            rows.append(("error on the gate split", f"{self.error_before:.2%} before, {self.error_after:.2%} after"))
        rows.append(("outcome", f"{self.outcome}{': ' + self.sentence if self.sentence else ''}"))
        rows.append(("live version", "none yet" if self.version is None else f"{self.version}"))
        if self.where:
            rows.append(("files", self.where))
        if self.budget:
            rows.append(("budget", self.budget))
        return rows


def number(criterion: Criterion, value: float) -> str:
    """A criterion's number as a person reads it: shares in percent, differences of logits in scientific notation."""
    return f"{value:.1e}" if criterion.name == "parity" else f"{value:.2%}"


def gate_rows(judgement: Judgement) -> list[list[str]]:
    """One row a criterion: name, value, bound, limit, n, verdict."""
    return [
        [
            each.name.replace("_", " "),
            number(each, each.value),
            number(each, each.bound),
            f"{each.direction} {number(each, each.limit)}",
            str(each.n),
            each.verdict,
        ]
        for each in judgement.criteria
    ]


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table; bars in cells are escaped."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def print_summary(summary: NightSummary, console: Console) -> None:
    """The night's one table, and the gate's."""
    table = Table(title="The night", show_header=False, title_justify="left")
    for label, value in summary.lines():
        table.add_row(label, value)
    console.print(table)
    if summary.judgement and summary.judgement.criteria:
        gate = Table(title="The gate, measured on the exported file", title_justify="left")
        for name in ("criterion", "value", "bound (95%)", "limit", "n", "verdict"):
            gate.add_column(name, justify="left" if name in {"criterion", "verdict", "limit"} else "right")
        for row in gate_rows(summary.judgement):
            gate.add_row(*row[:-1], f"[{COLOURS[row[-1]]}]{row[-1]}[/]")
        console.print(gate)
