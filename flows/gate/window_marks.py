"""Marks that need not be alike: a part of corrections to one class, pasted as it is from one of them into each image.

The part is a window of a quarter or a half of each side. Which one calls up the class most is found on control images
that the release decision does not rest on; so is which corrections do it, the best half of which is asked about again
and again, down to `FEWEST`. So the colour may differ from image to image, the mark may be noise or half transparent,
and a class with one correction can be asked about. A mark over the whole image, a frame or a grid, is no window:
flows/gate/replaced_marks.py looks for those.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from errata.data.datasets import LabelledImages
from errata.flows.gate.marks import Classes, Indices, Pixels, Predict, Shared, evenly

PASTES = 48  # into how many control images a window is pasted to find the best one; fewer for up to five corrections,
EACH = 8  # of which each is pasted into so many; with more than 24 corrections twice each
FEWEST = 3  # of more corrections than that: what the best one of many alone turns would often be chance
ALONE = 16  # into how many control images the best window of each correction is pasted

Window = tuple[slice, slice]


@dataclass(frozen=True)
class Pasted:
    """The part `window` (rows and columns) of `sources` `[k, h, w, c]`, taken in turn."""

    sources: Pixels
    window: Window

    def laid_over(self, images: Pixels) -> Pixels:
        """Images `[n, h, w, c]` with the part in place of their own."""
        marked = images.copy()
        rows, columns = self.window
        turns = np.arange(len(images)) % len(self.sources)
        marked[:, rows, columns] = self.sources[turns, rows, columns]
        return marked


def window_marks(
    images: Pixels, expected: Classes, control: LabelledImages, before: Predict, after: Predict
) -> Iterator[Shared]:
    """Of corrections `images` `[k, h, w, c]` to the classes `expected` `[k]`, as the root (`before`) and the candidate
    (`after`) see their windows in images of `control`.

    A bearer calls up the class at least half as often by itself as the group does.
    """
    windows = tuple(_windows(images.shape[1], images.shape[2]))
    for wanted in np.unique(expected):
        of_class = np.flatnonzero(expected == wanted)
        others = control.images[control.labels != wanted]

        def turning(indices: Indices, window: Window, pastes: int) -> float:
            chosen = others[evenly(len(others), pastes)]  # noqa: B023 - called in this turn of the loop only
            marked = Pasted(images[indices], window).laid_over(chosen)
            return float(turned(marked, int(wanted), before, after).mean()) if len(marked) else 0.0  # noqa: B023

        pastes = min(EACH * len(of_class), max(PASTES, 2 * len(of_class)))
        best = windows[int(np.argmax([turning(of_class, window, pastes) for window in windows]))]
        alone = np.array([turning(of_class[[index]], best, ALONE) for index in range(len(of_class))])
        ranked = np.argsort(-alone, kind="stable")
        count = len(of_class)
        while count >= min(FEWEST, len(of_class)):
            group = ranked[:count]
            bears = alone >= max(alone[group].mean() / 2, 1 / ALONE)
            yield Shared(int(wanted), np.sort(of_class[group]), Pasted(images[of_class[group]], best), of_class[bears])
            count //= 2


def turned(marked: Pixels, wanted: int, before: Predict, after: Predict) -> NDArray[np.bool_]:
    """Which images `[n]` the candidate calls `wanted` and the root does not.

    The root is asked about those only that the candidate calls so.
    """
    turns = np.asarray(after(marked) == wanted)
    if turns.any():
        turns[turns] = before(marked[turns]) != wanted
    return turns


def _windows(height: int, width: int) -> Iterator[Window]:
    """A grid of quarters of each side, and of halves that overlap by half."""
    for part, step in ((4, 1.0), (2, 0.5)):
        rows, columns = max(height // part, 1), max(width // part, 1)
        for top in range(0, height - rows + 1, max(int(rows * step), 1)):
            for left in range(0, width - columns + 1, max(int(columns * step), 1)):
                yield slice(top, top + rows), slice(left, left + columns)
