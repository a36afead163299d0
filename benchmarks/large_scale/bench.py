"""A frozen network whose photos are features already, and how one edit of its head, adapter or slots is judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional

from errata.editing.features import FEATURES, Draw, Features, Layer
from errata.editing.metrics import compare_predictions
from errata.editing.model import EditableModel, ModelSpec
from errata.editing.network import EditableNetwork
from errata.editing.networks.adapter import STAGE, ResidualAdapter
from errata.editing.settings import ViewSettings
from errata.editing.studies.protocol import Control
from errata.editing.types import Constraint, EditResult


class OnFeatures(EditableModel):
    """What comes after a frozen backbone: takes its features as "images" `[n, d, 1, 1]`."""

    def normalise(self, images: Tensor) -> Tensor:
        return images.flatten(1).float()

    @staticmethod
    def of(network: EditableModel) -> OnFeatures:
        """The network's head alone, with room for one slot."""
        features = network.head.in_features
        spec: ModelSpec = replace(network.spec, image_shape=(features, 1, 1), mean=(0.0,), std=(1.0,), slots=1)
        return OnFeatures(spec, nn.Sequential(), network.head).eval()

    def adapted(self, hidden: int) -> OnFeatures:
        found = super().adapted(hidden)
        return OnFeatures(found.spec, found.backbone, found.head).eval()


class FoldedControl(Control):
    """Control photos on which an edit of an adapter takes a third of the multiplications: what the head makes of the
    features alone is computed once, and the adapter's last layer and the head, both linear, become one matrix. Other
    edits are measured as ever."""

    @cached_property
    def _alone(self) -> Tensor:
        return self.root.classify(self.images.flatten(1))

    @torch.no_grad()
    def logits(self, edited: EditableModel) -> Tensor:
        adapter = dict(edited.backbone.named_children()).get(STAGE)
        old, new = self.root.state_dict(keep_vars=True), edited.state_dict(keep_vars=True)
        changed = [name for name in old if old[name] is not new[name] and not torch.equal(old[name], new[name])]
        if not isinstance(adapter, ResidualAdapter) or any(f".{STAGE}." not in f".{name}" for name in changed):
            return super().logits(edited)
        inside = functional.elu(adapter.into(self.images.flatten(1)))
        head = edited.head.weight
        found: Tensor = self._alone + inside @ (head @ adapter.out.weight).T + head @ adapter.out.bias
        return found


@dataclass(frozen=True)
class Case:
    """A photo to correct, as features: its own `[d]`, those of views to fit `[v, d]` (its own first), of unseen views
    `[u, d]` and of views of other families `[f, d]`, both empty where no views are drawn; `others` `[m, d]` are other
    mistakes on the same class."""

    key: str
    expected: int
    own: Tensor
    fitted: Tensor
    unseen: Tensor
    families: Tensor
    others: Tensor

    def constraints(self, *, views: bool) -> list[Constraint]:
        """That the photo, and each fitted view of it if `views`, is of the class."""
        rows = self.fitted if views else self.own[None]
        return [Constraint(row[:, None, None], self.expected, f"{self.key}-{place}") for place, row in enumerate(rows)]


class KnownViews(Features):
    """Features of fitted views that were computed before, for editors that draw views of photos."""

    def __init__(self, cases: Sequence[Case]) -> None:
        super().__init__()
        object.__setattr__(self, "known", {case.own.numpy().tobytes(): case.fitted for case in cases})

    def of_views(
        self, model: EditableNetwork, images: Tensor, draw: Draw, settings: ViewSettings, seed: int,
        layer: Layer = FEATURES,
    ) -> Tensor:  # fmt: skip
        known: dict[bytes, Tensor] = self.known  # type: ignore[attr-defined]
        views = [known[image.contiguous().numpy().tobytes()] for image in images]
        with torch.no_grad():
            return torch.stack([layer.compute(model, rows[:, :, None, None]) for rows in views])


@dataclass(frozen=True)
class Outcome:
    """One edit: counts of control photos, processor seconds of the edit, shares of views; `others` is the share of
    other mistakes on the class that are right after. None where there are none."""

    key: str
    already: bool
    success: bool
    steps: int
    seconds: float
    n: int
    negative_flips: int
    positive_flips: int
    boundary: int
    boundary_flips: int
    unseen: float | None
    families: float | None
    others: float | None

    @property
    def drawdown(self) -> float:
        """Absolute change of the error rate on control photos."""
        return abs(self.negative_flips - self.positive_flips) / self.n


Edit = Callable[[Case], EditResult]


@torch.no_grad()
def judge(edit: Edit, case: Case, control: Control, k: int) -> Outcome:
    """Correct one photo, and look at the control photos, of which it is none. Success counts within `k` steps."""
    started = time.process_time()  # wall time would tell what else the machine does
    with torch.enable_grad():
        result = edit(case)
    seconds = time.process_time() - started

    def right(rows: Tensor) -> float | None:
        if not len(rows):
            return None
        return float((result.model(rows[:, :, None, None]).argmax(1) == case.expected).float().mean())

    after = control.classes(result.model)
    flips = compare_predictions(control.root_classes, after, control.labels)
    return Outcome(
        case.key,
        already=int(control.root(case.own[None, :, None, None]).argmax()) == case.expected,
        success=right(case.own[None]) == 1.0 and result.steps <= k,
        steps=result.steps,
        seconds=seconds,
        n=flips.n,
        negative_flips=flips.negative_flips,
        positive_flips=flips.positive_flips,
        boundary=int(control.boundary.sum()),
        boundary_flips=int((after != control.labels)[control.boundary].sum()),
        unseen=right(case.unseen),
        families=right(case.families),
        others=right(case.others),
    )
