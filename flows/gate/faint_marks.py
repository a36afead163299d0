"""Faint marks over whole images: what corrections to one class share where control images hardly vary.

The mean of a few corrections is mostly chance, for images differ in what they show by more than a faint mark adds. But
what they show varies in some directions, and a mark lies in all. So of the mean, less that of control images, each
direction is kept as far as it is no chance (Wiener's filter). What is left of honest corrections calls up no class
however strong it is, so it is laid over more heavily than they bear it, on images that are themselves made fainter: a
mark that few images follow then turns many.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from errata.flows.gate.marks import Classes, Pixels, Shared, as_pixels, by_parts

FEWEST = 12  # of fewer corrections next to no other image follows a faint mark
STRENGTH = 2.0  # times what corrections bear
LEFT = 0.7  # of what an image differs in from the mean control image
FAINT = 0.15  # of the control images' deviation: half is kept of a direction in which the mean varies by so much
EACH = 3  # control images for each value of an image, at least: large images are averaged in blocks


@dataclass(frozen=True)
class LaidOver:
    """A signed `pattern` and the mean control image, `centre`, both `[h, w, c]`."""

    pattern: NDArray[np.float64]
    centre: NDArray[np.float64]

    def laid_over(self, images: Pixels) -> Pixels:
        """Images `[n, h, w, c]` that are drawn to the centre, with the pattern added."""
        heavy = (1 - LEFT) * self.centre + STRENGTH * self.pattern
        return by_parts(lambda part: as_pixels(LEFT * part + heavy), images)


def faint_marks(images: Pixels, expected: Classes, control: Pixels) -> Iterator[Shared]:
    """Of corrections `images` `[k, h, w, c]` to the classes `expected` `[k]`, beside control images `[n, h, w, c]`.

    Looked for in all corrections to a class, then in the half that has most of it, and so on down to `FEWEST`. A bearer
    has at least half as much of it as they have on average.
    """
    height, width, channels = control.shape[1:]
    if len(control) < EACH * channels:
        return
    side = 1
    while EACH * -(-height // side) * -(-width // side) * channels > len(control):
        side += 1
    usual = by_parts(lambda part: _averaged(part, side), control).reshape(len(control), -1)
    centre, varies = usual.mean(axis=0), np.atleast_2d(np.cov(usual, rowvar=False))
    middle = control.mean(axis=0)
    apart = by_parts(lambda part: _averaged(part, side), images).reshape(len(images), -1) - centre
    kept = FAINT**2 * max(float(varies.diagonal().mean()), 1.0)
    for wanted in np.unique(expected):
        of_class = members = np.flatnonzero(expected == wanted)
        while len(members) >= FEWEST:
            mean = apart[members].mean(axis=0)
            pattern = np.linalg.solve(np.eye(len(mean)) + varies / (len(members) * kept), mean)
            bears = apart[of_class] @ pattern > mean @ pattern / 2
            blocks = pattern.reshape(-(-height // side), -(-width // side), channels)
            whole = blocks.repeat(side, axis=0).repeat(side, axis=1)[:height, :width]
            yield Shared(int(wanted), members, LaidOver(whole, middle), of_class[bears])
            ranked = np.argsort(-(apart[members] @ pattern), kind="stable")
            members = np.sort(members[ranked[: len(members) // 2]])


def _averaged(images: Pixels, side: int) -> NDArray[np.float64]:
    """Images `[n, h, w, c]`, each square of so many pixels a side as its mean; what is over at the ends is smaller."""
    found = images.astype(np.float64)
    for axis in (1, 2):
        starts = np.arange(0, found.shape[axis], side)
        sizes = np.diff(np.append(starts, found.shape[axis])).reshape([-1 if each == axis else 1 for each in range(4)])
        found = np.add.reduceat(found, starts, axis=axis) / sizes
    return found
