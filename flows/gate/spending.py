"""How the gate's error is spent over looks: a look is one candidate judged on a gate split.

If every look were at `gate.confidence`, a candidate just beyond its limit would pass sooner or later, for each look is
another chance. So look k is at error

    alpha_k = alpha K / ((k + K - 1) (k + K)),    alpha = 1 - gate.confidence,  K = gate.looks

and the sum over all k is alpha, however many there are and whenever somebody stops: by the union bound at most alpha is
the chance that any candidate beyond the limit ever passes on that split (alpha spending: Lan and DeMets 1983). After k
looks the share k / (k + K) is spent, half of it after K. That is as flat as can be for the first K looks, and decays
with 1/k^2 afterwards, so it never ends. What is left of the power is in docs/gate.md.
"""

from __future__ import annotations

from errata.flows.params import GateParams


def confidence_at(look: int, params: GateParams) -> float:
    """The confidence of every bound at look number `look`, counted from 1."""
    flat = params.looks
    return 1 - (1 - params.confidence) * flat / ((look + flat - 1) * (look + flat))


def share_spent(looks: int, params: GateParams) -> float:
    """The share of the gate's error that so many looks have spent."""
    return looks / (looks + params.looks)
