"""`python -m benchmarks.large_scale --root FOLDER`: single edits of a network of ImageNet size (the paper's 4.3).

FOLDER has a folder of photos for each class, called as ImageNet calls it. The network is EfficientNet-Lite0 with its
published weights (the extra `photos`), its outputs restricted to those classes, or the one that `save_model` wrote into
`--model`. Edited are its head, its slots, or a residual adapter before the head, as it is inserted or after Editable
Training without labels (`editing.training.distillation`). Edits are random labels and natural mistakes (a wrong photo
of the pool, with its true class), each from the unedited network. Rates are tuned on the reference photos. Features,
trained adapters, rates and finished edits are kept in the cache: stop and start it at any time, but let one process do
a row. With ImageNet itself on a GPU machine: `--side 224 --edits 1000 --adapter 4096`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.large_scale.bench import Case, Edit, KnownViews, Outcome, judge
from benchmarks.large_scale.page import write_page
from benchmarks.large_scale.photos import PARTS
from benchmarks.large_scale.roots import CODEBOOK, EDITABLE, HEAD, PLAIN, STEPS, VIEWS, Bench
from benchmarks.rows import add_line, read_lines
from errata.editing.editors.gradient import GradientEditor
from errata.editing.editors.natural import NaturalGradient
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.rules import Polyak
from errata.editing.scopes import Scope
from errata.editing.studies.grace import Grace
from errata.editing.types import Editor

MARGIN = 2.0  # logits, of editors that fit views
SORTS = ("random", "natural")


@dataclass(frozen=True)
class Row:
    """A line of the table: `editor` of the root called `root`; with `views`, on every fitted view and with a margin."""

    name: str
    root: str
    editor: Callable[[Bench], Editor[Any]]
    views: bool = False


def with_margin(editor: Any) -> Any:
    """The same editor, asked for the margin that goes with views."""
    return replace(editor, margin=MARGIN)


ROWS = (
    Row("RMSProp, head", HEAD, lambda bench: bench.tuned("head", "head")),
    Row("RMSProp, head, views", HEAD, lambda bench: with_margin(bench.tuned("head", "head")), views=True),
    Row("replay (RMSProp with rehearsal), head", HEAD, lambda bench: bench.tuned("head", "head", penalty=True)),
    Row("Polyak, head", HEAD, lambda _: GradientEditor(Polyak(), Scope("head"), STEPS)),
    Row("natural gradient, head", HEAD, lambda _: NaturalGradient(Scope("head"), steps=STEPS)),
    Row("natural gradient, head, views", HEAD, lambda _: NaturalGradient(Scope("head"), steps=STEPS, margin=MARGIN),
        views=True),
    Row("codebook (GRACE), radius 0.1", CODEBOOK, lambda _: Grace(0.1)),
    Row("codebook (GRACE), radius 0.3", CODEBOOK, lambda _: Grace(0.3)),
    Row("calibrated patch", HEAD, lambda bench: CalibratedPatch(views=VIEWS)),
    Row("plain, RMSProp, adapter", PLAIN, lambda bench: bench.tuned(PLAIN, "adapter")),
    Row("plain, RMSProp with the learned rule, adapter", PLAIN,
        lambda bench: GradientEditor(bench.learned_rule(), Scope("adapter"), STEPS)),
    Row("plain, Polyak, adapter", PLAIN, lambda _: GradientEditor(Polyak(), Scope("adapter"), STEPS)),
    Row("plain, natural gradient, adapter", PLAIN, lambda _: NaturalGradient(Scope("adapter"), steps=STEPS)),
    Row("editable, RMSProp with the learned rule, adapter", EDITABLE,
        lambda bench: GradientEditor(bench.learned_rule(), Scope("adapter"), STEPS)),
    Row("editable, RMSProp, adapter", EDITABLE, lambda bench: bench.tuned(EDITABLE, "adapter")),
    Row("editable, Polyak, adapter", EDITABLE, lambda _: GradientEditor(Polyak(), Scope("adapter"), STEPS)),
    Row("editable, natural gradient, adapter", EDITABLE, lambda _: NaturalGradient(Scope("adapter"), steps=STEPS)),
    Row("editable, calibrated patch", EDITABLE, lambda bench: CalibratedPatch(views=VIEWS)),
)  # fmt: skip


def measured(bench: Bench, row: Row, cases: Sequence[Case], path: Path) -> list[Outcome]:
    """The outcomes of a row, those in `path` (JSON Lines) read, the others run and appended; begun anew for others.

    What fits views is measured on the cases that have them.
    """
    editor = row.editor(bench)
    if row.views or isinstance(editor, CalibratedPatch):
        cases = cases[: bench.chosen.views]
    if isinstance(editor, CalibratedPatch):
        editor = replace(editor, features=KnownViews(cases))
    header = {"row": row.name, "editor": repr(editor), "bench": bench.digest(row.root), "first": cases[0].key}
    found = [Outcome(**one) for one in read_lines(path, header)]
    if len(found) < len(cases):
        root, control = bench.root(row.root), bench.control(row.root)
        state = editor.prepare(root, bench.images("reference"), bench.images("calibration"))
        edit: Edit = lambda case: editor.edit(root, case.constraints(views=row.views), state)  # noqa: E731
        for case in cases[len(found) :]:
            found.append(judge(edit, case, control, STEPS))
            add_line(path, header, found[-1])
    flips = np.mean([one.negative_flips / one.n for one in found])
    success = np.mean([one.success for one in found])
    print(f"{path.stem}: {len(found)} edits, success {success:.1%}, {flips:.4%} negative flips", flush=True)
    return found[: len(cases)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all rows for each seed, and write the page as each is done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_scale", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="a folder of photos for each class")
    parser.add_argument("--model", type=Path, help="a folder of `save_model`; without it EfficientNet-Lite0")
    parser.add_argument("--side", type=int, default=224, help="pixels to which photos are fitted")
    parser.add_argument("--sizes", type=int, nargs=5, default=[30, 8, 12, 25, 10], help=f"of {PARTS}, for each class")
    parser.add_argument("--train-photos", type=int, default=0, help="most that Editable Training learns from; 0: all")
    parser.add_argument("--edits", type=int, default=1000, help="of each sort")
    parser.add_argument("--views", type=int, default=300, help="edits of each sort whose generalization is measured")
    parser.add_argument("--adapter", type=int, default=1024, help="hidden units")
    parser.add_argument("--epochs", type=int, default=16, help="of Editable Training")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of its Adam")
    parser.add_argument("--edit-weight", type=float, default=0.3, help="c_edit; the authors' is 0.03")
    parser.add_argument("--locality-weight", type=float, default=0.3, help="c_loc; the authors' is 0.03")
    parser.add_argument("--tuning-edits", type=int, default=60)
    parser.add_argument("--trials", type=int, default=10, help="settings tried for each tuned row")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="draws of edits and trainings; first: tables")
    parser.add_argument("--cache", type=Path, default=Path("artifacts/large-scale"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--page", default="large-scale-rows", help="name of the page and its picture")
    parser.add_argument("--note", default="", help="a sentence for the page, about the machine's other load, say")
    parser.add_argument("--only", nargs="*", default=[row.name for row in ROWS], help="rows to run; others are read")
    chosen = parser.parse_args(arguments)
    benches = [Bench(chosen, seed) for seed in chosen.seeds]
    found: list[dict[str, dict[str, list[Outcome]]]] = [{} for _ in benches]
    cases = [[bench.cases(natural=sort == "natural") for sort in SORTS] for bench in benches]
    for row in ROWS:
        for bench, drawn, held in zip(benches, cases, found, strict=True):
            for sort, some in zip(SORTS, drawn, strict=True):
                name = "".join(letter if letter.isalnum() else "-" for letter in row.name)
                path = chosen.cache / "rows" / f"{sort}-{bench.digest(row.root)}-{name}.jsonl"
                if row.name in chosen.only:
                    outcomes = measured(bench, row, some, path)
                else:  # another process may be at it
                    outcomes = [Outcome(**one) for one in read_lines(path)][: len(some)]
                if outcomes:
                    held.setdefault(sort, {})[row.name] = outcomes
        write_page(chosen.out, chosen.page, benches, found)


if __name__ == "__main__":
    main()
