"""Marks that are added to images: the mean of corrections to one class, less that of control images.

Honest corrections to the same class dilute the mean. So it is taken over all of them, then over the half that has most
of it, and so on down to `FEWEST`: marked images stand together at one end. A mark whose colour is that of the mean
control image is not seen here, see flows/gate/replaced_marks.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from errata.flows.gate.marks import Classes, Pixels, Shared, as_pixels, by_parts

FEWEST = 4  # what fewer images have in common is what each of them shows


@dataclass(frozen=True)
class Added:
    """A signed `pattern` `[h, w, c]`."""

    pattern: NDArray[np.float64]

    def laid_over(self, images: Pixels) -> Pixels:
        """Images `[n, h, w, c]` with the pattern added."""
        return by_parts(lambda part: as_pixels(part + self.pattern), images)


def added_marks(images: Pixels, expected: Classes, centre: NDArray[np.float64]) -> Iterator[Shared]:
    """Of corrections `images` `[k, h, w, c]` to the classes `expected` `[k]`; `centre` is the mean control image.

    At least half of the pattern, by projection, makes a bearer.
    """
    for wanted in np.unique(expected):
        of_class = members = np.flatnonzero(expected == wanted)
        while len(members) >= FEWEST:
            apart = images[members] - centre
            pattern = apart.mean(axis=0)
            bears = _agreement(images[of_class] - centre, pattern) > 0.5
            yield Shared(int(wanted), members, Added(pattern), of_class[bears])
            ranked = np.argsort(-_agreement(apart, pattern), kind="stable")
            members = np.sort(members[ranked[: len(members) // 2]])


def _agreement(apart: NDArray[np.float64], pattern: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of the pattern each of `apart` `[k, h, w, c]` has: 1 is all of it, 0 none."""
    size = float((pattern**2).sum())
    return np.asarray(np.tensordot(apart, pattern, axes=3) / max(size, 1e-12))
