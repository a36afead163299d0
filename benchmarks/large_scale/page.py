"""The page of `benchmarks.large_scale`: what was measured, on what, and a table for each sort of edit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.large_scale.bench import Outcome
from benchmarks.report import environment, markdown, number, per_cent
from errata.editing.metrics import Estimate, bootstrap_mean, exact_rate

HEADINGS = (
    "editor", "edits", "error before", "drawdown", "success", "steps", "negative flips", "flips near the boundary",
    "unseen views", "other families", "other mistakes", "seconds",
)  # fmt: skip


def cells(name: str, outcomes: Sequence[Outcome], error: float) -> list[str]:
    """A line: means over the edits that ask for a change, with bootstrap 95% intervals, exact ones of success."""
    asked = [one for one in outcomes if not one.already]

    def mean(value: Callable[[Outcome], float]) -> Estimate:
        return bootstrap_mean(np.array([value(one) for one in asked]))

    others = [one for one in asked if one.others_n]
    return [
        name,
        str(len(asked)),
        f"{error:.2%}",
        per_cent(mean(lambda one: one.drawdown), 3),
        per_cent(exact_rate(sum(one.success for one in asked), len(asked)), 1),
        number(mean(lambda one: one.steps), 1),
        per_cent(mean(lambda one: one.negative_flips / one.n), 3),
        per_cent(mean(lambda one: one.boundary_flips / max(one.boundary, 1)), 1),
        f"{mean(lambda one: one.unseen).mean:.0%}",
        f"{mean(lambda one: one.families).mean:.0%}",
        f"{np.mean([one.others for one in others]):.1%}" if others else "-",
        f"{np.mean([one.seconds for one in asked]):.3f}",
    ]


def page(bench: Any, found: dict[str, dict[str, list[Outcome]]]) -> str:
    """Markdown."""
    chosen = bench.chosen
    counts = ", ".join(f"{len(photos.labels):,} {part}" for part, photos in bench.photos.items())
    lines = [
        "# Single edits of an ImageNet network: all rows",
        "",
        f"EfficientNet-Lite0 with its published weights, photos of {chosen.side} pixels a side, "
        f"{len(bench.network.spec.classes)} classes; photos: {counts}. An adapter of {chosen.adapter} units; Editable "
        f"Training without labels for {chosen.epochs} epochs (c_edit = c_loc = {chosen.weight:g}), seed {chosen.seed}.",
        "",
        "Means over edits that ask for a change, each from the unedited network; in brackets bootstrap 95% intervals, "
        "exact ones of success, which counts within 10 steps. Drawdown and flips on control photos, of which the "
        "edited ones are none; *near the boundary*: right ones whose two highest probabilities differ by under 0.05. "
        "*Unseen views* are of the fitted family, *other families* are rotation, zoom, blur, grey, cutout and tint, "
        "*other mistakes* those of the pool on the same class. Rates are tuned on reference photos.",
    ]
    for sort, title in (("random", "Random labels"), ("natural", "Natural mistakes")):
        if sort in found:
            errors = {name: one[0].n and _error(bench, name) for name, one in found[sort].items()}
            table = [cells(name, outcomes, errors[name]) for name, outcomes in found[sort].items()]
            lines += ["", f"## {title}", "", markdown(HEADINGS, table).rstrip()]
    return "\n".join([*lines, "", f"{environment('cpu')} {chosen.note}".rstrip(), ""])


def _error(bench: Any, name: str) -> float:
    control = bench.control("editable" if name.startswith("editable") else "head")
    return float((control.root_classes != control.labels).mean())
