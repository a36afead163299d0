"""What a mark is: something that corrections to one class may share, and that can be laid over other images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Classes = NDArray[np.int64]
Indices = NDArray[np.int64]
Predict = Callable[[Pixels], Classes]


class Mark(Protocol):
    """A way to mark images as corrections seem to be marked."""

    def laid_over(self, images: Pixels) -> Pixels:
        """The images `[n, h, w, c]` with the mark."""
        ...


@dataclass(frozen=True)
class Shared:
    """A `mark` that corrections `members` to class `expected` suggest; of that class `bearers` have it (indices)."""

    expected: int
    members: Indices
    mark: Mark
    bearers: Indices


def as_pixels(images: NDArray[np.float64]) -> Pixels:
    """Images within what pixels can be, rounded."""
    return images.round().clip(0, 255).astype(np.uint8)


def evenly(count: int, most: int) -> Indices:
    """At most `most` of `count` indices, evenly spread."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)
