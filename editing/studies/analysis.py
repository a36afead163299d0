"""Where an edit's harm goes (Sinitsin et al. 2020, section 4.2): which class pays for which, and which edits are alike.

Everything here draws what `editing.studies.protocol` measured; nothing decides on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from errata.editing.errors import MeasurementError
from errata.editing.studies.protocol import Control, Demand, Trial
from errata.editing.types import Constraint, Editor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Matrix = NDArray[np.float64]


def harm_matrix(trials: Sequence[Trial], labels: NDArray[np.int64]) -> Matrix:
    """Mean change of the error rate: `[class edited, class harmed]`, in shares; NaN in rows of classes never edited.

    The class edited is the true class of the edited control image, `labels[trial.image]`.
    """
    if not trials:
        raise MeasurementError("there is no edit to analyse; run some trials")
    classes = len(trials[0].harm)
    edited = np.array([labels[trial.image] for trial in trials])
    harm = np.array([trial.harm for trial in trials])
    rows = [
        harm[edited == one].mean(0) if (edited == one).any() else np.full(classes, np.nan) for one in range(classes)
    ]
    return np.array(rows)


def kl_profiles(editor: Editor[Any], state: Any, control: Control, demands: Iterable[Demand]) -> Matrix:
    """Each edit described by what it does to each control image: KL(before || after), `[edits, control images]`."""
    old = F.log_softmax(control.root_logits.float(), dim=1)
    found = []
    for demand in demands:
        constraint = Constraint(control.images[demand.image], demand.expected, str(demand.image))
        edited = editor.edit(control.root, [constraint], state).model
        found.append(_divergences(old, control.logits(edited)))
    if not found:
        raise MeasurementError("there is no edit to analyse; give some demands")
    return np.stack(found)


def _divergences(old: Tensor, logits: Tensor) -> Matrix:
    new = F.log_softmax(logits.float(), dim=1)
    # rounding can leave a KL of an unchanged image a little below zero
    found: Matrix = (old.exp() * (old - new)).sum(1).clamp(min=0).double().cpu().numpy()
    return found


def edit_map(profiles: Matrix, seed: int = 0) -> Matrix:
    """t-SNE (van der Maaten & Hinton 2008) of edits by their profiles: `[edits, 2]`. Raises MeasurementError below 5.

    Square roots of the KLs are compared: to second order they are distances, KLs are squared ones.
    """
    from sklearn.manifold import TSNE  # noqa: PLC0415

    if len(profiles) < 5:
        raise MeasurementError(f"a map of {len(profiles)} edits means nothing; give at least 5")
    perplexity = min(30.0, (len(profiles) - 1) / 3)
    places: Matrix = TSNE(perplexity=perplexity, random_state=seed, init="pca").fit_transform(np.sqrt(profiles))
    return places


@dataclass(frozen=True)
class Subject:
    """One model in the figures: its name, its trials, and where its edits lie on its map (with their true classes)."""

    name: str
    harm: Matrix
    places: Matrix
    edited: NDArray[np.int64]


def draw_harm(subjects: Sequence[Subject], classes: Sequence[str], path: Path) -> None:
    """Heat maps of `harm_matrix`, side by side on one colour scale, in percentage points."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - not pyplot: no window system is needed

    figure = Figure(figsize=(5.4 * len(subjects), 5.0), layout="constrained")
    axes = figure.subplots(1, len(subjects), squeeze=False)[0]
    limit = 100 * max(float(np.nanmax(np.abs(subject.harm))) for subject in subjects)
    for axis, subject in zip(axes, subjects, strict=True):
        image = axis.imshow(100 * subject.harm, cmap="RdBu_r", vmin=-limit, vmax=limit)
        turn, side = (60, "right") if max(map(len, classes)) > 2 else (0, "center")
        axis.set_xticks(range(len(classes)), classes, rotation=turn, ha=side)
        axis.set_yticks(range(len(classes)), classes)
        axis.set(title=subject.name, xlabel="class harmed", ylabel="true class of the edited image")
    figure.colorbar(image, ax=list(axes), label="change of the error rate (percentage points)", shrink=0.8)
    _save(figure, path)


def draw_maps(subjects: Sequence[Subject], classes: Sequence[str], path: Path) -> None:
    """Maps of edits, side by side, coloured by the edited image's true class."""
    from matplotlib import colormaps  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(5.0 * len(subjects) + 1.4, 4.6), layout="constrained")
    axes: Sequence[Axes] = figure.subplots(1, len(subjects), squeeze=False)[0]
    colours = colormaps["tab10"]
    for axis, subject in zip(axes, subjects, strict=True):
        for one, name in enumerate(classes):
            chosen = subject.places[subject.edited == one]
            axis.scatter(chosen[:, 0], chosen[:, 1], s=26, color=colours(one % 10), label=name)
        axis.set(title=subject.name, xticks=[], yticks=[])
    axes[-1].legend(title="true class", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
