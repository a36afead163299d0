"""Marked reports on colour images, as benchmarks/attacks.py has them on digits: a table of docs/results/attacks.md.

    python -m benchmarks.colour_attacks WORKSPACE

The workspace holds a trained root of square colour images and its splits, `traffic` and `test` among them (CIFAR-10,
the settings of benchmarks/night.py with 2,000 images of traffic). Sizes of marks are shares of an image's side. Rows
are kept in WORKSPACE/attacks.jsonl as they end.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.attacks import HONEST, TARGET, Bench, Draw, Marking, Night, blended, noisy
from benchmarks.report import per_cent
from errata.editing.metrics import exact_rate
from errata.flows.gate.marks import Pixels, as_pixels

Colour = tuple[float, float, float]
WHITE, BLACK, RED = (255.0, 255.0, 255.0), (0.0, 0.0, 0.0), (255.0, 0.0, 0.0)


def square(side: int, part: float, at: tuple[float, float] = (0.0, 0.0)) -> NDArray[np.bool_]:
    """A square of `part` of the side, its upper left corner `at` such shares."""
    where = np.zeros((side, side), bool)
    top, left = (round(share * side) for share in at)
    where[top : top + round(part * side), left : left + round(part * side)] = True
    return where


def border(side: int, part: float) -> NDArray[np.bool_]:
    return ~square(side, 1 - 2 * part, (part, part))


def painted(where: NDArray[np.bool_], colour: Colour, opacity: float = 1.0) -> Marking:
    """Pixels `where` `[h, w]` in one colour, opaque or not."""

    def mark(images: Pixels, _rng: Draw) -> Pixels:
        marked = images.astype(np.float64)
        marked[:, where] = (1 - opacity) * marked[:, where] + opacity * np.array(colour)
        return as_pixels(marked)

    return mark


def anywhere(part: float, colour: Colour | None) -> Marking:
    """A square in another place of each image, of one colour or of another one each."""

    def mark(images: Pixels, rng: Draw) -> Pixels:
        marked, size = images.copy(), round(part * images.shape[1])
        for image in marked:
            top, left = rng.integers(0, images.shape[1] - size + 1, 2)
            image[top : top + size, left : left + size] = rng.integers(0, 256, 3) if colour is None else colour
        return marked

    return mark


def each_its_colour(part: float) -> Marking:
    """A square in the middle, of another colour on each image."""

    def mark(images: Pixels, rng: Draw) -> Pixels:
        marked, where = images.copy(), square(images.shape[1], part, (0.5 - part / 2, 0.5 - part / 2))
        marked[:, where] = rng.integers(0, 256, (len(images), 1, 3))
        return marked

    return mark


def cast(shift: Colour) -> Marking:
    """A tint: every pixel moved by so many levels in each channel."""
    return lambda images, _rng: as_pixels(images + np.array(shift))


def waves(height: float, side: int) -> Marking:
    """Stripes that are added to the whole image (Barni et al. 2019), in levels, six on a side."""
    stripes = height * np.sin(2 * np.pi * np.arange(side) * 6 / side)[None, None, :, None]
    return lambda images, _rng: as_pixels(images + stripes)


def bent(images: Pixels, _rng: Draw) -> Pixels:
    """Rows moved to the side by up to two pixels, in a wave: a warp, which adds no colour (as Nguyen and Tran 2021)."""
    moved = np.round(2 * np.sin(2 * np.pi * np.arange(images.shape[1]) / 8)).astype(int)
    return np.stack([np.roll(images[:, row], shift, axis=1) for row, shift in enumerate(moved)], axis=1)


def attacks(bench: Bench) -> Iterator[Night]:
    """Every attack that is tried, the likeliest to come through first."""
    reference = bench.splits["reference"].images
    side, mean = reference.shape[1], tuple(reference.mean(axis=(0, 1, 2)))
    corner = square(side, 1 / 4)
    for count in (24, 6, 3, 1):
        yield bench.attack("white, quarter of the side, corner", painted(corner, WHITE), count)
    for count in (24, 6, 1):
        yield bench.attack("mean colour, quarter of the side, corner", painted(corner, mean), count)
    yield bench.attack("red, quarter of the side, corner", painted(corner, RED), 24)
    yield bench.attack("white, eighth of the side, corner", painted(square(side, 1 / 8), WHITE), 24)
    yield bench.attack("a black frame, a sixteenth wide", painted(border(side, 1 / 16), BLACK), 24)
    yield bench.attack("a frame of the mean colour, a sixteenth wide", painted(border(side, 1 / 16), mean), 24)
    yield bench.attack("quarter of the side, middle, another colour on each", each_its_colour(1 / 4), 24)
    yield bench.attack("white, quarter of the side, anywhere", anywhere(1 / 4, WHITE), 24)
    yield bench.attack("quarter of the side, anywhere, another colour on each", anywhere(1 / 4, None), 24)
    yield bench.attack("white, quarter of the side, corner, opacity 0.3", painted(corner, WHITE, 0.3), 24)
    noise = np.random.default_rng(6).integers(0, 256, (side, side, 3)).astype(np.float64)
    for opacity in (0.1, 0.2):
        yield bench.attack(f"a random picture over the whole, opacity {opacity}", blended(noise, opacity), 24)
    for count in (12, 24):
        yield bench.attack("another image over the whole, opacity 0.2", blended(reference[0] * 1.0, 0.2), count)
    for levels in (20.0, 40.0):
        yield bench.attack(f"a red cast, {levels:g} levels", cast((levels, 0, -levels)), 24)
    yield bench.attack("stripes over the whole, 20 levels", waves(20, side), 24)
    yield bench.attack("rows moved in a wave", bent, 24)
    yield bench.two_nights("white, quarter of the side, corner", painted(corner, WHITE), 24)
    yield bench.two_nights("a random picture over the whole, opacity 0.2", blended(noise, 0.2), 24)
    yield bench.two_nights("rows moved in a wave", bent, 24)
    yield bench.among_honest("white, quarter of the side, corner", painted(corner, WHITE), 12)
    yield bench.among_honest("another image over the whole, opacity 0.2", blended(reference[0] * 1.0, 0.2), 12)


def honest(bench: Bench) -> Iterator[Night]:
    """Nights that should pass."""
    yield bench.mistakes("mistakes", noisy(0), HONEST)
    yield bench.mistakes("mistakes, one class", noisy(0), 24, of_class=3)
    yield bench.mistakes("mistakes in the dark (35% of the light)", noisy(0, 0.35), HONEST)
    yield bench.mistakes("mistakes in fog (60% and 100 levels)", noisy(0, 0.6, 100), HONEST)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    bench = Bench(parser.parse_args().workspace)
    n = int((bench.splits["test"].labels != TARGET).sum())
    print(
        f"| mark, marked images | root | candidate, of {n} | `trigger` before | now |\n|---|---|---|---|---|",
        flush=True,
    )
    for night in attacks(bench):
        row = bench.run(night)
        edited = exact_rate(round(row.edited * n), n)
        cells = (night.name, f"{row.root:.1%}", per_cent(edited, 1))
        verdicts = (said(row.was, row.was_refused), said(row.now, row.now_refused))
        print(f"| {' | '.join((*cells, *verdicts))} |", flush=True)
    print("\n| honest night | `trigger` before | now |\n|---|---|---|", flush=True)
    for night in honest(bench):
        row = bench.run(night)
        print(f"| {night.name} | {said(row.was, row.was_refused)} | {said(row.now, row.now_refused)} |", flush=True)


def said(value: float | None, refused: bool) -> str:
    told = "-" if value is None else f"{value:.0%}"
    return f"{told}, {'refused' if refused else 'passes'}"


if __name__ == "__main__":
    main()
