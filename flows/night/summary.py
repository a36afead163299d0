"""What a night came to: its outcome, what was corrected, deferred and refused, and the gate's result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from errata.data.belief.waiting import Waiting
from errata.data.inbox.refusals import Refusal
from errata.flows.gate.criterion import GateResult
from errata.flows.gate.measurements import CriterionRow

Outcome = Literal["released", "nothing to correct", "not released"]


@dataclass(frozen=True)
class DeferredCorrection:
    """A valid correction that was deferred: left out of this release, because it did harm or could not hold."""

    correction: str
    reports: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class NightSummary:
    """What a night came to, for people and machines.

    `settled`: the reports that the live release consumed. `deferred` were left out of the ledger, for harm;
    `without_slot` are in it, but no slot can hold them: correction and why. Every later release tries again.
    """

    outcome: Outcome
    version: int | None
    reports: int
    corrections: int
    in_force: int
    refused: tuple[Refusal, ...] = ()
    deferred: tuple[DeferredCorrection, ...] = ()
    error_before: float | None = None
    error_after: float | None = None
    where: str = ""
    sentence: str = ""
    gate_result: GateResult | None = None
    budget: str = ""
    since_first_root: str = ""
    warnings: tuple[str, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    without_slot: Mapping[str, str] = field(default_factory=dict)
    settled: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        plain = {key: value for key, value in asdict(self).items() if key not in {"gate_result", "refused", "deferred"}}
        criteria = self.gate_result.criteria if self.gate_result else ()
        plain["look"] = self.gate_result and self.gate_result.look
        plain["spent"] = self.gate_result and self.gate_result.spent
        plain["criteria"] = [asdict(CriterionRow.of(each)) for each in criteria]
        plain["deferred"] = [asdict(each) for each in self.deferred]
        plain["quarantined"] = [asdict(each) for each in self.refused]
        return plain

    @property
    def holding(self) -> str:
        """How many of the ledger's corrections the live release holds, where it does not hold them all; else ""."""
        if not self.without_slot:
            return ""
        return f"{self.in_force or 'none'} of {self.in_force + len(self.without_slot)} corrections hold"

    def lines(self) -> list[tuple[str, str]]:
        """Label and value, for any table; what there was none of in this night is left out."""
        reasons = Counter(each.reason.value for each in self.refused)
        which = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        counts = {
            "reports in": self.reports,
            "quarantined": f"{len(self.refused)}: {which} (`errata quarantine`)" if which else 0,
            "new corrections": self.corrections,
            "claims that wait": len(self.waiting),
            "deferred": len(self.deferred),
        }
        rows = [(label, str(count)) for label, count in counts.items() if count]
        if self.in_force or self.without_slot:
            rows.append(("corrections that hold", str(self.in_force)))
        if self.without_slot:
            later = "tried again with every release; a new root learns them (`errata train`)"
            rows.append(("no slot can hold", f"{len(self.without_slot)}, {later}"))
        if self.error_before is not None and self.error_after is not None:
            rows.append(("error on the gate split", f"{self.error_before:.2%} before, {self.error_after:.2%} after"))
        if looks := self.gate_result and self.gate_result.looks_sentence:
            rows.append(("looks at the gate split", looks))
        if self.since_first_root:
            rows.append(("error added since the first root", self.since_first_root))
        said = self.sentence or (self.holding if self.outcome == "released" else "")
        rows.append(("outcome", f"{self.outcome}{': ' + said if said else ''}"))
        rows.append(("live version", "none yet" if self.version is None else f"{self.version}"))
        if self.where:
            rows.append(("files", self.where))
        if self.budget:
            rows.append(("budget", self.budget))
        rows += [("warning", each) for each in self.warnings]
        return rows


WAITING_HEAD = ("correction", "should be", "doubt", "reports", "waits for")


def waiting_rows(waiting: Iterable[Waiting]) -> list[tuple[str, ...]]:
    """The claims that wait, for any table: the least doubtful first, for a person's word settles those soonest."""
    return [
        (
            each.correction[:12],
            each.expected,
            f"{each.doubt:.0%}",
            str(len(each.reports)),
            f"{each.needs}, {each.more} more" if each.more else each.needs,
        )
        for each in sorted(waiting, key=lambda each: (each.doubt, each.correction, each.expected))
    ]
