"""What the night's steps hand to each other: the night itself, its parent release, its batch, its last attempt."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from errata.data.belief.waiting import Waiting
from errata.data.expectations.observations import Observations
from errata.data.images import Pixels
from errata.data.inbox.control_guard import ControlGuard
from errata.data.inbox.refusals import Refusal
from errata.data.kept_blocks import KeptBlocks
from errata.data.releases.edit_record import Unheld
from errata.data.releases.kind_inputs import NO_INPUTS, KindInputs
from errata.data.releases.ledger import Correction, Ledger
from errata.data.releases.looks import Looks
from errata.data.releases.manifest import Live, Manifest
from errata.data.splits import SplitEntry
from errata.data.storage.base import Storage
from errata.flows.gate.criterion import GateResult
from errata.flows.night.summary import DeferredCorrection
from errata.flows.workspace import Log, Workspace, open_store, open_workspace, operator


@dataclass(frozen=True)
class Night:
    """Where a night works, who asked for it, where its log goes, and a name that no other run has.

    `make_guard` prepares the control set, uint8 `[n, height, width, channels]`, which no report may touch, and may keep
    what was dear.
    """

    storage: Storage
    workspace: Workspace
    by: str
    log: Log
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    make_guard: Callable[[Pixels, KeptBlocks], ControlGuard] = ControlGuard

    def guard(self, control: Pixels) -> ControlGuard:
        """The guard of control images uint8 `[n, height, width, channels]`, with what this workspace keeps of it."""
        return self.make_guard(control, KeptBlocks(self.workspace.features / "control-guard.db"))

    @property
    def looks(self) -> Looks:
        """Where this night counts what it judges."""
        return Looks(self.storage, self.by, self.name)


def open_night(store: str | None, folder: str | None, by: str | None, log: Log, *, create: bool = False) -> Night:
    """A night in the given places, or in those of the environment; only with `create` may the store be a new one.

    Raises DataError if params.yaml has faults: before the store is touched, and before anything slow is imported.
    """
    workspace = open_workspace(folder)
    workspace.params  # noqa: B018 - read now
    return Night(open_store(store, create=create), workspace, by or operator(), log)


@dataclass(frozen=True)
class Parent:
    """What the night starts from: the live release, verified. `deferred` are the corrections that it does not hold."""

    live: Live
    tag: str
    manifest: Manifest
    ledger: Ledger
    model: bytes = field(repr=False)
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    learned: Mapping[str, SplitEntry] | None = None
    kind_inputs: KindInputs = NO_INPUTS
    deferred: Mapping[str, Unheld] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """What the night's reports came to.

    `corrections` are new to the ledger, with their `images`; `withdrawn` leave it, for somebody retracted them; `done`
    are reports that the live release has consumed already (a crash came between its swap and its settling); `refused`
    go to quarantine; `waiting` stay in the inbox, most of them until more people say the same: `sides_waiting` tells of
    each claim how doubtful it is and what it waits for; `deferred` are left out for harm; `observed` is what the
    reports that can be used look like together, if there are any; `kind_inputs` is all that people labelled,
    and decided about kinds, until now.
    """

    reports: int = 0
    corrections: tuple[Correction, ...] = ()
    images: dict[str, Pixels] = field(default_factory=dict, repr=False)
    withdrawn: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()
    waiting: tuple[str, ...] = ()
    deferred: tuple[DeferredCorrection, ...] = ()
    observed: Observations | None = None
    sides_waiting: tuple[Waiting, ...] = ()
    kind_inputs: KindInputs = NO_INPUTS

    def changes(self, parent: Parent) -> bool:
        """Whether a release of this batch would be another than the parent."""
        return bool(self.corrections or self.withdrawn) or (
            bool(parent.ledger.corrections) and self.kind_inputs != parent.kind_inputs
        )

    def without(self, harm: Mapping[str, str]) -> Batch:
        """This batch less the corrections in `harm`, each with why."""
        gone = tuple(
            DeferredCorrection(each.id, each.reports, harm[each.id]) for each in self.corrections if each.id in harm
        )
        kept = tuple(each for each in self.corrections if each.id not in harm)
        return replace(self, corrections=kept, deferred=self.deferred + gone)


@dataclass(frozen=True)
class Attempt:
    """The last candidate: the `batch` as it is now, the `ledger` that was judged, and how.

    Not `whole` if the batch has lost corrections since it was judged: nobody may let that candidate pass.
    """

    batch: Batch
    ledger: Ledger
    gate_result: GateResult
    whole: bool = True


AskApproval = Callable[[GateResult], str]
