"""The page of `benchmarks.kinds`: tables of what edits did for images of a kind, and the goals that were set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.kinds.images import SEVERITIES
from benchmarks.report import environment, markdown
from errata.editing.settings import KindSettings

ORDINARY = "ordinary"  # images as they are
MIXED = ("gaussian_noise", "motion_blur", "snow", "fog")  # kinds whose mistakes come mixed with ordinary ones
GOALS = {20: 0.20, 100: 0.30}  # mistakes: the share of the kind's error that should go
SETTINGS = KindSettings()
ABOUT = """
What corrections of a *kind* of failure do for images of that kind that nobody reported. Made by `python -m
benchmarks.kinds --weights resnet20.th`; the weights are those of the public repository akamaster/pytorch_resnet_cifar10
(BSD-2-Clause, chosen on the test split by their authors), for measuring only. How the settings were chosen, on other
kinds: [kinds-settings.md](kinds-settings.md).

CIFAR-10's test images are split, always the same way: 1,200 from which mistakes are drawn, seen through the kind; 1,500
reference and 2,300 calibration images, as they are; 5,000 control images, of which the first 1,000, seen through the
kind, are its *unseen* images, right and wrong ones alike. A kind is a corruption of `imagecorruptions` at the
severity given below. Kind edits are found by `KindFinder` with its default settings, which are given no name of a
kind and hold out three tenths of the corrections: of 20 mistakes about 14 are fitted, of 100 about 70. All rows get the
same corrections and 17 views of each, the patch and the natural gradient a margin of 2; the tuned rows have the
kind edit's steps and rate. "falls by" is the share of the kind's error that goes, the mean over kinds of each kind's
own; in parentheses the lowest and highest of the draws' means. "got right" and "got wrong" are shares of all unseen
images; "corrections right" of all corrections, held-out ones too (what a kind does not make right is left to the slots,
which this table does not add). Rows that act on all images are judged on the first 1,000 control images and, for their
cost, at one draw. Wall seconds are those of a busy machine.
"""


@dataclass(frozen=True)
class Outcome:
    """One edit. Rates are shares of all unseen images of the kind (`right`: wrong before and right after; `fires`: a
    detector fires), of the corrections (`hold`), and of the `control` images (`flips`: right before and wrong after;
    `false_fires`)."""

    kind: str
    size: int
    draw: int
    hold: float
    before: float
    after: float
    right: float
    wrong: float
    flips: float
    control: int
    fires: float
    false_fires: float
    seconds: float


@dataclass(frozen=True)
class Mixture:
    """Corrections of several kinds together: how many groups were found, how well they are the true kinds (adjusted
    Rand index of the corrections that a kind was fitted to), and the share of corrections in any."""

    draw: int
    found: int
    rand_index: float
    covered: float
    flips: float
    outcomes: tuple[tuple[str, float, float], ...]  # kind, error before, error after


def cells(outcomes: Sequence[Outcome]) -> list[str]:
    """Cells of a table, means over kinds and draws: those of HEADINGS from the error on."""
    error = np.array([[one.before, one.after] for one in outcomes]).mean(0)
    fall = [1 - one.after / one.before for one in outcomes]

    def share(name: str, digits: int = 1) -> str:
        return f"{100 * np.mean([getattr(one, name) for one in outcomes]):.{digits}f}%"

    return [
        f"{100 * error[0]:.1f} -> {100 * error[1]:.1f}%",
        _spread(outcomes, fall),
        share("right"),
        share("wrong"),
        share("hold"),
        share("flips", 3),
        f"{share('fires')} / {share('false_fires', 2)}",
        f"{np.mean([one.seconds for one in outcomes]):.1f}",
    ]


def _spread(outcomes: Sequence[Outcome], values: Sequence[float]) -> str:
    """The mean in per cent, with the lowest and highest mean of a draw."""
    draws = sorted({one.draw for one in outcomes})
    pairs = list(zip(outcomes, values, strict=True))
    means = [100 * float(np.mean([value for one, value in pairs if one.draw == draw])) for draw in draws]
    middle = f"{100 * float(np.mean(values)):.1f}%"
    return middle if len(draws) == 1 else f"{middle} ({min(means):.1f} to {max(means):.1f})"


HEADINGS = ("edit", "mistakes", "draws", "error on the unseen of the kind", "falls by", "got right", "got wrong",
            "corrections right", "flips on control", "fires on kind / control", "seconds")  # fmt: skip


def by_kind(outcomes: Sequence[Outcome]) -> str:
    """A table of the kind edit, kind by kind."""
    headings = ("kind", "severity", *HEADINGS[1:])
    rows = []
    for size in GOALS:
        for name, severity in SEVERITIES.items():
            group = [one for one in outcomes if (one.kind, one.size) == (name, size)]
            if group:
                rows.append([name, str(severity), str(size), str(len(group)), *cells(group)])
    return markdown(headings, rows)


def against_goals(outcomes: Sequence[Outcome]) -> list[str]:
    """A sentence for each goal: what was measured, and whether it was met."""
    lines = []
    for size, goal in GOALS.items():
        group = [one for one in outcomes if one.size == size]
        if group:
            fall = float(np.mean([1 - one.after / one.before for one in group]))
            flips = float(np.mean([one.flips for one in group]))
            means = {
                name: float(np.mean([one.after - one.before for one in group if one.kind == name]))
                for name in SEVERITIES
            }
            worst = max(means, key=means.__getitem__)
            lines += [
                f"- {size} mistakes: the error falls by {100 * fall:.1f}% of itself (goal {100 * goal:.0f}%: "
                f"{_met(fall >= goal)}), flips on control {100 * flips:.3f}% (goal 0.05%: {_met(flips <= 0.0005)}), "
                f"worst kind {worst} {100 * means[worst]:+.1f} points (goal +0.5 at most: "
                f"{_met(means[worst] <= 0.005)}).",
            ]
    return lines


def _met(holds: bool) -> str:
    return "met" if holds else "missed"


def report(error: float, control: int, found: dict[str, list[Outcome]], mixed: Sequence[Mixture]) -> str:
    """The page of results: the root's `error` on `control` images, what was `found` row by row, the kind edit first."""
    first, main_row = next(iter(found.items()))
    rows = [
        [name, str(size), str(len({one.draw for one in group})), *cells(group)]
        for name, outcomes in found.items()
        for size in GOALS
        if (group := [one for one in outcomes if one.size == size])
    ]
    missing = [name for name, outcomes in found.items() if not outcomes]
    text = [
        "# Kinds of images",
        ABOUT,
        f"{environment('cpu')} ResNet-20, error {100 * error:.2f}% on the {control} control images.",
        f"Settings: {', '.join(f'{name} {value}' for name, value in SETTINGS.model_dump().items())}.\n",
        *against_goals(main_row),
        "\n## Beside other edits\n",
        markdown(HEADINGS, rows),
        *([f"Not measured: {'; '.join(missing)}.\n"] if missing else []),
        f"## Kind by kind: {first}\n",
        by_kind(main_row),
        "## Mixed corrections\n",
        markdown(
            ("draw", "kinds found", "adjusted Rand index", "corrections in a kind", "flips on control",
             *(f"error on {name}" for name in (*MIXED, ORDINARY))),
            [
                [str(one.draw), str(one.found), f"{one.rand_index:.2f}", f"{100 * one.covered:.0f}%",
                 f"{100 * one.flips:.3f}%", *(f"{100 * a:.1f} -> {100 * b:.1f}%" for _, a, b in one.outcomes)]
                for one in mixed
            ],
        ),
    ]  # fmt: skip
    return "\n".join(text)
