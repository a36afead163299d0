"""All editors on the same edits: the frontier of drawdown against generalization, on which a choice is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from errata.editing.engine import Engine
from errata.editing.errors import MeasurementError
from errata.editing.settings import ViewSettings
from errata.editing.studies.protocol import Control, Demand, Summary, Trial, run_protocol, summarise
from errata.editing.types import Editor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation


def compare(
    editors: Mapping[str, Editor[Any]],
    control: Control,
    reference: Tensor,
    calibration: Tensor,
    demands: Sequence[Demand],
    views: ViewSettings,
    engine: Engine | None = None,
) -> dict[str, list[Trial]]:
    """Every editor's trials on the same `demands` and control images; images uint8 `[n, height, width, channels]`."""
    found = {}
    for name, editor in editors.items():
        state = editor.prepare(control.root, reference, calibration)
        found[name] = list(run_protocol(editor, state, control, demands, views, engine=engine))
    return found


_PLACES = tuple((up, right) for up in (8, -8, 18, -18, 28, -28, 38, -38) for right in (True, False))  # of a label


def frontier(summaries: Mapping[str, Summary]) -> tuple[str, ...]:
    """Names of the editors that no other beats, by drawdown from low to high.

    One editor beats another if its drawdown is no higher, its generalization no lower, and one of the two better.
    """
    places = {name: (one.drawdown.mean, -_generalization(name, one)) for name, one in summaries.items()}
    best = [
        name
        for name, place in places.items()
        if not any(
            all(a <= b for a, b in zip(other, place, strict=True)) and other != place for other in places.values()
        )
    ]
    return tuple(sorted(best, key=lambda name: places[name]))


def _generalization(name: str, summary: Summary) -> float:
    if summary.generalization is None:
        raise MeasurementError(f"the generalization of {name} was not measured; run the protocol with views")
    return summary.generalization.mean


def draw_frontier(trials: Mapping[str, Sequence[Trial]], path: Path) -> tuple[str, ...]:
    """The picture of drawdown against generalization with 95% intervals; returns the frontier's names.

    Only edits that ask for a change. Filled: at least 95% of them succeeded.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415

    summaries = {name: summarise(found, with_already=False) for name, found in trials.items()}
    best = frontier(summaries)
    figure = Figure(figsize=(7.6, 4.8), layout="constrained")
    axis = figure.subplots()
    for name, one in summaries.items():
        _generalization(name, one)
        across, up = one.generalization, one.drawdown
        if across is None:
            continue
        colour = "tab:red" if name in best else "tab:blue"
        axis.errorbar(
            [100 * across.mean],
            [100 * up.mean],
            xerr=[[100 * (across.mean - across.low)], [100 * (across.high - across.mean)]],
            yerr=[[100 * (up.mean - up.low)], [100 * (up.high - up.mean)]],
            fmt="o",
            color=colour,
            markerfacecolor=colour if one.success.mean >= 0.95 else "white",
            elinewidth=0.8,
        )
    line = [(100 * _generalization(name, summaries[name]), 100 * summaries[name].drawdown.mean) for name in best]
    axis.plot(*zip(*line, strict=True), color="tab:red", linewidth=0.8, linestyle="--")
    axis.set_yscale("symlog", linthresh=0.01)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_ylim(bottom=0)
    axis.set(
        xlabel="generalization: unseen views that get the class (%)",
        ylabel="drawdown (percentage points, log scale above 0.01)",
        title=f"One edit at a time, {min(one.drawdown.n for one in summaries.values())} or more edits each: "
        "lower right is better\n(red: the frontier; hollow: fewer than 95% of the edits succeed)",
    )
    axis.grid(alpha=0.25)
    place_labels(
        axis, {name: (100 * _generalization(name, one), 100 * one.drawdown.mean) for name, one in summaries.items()}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    return best


def place_labels(axis: Axes, points: Mapping[str, tuple[float, float]]) -> dict[str, Annotation]:
    """Write each point's name beside it, where it leaves the axes nowhere and covers no point and no other name.

    Where all places are taken it takes the last. Call it when the axes have their final limits.
    """
    from matplotlib.transforms import Bbox  # noqa: PLC0415

    axis.figure.draw_without_rendering()  # type: ignore[union-attr] # a layout first: places are in pixels
    taken = [Bbox.from_extents(x - 6, y - 6, x + 6, y + 6) for x, y in axis.transData.transform(list(points.values()))]
    labels = {}
    for name, place in points.items():
        for up, right in _PLACES:
            label = axis.annotate(
                name,
                place,
                xytext=(8 if right else -8, up),
                textcoords="offset points",
                ha="left" if right else "right",
                va="center",
                fontsize=8,
            )
            box = label.get_window_extent()
            within = axis.bbox.x0 <= box.x0 and box.x1 <= axis.bbox.x1 and axis.bbox.y0 <= box.y0 <= axis.bbox.y1
            if (within and not any(box.overlaps(other) for other in taken)) or (up, right) == _PLACES[-1]:
                break
            label.remove()
        taken.append(box)
        labels[name] = label
        if abs(up) > 8:  # not straight beside its point: a line says whose it is
            line = {"arrowstyle": "-", "linewidth": 0.5, "color": "grey", "shrinkA": 0, "shrinkB": 4}
            axis.annotate("", place, xytext=label.xyann, textcoords="offset points", arrowprops=line)
    return labels
