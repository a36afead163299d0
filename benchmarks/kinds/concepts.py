"""`python -m benchmarks.kinds.concepts --control FOLDER --concept FOLDER`: a concept in an unusual setting.

Both folders have a folder of photos for each class, called by ImageNet's identifiers; the classes of the control photos
are those that EfficientNet-Lite0 (the extra `photos`) is restricted to. Of the root's mistakes on the concept 24 drawn
at random are corrected, all others are held out; the control photos are split anew for each half into reference,
calibration and control. Features are computed once and kept in the cache, finished rows too: stop and start it at any
time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.imagenet.bench import CORRECTIONS, SHAPE, Part, before_and_after, predicted, published_root, share
from benchmarks.report import environment, markdown
from benchmarks.rows import add_line, read_lines
from errata.data.datasets import load_dataset
from errata.data.kept_blocks import KeptBlocks
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.features import FEATURES, Features, Layer, backbone_digest
from errata.editing.kinds.batch_norm import with_tensors
from errata.editing.kinds.find import KindFinder, with_kinds
from errata.editing.model import EditableModel
from errata.editing.network import EditableNetwork
from errata.editing.settings import ConceptSettings, KindSettings, ViewSettings
from errata.editing.types import Constraint

VIEWS = ViewSettings(max_shift=0.08, flip=True)
KINDS = KindSettings(most=0, concept=ConceptSettings(most=8))
HELD_OUT = "held out"
ABOUT = """
24 mistakes on photos of a concept in an unusual setting are corrected, the others held out. *Unseen mistakes right*: of
those that no edit saw; *right ones spoilt*: of the concept's photos that the root gets right; *flips*: control photos
right before and wrong after; *fires*: on unseen mistakes / on control photos. Means over random halves of the mistakes
and random splits of the control photos, in parentheses the lowest and highest half. {views} views of each correction
are fitted. The kind of concept is what `KindFinder` finds, its settings {settings}. Seconds are wall time of an edit,
with features kept, on a machine busy with other work.
"""


@dataclass(frozen=True)
class Rows(Features):
    """Features of whole photos, each by its pixels, computed once whatever they are asked for together with."""

    known: dict[bytes, Tensor] = field(default_factory=dict)

    def of(self, model: EditableNetwork, images: Tensor, layer: Layer = FEATURES) -> Tensor:
        keys = [image.numpy().tobytes() for image in images]
        if any(key not in self.known for key in keys):
            self.known.update(zip(keys, super().of(model, images, layer), strict=True))
        return torch.stack([self.known[key] for key in keys])


class Halved(KindFinder):
    """Holds out the other mistakes, as their keys say."""

    def held_out(self, key: str) -> bool:
        return key.startswith(HELD_OUT)


@dataclass(frozen=True)
class Half:
    """Rows of the concept's photos, corrected and held out, and of the control photos."""

    number: int
    chosen: tuple[int, ...]
    others: tuple[int, ...]
    reference: tuple[int, ...]
    calibration: tuple[int, ...]
    control: tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """One edit; shares, as ABOUT says."""

    half: int
    hold: float
    others: float
    spoilt: float
    flips: float
    fires: float
    false_fires: float
    seconds: float


Edit = Callable[["Bench", Half], EditableModel]


class Bench:
    """The root, the concept's photos and the control photos."""

    def __init__(self, control: Path, concept: Path, cache: Path) -> None:
        photos = load_dataset("folder", control, image_shape=SHAPE)
        self.root = published_root(photos.classes)
        self.features = Rows(KeptBlocks(cache / "features.sqlite"), backbone_digest(self.root))
        self.control = self._part(photos.images, photos.labels)
        theirs = load_dataset("folder", concept, image_shape=SHAPE)
        places = np.array([photos.classes.index(name) for name in theirs.classes])
        self.concept = self._part(theirs.images, places[theirs.labels])

    def _part(self, images: np.ndarray, labels: np.ndarray) -> Part:
        tensor = torch.from_numpy(np.ascontiguousarray(images))
        return Part(tensor, self.features.of(self.root, tensor), torch.from_numpy(labels))

    @cached_property
    def right(self) -> Tensor:
        """Which photos of the concept the root gets right: bool `[n]`."""
        return predicted(self.root, self.concept.features) == self.concept.labels

    def half(self, number: int, reference: int, calibration: int) -> Half:
        """A random half of the mistakes, and a random split of the control photos."""
        generator = torch.Generator().manual_seed(number)
        mistakes = (~self.right).nonzero()[:, 0]
        wrong = mistakes[torch.randperm(len(mistakes), generator=generator)].tolist()
        order = torch.randperm(len(self.control.labels), generator=generator).tolist()
        return Half(
            number,
            tuple(wrong[:CORRECTIONS]),
            tuple(wrong[CORRECTIONS:]),
            tuple(order[:reference]),
            tuple(order[reference : reference + calibration]),
            tuple(order[reference + calibration :]),
        )

    def constraints(self, half: Half, held_out: bool = False) -> list[Constraint]:
        """The corrections, and the held-out mistakes if wanted."""
        rows = [*half.chosen, *(half.others if held_out else ())]
        keys = [f"{HELD_OUT if row in half.others else 'fitted'} {row:04}" for row in rows]
        labels = self.concept.labels.tolist()
        return [Constraint(self.concept.images[row], labels[row], key) for row, key in zip(rows, keys, strict=True)]

    def splits(self, half: Half) -> tuple[Tensor, Tensor]:
        """Reference and calibration photos."""
        return self.control.images[list(half.reference)], self.control.images[list(half.calibration)]

    @torch.no_grad()
    def judge(self, edit: Edit, half: Half) -> Outcome:
        """Correct one half, and judge it."""
        started = time.perf_counter()
        with torch.enable_grad():
            model = edit(self, half)
        seconds = time.perf_counter() - started
        chosen, others, concept = list(half.chosen), list(half.others), self.concept
        control = Part(*(getattr(self.control, each.name)[list(half.control)] for each in fields(Part)))
        now = predicted(model, concept.features) == concept.labels
        return Outcome(
            half.number,
            share(now[chosen]),
            share(now[others]),
            share(~now[self.right]),
            before_and_after(self.root, model, control),
            share(fires(model, concept.features[others])),
            share(fires(model, control.features)),
            seconds,
        )


def fires(model: EditableModel, features: Tensor) -> Tensor:
    """Whether a kind of concept, or a slot, fires on features `[n, d]`: bool `[n]`."""
    seen = model.patch.directions(features)
    slots = (model.patch.firing(seen) > 0).any(1)
    return slots if model.kinds is None else slots | (model.kinds.which(None, seen) >= 0)


def slots(alpha: float) -> Edit:
    """The calibrated patch."""

    def edit(bench: Bench, half: Half) -> EditableModel:
        patch = CalibratedPatch(alpha=alpha, views=VIEWS, features=bench.features)
        return patch.edit(bench.root, bench.constraints(half), patch.prepare(bench.root, *bench.splits(half))).model

    return edit


def kinds(settings: KindSettings, everywhere: bool = False) -> Edit:
    """The kinds found, fitted to all corrections; or the first one's head for all photos."""

    def edit(bench: Bench, half: Half) -> EditableModel:
        finder = Halved(settings, VIEWS, features=bench.features)
        state = finder.prepare(bench.root, *bench.splits(half))
        found = finder.find(bench.root, bench.constraints(half, held_out=True), state)
        if everywhere and found:
            return with_tensors(bench.root, found[0].replaced)
        return with_kinds(bench.root, found, state)

    return edit


ONE = KINDS.model_copy(update={"concept": KINDS.concept.model_copy(update={"most": 1, "alpha": 0.5})})
ROWS: dict[str, Edit] = {
    "kind of concept": kinds(KINDS),
    "the same head, everywhere": kinds(ONE, everywhere=True),
    "slots (calibrated patch)": slots(0.0005),
    "slots, alpha 2%": slots(0.02),
}


def measured(bench: Bench, name: str, halves: Sequence[Half], path: Path) -> list[Outcome]:
    """The outcomes of a row, those in `path` (JSON Lines) read, the others run and appended; begun anew for others."""
    header = {"row": name, "halves": [asdict(half) for half in halves], "settings": KINDS.model_dump()}
    found = [Outcome(**one) for one in read_lines(path, header)]
    for half in halves[len(found) :]:
        found.append(bench.judge(ROWS[name], half))
        add_line(path, header, found[-1])
        print(f"{name}: {found[-1]}", flush=True)
    return found


HEADINGS = ("edit", "corrections right", "unseen mistakes right", "right ones spoilt", "flips on control",
            "fires on kind / control", "seconds")  # fmt: skip


def cells(name: str, outcomes: Sequence[Outcome]) -> list[str]:
    """A line of the table."""

    def spread(what: str, digits: int = 0) -> str:
        values = [100 * getattr(one, what) for one in outcomes]
        return f"{np.mean(values):.{digits}f}% ({min(values):.{digits}f} to {max(values):.{digits}f})"

    firing = " / ".join(f"{100 * np.mean([getattr(one, what) for one in outcomes]):.1f}%" for what in FIRING)
    seconds = f"{np.mean([one.seconds for one in outcomes]):.0f}"
    return [name, spread("hold"), spread("others", 1), spread("spoilt", 1), spread("flips", 2), firing, seconds]


FIRING = ("fires", "false_fires")


def report(bench: Bench, halves: Sequence[Half], found: dict[str, list[Outcome]]) -> str:
    """The table, and what it was measured on."""
    first, error = halves[0], share(predicted(bench.root, bench.control.features) != bench.control.labels)
    wanted = ", ".join(f"{name} {value}" for name, value in KINDS.of_concepts.model_dump(exclude={"concept"}).items())
    lines = [
        f"n = {len(halves)} halves, {len(first.chosen)} corrected and {len(first.others)} held out of "
        f"{len(bench.right)} photos; {len(first.reference)} reference, {len(first.calibration)} calibration and "
        f"{len(first.control)} control photos of {len(bench.root.spec.classes)} classes, of which the root gets "
        f"{100 * error:.1f}% wrong. {environment('cpu')}",
        ABOUT.format(views=VIEWS.fitting, settings=wanted),
        markdown(HEADINGS, [cells(name, outcomes) for name, outcomes in found.items()]),
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure the rows, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kinds.concepts", description=__doc__)
    parser.add_argument("--control", type=Path, required=True, help="a folder of photos for each class")
    parser.add_argument("--concept", type=Path, required=True, help="the same, of the concept")
    parser.add_argument("--reference", type=int, default=250, help="of the control photos")
    parser.add_argument("--calibration", type=int, default=250, help="of the control photos")
    parser.add_argument("--first", type=int, default=0, help="number of the first half")
    parser.add_argument("--halves", type=int, default=10, help="random halves")
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS), help="which rows")
    parser.add_argument("--cache", type=Path, default=Path("artifacts/benchmarks/concepts"))
    parser.add_argument("--out", type=Path, default=Path("artifacts/benchmarks/concepts/table.md"))
    chosen = parser.parse_args()
    bench = Bench(chosen.control, chosen.concept, chosen.cache)
    numbers = range(chosen.first, chosen.first + chosen.halves)
    halves = [bench.half(number, chosen.reference, chosen.calibration) for number in numbers]
    found = {name: measured(bench, name, halves, chosen.cache / f"{name}.jsonl") for name in chosen.rows}
    chosen.out.write_text(report(bench, halves, found))


if __name__ == "__main__":
    main()
