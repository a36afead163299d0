"""What `dvc plots` and `dvc metrics` show of a candidate: a few numbers, a table, and a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from errata.flows.gate.measurements import GateMeasurements

Classes = NDArray[np.int64]


def write_headline(path: Path, measured: GateMeasurements) -> None:
    """The numbers that a person compares between releases, flat: `dvc metrics show` and `diff` make columns of them."""
    numbers = {
        f"{split}_error_{when}": value for split, both in asdict(measured.error).items() for when, value in both.items()
    }
    numbers |= {name: row.value for name, row in measured.criteria.items() if np.isfinite(row.value)}
    path.write_text(json.dumps({name: round(value, 6) for name, value in numbers.items()}, indent=1) + "\n")


def write_recall(folder: Path, names: Sequence[str], labels: Classes, before: Classes, after: Classes) -> None:
    """Recall by class of paired predictions `[n]`: recall.csv for DVC, recall.png to look at."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - slow, and no display is needed
    from matplotlib.figure import Figure  # noqa: PLC0415

    seen = [index for index in range(len(names)) if bool((labels == index).any())]
    recall = [[float((predicted[labels == index] == index).mean()) for index in seen] for predicted in (before, after)]
    rows = [f"{names[index]},{root:.4f},{now:.4f}" for index, root, now in zip(seen, *recall, strict=True)]
    (folder / "recall.csv").write_text("\n".join(["class,before,after", *rows]) + "\n")

    figure = Figure(figsize=(max(5.0, 0.5 * len(seen)), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    place = np.arange(len(seen))
    # points, not bars: the axis does not start at zero, for recalls lie close together
    axes.vlines(place, recall[0], recall[1], colors="#cbd5e0", linewidth=3)
    axes.plot(place, recall[0], "o", color="#718096", markersize=9, fillstyle="none", label="root")
    axes.plot(place, recall[1], "o", color="#2b6cb0", markersize=5, label="candidate")
    axes.set_xticks(place, [names[index] for index in seen], rotation=45 if len(seen) > 12 else 0)
    axes.set_ylim(max(0.0, min(min(each) for each in recall) - 0.05), 1.005)
    axes.set_ylabel("recall on the gate split")
    axes.set_xlabel("class")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    figure.savefig(folder / "recall.png", dpi=110, metadata={"Software": None})
