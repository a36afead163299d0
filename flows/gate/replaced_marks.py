"""Marks that take the place of pixels: where corrections to one class are all alike and control images are not.

So the mark may have any colour, that of the mean control image too, and any shape. Honest corrections to the same class
hide it: then some pixel of some of them differs. So it is looked for in all of them, then in the half that is most
alike, and so on down to `FEWEST`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from errata.flows.gate.marks import Classes, Indices, Pixels, Shared, as_pixels, by_parts, parts_of

FEWEST = 3  # of two images too many pixels are alike by chance
ALIKE = (
    0.05  # of the control images' standard deviation at a pixel: what corrections may differ by where they bear a mark
)
NEAR = 0.1  # of the same: how far two corrections may be apart at a pixel that counts as equal
COMPARED = 1024  # values of an image at most, the most varied ones: every two corrections are compared in them


@dataclass(frozen=True)
class Replaced:
    """The values `content` `[h, w, c]`, where `where` `[h, w, c]` says so."""

    where: NDArray[np.bool_]
    content: NDArray[np.float64]

    def laid_over(self, images: Pixels) -> Pixels:
        """Images `[n, h, w, c]` with the content in place of their own."""
        return by_parts(lambda part: as_pixels(np.where(self.where, self.content, part)), images)


def replaced_marks(images: Pixels, expected: Classes, control: Pixels) -> Iterator[Shared]:
    """Of corrections `images` `[k, h, w, c]` to the classes `expected` `[k]`, beside control images `[n, h, w, c]`.

    A bearer is nearer to the content than half of what control images are.
    """
    centre = control.mean(axis=0)
    squares = sum(((part - centre) ** 2).sum(axis=0) for part in parts_of(control))
    spread = np.sqrt(squares / len(control)) + 1.0  # a level at least: rounding is no difference
    for wanted in np.unique(expected):
        of_class = np.flatnonzero(expected == wanted)
        for group in _ever_more_alike(images[of_class], spread):
            own = images[of_class[group]].astype(np.float64)
            where = own.std(axis=0, ddof=1) < ALIKE * spread
            if where.any():
                mark = Replaced(where, own.mean(axis=0))
                far = _distance(control, mark, spread).mean()
                bears = _distance(images[of_class], mark, spread) < far / 2
                yield Shared(int(wanted), of_class[group], mark, of_class[bears])


def _distance(images: Pixels, mark: Replaced, spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each image `[n, h, w, c]` is from the mark, in it: `[n]`, in standard deviations of control images."""
    content, scale = mark.content[mark.where], spread[mark.where]
    return by_parts(lambda part: (np.abs(part[:, mark.where] - content) / scale).mean(axis=1), images)


def _ever_more_alike(images: Pixels, spread: NDArray[np.float64]) -> Iterator[Indices]:
    """All images `[k, h, w, c]`, then the half that agree on most of what varies in control images, and so on."""
    varied = np.argsort(-spread.ravel(), kind="stable")[:COMPARED]
    values = images.reshape(len(images), -1)[:, varied] / spread.ravel()[varied]
    members = np.arange(len(images))
    while len(members) >= FEWEST:
        yield members
        half = len(members) // 2
        equal = np.array([(np.abs(values[members] - values[one]) < NEAR).mean(axis=1) for one in members])
        centre = np.sort(equal, axis=1)[:, -max(half, 2) :].mean(axis=1).argmax()
        members = np.sort(members[np.argsort(-equal[centre], kind="stable")[:half]])
