"""`python -m benchmarks.cifar10.many ROOT`: thousands of corrections at once, of pictures seen through corruptions.

ROOT is a folder of `save_model` whose network has learned the first 40,000 training images. A network that errs on a
fifth of the test images makes too few mistakes there for 10,000 corrections. So the pictures are training images, all
but the 10,000 that are the reference, each seen through one of the corruptions of `benchmarks.kinds.images` in turn;
corrections are mistakes on them with the true labels, each of another picture. An edit is judged on all 10,000 test
images, as they are and seen through the corruptions. Thresholds come from the validation images as they are; a row
with *traffic* adds the same images seen through each of the corruptions, without labels.

What is computed once and finished rows are kept in the cache: stop and start it at any time.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.cifar10.data import VIEWS, Cifar10, Images, load_cifar10
from benchmarks.cifar10.joint import HEADINGS, REFERENCE, Outcome, outcome, read_outcome, with_room, words
from benchmarks.cifar10.resnet import read_root
from benchmarks.kinds.images import SEVERITIES, corrupted
from benchmarks.large_scale.other_views import other_views
from benchmarks.report import environment, markdown
from benchmarks.rows import add_line, read_lines
from errata.data.kept_blocks import KeptBlocks
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.features import Features, backbone_digest
from errata.editing.metrics import compare_predictions
from errata.editing.model import EditableModel
from errata.editing.settings import ViewSettings
from errata.editing.types import Constraint
from errata.editing.views import unseen_views

DRAWS = {1_000: 3, 10_000: 1}
LOOKED_AT = 2_000  # corrections whose views say how it generalizes
ROWS = {
    "calibrated patch": (CalibratedPatch(views=VIEWS), False),
    "calibrated patch, traffic": (CalibratedPatch(views=VIEWS), True),
    "calibrated patch, tau 0": (CalibratedPatch(views=VIEWS, tau=0.0), False),
}
AS_THEY_ARE, SEEN_THROUGH = "as they are", "through a corruption"


def seen_through(images: Images, path: Path) -> Images:
    """Each image seen through one of the corruptions in turn, kept in `path`."""
    if not path.exists():
        found = np.empty_like(images.images.numpy())
        for number, (name, severity) in enumerate(SEVERITIES.items()):
            found[number :: len(SEVERITIES)] = corrupted(images.images[number :: len(SEVERITIES)], name, severity)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, found)
    return Images(torch.from_numpy(np.load(path)), images.labels)


def families(image: Tensor, settings: ViewSettings, seed: int) -> Tensor:
    """Views of the other families, which have no settings."""
    return other_views(image)


@dataclass(frozen=True)
class Many:
    """A root and its images; `wrong` are the positions of its mistakes in the `pool`."""

    root: EditableModel
    reference: Tensor
    calibration: Tensor
    traffic: Tensor
    pool: Images
    judged: dict[str, Images]
    features: Features
    wrong: Tensor

    @staticmethod
    def of(root: EditableModel, data: Cifar10, cache: Path) -> Many:
        """The images of `cache`, made where they are not there."""
        root = with_room(root, max(DRAWS))
        plain = data.validation.images
        turned = [seen_through(Images(plain.roll(-turn, 0), data.validation.labels.roll(-turn)),
                               cache / f"traffic-{turn}.npy").images for turn in range(len(SEVERITIES))]  # fmt: skip
        learned = Images(data.train.images[REFERENCE:], data.train.labels[REFERENCE:])
        pool = seen_through(learned, cache / "pool.npy")
        judged = {AS_THEY_ARE: data.test, SEEN_THROUGH: seen_through(data.test, cache / "judged.npy")}
        kept = Features(KeptBlocks(cache / "features.sqlite"), backbone_digest(root))
        with torch.no_grad():
            found = root.classify(kept.of(root, pool.images)).argmax(1)
        wrong = (found != pool.labels).nonzero()[:, 0]
        return Many(
            root, data.train.images[:REFERENCE], plain, torch.cat(turned), pool, judged, kept, wrong
        )  # fmt: skip

    def run(self, editor: CalibratedPatch, state: object, k: int, number: int) -> dict[str, Outcome]:
        """Correct one draw, and judge it on both sorts of image."""
        drawn = torch.randperm(len(self.wrong), generator=torch.Generator().manual_seed(k + number))
        chosen = self.wrong[drawn[:k]]
        images, labels = self.pool.images[chosen], self.pool.labels[chosen]
        constraints = [
            Constraint(image, int(label), f"{one:05}")
            for image, label, one in zip(images, labels, chosen.tolist(), strict=True)
        ]
        result = editor.edit(self.root, constraints, state)  # type: ignore[arg-type]
        views = [
            self.features.of_views(self.root, images[:LOOKED_AT], draw, VIEWS, 0) for draw in (unseen_views, families)
        ]
        with torch.no_grad():
            hidden = torch.cat(views, dim=1)
            seen = result.model.classify(hidden.flatten(0, 1)).argmax(1).unflatten(0, hidden.shape[:2])
            found = {}
            for name, known in self.judged.items():
                features = self.features.of(self.root, known.images)
                before, after = (model.classify(features).argmax(1).numpy() for model in (self.root, result.model))
                paired = compare_predictions(before, after, known.labels.numpy())
                found[name] = outcome(result, paired, seen, labels[:LOOKED_AT])
        return found


def measured(many: Many, name: str, cache: Path, sizes: Sequence[int]) -> dict[str, list[Outcome]]:
    """Outcomes of a row on each sort of image, those in the cache (JSON Lines) read, the others run and appended."""
    editor, with_traffic = ROWS[name]
    editor = replace(editor, features=many.features, traffic=many.traffic if with_traffic else None)
    header = {"row": name, "root": many.features.root, "editor": repr(ROWS[name][0]), "corruptions": SEVERITIES}
    paths = {judged: cache / f"{name}, {judged}.jsonl" for judged in many.judged}
    found = {judged: [read_outcome(one) for one in read_lines(path, header)] for judged, path in paths.items()}
    state: object = None
    for k in sizes:
        for number in range(min(sum(one.k == k for one in each) for each in found.values()), DRAWS[k]):
            state = state or editor.prepare(many.root, many.reference, many.calibration)
            for judged, one in many.run(editor, state, k, number).items():
                found[judged].append(one)
                add_line(paths[judged], header, one)
                print(f"{name}: k {k} draw {number}: {judged}: {words([one])}", flush=True)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all rows, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cifar10.many", description=__doc__)
    parser.add_argument("root", help="a folder of `save_model`, or FILE:BLOCKS")
    parser.add_argument("--data-root", type=Path, default=Path(os.environ.get("ERRATA_DATA", "artifacts/data")))
    parser.add_argument("--cache", type=Path, default=Path("artifacts/benchmarks/many"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--sizes", type=int, nargs="+", default=list(DRAWS), choices=list(DRAWS))
    parser.add_argument("--only", nargs="+", default=list(ROWS), help="which rows to run")
    chosen = parser.parse_args(arguments)
    many = Many.of(read_root(chosen.root), load_cifar10(chosen.data_root), chosen.cache)
    rows = {name: measured(many, name, chosen.cache, chosen.sizes if name in chosen.only else ()) for name in ROWS}
    table = [
        [name, judged, str(k), str(len(group)), *words(group)]
        for name, found in rows.items()
        for judged, outcomes in found.items()
        for k in sorted({one.k for one in outcomes})
        if (group := [one for one in outcomes if one.k == k])
    ]
    chosen.out.mkdir(parents=True, exist_ok=True)
    text = " ".join((__doc__ or "").split("\n\n")[1].split())
    error = f"The root is wrong on {len(many.wrong):,} of {len(many.pool):,} images of the pool."
    (chosen.out / "many.md").write_text(
        f"# Thousands of corrections at once\n\n{text} Views of {LOOKED_AT:,} corrections are looked at.\n\n"
        f"{error} {environment('cpu')}\n\n{markdown((HEADINGS[0], 'test images', *HEADINGS[1:]), table)}"
    )


if __name__ == "__main__":
    main()
