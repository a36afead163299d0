"""Attribution: which of the new corrections do the harm, measured on probes (flows/deferral/probes.py).

Beside others a harmless correction can look harmful: one that moves the weights of all lets others turn images wrong,
or keeps them from holding. So each is measured alone first: its slot by itself on the root, or, where it has none, an
edit for it by itself. Those that do harm are then added, the least harmful first, in groups to those that do none
(flows/deferral/group_testing.py), as long as all of them together stay within what is allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from errata.data.splits import load_split
from errata.editing.tensors import tensor_of
from errata.editing.types import Constraint
from errata.flows.deferral.group_testing import keep_harmless
from errata.flows.deferral.probes import Candidate, Probes
from errata.flows.stages.editors import build_editor, calibrating_traffic, learned_rule

ALL = slice(None)


@dataclass(frozen=True)
class Attribution:
    """What became of each suspect: `kept`, or left out, with how many of `n` probes it harms by itself (`alone`).

    `changes` says how many probes it changes at all by itself.

    With an editor without slots an edit for one costs as much as for all, so there `alone` is empty.
    """

    kept: frozenset[str]
    alone: dict[str, int]
    n: int
    changes: Mapping[str, int] = field(default_factory=dict)

    def breadth(self, name: str) -> tuple[int, int, str]:
        """Orders corrections by what they do beyond their own image, the least first."""
        return self.alone.get(name, 0), self.changes.get(name, 0), name


def attribute(
    candidate: Candidate,
    probes: Probes,
    suspects: Collection[str],
    share: float,
    *,
    by_reach: bool,
    without: Collection[str] = (),
) -> Attribution:
    """Keep suspects such that at most `share` of the harm is left that they do in the candidate; 0: no harm at all.

    Harm is what turns wrong on the probes, or with `by_reach` what changes at all. `without` are left out in any case.
    Takes `deferral.tests` edits of groups at most.
    """
    edits = _JointEdits(candidate, probes, by_reach)
    gone = {*suspects, *without}
    rest = [
        each.id for each in candidate.ledger.corrections if each.id not in gone and candidate.holds.get(each.id, True)
    ]
    alone = edits.alone(suspects) if candidate.slots else {}
    order = sorted(suspects, key=lambda name: (alone.get(name, 0), name))
    harmless = [name for name in order if candidate.slots and alone[name] == 0 and candidate.holds.get(name, True)]
    rest += harmless
    floor, broken = edits.joint(rest)
    now = float(edits.harmed(probes.logits(candidate.edited)).double().mean())
    most = floor + share * max(now - floor, 0.0)

    def within(group: Sequence[str]) -> bool:
        harm, missing = edits.joint([*rest, *group])
        return missing <= broken and harm <= most

    waiting = [name for name in order if name not in harmless]
    kept, _ = keep_harmless(waiting, within, candidate.params.deferral.tests)
    return Attribution(frozenset(kept) | frozenset(harmless), alone, len(probes.labels), edits.changes(suspects))


class _JointEdits:
    """Edits the root for any of the ledger's corrections, and sees what that does to the probes."""

    def __init__(self, candidate: Candidate, probes: Probes, by_reach: bool) -> None:
        self._candidate, self._probes, self._by_reach = candidate, probes, by_reach
        self._editor = build_editor(
            candidate.params.edit,
            candidate.params.views,
            candidate.params.seed,
            learned_rule(candidate.learned),
            candidate.features,
            calibrating_traffic(candidate.splits),
        )
        control = [tensor_of(load_split(candidate.splits, name).images) for name in ("reference", "calibration")]
        self._state = self._editor.prepare(candidate.root, *control)
        self._constraints = {
            each.id: Constraint(candidate.images[index], int(candidate.expected[index]), each.id)
            for index, each in enumerate(candidate.ledger.corrections)
        }
        self._before = probes.logits(candidate.based)

    def harmed(self, logits: Tensor, probes: Tensor | slice = ALL) -> Tensor:
        """Which `probes` (indices) are harmed, from what an edited model says of them: `[n]`."""
        if self._by_reach:
            moved = (logits.softmax(1) - self._before[probes].softmax(1)).abs().amax(1)
            return moved > self._candidate.params.gate.reach_tolerance
        return logits.argmax(1) != self._probes.labels[probes]

    def joint(self, names: Sequence[str]) -> tuple[float, int]:
        """The share of probes that editing for all of these harms, and how many of them do not hold then."""
        if not names:
            return 0.0, 0
        result = self._editor.edit(self._candidate.based, [self._constraints[name] for name in names], self._state)
        harmed = self.harmed(self._probes.logits(result.model))
        return float(harmed.double().mean()), len(result.holds) - sum(result.holds)

    @torch.no_grad()
    def changes(self, names: Collection[str]) -> dict[str, int]:
        """On how many probes each correction's slot fires; those without a slot are not there."""
        fires = (self._candidate.edited.patch.activations(self._probes.features) > 0).sum(0)
        return {name: int(fires[slot]) for slot, name in self._candidate.slots.items() if name in names}

    @torch.no_grad()
    def alone(self, names: Collection[str]) -> dict[str, int]:
        """How many probes each correction harms by itself; all of them if it does not hold by itself."""
        patch, n = self._candidate.edited.patch, len(self._probes.labels)
        activations = patch.activations(self._probes.features)
        found = {}
        for slot, name in self._candidate.slots.items():
            if name in names:
                fires = activations[:, slot].nonzero()[:, 0]  # elsewhere the root alone speaks
                moved = self._before[fires] + activations[fires, slot, None] * patch.value[slot]
                found[name] = int(self.harmed(moved, fires).sum())
        for name in set(names) - set(found):
            share, missing = self.joint([name])
            found[name] = n if missing else round(share * n)
        return found
