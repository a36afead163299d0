"""`python -m benchmarks.kinds --weights FILE`: what corrections of a kind of failure do for other images of that kind.

The network is a ResNet-20 for CIFAR-10 whose weights are in FILE: those of the public repository
akamaster/pytorch_resnet_cifar10 (BSD-2-Clause; for measuring only, nothing of it is part of Errata) err on 8% of the
test images. A kind is images seen through one corruption (`benchmarks.kinds.images`). Mistakes are drawn from the
kind's pool and corrected to their true labels; an edit is judged on 1,000 images of the kind that no editor saw, right
and wrong ones alike, and on 5,000 control images. Images and finished rows are kept in the cache: stop and start it at
any time.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.cifar10.data import VIEWS, Images, load_cifar10
from benchmarks.cifar10.resnet import load_resnet
from benchmarks.kinds.images import SEVERITIES, UNSEEN, KindImages, Parts, kind_images
from benchmarks.kinds.tables import GOALS, MIXED, ORDINARY, SETTINGS, Mixture, Outcome, cells, report
from benchmarks.rows import add_line, read_lines
from errata.editing.editors.natural import NaturalGradient
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.kinds.batch_norm import own_statistics, with_tensors
from errata.editing.kinds.find import KindFinder, KindState, with_kinds
from errata.editing.kinds.tail import tune_tail
from errata.editing.metrics import compare_predictions
from errata.editing.model import EditableModel, batched_features
from errata.editing.scopes import Scope
from errata.editing.settings import KindSettings
from errata.editing.training.plain import predict
from errata.editing.types import Constraint, Editor
from errata.editing.views import fitting_views

DRAWS = 3
MIXTURE = "mixture"
CONTROL = 1_000  # control images that a row is judged on whose edit acts on all images


class Bench:
    """The root and its images; what depends on them alone is computed once."""

    def __init__(self, root: EditableModel, parts: Parts, cache: Path) -> None:
        self.root = root
        self.parts = parts
        self._cache = cache
        self._kinds: dict[str, KindImages] = {}
        self._known: dict[tuple[str, str], Tensor] = {}
        self._states: dict[str, object] = {}

    def images(self, name: str) -> KindImages:
        """The images of a kind."""
        if name == ORDINARY:
            plain, control = self.parts.pool, self.parts.control
            return KindImages(name, plain, Images(control.images[:UNSEEN], control.labels[:UNSEEN]))
        if name not in self._kinds:
            self._kinds[name] = kind_images(name, self.parts, self._cache / "images")
        return self._kinds[name]

    def constraints(self, name: str, size: int, draw: int) -> list[Constraint]:
        """The corrections of one draw: `size` mistakes of the kind's pool with their true labels."""
        pool = self.images(name).pool
        wrong = (self.known(name, "pool", "logits").argmax(1) != pool.labels).nonzero()[:, 0]
        order = torch.randperm(len(wrong), generator=torch.Generator().manual_seed(draw))
        chosen = wrong[order[:size]].tolist()
        return [Constraint(pool.images[one], int(pool.labels[one]), f"{name}-{one:04}") for one in chosen]

    def known(self, name: str, part: str, what: str) -> Tensor:
        """`logits`, `features` or `directions` (what detectors of kinds see) of the root's, computed once."""
        if (name + part, what) not in self._known:
            images = self.parts.control.images if name == "control" else getattr(self.images(name), part).images
            if what == "directions":
                sight = self.kind_state.sight
                assert sight is not None
                found = sight.directions(self.root, images)
            elif what == "features":
                found = self._features(name + part, images)
            else:
                with torch.no_grad():
                    found = self.root.classify(self.known(name, part, "features"))
            self._known[name + part, what] = found
        return self._known[name + part, what]

    def _features(self, name: str, images: Tensor) -> Tensor:
        """The root's features, kept in the cache."""
        path = self._cache / "features" / f"{name}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, batched_features(self.root, images).numpy())
        return torch.from_numpy(np.load(path))

    @cached_property
    def kind_state(self) -> KindState:
        """What kinds need of the root."""
        return KindFinder(SETTINGS).prepare(self.root, self.parts.reference.images, self.parts.calibration.images)

    def edited(self, editor: Editor[Any], constraints: Sequence[Constraint]) -> EditableModel:
        """The root edited by one of Errata's editors, which is prepared once."""
        if repr(editor) not in self._states:
            reference, calibration = self.parts.reference.images, self.parts.calibration.images
            self._states[repr(editor)] = editor.prepare(self.root, reference, calibration)
        return editor.edit(self.root, constraints, self._states[repr(editor)]).model

    def predicted(self, model: EditableModel, name: str, part: str, most: int) -> tuple[Tensor, float]:
        """Classes of the first `most` images, and the share on which a kind fires; runs only what may have changed."""
        images = self.parts.control.images if name == "control" else getattr(self.images(name), part).images
        root = self.known(name, part, "logits").argmax(1)[:most]
        if model.kinds is not None:
            fires = model.kinds.which(self.known(name, part, "directions")[:most]) >= 0
            found = root.clone()
            if bool(fires.any()):
                found[fires] = predict(model, images[:most][fires]).argmax(1)
            return found, fires.float().mean().item()
        ours, theirs = self.root.backbone.state_dict(), model.backbone.state_dict()
        if all(torch.equal(ours[each], theirs[each]) for each in ours):
            with torch.no_grad():
                return model.classify(self.known(name, part, "features")[:most]).argmax(1), 0.0
        return predict(model, images[:most]).argmax(1), 1.0

    def judge(self, row: Row, name: str, size: int, draw: int) -> Outcome:
        """Correct one draw, and judge it."""
        constraints = self.constraints(name, size, draw)
        started = time.perf_counter()
        model = row.edit(self, constraints)
        seconds = time.perf_counter() - started
        expected = torch.tensor([one.expected for one in constraints])
        hold = (predict(model, torch.stack([one.image for one in constraints])).argmax(1) == expected).float().mean()
        unseen = self.images(name).unseen
        after, fires = self.predicted(model, name, "unseen", len(unseen))
        before = self.known(name, "unseen", "logits").argmax(1)
        kind = compare_predictions(before.numpy(), after.numpy(), unseen.labels.numpy())
        count = len(self.parts.control) if row.local else CONTROL
        labels = self.parts.control.labels[:count].numpy()
        control, false_fires = self.predicted(model, "control", "", count)
        flips = compare_predictions(
            self.known("control", "", "logits").argmax(1)[:count].numpy(), control.numpy(), labels
        )
        return Outcome(
            name, size, draw, hold.item(), kind.error_before, kind.error_after, kind.positive_flips / kind.n,
            kind.negative_flip_rate, flips.negative_flip_rate, count, fires, false_fires, seconds,
        )  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A way to correct, and how many draws it is run at; `local` if control images are cheap to judge it on."""

    name: str
    edit: Callable[[Bench, Sequence[Constraint]], EditableModel]
    draws: int = DRAWS
    local: bool = True


def kind_edit(settings: KindSettings) -> Callable[[Bench, Sequence[Constraint]], EditableModel]:
    """Kinds found among the corrections, part of which is held out; the root itself where none is found."""

    def edit(bench: Bench, constraints: Sequence[Constraint]) -> EditableModel:
        kinds = KindFinder(settings, VIEWS).find(bench.root, constraints, bench.kind_state)
        return with_kinds(bench.root, kinds, bench.kind_state)

    return edit


def re_estimated(bench: Bench, constraints: Sequence[Constraint]) -> EditableModel:
    """Batch-norm statistics re-estimated on the corrections, for all images."""
    images = torch.stack([one.image for one in constraints])
    return with_tensors(bench.root, own_statistics(bench.root, images, SETTINGS.batch_norm_share))


def tuned(scope: str) -> Callable[[Bench, Sequence[Constraint]], EditableModel]:
    """Layers tuned as a kind's are (views, steps, KL to the root on control images), for all images."""

    def edit(bench: Bench, constraints: Sequence[Constraint]) -> EditableModel:
        views = torch.cat([fitting_views(one.image, VIEWS) for one in constraints])
        expected = torch.tensor([one.expected for one in constraints]).repeat_interleave(VIEWS.fitting)
        layers = Scope(scope).resolve(bench.root)
        reference = bench.parts.reference.images
        whole = SETTINGS.model_copy(update={"tuned_share": 1.0})
        return with_tensors(bench.root, tune_tail(bench.root, bench.root, layers, views, expected, reference, whole, 0))

    return edit


def edited_by(editor: Editor[Any]) -> Callable[[Bench, Sequence[Constraint]], EditableModel]:
    """One of Errata's editors of pictures."""
    return lambda bench, constraints: bench.edited(editor, constraints)


ROWS = (
    Row("kind edit", kind_edit(SETTINGS)),
    Row("kind edit, batch-norm statistics alone", kind_edit(SETTINGS.model_copy(update={"steps": 0})), draws=1),
    Row("kind edit, tuned layers alone", kind_edit(SETTINGS.model_copy(update={"batch_norm_share": 0.0})), draws=1),
    Row("slots (calibrated patch)", edited_by(CalibratedPatch(views=VIEWS))),
    Row("head tuned with KL, everywhere", tuned("head"), draws=1),
    Row("batch norm re-estimated, everywhere", re_estimated, draws=1, local=False),
    Row("whole network tuned with KL, everywhere", tuned("whole"), draws=1, local=False),
    Row("natural gradient, last block", edited_by(
        NaturalGradient(Scope("layer3.2"), views=VIEWS, margin=2.0)), draws=1, local=False),
)  # fmt: skip


def measured(bench: Bench, row: Row, path: Path, run: bool) -> list[Outcome]:
    """All outcomes of a row, those in `path` (JSON Lines) read, the others `run` and appended."""
    header = {"row": row.name, "settings": SETTINGS.model_dump(), "views": VIEWS.model_dump()}
    found = [Outcome(**one) for one in read_lines(path, header)]
    done = {(one.kind, one.size, one.draw) for one in found}
    for draw in range(row.draws if run else 0):
        for size in GOALS:
            for name in SEVERITIES:
                if (name, size, draw) in done:
                    continue
                found.append(bench.judge(row, name, size, draw))
                add_line(path, header, found[-1])
                print(f"{row.name}: {name} {size} draw {draw}: {' '.join(cells(found[-1:]))}", flush=True)
    return found


def mixture(bench: Bench, draw: int, each: int = 60) -> Mixture:
    """Kinds found among `each` mistakes of MIXED and of ordinary images, and what they do for each."""
    from sklearn.metrics import adjusted_rand_score  # noqa: PLC0415 - slow to import

    constraints = [one for name in (*MIXED, ORDINARY) for one in bench.constraints(name, each, draw)]
    finder = KindFinder(SETTINGS, VIEWS)
    kinds = finder.find(bench.root, constraints, bench.kind_state)
    model = with_kinds(bench.root, kinds, bench.kind_state)
    pairs = [(key.split("-")[0], number) for number, kind in enumerate(kinds) for key in kind.fitted]
    fitted = sum(not finder.held_out(one.key) for one in constraints)
    outcomes = []
    for name in (*MIXED, ORDINARY):
        unseen = bench.images(name).unseen.labels
        before = bench.known(name, "unseen", "logits").argmax(1)
        after, _ = bench.predicted(model, name, "unseen", len(unseen))
        outcomes.append((name, (before != unseen).float().mean().item(), (after != unseen).float().mean().item()))
    labels = bench.parts.control.labels
    control, _ = bench.predicted(model, "control", "", len(labels))
    before = bench.known("control", "", "logits").argmax(1)
    flips = compare_predictions(before.numpy(), control.numpy(), labels.numpy())
    rand_index = float(adjusted_rand_score(*zip(*pairs, strict=True))) if pairs else 0.0
    return Mixture(draw, len(kinds), rand_index, len(pairs) / fitted, flips.negative_flip_rate, tuple(outcomes))


def mixtures(bench: Bench, path: Path, run: bool) -> list[Mixture]:
    """The mixture of each draw, those in `path` (JSON Lines) read, the others `run` and appended."""
    header = {"row": MIXTURE, "settings": SETTINGS.model_dump(), "views": VIEWS.model_dump()}
    found = read_lines(path, header)
    kept = [Mixture(**{**one, "outcomes": tuple(tuple(each) for each in one["outcomes"])}) for one in found]
    for draw in range(len(kept), DRAWS if run else 0):
        kept.append(mixture(bench, draw))
        add_line(path, header, kept[-1])
        print(kept[-1], flush=True)
    return kept


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kinds", description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="of the ResNet, a state dict or safetensors")
    parser.add_argument("--blocks", type=int, default=3, help="residual blocks a chain: 3 for ResNet-20")
    parser.add_argument("--data-root", type=Path, default=Path(os.environ.get("ERRATA_DATA", "artifacts/data")))
    parser.add_argument("--cache", type=Path, default=Path("artifacts/benchmarks/kinds"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--only", nargs="*", default=[MIXTURE, *(row.name for row in ROWS)], help="which rows to run")
    chosen = parser.parse_args(arguments)
    torch.manual_seed(0)
    root = load_resnet(chosen.weights, chosen.blocks)
    bench = Bench(root, Parts.of(load_cifar10(chosen.data_root).test), chosen.cache)
    found = {
        row.name: measured(bench, row, chosen.cache / f"{row.name}.jsonl", row.name in chosen.only) for row in ROWS
    }
    mixed = mixtures(bench, chosen.cache / f"{MIXTURE}.jsonl", MIXTURE in chosen.only)
    chosen.out.mkdir(parents=True, exist_ok=True)
    labels = bench.parts.control.labels
    error = (bench.known("control", "", "logits").argmax(1) != labels).float().mean().item()
    (chosen.out / "kinds.md").write_text(report(error, len(labels), found, mixed))


if __name__ == "__main__":
    main()
