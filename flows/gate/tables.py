"""The gate's table: built once from its criteria, for a terminal, a page in Prefect, or the release report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from flows.gate.criterion import Criterion, GateResult

HEAD = ("criterion", "value", "bound", "limit", "n", "verdict")


def number(criterion: Criterion, value: float) -> str:
    """A criterion's number as a person reads it: shares in percent, differences of logits in scientific notation."""
    return f"{value:.1e}" if criterion.name == "parity" else f"{value:.2%}"


def measured(criterion: Criterion, value: float) -> str:
    """A measured number as a person reads it; what was not measured says so."""
    return number(criterion, value) if math.isfinite(value) else "-" if criterion.not_applicable else "not measured"


def gate_rows(gate_result: GateResult) -> list[list[str]]:
    """One row a criterion: name, value, bound, limit, n, verdict."""
    return [
        [
            each.name.replace("_", " "),
            measured(each, each.value),
            measured(each, each.bound),
            f"{each.direction} {number(each, each.limit)}",
            str(each.n),
            f"{each.verdict}: {each.not_applicable}" if each.verdict == "not applicable" else each.verdict,
        ]
        for each in gate_result.criteria
    ]


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table; bars in cells are escaped."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)
