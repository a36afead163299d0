"""The nouns of the method: constraint, result, editor. No logic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, Protocol

from torch import Tensor
from typing_extensions import TypeVar

from errata.editing.constraints.classification import Constraint
from errata.editing.model import EditableModel
from errata.editing.network import EditableNetwork, Tensors

__all__ = ["Constraint", "EditResult", "Editor", "EditorOf", "SlotDiagnostics", "State", "Tensors", "Unheld"]

State = TypeVar("State")
M = TypeVar("M", bound=EditableNetwork, default=EditableModel)
M_any = TypeVar("M_any", bound=EditableNetwork)
C_contra = TypeVar("C_contra", contravariant=True)


class Unheld(StrEnum):
    """Why the calibrated patch holds a correction in no slot."""

    NOT_APART = "not apart"  # its features cannot be told from those of control images
    CONFLICT = "conflict"  # nearly the same image is corrected to another class
    NO_SLOT = "no slot"  # all slots are taken


@dataclass(frozen=True)
class SlotDiagnostics:
    """How one patch slot came out.

    `slot` is its number, -1 if none was written.
    `margin`: the lowest activation over the fitted views, in units of the calibration split's standard deviation of
    `w^T z`, above the threshold (positive: the slot fires on every fitted view).
    `calibration_firing`: share of calibration images on which the slot fires.
    `separated`: whether a slot was written at all; if not, the correction is deferred, or fell back to another editor.
    All fields are plain: `pydantic.TypeAdapter(SlotDiagnostics)` parses what `vars` gives.
    """

    key: str
    slot: int
    margin: float
    calibration_firing: float
    separated: bool


@dataclass(frozen=True)
class EditResult(Generic[M]):
    """What an editor made of the constraints; not converging is a result, not an exception.

    `model` is an edited copy (the given model is never changed); `success` iff every constraint holds, i.e.
    `l_e <= 0`; `holds` says so for each constraint, in order; `steps` is how many updates were made (0 if all held
    already); `reason` is a sentence, empty on success; `seconds` is wall time. `deferred`: by position, the constraints
    that an editor of slots left out, so that it did nothing for them.
    """

    model: M
    success: bool
    holds: tuple[bool, ...]
    steps: int
    reason: str
    seconds: float
    slots: tuple[SlotDiagnostics, ...] = field(default=())
    deferred: dict[int, Unheld] = field(default_factory=dict)

    @property
    def fallbacks(self) -> int:
        """How many corrections no slot could hold, so that another editor moved the weights of all images for them."""
        return sum(not each.separated for each in self.slots) - len(self.deferred)


class EditorOf(Protocol[State, M_any, C_contra]):
    """An algorithm for `Edit(theta, l_e)`: one protocol, taking one constraint or a thousand, for networks and
    constraints of some type.

    `prepare` computes what depends on the root only (Fisher factors, covariances, thresholds), once per root;
    `edit` returns an edited copy. `reference` is what an editor may fit to, `calibration` what it may set thresholds
    on: inputs as the network takes them.
    """

    def prepare(self, model: M_any, reference: Tensor, calibration: Tensor) -> State:
        """Compute what depends on the root alone."""
        ...

    def edit(self, model: M_any, constraints: Sequence[C_contra], state: State) -> EditResult[M_any]:
        """Change a copy of `model` until every constraint holds, or say why not."""
        ...


class Editor(EditorOf[State, EditableModel, Constraint], Protocol[State]):
    """An editor of classifiers; control images are uint8 `[n, height, width, channels]`."""
