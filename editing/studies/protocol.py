"""The paper's evaluation of an editor (section 4.1): many independent edits, each measured on the whole control set.

Each trial edits the root anew: a test image is to be predicted as a class drawn uniformly. What an edit did not change
is not computed again: control images enter the edited model at its first changed stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from errata.editing.editors.gradient import GradientEditor
from errata.editing.engine import Engine, ThisProcess
from errata.editing.errors import MeasurementError
from errata.editing.metrics import Estimate, PairedOutcomes, bootstrap_mean, compare_predictions, exact_rate
from errata.editing.model import EditableModel
from errata.editing.scopes import before, stage_of, stages
from errata.editing.settings import ViewSettings
from errata.editing.studies.side_by_side import edit_side_by_side
from errata.editing.types import Constraint, Editor, EditResult
from errata.editing.views import unseen_views

Classes = NDArray[np.int64]
NEAR = 0.05  # gap between the two highest probabilities below which an image counts as near the boundary


@dataclass(frozen=True)
class Demand:
    """One edit to try: control image number `image` is to be predicted as class `expected`."""

    image: int
    expected: int


def draw_demands(count: int, images: int, classes: int, seed: int) -> tuple[Demand, ...]:
    """`count` distinct images of `images`, each with a class drawn uniformly from all (the paper's random labels)."""
    if not 0 < count <= images:
        raise MeasurementError(f"{count} edits cannot be drawn from {images} images; ask for 1 to {images}")
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(images, generator=generator)[:count]
    targets = torch.randint(classes, (count,), generator=generator)
    return tuple(Demand(int(image), int(target)) for image, target in zip(chosen, targets, strict=True))


def first_changed_stage(root: EditableModel, edited: EditableModel) -> int | None:
    """The first stage in which a parameter or buffer of two models of one architecture differs; None if none does."""
    old, new = root.state_dict(keep_vars=True), edited.state_dict(keep_vars=True)
    if old.keys() != new.keys():
        raise MeasurementError("the edited model has other parameters than the root; measure it against its own root")
    changed = [
        stage_of(root, name) for name in old if old[name] is not new[name] and not torch.equal(old[name], new[name])
    ]
    return min(changed, default=None)


class Control:
    """Labelled images on which edits of one root are measured; what reaches each stage is computed once and kept.

    `images` uint8 `[n, height, width, channels]`, `labels` `[n]`. `precision` is that of the predictions, root's and
    edited model's alike: "float32", or "bfloat16" (autocast), twice as fast, which changes a few predictions in a
    thousand at random and so blurs drawdowns below 0.1%. In memory: the activations of each stage that an edited model
    was entered at.
    """

    def __init__(
        self, root: EditableModel, images: Tensor, labels: Tensor, batch: int = 256, precision: str = "float32"
    ) -> None:
        if len(images) == 0 or len(images) != len(labels):
            raise MeasurementError(f"{len(images)} control images with {len(labels)} labels; give equally many, not 0")
        self.root, self.images, self.batch = root, images, batch
        self._autocast = partial(
            torch.autocast, root.head.weight.device.type, torch.bfloat16, enabled=precision == "bfloat16"
        )
        self.labels: Classes = labels.cpu().numpy().astype(np.int64)
        self._hidden: dict[int, list[Tensor]] = {}
        self.root_logits = self.logits(root)
        self.root_classes: Classes = self.root_logits.argmax(1).cpu().numpy()
        first, second = self.root_logits.softmax(1).topk(2, dim=1).values.T
        self.boundary: NDArray[np.bool_] = (first - second < NEAR).cpu().numpy() & (self.root_classes == self.labels)

    @torch.no_grad()
    def logits(self, edited: EditableModel) -> Tensor:
        """`[n, classes]` of a model that is the root but for an edit."""
        cut = first_changed_stage(self.root, edited)
        if cut is None:
            if edited is not self.root:
                return self.root_logits
            cut = len(stages(self.root))
        tail = edited.tail(cut)
        tail.patch = edited.patch.used()  # a single edit uses one slot of hundreds
        with self._autocast():
            return torch.cat([tail(part).float() for part in self._entering(cut)])

    def classes(self, edited: EditableModel) -> Classes:
        """Predicted classes `[n]` of a model that is the root but for an edit."""
        found: Classes = self.logits(edited).argmax(1).cpu().numpy()
        return found

    def _entering(self, cut: int) -> list[Tensor]:
        if cut not in self._hidden:
            device = self.root.head.weight.device
            parts = [before(self.root, part.to(device), cut) for part in self.images.split(self.batch)]
            # convolutions run a fifth faster on channels that lie together
            self._hidden[cut] = [
                part.contiguous(memory_format=torch.channels_last) if part.ndim == 4 else part for part in parts
            ]
        return self._hidden[cut]


@dataclass(frozen=True)
class Trial:
    """What one independent edit did.

    `already`: the root predicted the expected class, so nothing was to be done. `harm` is the change of the error rate
    among the control images of each class. `generalization` is the share of unseen views of the edited image that get
    the expected class (None if not measured). `seconds` is wall time of the edit alone. `fallback`: no slot could hold
    it, so that the weights of all images moved. `boundary`: right control images near the boundary (NEAR), of which
    `boundary_flips` are wrong after.
    """

    image: int
    expected: int
    predicted: int
    already: bool
    success: bool
    steps: int
    seconds: float
    n: int
    negative_flips: int
    positive_flips: int
    error_before: float
    generalization: float | None
    harm: tuple[float, ...] = field(default=())
    fallback: bool = False
    boundary: int = 0
    boundary_flips: int = 0

    @property
    def drawdown(self) -> float:
        """Absolute change of the error rate (section 3)."""
        return abs(self.negative_flips - self.positive_flips) / self.n


def run_protocol(
    editor: Editor[Any],
    state: Any,
    control: Control,
    demands: Iterable[Demand],
    views: ViewSettings | None = None,
    side_by_side: int = 1,
    engine: Engine | None = None,
) -> Iterator[Trial]:
    """One trial a demand, each from the unedited root; `state` is what `editor.prepare` returned for the root.

    `side_by_side`: how many edits a gradient editor makes in one computation, which is faster and takes the memory of
    as many editable layers; the trials are the same but for rounding. The `engine`, by default this process, makes so
    many at a time.
    """
    remaining = iter(demands)
    together = iter(lambda: tuple(islice(remaining, side_by_side)), ())
    trials = partial(_trials, editor, state, control, views)
    yield from chain.from_iterable((engine or ThisProcess()).map(trials, together))


def _trials(
    editor: Editor[Any], state: Any, control: Control, views: ViewSettings | None, demands: Sequence[Demand]
) -> list[Trial]:
    return list(_tried(editor, state, control, views, demands))


def _tried(
    editor: Editor[Any], state: Any, control: Control, views: ViewSettings | None, demands: Sequence[Demand]
) -> Iterator[Trial]:
    for demand, result in _results(editor, state, control, demands):
        image = control.images[demand.image]
        after = control.classes(result.model)
        outcomes: PairedOutcomes = compare_predictions(control.root_classes, after, control.labels)
        predicted = int(control.root_classes[demand.image])
        yield Trial(
            demand.image,
            demand.expected,
            predicted,
            predicted == demand.expected,
            result.success,
            result.steps,
            result.seconds,
            outcomes.n,
            outcomes.negative_flips,
            outcomes.positive_flips,
            outcomes.error_before,
            None if views is None else _generalization(result.model, image, demand.expected, views),
            _harm(control, after),
            result.fallbacks > 0,
            int(control.boundary.sum()),
            int((after != control.labels)[control.boundary].sum()),
        )


def _results(
    editor: Editor[Any], state: Any, control: Control, demands: Sequence[Demand]
) -> Iterator[tuple[Demand, EditResult]]:
    constraints = [Constraint(control.images[one.image], one.expected, str(one.image)) for one in demands]
    if isinstance(editor, GradientEditor) and len(demands) > 1:
        yield from zip(demands, edit_side_by_side(editor, control.root, constraints, state), strict=True)
    else:
        for demand, constraint in zip(demands, constraints, strict=True):
            yield demand, editor.edit(control.root, [constraint], state)


@torch.no_grad()
def _generalization(model: EditableModel, image: Tensor, expected: int, views: ViewSettings) -> float:
    unseen = unseen_views(image, views).to(model.head.weight.device)
    return float((model(unseen).argmax(1) == expected).float().mean())


def _harm(control: Control, after: Classes) -> tuple[float, ...]:
    change = (after != control.labels).astype(float) - (control.root_classes != control.labels)
    classes = range(len(control.root.spec.classes))
    return tuple(
        float(change[control.labels == one].mean()) if (control.labels == one).any() else 0.0 for one in classes
    )


@dataclass(frozen=True)
class Summary:
    """A row of the paper's tables, with bootstrap 95% intervals over edits; that of success is exact (Clopper-Pearson).

    Rates are shares, not per cent. `fallbacks`: edits that no slot could hold, so that the weights of all images moved.
    `boundary_flips` is a share of the right images near the boundary, None if there are none.
    """

    drawdown: Estimate
    negative_flips: Estimate
    success: Estimate
    steps: Estimate
    generalization: Estimate | None
    seconds: Estimate
    error: float
    fallbacks: int = 0
    boundary_flips: Estimate | None = None


def summarise(trials: Sequence[Trial], *, with_already: bool) -> Summary:
    """Means over `trials`, of one root or of several together; without the edits whose class was predicted already
    unless `with_already` (as in the paper).

    Raises MeasurementError if none is left.
    """
    used = [trial for trial in trials if with_already or not trial.already]
    if not used:
        raise MeasurementError("there is no edit to summarise; run more trials")

    def mean(value: Callable[[Trial], float]) -> Estimate:
        return bootstrap_mean(np.array([value(trial) for trial in used], dtype=np.float64))

    seen = [trial.generalization for trial in used if trial.generalization is not None]
    near = [trial.boundary_flips / trial.boundary for trial in used if trial.boundary]
    return Summary(
        drawdown=mean(lambda trial: trial.drawdown),
        negative_flips=mean(lambda trial: trial.negative_flips / trial.n),
        success=exact_rate(sum(trial.success for trial in used), len(used)),
        steps=mean(lambda trial: float(trial.steps)),
        generalization=bootstrap_mean(np.array(seen)) if seen else None,
        seconds=mean(lambda trial: trial.seconds),
        error=float(np.mean([trial.error_before for trial in used])),
        fallbacks=sum(trial.fallback for trial in used),
        boundary_flips=bootstrap_mean(np.array(near)) if near else None,
    )
