"""The gate's table, built once from its result: for a terminal, a page in Prefect, or the release report."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from errata.flows.gate.criterion import Criterion, GateResult, Name, Verdict

NOT_MEASURED = "not measured"
_MARKUP = re.compile(r"[\\|\[\]`]")  # each is itself with a backslash before it


@dataclass(frozen=True)
class GateRow:
    """A criterion in words. What was not measured says so; what there was nothing of to measure has `why`."""

    name: str
    value: str
    bound: str
    limit: str
    n: str
    verdict: Verdict
    why: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """As columns, in the order of the table's head."""
        verdict = f"{self.verdict}: {self.why}" if self.why else self.verdict
        return (self.name, self.value, self.bound, self.limit, self.n, verdict)


@dataclass(frozen=True)
class GateTable:
    """The names of the columns, and one row a criterion."""

    head: tuple[str, ...]
    rows: tuple[GateRow, ...]

    @staticmethod
    def of(gate_result: GateResult) -> GateTable:
        """The table of a gate's result; its head says at which confidence the bounds hold."""
        head = ("criterion", "value", bound_name(gate_result.confidence), "limit", "n", "verdict")
        return GateTable(head, tuple(gate_row(each) for each in gate_result.criteria))

    @property
    def markdown(self) -> str:
        """As markdown."""
        return markdown_table(self.head, [row.cells for row in self.rows])


def in_the_way(gate_result: GateResult) -> str:
    """Which criteria stand in the way, each with its numbers: for a person who shall decide."""
    said = [_numbers(gate_row(each)) for each in gate_result.criteria if each.stands_in_the_way]
    return "; ".join([*said, *(f"{name.replace('_', ' ')} was not computed" for name in gate_result.missing)])


def _numbers(row: GateRow) -> str:
    """A criterion that stands in the way, in a sentence: what it must be, what it is, what that proves."""
    if row.value == NOT_MEASURED:
        return f"{row.name} must be {row.limit} and was not measured"
    proven = "nothing proven" if row.bound == NOT_MEASURED else f"proven only {row.bound}"
    return f"{row.name} must be {row.limit}: measured {row.value} (n {row.n}), {proven}"


def bound_name(confidence: float | None) -> str:
    """The name of the bounds' column: `bound (95%)`, or `bound` where nobody recorded the confidence."""
    return "bound" if confidence is None else f"bound ({100 * confidence:g}%)"


def said(name: str, value: float) -> str:
    """A criterion's number as a person reads it: shares in percent, differences of logits in scientific notation."""
    return f"{value:.1e}" if name == Name.PARITY else f"{value:.2%}"


def gate_row(criterion: Criterion) -> GateRow:
    """A criterion as a person reads it."""

    def told(value: float) -> str:
        if not math.isfinite(value):
            return "-" if criterion.verdict == "not applicable" else NOT_MEASURED
        return said(criterion.name, value)

    return GateRow(
        criterion.name.replace("_", " "),
        told(criterion.value),
        told(criterion.bound),
        f"{criterion.direction} {told(criterion.limit)}",
        str(criterion.n),
        criterion.verdict,
        criterion.not_applicable if criterion.verdict == "not applicable" else "",
    )


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table. Cells are text, whoever wrote them: no picture is fetched for one, no HTML is made of one."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(map(_text, row)) + " |" for row in rows]
    return "\n".join(lines)


def _text(cell: str) -> str:
    return _MARKUP.sub(r"\\\g<0>", " ".join(cell.split())).replace("<", "&lt;")
