"""Where the gate split stands: how often it was looked at, and what its limits still let pass."""

from __future__ import annotations

from dataclasses import dataclass

from errata.data.images import pixel_digest
from errata.data.releases.looks import Looks
from errata.data.splits import load_split, read_record
from errata.data.storage.base import Storage
from errata.flows.gate.spending import confidence_at, share_spent
from errata.flows.gate.tolerance import LATER, Tolerance, tolerance_head, tolerances
from errata.flows.workspace import Workspace


@dataclass(frozen=True)
class GateStanding:
    """The gate split by the digest of its file, its images, the looks at it, and what is left for the next one."""

    split: str
    images: int
    looks: int
    spent: float
    next_confidence: float
    tolerances: tuple[Tolerance, ...]

    @property
    def head(self) -> tuple[str, ...]:
        """The names of the tolerances' columns."""
        return tolerance_head(self.tolerances[0].looks)

    def lines(self) -> list[tuple[str, str]]:
        """Label and value, for any table."""
        return [
            ("split", self.split),
            ("images", str(self.images)),
            ("looks so far", f"{self.looks}; {self.spent:.0%} of the gate's error is spent"),
            ("confidence of the next look", f"{self.next_confidence:.6g}"),
        ]


def gate_standing(workspace: Workspace, storage: Storage) -> GateStanding:
    """As the workspace has the split and the store the looks; looking at this is no look at a candidate."""
    gate, params = load_split(workspace.splits, "gate"), workspace.params.gate
    split = read_record(workspace.splits).splits["gate"].sha256
    so_far = Looks(storage).so_far(split, [pixel_digest(image) for image in gate.images])
    looks = (so_far + 1, *(each for each in LATER if each > so_far + 1))
    return GateStanding(
        split,
        len(gate),
        so_far,
        share_spent(so_far, params),
        confidence_at(so_far + 1, params),
        tuple(tolerances(gate.labels, len(gate.classes), params, looks)),
    )
