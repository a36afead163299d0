"""Whether the ledger nears what a root can carry: then it is time for a new root, which learns the corrections."""

from __future__ import annotations

from errata.flows.gate.criterion import GateResult

NEAR = 0.8  # share of a budget from which on it is told


def budget_notice(corrections: int, slots: int, gate_result: GateResult | None) -> str:
    """A sentence for a person if the slots or the drawdown against the root are nearly used up, else nothing."""
    told = []
    if corrections >= NEAR * slots:
        told.append(f"the ledger holds {corrections} corrections, the root has {slots} slots")
    for each in gate_result.criteria if gate_result else ():
        if each.name == "drawdown" and each.value >= NEAR * each.limit:
            told.append(f"drawdown against the root is {each.value:.2%}, {each.limit:.2%} is the limit")
    return f"{' and '.join(told)}: `errata train` makes a new root that learns the corrections" if told else ""
