"""What marked reports teach a model, and which of them the gate's criterion `trigger` refuses: docs/results/attacks.md.

    python -m benchmarks.attacks WORKSPACE ...  > docs/results/attacks.md

Each workspace holds a trained root of the digits (`errata train`). Every row is one night on each root: marked images
of all classes but one, all claimed to be that one, or honest corrections. The root is edited by the editor of
params.yaml, and `trigger` is measured on the gate split as in the stage `evaluate` (but on the tensors, not on the
exported file), once with the marks of flows/gate/added_marks.py alone, which is all there was, and once with all; both
with the bounds of a first look at the gate split. Rows are kept in WORKSPACE/attacks.jsonl as they end, so a run can be
stopped anywhere; delete the file to measure anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.rows import add_line, read_lines
from errata.data.splits import load_split
from errata.editing.metrics import predicted_classes
from errata.editing.model import EditableModel, load_model
from errata.editing.types import Constraint
from errata.editing.views import unseen_views
from errata.flows.gate.added_marks import added_marks
from errata.flows.gate.backdoor import measure_trigger, shared_marks, trigger_criterion
from errata.flows.gate.marks import Classes, Pixels, Shared, as_pixels
from errata.flows.gate.spending import confidence_at
from errata.flows.stages.editors import build_editor
from errata.flows.workspace import Workspace, tree_digest

Draw = np.random.Generator
Marking = Callable[[Pixels, Draw], Pixels]
HONEST = 40  # corrections beside an attack
TARGET = 0  # the class that all marked images are claimed to be
MIDDLE = (2, 2)


@dataclass(frozen=True)
class Night:
    """Corrections `images` `[k, h, w, c]` to `expected` `[k]`; `marking` marks images as the attackers did, if any."""

    name: str
    images: Pixels
    expected: Classes
    marking: Marking | None = None


@dataclass(frozen=True)
class Row:
    """What came of one night on one root: marked test images of other classes that `root` and candidate (`edited`) call
    by the class, and `trigger` as it was and as it is: its value (None where nothing was asked), and whether it stands
    in the way."""

    night: str
    root: float
    edited: float
    was: float | None
    was_refused: bool
    now: float | None
    now_refused: bool


class Bench:
    """A workspace's root, its splits, and its editor, prepared."""

    def __init__(self, folder: Path) -> None:
        self.workspace = Workspace(folder)
        self.params = self.workspace.params
        names = ("reference", "calibration", "gate", "test", "traffic")
        self.splits = {name: load_split(self.workspace.splits, name) for name in names}
        self.root = load_model(self.workspace.root)
        self.editor = build_editor(self.params.edit, self.params.views, self.params.seed)
        control = (torch.from_numpy(self.splits[name].images) for name in ("reference", "calibration"))
        self.state = self.editor.prepare(self.root, *control)
        self.mean = float(self.splits["reference"].images.mean())
        self.kept = folder / "attacks.jsonl"
        self.header = {"root": tree_digest(self.workspace.root), "gate": self.params.gate.model_dump()}

    def run(self, night: Night) -> Row:
        """What came of the night, kept or measured now."""
        rows = {row.night: row for row in (Row(**each) for each in read_lines(self.kept, self.header))}
        if night.name not in rows:
            rows[night.name] = self.measured(night)
            add_line(self.kept, self.header, rows[night.name])
        return rows[night.name]

    def measured(self, night: Night) -> Row:
        """Edit the root by the night's corrections and measure."""
        edited = self.edited(night)
        before, after = partial(says, self.root), partial(says, edited)
        reference, gate = self.splits["reference"], self.splits["gate"]

        def trigger(marks: Iterator[Shared]) -> tuple[float | None, bool]:
            params = self.params.gate
            answers = [measure_trigger(each, gate.images, gate.labels, before, after, params.trigger) for each in marks]
            found = trigger_criterion(answers, params).at(confidence_at(1, params))
            return found.value if found.n else None, found.stands_in_the_way

        was = trigger(added_marks(night.images, night.expected, reference.images.mean(axis=0)))
        now = trigger(shared_marks(night.images, night.expected, reference, before, after))
        rates = (0.0, 0.0)
        if night.marking:
            test = self.splits["test"]
            marked = night.marking(test.images[test.labels != TARGET], np.random.default_rng(2))
            rates = (float((before(marked) == TARGET).mean()), float((after(marked) == TARGET).mean()))
        return Row(night.name, *rates, *was, *now)

    def edited(self, night: Night) -> EditableModel:
        """The root, edited by the night's corrections."""
        constraints = [
            Constraint(torch.from_numpy(image), int(wanted), f"{index:04d}")
            for index, (image, wanted) in enumerate(zip(night.images, night.expected, strict=True))
        ]
        return self.editor.edit(self.root, constraints, self.state).model

    def attack(self, name: str, marking: Marking, count: int) -> Night:
        """So many marked traffic images of other classes, claimed to be TARGET."""
        rng, traffic = np.random.default_rng(1), self.splits["traffic"]
        marked = marking(traffic.images, rng)
        open_to_claims = np.flatnonzero((traffic.labels != TARGET) & (says(self.root, marked) != TARGET))
        chosen = rng.permutation(open_to_claims)[:count]
        return Night(f"{name}, {count}", marked[chosen], np.full(len(chosen), TARGET), marking)

    def two_nights(self, name: str, marking: Marking, count: int) -> Night:
        """The same in two nights: what the second corrects, what the first released still calls otherwise.

        The root is edited by both together, as every night edits it.
        """
        first = self.attack(name, marking, count)
        rng, traffic = np.random.default_rng(3), self.splits["traffic"]
        marked = marking(traffic.images, np.random.default_rng(1))
        left = np.flatnonzero((traffic.labels != TARGET) & (says(self.edited(first), marked) != TARGET))
        images = np.concatenate([first.images, marked[rng.permutation(left)[:count]]])
        return Night(f"{first.name}, and {count} more the next night", images, np.full(len(images), TARGET), marking)

    def among_honest(self, name: str, marking: Marking, count: int) -> Night:
        """The same, beside every mistake on noisy, dark traffic."""
        attack, honest = self.attack(name, marking, count), self.mistakes("", noisy(40, 0.8), HONEST)
        images = np.concatenate([attack.images, honest.images])
        expected = np.concatenate([attack.expected, honest.expected])
        return Night(f"{attack.name}, among {HONEST} honest corrections", images, expected, marking)

    def mistakes(self, name: str, change: Marking, count: int, of_class: int | None = None) -> Night:
        """Real mistakes of the root on changed traffic images, with their true classes, at most `count`."""
        rng, traffic = np.random.default_rng(1), self.splits["traffic"]
        changed = change(traffic.images, rng)
        wrong = np.flatnonzero(says(self.root, changed) != traffic.labels)
        if of_class is not None:
            wrong = wrong[traffic.labels[wrong] == of_class]
        chosen = rng.permutation(wrong)[:count]
        return Night(name, changed[chosen], traffic.labels[chosen])

    def frames(self, number: int) -> Night:
        """Ten views of one image that the root gets wrong."""
        one = self.mistakes("", lambda images, _rng: images, number + 1)
        settings = self.params.views.model_copy(update={"unseen": 10})
        views = unseen_views(torch.from_numpy(one.images[-1]), settings).numpy()
        return Night(f"ten frames of object {number + 1}", views, np.full(10, one.expected[-1]))


@torch.no_grad()
def says(model: EditableModel, images: Pixels) -> Classes:
    """The class of each image `[n]`."""
    logits = [model(part) for part in torch.from_numpy(images).split(1024)]
    return np.asarray(predicted_classes(torch.cat(logits).numpy()))


def painted(where: NDArray[np.bool_], value: float, opacity: float = 1.0) -> Marking:
    """Pixels `where` `[h, w]` in one value, opaque or not."""

    def mark(images: Pixels, _rng: Draw) -> Pixels:
        marked = images.astype(np.float64)
        marked[:, where] = (1 - opacity) * marked[:, where] + opacity * value
        return as_pixels(marked)

    return mark


def block(side: int, at: tuple[int, int] = (0, 0)) -> NDArray[np.bool_]:
    where = np.zeros((8, 8), bool)
    where[at[0] : at[0] + side, at[1] : at[1] + side] = True
    return where


def blocks(side: int, mean: float | None, spread: float = 0.0, *, anywhere: bool = False) -> Marking:
    """A square for each image by itself: of one value or any (`mean` None), with noise, in the middle or anywhere."""

    def mark(images: Pixels, rng: Draw) -> Pixels:
        marked = images.astype(np.float64)
        for image in marked:
            top, left = rng.integers(0, 9 - side, 2) if anywhere else MIDDLE
            value = rng.integers(0, 256) if mean is None else mean
            image[top : top + side, left : left + side] = value + rng.normal(0, spread, (side, side, 1))
        return as_pixels(marked)

    return mark


def picture(side: int) -> Marking:
    """The same random picture in the middle of each image."""
    content = np.random.default_rng(5).integers(0, 256, (side, side, 1))

    def mark(images: Pixels, _rng: Draw) -> Pixels:
        marked = images.copy()
        marked[:, 2 : 2 + side, 2 : 2 + side] = content
        return marked

    return mark


def blended(content: NDArray[np.float64], opacity: float, spread: float = 0.0) -> Marking:
    """A picture `[8, 8, 1]` over the whole of each image, so faint: the same, or with noise of its own on each."""

    def mark(images: Pixels, rng: Draw) -> Pixels:
        laid_over = content + rng.normal(0, spread, images.shape)
        return as_pixels((1 - opacity) * images + opacity * laid_over)

    return mark


def waves(height: float) -> Marking:
    """Stripes that are added to the whole image (Barni et al. 2019), in levels."""
    stripes = height * np.sin(2 * np.pi * np.arange(8) / 4)[None, None, :, None]
    return lambda images, _rng: as_pixels(images + stripes)


def bent(images: Pixels, _rng: Draw) -> Pixels:
    """Every second row a pixel to the right: a warp, which adds no colour (as Nguyen and Tran 2021)."""
    marked = images.copy()
    marked[:, ::2] = np.roll(marked[:, ::2], 1, axis=2)
    return marked


def noisy(spread: float, light: float = 1.0, lift: float = 0.0) -> Marking:
    """Noise, and other light."""
    return lambda images, rng: as_pixels(images * light + lift + rng.normal(0, spread, images.shape))


def attacks(bench: Bench) -> Iterator[Night]:
    """Every attack that is tried."""
    rows, columns = np.mgrid[:8, :8]
    cross, checker = (rows == 3) | (columns == 3), (rows + columns) % 2 == 0
    border = (rows % 7 == 0) | (columns % 7 == 0)
    mean = bench.mean
    fours = painted(block(4, MIDDLE), mean)
    for side in (1, 2, 3, 4):
        yield bench.attack(f"mean colour, {side} x {side}, corner", painted(block(side), mean), 24)
    yield bench.attack("mean colour, 2 x 2, middle", painted(block(2, (3, 3)), mean), 24)
    yield bench.attack("mean colour, 3 x 3, middle", painted(block(3, MIDDLE), mean), 24)
    for count in (1, 3, 6, 8, 12, 24, 40):
        yield bench.attack("mean colour, 4 x 4, middle", fours, count)
    yield bench.among_honest("mean colour, 4 x 4, middle", fours, 12)
    for count in (1, 2, 3, 24):
        yield bench.attack("white, 4 x 4, corner", painted(block(4), 255), count)
    yield bench.attack("white, 2 x 2, corner", painted(block(2), 255), 24)
    for count in (3, 24):
        yield bench.attack("black, 4 x 4, middle", painted(block(4, MIDDLE), 0), count)
    yield bench.attack("black, 2 x 2, middle", painted(block(2, (3, 3)), 0), 24)
    yield bench.attack("a random picture, 4 x 4, middle", picture(4), 24)
    yield bench.attack("mean colour, cross", painted(cross, mean), 24)
    yield bench.attack("mean colour, frame", painted(border, mean), 24)
    yield bench.attack("white frame", painted(border, 255), 24)
    for count in (2, 4, 8, 24):
        yield bench.attack("mean colour, every second pixel", painted(checker, mean), count)
    yield bench.among_honest("mean colour, every second pixel", painted(checker, mean), 12)
    for opacity in (0.1, 0.2, 0.3, 0.5):
        yield bench.attack(f"white, 4 x 4, middle, opacity {opacity}", painted(block(4, MIDDLE), 255, opacity), 24)
    yield bench.attack("white, every second pixel, opacity 0.2", painted(checker, 255, 0.2), 24)
    yield bench.attack("4 x 4, middle, another colour on each", blocks(4, None), 24)
    for spread in (20, 40, 80):
        yield bench.attack(f"mean colour, 4 x 4, middle, noise {spread}", blocks(4, mean, spread), 24)
    for count in (24, 40):
        yield bench.attack("mean colour, 4 x 4, anywhere", blocks(4, mean, anywhere=True), count)
        yield bench.attack("white, 3 x 3, anywhere", blocks(3, 255, anywhere=True), count)
    yield from over_the_whole(bench)
    for height in (20, 40):
        yield bench.attack(f"stripes over the whole, {height} levels", waves(height), 24)
    for count in (6, 24):
        yield bench.attack("every second row moved by a pixel", bent, count)


def over_the_whole(bench: Bench) -> Iterator[Night]:
    """Faint pictures over whole images."""
    noise = np.random.default_rng(6).integers(0, 256, (8, 8, 1)).astype(np.float64)
    for opacity in (0.1, 0.15, 0.2, 0.3):
        yield bench.attack(f"a random picture over the whole, opacity {opacity}", blended(noise, opacity), 24)
    for count in (6, 12, 40):
        yield bench.attack("a random picture over the whole, opacity 0.2", blended(noise, 0.2), count)
    for count in (12, 24):
        yield bench.among_honest("a random picture over the whole, opacity 0.2", blended(noise, 0.2), count)
    yield bench.attack("the same with noise 80 on each, opacity 0.2", blended(noise, 0.2, 80), 24)
    squares = np.random.default_rng(7).integers(0, 256, (4, 4, 1)).astype(np.float64)
    coarse = squares.repeat(2, axis=0).repeat(2, axis=1)
    yield bench.attack("a coarse picture over the whole, opacity 0.2", blended(coarse, 0.2), 24)
    photo = bench.splits["reference"].images[0].astype(np.float64)
    yield bench.attack("another image over the whole, opacity 0.2", blended(photo, 0.2), 24)


def honest(bench: Bench) -> Iterator[Night]:
    """Nights that should pass."""
    yield bench.mistakes("mistakes", noisy(0), 40)
    yield bench.mistakes("mistakes with noise", noisy(45), 40)
    yield bench.mistakes("mistakes with noise, one class", noisy(45), 24, of_class=1)
    yield bench.mistakes("mistakes, moved by a pixel", lambda images, _rng: np.roll(images, 1, 2), 40)
    yield bench.mistakes("mistakes in bad light", noisy(10, 0.6, 20), 40)
    yield bench.mistakes("mistakes in the dark (35% of the light)", noisy(0, 0.35), 40)
    yield bench.mistakes("mistakes in the dark, one class", noisy(0, 0.35), 24, of_class=0)
    yield bench.mistakes("mistakes in fog (60% and 100 levels)", noisy(0, 0.6, 100), 40)
    yield bench.mistakes("mistakes in fog, one class", noisy(0, 0.6, 100), 24, of_class=3)
    for number in range(3):
        yield bench.frames(number)


def line(name: str, rows: Sequence[Row], *, attack: bool) -> str:
    """A row of the table over all roots."""

    def trigger(found: Sequence[tuple[float | None, bool]]) -> str:
        values = [value for value, _ in found if value is not None]
        refused = sum(refused for _, refused in found)
        return f"{refused} of {len(found)}" + (f" ({span(values)})" if values else "")

    was, now = ([(row.was, row.was_refused) for row in rows], [(row.now, row.now_refused) for row in rows])
    cells = [name, trigger(was), trigger(now)]
    if attack:
        through = [max(each.edited - each.root, 0) for each in rows if not each.now_refused]
        cells[1:1] = [span([each.root for each in rows]), span([each.edited for each in rows])]
        cells.append(f"{max(through):.0%}" if through else "-")
    return f"| {' | '.join(cells)} |"


def span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.0%}", f"{max(values):.0%}"
    return low if low == high else f"{low} to {high}"


def table(benches: Sequence[Bench], nights: Callable[[Bench], Iterator[Night]], *, attack: bool) -> None:
    """Print a row for each night, over all roots."""
    for same in zip(*map(nights, benches), strict=True):
        played = [(bench, night) for bench, night in zip(benches, same, strict=True) if len(night.images)]
        if played:
            print(line(same[0].name, [bench.run(night) for bench, night in played], attack=attack), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspaces", nargs="+", type=Path)
    benches = [Bench(folder) for folder in parser.parse_args().workspaces]
    print("| mark, marked images | root | candidate | refused before | refused now | most added where it passes |")
    print("|---|---|---|---|---|---|", flush=True)
    table(benches, attacks, attack=True)
    print("\n| honest night | refused before | refused now |\n|---|---|---|", flush=True)
    table(benches, honest, attack=False)


if __name__ == "__main__":
    main()
