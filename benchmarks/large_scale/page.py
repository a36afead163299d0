"""The page of `benchmarks.large_scale`: what was measured, on what, a table for each sort of edit, and a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.large_scale.bench import Outcome
from benchmarks.large_scale.roots import EDITABLE, HEAD, PLAIN, STEPS, Bench
from benchmarks.report import environment, markdown, number, per_cent
from errata.editing.metrics import Estimate, bootstrap_mean, exact_rate

HEADINGS = (
    "editor", "edits", "error before", "drawdown", "success", "steps", "negative flips", "flips near the boundary",
    "edits with views", "unseen views", "other families", "other mistakes", "processor seconds",
)  # fmt: skip
TITLES = {"random": "Random labels", "natural": "Natural mistakes"}
Rows = Mapping[str, Sequence[Outcome]]


def asked(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The edits that ask for a change."""
    return [one for one in outcomes if not one.already]


def mean(outcomes: Sequence[Outcome], value: Callable[[Outcome], float | None]) -> Estimate | None:
    """With a bootstrap 95% interval, over the outcomes that have the value; None if none has."""
    found = [known for one in outcomes if (known := value(one)) is not None]
    return bootstrap_mean(np.array(found)) if found else None


def cells(name: str, outcomes: Sequence[Outcome], error: float) -> list[str]:
    """A line: means over the edits that ask for a change, with bootstrap 95% intervals, exact ones of success."""
    some = asked(outcomes)

    def share(value: Callable[[Outcome], float | None]) -> str:
        found = mean(some, value)
        return "-" if found is None else f"{found.mean:.0%}"

    steps = mean(some, lambda one: one.steps)
    return [
        name,
        str(len(some)),
        f"{error:.2%}",
        per_cent(mean(some, lambda one: one.drawdown), 3),
        per_cent(exact_rate(sum(one.success for one in some), len(some)), 1),
        "-" if steps is None else number(steps, 1),
        per_cent(mean(some, lambda one: one.negative_flips / one.n), 3),
        per_cent(mean(some, lambda one: one.boundary_flips / max(one.boundary, 1)), 1),
        str(sum(one.unseen is not None for one in some)),
        share(lambda one: one.unseen),
        share(lambda one: one.families),
        share(lambda one: one.others),
        f"{np.mean([one.seconds for one in some]):.3f}",
    ]


def write_page(out: Path, name: str, benches: Sequence[Bench], found: Sequence[Mapping[str, Rows]]) -> None:
    """`NAME.md` and `NAME.png` in the folder `out`, with the rows that there are; `found`: of each seed by sort."""
    bench, first = benches[0], found[0]
    chosen = bench.chosen
    counts = ", ".join(f"{len(photos.labels):,} {part}" for part, photos in bench.photos.items())
    network = f"`{chosen.model.name}`, a saved network" if chosen.model else "EfficientNet-Lite0, published weights"
    lines = [
        "# Single edits of a large network: all rows",
        "",
        f"{network}; photos of {chosen.side} pixels a side, {len(bench.network.spec.classes)} classes; photos: "
        f"{counts}. An adapter of {chosen.adapter} units.",
        "",
        "Means over edits that ask for a change, each from the unedited network; in brackets bootstrap 95% intervals, "
        f"exact ones of success, which counts within {STEPS} steps. Drawdown and flips on control photos, of which the "
        "edited ones are none; *near the boundary*: right ones whose two highest probabilities differ by under 0.05. "
        "*Unseen views* are of the fitted family, *other families* are rotation, zoom, blur, grey, cutout and tint, "
        "*other mistakes* those of the pool on the same class. Rates are tuned on reference photos.",
        *_of_training(benches, found),
    ]
    for sort, title in TITLES.items():
        if sort in first:
            table = [cells(row, outcomes, _error(bench, row)) for row, outcomes in first[sort].items()]
            lines += ["", f"## {title}", "", markdown(HEADINGS, table).rstrip()]
    lines += [*_pairs(first), *_spread(benches, found)]
    lines += ["", f"![Drawdown against generalization]({name}.png)", ""]
    lines += [f"{environment('cpu')} {chosen.note}".rstrip(), ""]
    out.mkdir(parents=True, exist_ok=True)
    draw(out / f"{name}.png", first)
    (out / f"{name}.md").write_text("\n".join(lines))


def _error(bench: Bench, row: str) -> float:
    control = bench.control(_root(row))
    return float((control.root_classes != control.labels).mean())


def _root(row: str) -> str:
    return EDITABLE if row.startswith(EDITABLE) else HEAD


def _of_training(benches: Sequence[Bench], found: Sequence[Mapping[str, Rows]]) -> list[str]:
    if not any(row.startswith(EDITABLE) for rows in found[0].values() for row in rows):
        return []
    chosen = benches[0].chosen
    lines = [
        "",
        f"Editable Training without labels: {chosen.epochs} epochs, rate {chosen.learning_rate:g}, c_edit = "
        f"{chosen.edit_weight:g}, c_loc = {chosen.locality_weight:g}.",
        "",
    ]
    told = []
    for bench in benches:
        old, new = bench.control(HEAD), bench.control(EDITABLE)
        start, end = (bench.told["epochs"][place]["measures"] for place in (0, -1))
        told.append([
            str(bench.seed), f"{_error(bench, HEAD):.2%}", f"{_error(bench, EDITABLE):.2%}",
            f"{float((old.root_classes != new.root_classes).mean()):.2%}", f"{end['base']:.4f}",
            f"{start['local']:.3f} to {end['local']:.3f}", f"{start['steps']:.1f} to {end['steps']:.1f}",
            ", ".join(f"{key} {value:.2g}" for key, value in bench.told["rule"].items()),
        ])  # fmt: skip
    headings = (
        "seed", "error before it", "after it", "predicted otherwise", "KL from the original",
        "KL by an edit, first to last epoch", "steps", "learned rule",
    )  # fmt: skip
    return [*lines, markdown(headings, told).rstrip()]


def _pairs(found: Mapping[str, Rows]) -> list[str]:
    """What Editable Training changes, edit by edit: the same photos and classes on the adapter as it was inserted."""
    table = []
    for sort, title in TITLES.items():
        rows = found.get(sort, {})
        for row in rows:
            if not row.startswith(EDITABLE) or (other := PLAIN + row.removeprefix(EDITABLE)) not in rows:
                continue
            plain = {one.key: one for one in asked(rows[other])}
            both = [(plain[one.key], one) for one in asked(rows[row]) if one.key in plain]
            if both:
                drawdown = np.array([new.drawdown - old.drawdown for old, new in both])
                flips = np.array([(new.negative_flips - old.negative_flips) / new.n for old, new in both])
                steps = [np.mean([pair[place].steps for pair in both]) for place in (0, 1)]
                table.append([
                    title, row.removeprefix(f"{EDITABLE}, "), str(len(both)),
                    f"{np.mean([old.drawdown for old, _ in both]):.3%}",
                    f"{np.mean([new.drawdown for _, new in both]):.3%}",
                    per_cent(bootstrap_mean(drawdown), 3), per_cent(bootstrap_mean(flips), 3),
                    f"{steps[0]:.1f} to {steps[1]:.1f}",
                ])  # fmt: skip
    if not table:
        return []
    headings = (
        "sort", "editor", "pairs", "drawdown, plain", "after Editable Training", "difference", "of negative flips",
        "steps",
    )  # fmt: skip
    return ["", "## Editable Training, pair by pair", "", markdown(headings, table).rstrip()]


def _spread(benches: Sequence[Bench], found: Sequence[Mapping[str, Rows]]) -> list[str]:
    """Mean and standard deviation over seeds, of the rows and sorts that every seed has."""
    if len(benches) < 2:
        return []
    table = []
    for sort, title in TITLES.items():
        for row in found[0].get(sort, {}):
            held = [asked(rows[sort][row]) for rows in found if row in rows.get(sort, {})]
            if len(held) == len(found):
                drawdowns = [100 * float(np.mean([one.drawdown for one in some])) for some in held]
                flips = [100 * float(np.mean([one.negative_flips / one.n for one in some])) for some in held]
                table.append([
                    title, row, " + ".join(str(len(some)) for some in held),
                    " / ".join(f"{value:.3f}" for value in drawdowns),
                    f"{np.mean(drawdowns):.3f}% ± {np.std(drawdowns, ddof=1):.3f}",
                    f"{np.mean(flips):.3f}% ± {np.std(flips, ddof=1):.3f}",
                ])  # fmt: skip
    headings = ("sort", "editor", "edits", "drawdown of each seed, %", "mean ± deviation", "negative flips")
    seeds = ", ".join(str(bench.seed) for bench in benches)
    return ["", f"## Seeds {seeds}: other edits, another training", "", markdown(headings, table).rstrip()]


def draw(path: Path, found: Mapping[str, Rows]) -> None:
    """Drawdown against generalization to unseen views, a panel for each sort, a number for each row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - slow
    from matplotlib.figure import Figure  # noqa: PLC0415

    names = list(dict.fromkeys(row for rows in found.values() for row in rows))
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(TITLES), sharey=True)
    for axes, (sort, title) in zip(panels, TITLES.items(), strict=True):
        for place, name in enumerate(names):
            some = asked(found.get(sort, {}).get(name, ()))
            across, up = mean(some, lambda one: 100 * one.drawdown), mean(some, lambda one: one.unseen)
            if across is None or up is None:
                continue
            colour = f"C{place % 10}"
            marker = "s" if name.startswith(EDITABLE) else "^" if name.startswith(PLAIN) else "o"
            label = f"{place + 1}  {name}" if axes is panels[0] else None
            axes.errorbar(
                across.mean, 100 * up.mean,
                xerr=[[across.mean - across.low], [across.high - across.mean]],
                yerr=[[100 * (up.mean - up.low)], [100 * (up.high - up.mean)]],
                fmt=marker, color=colour, markersize=6, elinewidth=0.8, label=label,
            )  # fmt: skip
            axes.annotate(
                str(place + 1), (across.mean, 100 * up.mean), xytext=(5, 5), textcoords="offset points", fontsize=8,
                bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.5},
            )  # fmt: skip
        axes.set_xscale("symlog", linthresh=0.01)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlim(left=-0.001, right=1.5 * axes.get_xlim()[1])  # room for the numbers
        axes.set_ylim(-3, 103)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("drawdown of one edit, % (better to the left)")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("unseen views of the photo with its class, % (better upwards)")
    if panels[0].get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(path, dpi=110, metadata={"Software": None})
