"""`python -m benchmarks.imagenet --root FOLDER`: what corrections do to a real ImageNet network, on your photos.

FOLDER has a folder of photos for each class, called as ImageNet calls it; of each class as many as you say are
reference, calibration and control photos, all others the pool, from whose mistakes corrections are drawn. The network
is EfficientNet-Lite0 with its published weights (the extra `photos`), its outputs restricted to the classes that are
there. An edit is judged on control photos, on views of its photos that were never fitted, and on the pool's other
mistakes on the same classes, which no editor saw. Finished rows are kept in the cache: stop and start it at any time.
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.imagenet.bench import MIXED, SETTINGS, SHAPE, VIEWS, Bench, Draw, Edit, Outcome, predicted, share
from benchmarks.report import environment, markdown
from benchmarks.rows import add_line, read_lines
from errata.data.datasets import load_dataset
from errata.editing.editors.gradient import GradientEditor
from errata.editing.editors.natural import NaturalGradient
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.features import Features
from errata.editing.kinds.batch_norm import with_tensors
from errata.editing.kinds.find import Kind, with_kinds
from errata.editing.kinds.grouping import fit_detectors
from errata.editing.model import EditableModel
from errata.editing.rules import RMSProp
from errata.editing.scopes import Scope
from errata.editing.types import Constraint, Editor


@dataclass(frozen=True)
class Row:
    """A way to correct: `make` prepares it for a root."""

    name: str
    make: Callable[[Bench], Edit]
    mixed: bool = True


def edited_by(editor: Callable[[Features], Editor[Any]]) -> Callable[[Bench], Edit]:
    """One of Errata's editors of pictures."""

    def make(bench: Bench) -> Edit:
        made = editor(bench.features)
        state = made.prepare(bench.root, bench.reference.images, bench.calibration.images)

        def edit(draw: Draw) -> EditableModel:
            images, labels = bench.pool.images, bench.pool.labels.tolist()
            return made.edit(
                bench.root, [Constraint(images[row], labels[row], f"{row:06}") for row in draw.chosen], state
            ).model

        return edit

    return make


def tuned_everywhere(bench: Bench) -> Edit:
    """The tuned head, for all photos."""
    return lambda draw: with_tensors(bench.root, bench.tuned_head(draw))


def kind_edit(alpha: float) -> Callable[[Bench], Edit]:
    """The tuned head only where a detector of the corrections' features fires, on `alpha` of calibration photos."""

    def make(bench: Bench) -> Edit:
        state, settings = bench.kind_state, SETTINGS.model_copy(update={"alpha": alpha})
        assert state.concepts is not None
        controls = state.concepts.controls

        def edit(draw: Draw) -> EditableModel:
            seen = bench.root.patch.directions(bench.pool.features[list(draw.chosen)])
            detector = fit_detectors([seen], controls, settings)
            firing = float(detector.firing[0])
            kind = Kind((), detector.weight[0], detector.threshold[0], firing, bench.tuned_head(draw), concept=True)
            return with_kinds(bench.root, [kind], state)

        return edit

    return make


ROWS = (
    Row("calibrated patch", edited_by(lambda features: CalibratedPatch(views=VIEWS, features=features))),
    Row("natural gradient, head", edited_by(lambda features: NaturalGradient(Scope("head"), features=features))),
    Row("natural gradient, head, fitted on views", edited_by(
        lambda features: NaturalGradient(Scope("head"), margin=2.0, views=VIEWS, features=features))),
    Row("RMSProp, head", edited_by(
        lambda features: GradientEditor(RMSProp(1e-3), Scope("head"), steps=100, margin=0.05))),
    Row("head tuned with KL, everywhere", tuned_everywhere),
    Row("kind edit (alpha 0.2%)", kind_edit(0.002), mixed=False),
    Row("kind edit (alpha 2%)", kind_edit(0.02), mixed=False),
)  # fmt: skip


def measured(bench: Bench, row: Row, draws: Sequence[Draw], path: Path) -> list[Outcome]:
    """The outcomes of a row, those in `path` (JSON Lines) read, the others run and appended; begun anew for others."""
    header = {"row": row.name, "draws": [asdict(draw) for draw in draws], "views": repr(VIEWS)}
    found = [Outcome(**one) for one in read_lines(path, header)]
    left = [draw for draw in draws if row.mixed or draw.about != MIXED][len(found) :]
    if not left:
        return found
    edit = row.make(bench)
    for draw in left:
        found.append(bench.judge(edit, draw))
        add_line(path, header, found[-1])
        print(f"{row.name}: {found[-1]}", flush=True)
    return found


HEADINGS = ("editor", "hold", "unseen views right", "other mistakes right", "right ones of the class spoilt",
            "flips on control", "seconds")  # fmt: skip


def cells(name: str, outcomes: Sequence[Outcome]) -> list[str]:
    """A line of the table: means over draws, with the lowest and highest of them."""

    def spread(values: Sequence[float], digits: int = 0) -> str:
        known = [100 * value for value in values if not np.isnan(value)]
        if not known:
            return "-"
        return f"{np.mean(known):.{digits}f}% ({min(known):.{digits}f} to {max(known):.{digits}f})"

    return [
        name,
        spread([one.hold for one in outcomes]),
        spread([one.views for one in outcomes]),
        spread([one.others for one in outcomes]),
        spread([one.spoilt for one in outcomes], 1),
        spread([one.flips for one in outcomes], 2),
        f"{np.mean([one.seconds for one in outcomes]):.1f}",
    ]


def report(bench: Bench, found: dict[str, list[Outcome]], command: str) -> str:
    """The page: what was measured, on what, and the two tables."""
    parts = {name: getattr(bench, name) for name in ("reference", "calibration", "control", "pool")}
    counts = ", ".join(f"{len(part.labels)} {name}" for name, part in parts.items())
    error = share(predicted(bench.root, bench.control.features) != bench.control.labels)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    lines = [
        "# Corrections of an ImageNet network",
        "",
        f"Made by `{command}`: EfficientNet-Lite0 with its published weights, {len(bench.root.spec.classes)} classes; "
        f"{counts} photos. The root errs on {100 * error:.1f}% of the control photos and on {int(bench.wrong.sum())} "
        f"of the pool. {environment('cpu')}",
        "",
        f"{VIEWS.fitting} views of each correction are fitted where views are; {VIEWS.unseen} others are looked at. "
        "*Other mistakes*: those of the pool on the same classes that no editor saw. *Flips*: control photos right "
        "before and wrong after. Means over random halves, in parentheses the lowest and highest. Seconds are wall "
        "time of an edit, with features of its views kept, on a machine busy with other work; peak memory of the "
        f"whole run: {memory:.1f} GiB, all photos in memory.",
    ]
    for title, mixed in (("Mistakes of all classes", True), ("Mistakes on one class", False)):
        rows = {name: [one for one in outcomes if (one.about == MIXED) == mixed] for name, outcomes in found.items()}
        rows = {name: outcomes for name, outcomes in rows.items() if outcomes}
        if not rows:
            continue
        sizes = sorted({(one.about, one.corrections, one.others_n) for one in next(iter(rows.values()))})
        told = ", ".join(f"{about}: {fitted} corrected, {others} others" for about, fitted, others in sizes)
        table = markdown(HEADINGS, [cells(name, outcomes) for name, outcomes in rows.items()])
        lines += ["", f"## {title}", "", f"n = {len(next(iter(rows.values())))} draws. {told}.", "", table.rstrip()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure all rows, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="a folder of photos for each class")
    parser.add_argument("--reference", type=int, default=10, help="photos of each class")
    parser.add_argument("--calibration", type=int, default=10, help="photos of each class")
    parser.add_argument("--control", type=int, default=16, help="photos of each class")
    parser.add_argument("--concepts", type=int, default=3, help="classes of which mistakes are corrected by themselves")
    parser.add_argument("--halves", type=int, default=5, help="random draws")
    parser.add_argument("--cache", type=Path, default=Path("artifacts/imagenet"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    chosen = parser.parse_args()
    dataset = load_dataset("folder", chosen.root, image_shape=SHAPE)
    bench = Bench(dataset, (chosen.reference, chosen.calibration, chosen.control), chosen.cache)
    draws = list(bench.draws(chosen.concepts, chosen.halves))
    found = {row.name: measured(bench, row, draws, chosen.cache / f"{row.name}.jsonl") for row in ROWS}
    chosen.out.mkdir(parents=True, exist_ok=True)
    command = f"python -m benchmarks.imagenet --root {chosen.root.name} --concepts {chosen.concepts}"
    command += f" --halves {chosen.halves}"
    (chosen.out / "imagenet.md").write_text(report(bench, found, command))


if __name__ == "__main__":
    main()
