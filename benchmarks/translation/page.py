"""The translator's page of results: a table for each kind of demand, and a picture of the harm by editor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.report import environment, markdown, number, per_cent
from benchmarks.translation.bench import Trial
from errata.editing.metrics import Estimate, bootstrap_mean, exact_rate

KINDS = {"sample": "A sample at temperature 1.2", "reference": "The reference, where the network says something else"}
HEADINGS = (
    "network: editor", "settings", "edits", "success", "steps", "BLEU drawdown", "others changed", "of", "paraphrases",
    "same phrase", "CPU seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One editor of one root, with its trials by kind of demand."""

    name: str
    settings: str
    trials: dict[str, Sequence[Trial]]

    def success(self, kind: str) -> Estimate:
        """Share of the edits after which beam search says the wanted sentence."""
        trials = self.trials[kind]
        return exact_rate(sum(one.success for one in trials), len(trials))

    def changed(self, kind: str) -> Estimate:
        """Share of the measured other sentences that are translated otherwise after an edit."""
        return bootstrap_mean(np.array([one.changed / one.others for one in self.trials[kind]]))

    def cells(self, kind: str) -> list[str]:
        """In the order of HEADINGS."""
        trials = self.trials[kind]
        like, phrases = (
            "{} of {}".format(*np.array([getattr(one, what) for one in trials]).sum(0))
            for what in ("paraphrases", "phrases")
        )
        return [
            self.name, self.settings, str(len(trials)),
            per_cent(self.success(kind), 1),
            number(bootstrap_mean(np.array([float(one.steps) for one in trials])), 1),
            number(bootstrap_mean(np.array([-one.bleu for one in trials])), 3),
            per_cent(self.changed(kind)), str(trials[0].others), like, phrases,
            f"{np.mean([one.seconds for one in trials]):.2f}",
        ]  # fmt: skip


def write_page(out: Path, head: str, rows: Sequence[Row], command: str, device: str) -> None:
    """`translation.md` and `translation.png` in the folder `out`, with the rows that there are."""
    tables = {kind: [row.cells(kind) for row in rows if kind in row.trials] for kind in KINDS}
    body = "".join(f"## {KINDS[kind]}\n\n{markdown(HEADINGS, found)}\n" for kind, found in tables.items() if found)
    picture = "![Edits that succeed and other translations changed, by editor](translation.png)"
    end = f"{picture}\n\n{environment(device)} Made by `{command}`.\n"
    out.mkdir(parents=True, exist_ok=True)
    (out / "translation.md").write_text(f"{head}\n{body}{end}")
    draw(out / "translation.png", rows)


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Edits that succeed, and other translations changed, with 95% intervals: a line for each editor and kind."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - slow
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(11, 1.4 + 0.32 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, measure in ((left, Row.success), (right, Row.changed)):
        for number_of, (kind, mark) in enumerate(zip(KINDS, ("o", "s"), strict=True)):
            found = [
                (place + 0.2 * number_of, measure(row, kind)) for place, row in enumerate(rows) if kind in row.trials
            ]
            means = np.array([[100 * one.mean, 100 * one.low, 100 * one.high] for _, one in found]).reshape(-1, 3)
            spread = np.abs(means[:, 1:] - means[:, :1]).T
            places = [place for place, _ in found]
            axes.errorbar(means[:, 0], places, xerr=spread, fmt=mark, capsize=2, markersize=4, label=KINDS[kind])
        axes.grid(alpha=0.3)
    left.set_yticks(range(len(rows)), [f"{row.name}, {row.settings}" for row in rows], fontsize=8)
    left.invert_yaxis()
    left.set_xlim(0, 103)
    left.set_xlabel("edits that succeed, % (better to the right)")
    right.set_xscale("symlog", linthresh=0.1)
    right.set_xlim(0, 110)
    right.set_xlabel("other translations changed, % (better to the left)")
    figure.legend(*left.get_legend_handles_labels(), fontsize=8, ncols=2, loc="outside upper right")
    figure.savefig(path, dpi=110, metadata={"Software": None})
