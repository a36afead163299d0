"""`python -m benchmarks.cifar10.roots ROOT ...`: single edits of several networks, one better than the other.

ROOT is a folder of `save_model`, or FILE:BLOCKS, weights of a ResNet of He et al. (`benchmarks.cifar10.resnet`): with
those of the public repository akamaster/pytorch_resnet_cifar10 (BSD-2-Clause; for measuring only, nothing of it is part
of Errata) `resnet20.th:3` and `resnet56.th:9`. They learned all 50,000 training images, so the test images are split
(`benchmarks.kinds.images`): 1,200 of which edits are drawn, each to be predicted as a random class; 1,500 reference and
2,300 calibration images, on some of which rules are tuned; 5,000 control images. Finished edits are kept in the cache.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from benchmarks.cifar10.data import VIEWS, load_cifar10
from benchmarks.cifar10.resnet import read_root
from benchmarks.kinds.images import Parts
from benchmarks.large_scale.bench import Outcome
from benchmarks.large_scale.other_views import other_views
from benchmarks.large_scale.page import asked, mean
from benchmarks.report import environment, markdown, number, per_cent
from benchmarks.rows import add_line, kept_value, read_lines
from errata.editing.editors.gradient import GradientEditor
from errata.editing.editors.natural import NaturalGradient
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.metrics import compare_predictions, exact_rate
from errata.editing.model import EditableModel
from errata.editing.rules import Polyak, RMSProp
from errata.editing.scopes import Scope, stages
from errata.editing.studies.grace import CodebookModel, Grace
from errata.editing.studies.protocol import Control, Demand, draw_demands
from errata.editing.studies.tuning import TuningSettings, tune
from errata.editing.types import Constraint, Editor, EditResult
from errata.editing.views import unseen_views

STEPS = 10  # the paper's k
MARGIN = 2.0  # logits, of editors that fit views
TUNING_EDITS, TUNING_CONTROL, TRIALS = 60, 500, 8
ROUGH = 2_000  # control images for edits that change predictions by per cents
RATES = (1e-5, 3e-3)


@dataclass(frozen=True)
class Bench:
    """One root, its images and its edits."""

    name: str
    root: EditableModel
    parts: Parts
    cache: Path
    edits: int

    @cached_property
    def digest(self) -> str:
        """Of the root's weights: what is kept was measured on it."""
        found = hashlib.sha256()
        for value in self.root.state_dict().values():
            found.update(value.contiguous().numpy().tobytes())
        return found.hexdigest()[:12]

    @cached_property
    def chain(self) -> str:
        """The last chain of residual blocks."""
        return [name for name, stage in stages(self.root) if list(stage.parameters())][-1]

    @cached_property
    def block(self) -> str:
        """The last block of the last chain."""
        return f"{self.chain}.{list(dict(stages(self.root))[self.chain].named_children())[-1][0]}"

    @cached_property
    def fine(self) -> Control:
        """The root's control images."""
        return self.control(self.root, rough=False)

    @cached_property
    def rough(self) -> Control:
        """The same for edits that change predictions by per cents."""
        return self.control(self.root, rough=True)

    @property
    def demands(self) -> Sequence[Demand]:
        """Images of the pool, each with a random class: a longer run starts with the edits of a shorter one."""
        return draw_demands(len(self.parts.pool), len(self.parts.pool), 10, seed=0)[: self.edits]

    def control(self, root: EditableModel, *, rough: bool) -> Control:
        """The control images; for edits that change predictions by per cents the first of them, in bfloat16."""
        part = slice(ROUGH if rough else None)
        images, labels = self.parts.control.images[part], self.parts.control.labels[part]
        return Control(root, images, labels, precision="bfloat16" if rough else "float32")

    def tuned(self) -> GradientEditor:
        """RMSProp on the last chain with the coefficients, epsilon among them, of least drawdown on other images."""

        def search() -> dict[str, Any]:
            images, labels = self.parts.calibration.images, self.parts.calibration.labels
            control = Control(self.root, images[:TUNING_CONTROL], labels[:TUNING_CONTROL], precision="bfloat16")
            demands = draw_demands(TUNING_EDITS, TUNING_CONTROL, 10, seed=1)
            settings = TuningSettings(TRIALS, RATES)
            start = RMSProp(2e-4, 0.7)
            found = tune(
                start, [self.chain], control, demands, settings, STEPS, lambda line: print(" ", line, flush=True)
            )
            return {"rule": asdict(found.editor.rule), "drawdown": found.drawdown, "success": found.success}

        found = kept_value(self.cache / "tuned" / f"{self.digest}.json", search)
        return GradientEditor(RMSProp(**found["rule"]), Scope(self.chain), STEPS)


@dataclass(frozen=True)
class Row:
    """A line of the table; `rough`: its edits change predictions by per cents."""

    name: str
    editor: Callable[[Bench], Editor[Any]]
    rough: bool = False


def on_views(editor: GradientEditor) -> GradientEditor:
    """The same editor on the views that the patch fits, with its margin."""
    return replace(editor, views=VIEWS, margin=MARGIN)


def polyak(bench: Bench) -> GradientEditor:
    """Polyak's step on the last chain, which needs no tuning."""
    return GradientEditor(Polyak(), Scope(bench.chain), STEPS)


ROWS = (
    Row("RMSProp, last chain", Bench.tuned, rough=True),
    Row("Polyak, last chain", polyak, rough=True),
    Row("natural gradient, last block", lambda bench: NaturalGradient(Scope(bench.block), steps=STEPS)),
    Row("calibrated patch", lambda _: CalibratedPatch(views=VIEWS, margin=MARGIN)),
    Row("codebook (GRACE), radius 0.1", lambda _: Grace(0.1, MARGIN)),
    Row("codebook (GRACE), radius 0.3", lambda _: Grace(0.3, MARGIN)),
    Row("natural gradient, last block, views", lambda bench: NaturalGradient(
        Scope(bench.block), steps=STEPS, margin=MARGIN, views=VIEWS)),
    Row("RMSProp, last chain, views", lambda bench: on_views(bench.tuned()), rough=True),
    Row("Polyak, last chain, views", lambda bench: on_views(polyak(bench)), rough=True),
)  # fmt: skip


def judge(bench: Bench, control: Control, demand: Demand, result: EditResult) -> Outcome:
    """What one edit did to control images, of which the edited one is none, and to views of its own image."""
    image = bench.parts.pool.images[demand.image]
    with torch.no_grad():
        families = (unseen_views(image, VIEWS), other_views(image))
        right = [float((result.model(views).argmax(1) == demand.expected).float().mean()) for views in families]
        already = int(control.root(image[None]).argmax()) == demand.expected
    after = control.classes(result.model)
    flips = compare_predictions(control.root_classes, after, control.labels)
    return Outcome(
        str(demand.image),
        already,
        result.success,
        result.steps,
        result.seconds,
        flips.n,
        flips.negative_flips,
        flips.positive_flips,
        int(control.boundary.sum()),
        int((after != control.labels)[control.boundary].sum()),
        right[0],
        right[1],
        others=None,
    )


def measured(bench: Bench, row: Row) -> list[Outcome]:
    """All outcomes of a row, those in the cache (JSON Lines) read, the others run and appended."""
    editor = row.editor(bench)
    header = {"row": row.name, "editor": repr(editor), "root": bench.digest, "views": repr(VIEWS)}
    path = bench.cache / "rows" / f"{bench.name}-{row.name}.jsonl"
    found = [Outcome(**one) for one in read_lines(path, header)]
    demands = bench.demands
    if len(found) < len(demands):
        if isinstance(editor, Grace):
            control = bench.control(CodebookModel(bench.root, 1), rough=False)
        else:
            control = bench.rough if row.rough else bench.fine
        root = control.root
        state = editor.prepare(root, bench.parts.reference.images, bench.parts.calibration.images)
    for demand in demands[len(found) :]:
        constraint = Constraint(bench.parts.pool.images[demand.image], demand.expected, str(demand.image))
        found.append(judge(bench, control, demand, editor.edit(root, [constraint], state)))
        add_line(path, header, found[-1])
    print(f"{bench.name} | {' | '.join(cells(row.name, found))}", flush=True)
    return found[: len(demands)]


HEADINGS = ("editor", "edits", "success", "steps", "drawdown", "negative flips", "flips near the boundary",
            "unseen views", "other families")  # fmt: skip


def cells(name: str, outcomes: Sequence[Outcome]) -> list[str]:
    """A line: means over the edits that ask for a change, with bootstrap 95% intervals, exact ones of success."""
    some = asked(outcomes)
    steps = mean(some, lambda one: one.steps)
    return [
        name,
        str(len(some)),
        per_cent(exact_rate(sum(one.success for one in some), len(some)), 1),
        "-" if steps is None else number(steps, 1),
        per_cent(mean(some, lambda one: one.drawdown), 3),
        per_cent(mean(some, lambda one: one.negative_flips / one.n), 3),
        per_cent(mean(some, lambda one: one.boundary_flips / max(one.boundary, 1)), 1),
        per_cent(mean(some, lambda one: one.unseen), 0),
        per_cent(mean(some, lambda one: one.families), 0),
    ]


def page(benches: Sequence[Bench], rows: Sequence[Sequence[tuple[str, list[Outcome]]]], note: str) -> str:
    """All tables, in Markdown: a line of each root, then every row of each."""
    lines = ["# Single edits of several roots: all rows", "", " ".join((__doc__ or "").split("\n\n")[1].split()), ""]
    lines += [
        f"Each edit is made on the root itself, in at most {STEPS} steps, and asks for a change. RMSProp: "
        f"{TRIALS} settings on {TUNING_EDITS} edits of calibration images. *Views*: the {VIEWS.fitting} views and the "
        f"margin of {MARGIN:g} that the patch has. In brackets bootstrap 95% intervals over edits, exact ones of "
        "success. *Near the boundary*: right images whose two highest probabilities differ by under 0.05. *Unseen "
        "views* are of the fitted family; *other families* are rotation, zoom, blur, grey, cutout and tint. Rows on "
        f"the last chain are judged on the first {ROUGH:,} control images, with predictions in bfloat16.",
        "",
    ]
    for bench, found in zip(benches, rows, strict=True):
        error = float((bench.fine.root_classes != bench.fine.labels).mean())
        rule = bench.tuned().rule
        lines += [
            f"## {bench.name}: {error:.2%} of the control images wrong",
            "",
            f"Last chain `{bench.chain}`, last block `{bench.block}`; {rule}.",
            "",
            markdown(HEADINGS, [cells(name, outcomes) for name, outcomes in found]),
        ]
    return "\n".join([*lines, f"{environment('cpu')} {note}".rstrip(), ""])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all rows of each root, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cifar10.roots", description=__doc__)
    parser.add_argument("roots", nargs="+", help="folders of `save_model`, or FILE:BLOCKS")
    parser.add_argument("--edits", type=int, default=100, help="of each root; an eighth or so ask for no change")
    parser.add_argument("--data-root", type=Path, default=Path(os.environ.get("ERRATA_DATA", "artifacts/data")))
    parser.add_argument("--cache", type=Path, default=Path("artifacts/benchmarks/roots"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--note", default="", help="a sentence for the page, about the machine's other load, say")
    parser.add_argument("--only", nargs="+", default=[row.name for row in ROWS], help="which rows")
    chosen = parser.parse_args(arguments)
    parts = Parts.of(load_cifar10(chosen.data_root).test)
    benches = [
        Bench(Path(given.split(":")[0]).stem, read_root(given), parts, chosen.cache, chosen.edits)
        for given in chosen.roots
    ]
    wanted = [row for row in ROWS if row.name in chosen.only]
    rows = [[(row.name, measured(bench, row)) for row in wanted] for bench in benches]
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "roots-rows.md").write_text(page(benches, rows, chosen.note))


if __name__ == "__main__":
    main()
