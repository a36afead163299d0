"""`python -m benchmarks.large_scale --root FOLDER`: single edits of a network of ImageNet size (the paper's 4.3).

FOLDER has a folder of photos for each class, called as ImageNet calls it. The network is EfficientNet-Lite0 with its
published weights (the extra `photos`), its outputs restricted to those classes. Edited are its head, its slots, or a
residual adapter before the head, as it is inserted or after Editable Training without labels
(`editing.training.distillation`). Edits are random labels and natural mistakes (a wrong photo of the pool, with its
true class), each from the unedited network. Rates are tuned on the reference photos. Features, trained adapters, rates
and finished edits are kept in the cache: stop and start it at any time. With ImageNet itself on a GPU machine: `--side
224 --edits 1000 --adapter 4096`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.large_scale.bench import Case, Edit, KnownViews, OnFeatures, Outcome, judge
from benchmarks.large_scale.other_views import other_views
from benchmarks.large_scale.page import page
from benchmarks.large_scale.photos import PARTS, features_of, split_photos, through
from benchmarks.rows import add_line, kept_value, read_lines
from errata.editing.editors.gradient import GradientEditor
from errata.editing.editors.natural import NaturalGradient
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.model import EditableModel, ModelSpec
from errata.editing.networks.imagenet import WEIGHTS, imagenet_outputs, read_published
from errata.editing.pretrained import load_weights
from errata.editing.rules import Polyak, RMSProp
from errata.editing.scopes import Scope
from errata.editing.settings import EditableSettings, ViewSettings
from errata.editing.studies.grace import Codebook, Grace
from errata.editing.studies.protocol import Control, draw_demands
from errata.editing.studies.replay import RehearsalPenalty
from errata.editing.studies.tuning import TuningSettings, tune
from errata.editing.training.distillation import train_without_labels
from errata.editing.types import Editor
from errata.editing.views import fitting_views, unseen_views

ARCHITECTURE = "efficientnet_lite0"
VIEWS = ViewSettings(fitting=9, unseen=4, max_shift=0.08, flip=True)
STEPS = 10  # the paper's k
MARGIN = 2.0  # logits, of editors that fit views
STARTS = {"head": 2.5e-3, "adapter": 1e-3}  # rates of RMSProp around which is searched
PLAIN, EDITABLE = "plain", "editable"


class Bench:
    """Roots by name, their control photos and the cases, all as features."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.chosen, self.cache = chosen, chosen.cache
        classes, self.photos = split_photos(chosen.root, chosen.sizes)
        known = WEIGHTS[ARCHITECTURE]
        spec = ModelSpec(ARCHITECTURE, classes, (chosen.side, chosen.side, 3), known.mean, known.std, {}, 1)
        name, content = read_published(ARCHITECTURE)
        self.network = EditableModel.from_spec(spec).eval()
        load_weights(self.network, content, name, imagenet_outputs(classes))
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # a third faster
        self.features = {
            part: features_of(self.network, self.photos[part], chosen.side, known.sha256, chosen.cache / "features")
            for part in PARTS
        }

    def images(self, part: str) -> Tensor:
        """Features of a part as what `OnFeatures` takes, `[n, d, 1, 1]`."""
        return self.features[part][:, :, None, None]

    @cached_property
    def wrong(self) -> Tensor:
        """Which photos of the pool the network gets wrong."""
        with torch.no_grad():
            found: Tensor = self.network.classify(self.features["pool"]).argmax(1) != self.photos["pool"].labels
        return found

    @cache  # noqa: B019 - one bench a run
    def root(self, name: str) -> OnFeatures:
        """The head; behind a codebook; with an adapter as it is inserted; or with one that was trained to be edited."""
        head = OnFeatures.of(self.network)
        if name == "head":
            return head
        if name == "codebook":
            return OnFeatures(head.spec, head.backbone, Codebook(head.head, 1)).eval()
        torch.manual_seed(self.chosen.seed)
        root = head.adapted(self.chosen.adapter)
        if name == EDITABLE:
            path = self.cache / f"editable-{self.settings_digest}.pt"
            if not path.exists():
                record = train_without_labels(root, self.features["train"], self.settings, self._said, seed=1)
                told = {"rule": asdict(record.rule), "epochs": [asdict(one) for one in record.training.epochs]}
                torch.save({"state": root.state_dict(), "told": json.dumps(told)}, path)
            root.load_state_dict(torch.load(path, weights_only=True)["state"])
        return root

    def learned_rule(self) -> RMSProp:
        """The coefficients that Editable Training found."""
        self.root(EDITABLE)
        kept = torch.load(self.cache / f"editable-{self.settings_digest}.pt", weights_only=True)
        return RMSProp(**json.loads(kept["told"])["rule"])

    @property
    def settings(self) -> EditableSettings:
        """Of Editable Training; weights of the terms as the authors' for ImageNet, times `--weight`."""
        weight = self.chosen.weight
        return EditableSettings(
            scope="adapter", epochs=self.chosen.epochs, batch=64, learning_rate=1e-4, clip=1.0,
            edit_weight=weight, locality_weight=weight,
        )  # fmt: skip

    @property
    def settings_digest(self) -> str:
        told = f"{self.settings!r} {self.chosen.adapter} {self.chosen.seed} {self.chosen.sizes} {self.chosen.side}"
        return hashlib.sha256(told.encode()).hexdigest()[:12]

    @staticmethod
    def _said_of_tuning(line: str) -> None:
        print("  " + line, flush=True)

    @staticmethod
    def _said(epoch: Any) -> None:
        print(f"epoch {epoch.number}: {epoch.measures} ({epoch.seconds:.0f} s)", flush=True)

    @cache  # noqa: B019
    def control(self, name: str) -> Control:
        """The control photos as the root sees them."""
        return Control(self.root(name), self.images("control"), self.photos["control"].labels, batch=1000)

    def cases(self, natural: bool) -> list[Case]:
        """The edits, always the same ones in the same order."""
        pool = self.photos["pool"]
        if natural:
            rows = self.wrong.nonzero()[:, 0]
            rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(2))][: self.chosen.edits]
            wanted = [(int(row), int(pool.labels[row])) for row in rows]
        else:
            drawn = draw_demands(len(pool.paths), len(pool.paths), len(self.network.spec.classes), seed=0)
            wanted = [(each.image, each.expected) for each in drawn[: self.chosen.edits]]
        return [self._case(row, label, natural) for row, label in wanted]

    def _case(self, row: int, expected: int, natural: bool) -> Case:
        path = (
            self.cache / "views" / f"{WEIGHTS[ARCHITECTURE].sha256[:12]}-{self.chosen.side}" / f"{self._key(row)}.npy"
        )
        if not path.exists():
            image = self.photos["pool"].image(row, self.chosen.side)
            drawn = torch.cat([fitting_views(image, VIEWS), unseen_views(image, VIEWS), other_views(image)])
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.with_suffix(".part").open("wb") as file:
                np.save(file, through(self.network, drawn, self.chosen.side).numpy())
            path.with_suffix(".part").replace(path)
        views = torch.from_numpy(np.load(path))
        fitted, unseen, families = views.split((VIEWS.fitting, VIEWS.unseen, len(views) - VIEWS.fitting - VIEWS.unseen))
        same = self.wrong & (self.photos["pool"].labels == expected)
        same[row] = False
        others = self.features["pool"][same] if natural else views[:0]
        return Case(self._key(row), expected, fitted[0].clone(), fitted, unseen, families, others)

    def _key(self, row: int) -> str:
        return f"{row:06}-{self.photos['pool'].paths[row].stem}"

    def tuned(self, root: str, scope: str, penalty: bool = False) -> GradientEditor:
        """RMSProp with the coefficients of least drawdown on validation edits, which are reference photos."""

        def search() -> dict[str, Any]:
            photos = self.photos["reference"]
            control = Control(self.root(root), self.images("reference")[::2], photos.labels[::2])
            demands = draw_demands(
                self.chosen.tuning_edits, len(control.labels), len(self.network.spec.classes), seed=1
            )
            spans = (1e-1, 1e3) if penalty else None
            start = STARTS[scope]
            settings = TuningSettings(self.chosen.trials, (start / 5, start * 5), spans, penalty=RehearsalPenalty)
            found = tune(RMSProp(start, 0.5), [scope], control, demands, settings, STEPS, self._said_of_tuning)
            held = found.editor.penalty
            weight = held.weight if isinstance(held, RehearsalPenalty) else 0.0
            return {"rule": asdict(found.editor.rule), "penalty": weight, "success": found.success}

        name = f"{root}-{self.settings_digest}-{scope}{'-replay' if penalty else ''}"
        found = kept_value(self.cache / "tuned" / f"{name}-{self.chosen.trials}.json", search)
        held = RehearsalPenalty(found["penalty"]) if penalty else None
        return GradientEditor(RMSProp(**found["rule"]), Scope(scope), STEPS, penalty=held)


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
    Row("RMSProp, head", "head", lambda bench: bench.tuned("head", "head")),
    Row("RMSProp, head, views", "head", lambda bench: with_margin(bench.tuned("head", "head")), views=True),
    Row("replay (RMSProp with rehearsal), head", "head", lambda bench: bench.tuned("head", "head", penalty=True)),
    Row("Polyak, head", "head", lambda _: GradientEditor(Polyak(), Scope("head"), STEPS)),
    Row("natural gradient, head", "head", lambda _: NaturalGradient(Scope("head"), steps=STEPS)),
    Row("natural gradient, head, views", "head", lambda _: NaturalGradient(Scope("head"), steps=STEPS, margin=MARGIN),
        views=True),
    Row("codebook (GRACE), radius 0.1", "codebook", lambda _: Grace(0.1)),
    Row("codebook (GRACE), radius 0.3", "codebook", lambda _: Grace(0.3)),
    Row("calibrated patch", "head", lambda bench: CalibratedPatch(views=VIEWS)),
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
    """The outcomes of a row, those in `path` (JSON Lines) read, the others run and appended; begun anew for others."""
    editor = row.editor(bench)
    if isinstance(editor, CalibratedPatch):
        editor = replace(editor, features=KnownViews(cases))
    header = {"row": row.name, "editor": repr(editor), "bench": bench.settings_digest, "first": cases[0].key}
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
    """Measure all rows, and write the page as each is done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_scale", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="a folder of photos for each class")
    parser.add_argument("--side", type=int, default=224, help="pixels to which photos are fitted")
    parser.add_argument("--sizes", type=int, nargs=5, default=[30, 8, 12, 25, 10], help=f"of {PARTS}, for each class")
    parser.add_argument("--edits", type=int, default=1000, help="of each sort")
    parser.add_argument("--adapter", type=int, default=1024, help="hidden units")
    parser.add_argument("--epochs", type=int, default=10, help="of Editable Training")
    parser.add_argument(
        "--weight", type=float, default=0.03, help="of its constraint and of its locality; the authors'"
    )
    parser.add_argument("--tuning-edits", type=int, default=60)
    parser.add_argument("--trials", type=int, default=10, help="settings tried for each tuned row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("artifacts/large-scale"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--note", default="", help="a sentence for the page, about the machine's other load, say")
    parser.add_argument(
        "--only",
        nargs="*",
        default=[row.name for row in ROWS],
        help="which rows to run; the page has all that are there",
    )
    chosen = parser.parse_args(arguments)
    bench = Bench(chosen)
    found: dict[str, dict[str, list[Outcome]]] = {}
    sorts = {sort: bench.cases(natural=sort == "natural") for sort in ("random", "natural")}
    for row in ROWS:
        for sort, cases in sorts.items():
            name = "".join(letter if letter.isalnum() else "-" for letter in row.name)
            path = chosen.cache / "rows" / f"{sort}-{bench.settings_digest}-{name}.jsonl"
            if row.name in chosen.only:
                outcomes = measured(bench, row, cases, path)
            else:  # another process may be at it
                outcomes = [Outcome(**one) for one in read_lines(path)]
            if outcomes:
                found.setdefault(sort, {})[row.name] = outcomes
        (chosen.out / "large-scale-rows.md").write_text(page(bench, found))


if __name__ == "__main__":
    main()
