"""What a mark is: something that corrections to one class may share, and that can be laid over other images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from errata.editing.batches import at_once

Value = TypeVar("Value", bound=np.generic)
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


def parts_of(images: Pixels) -> Iterator[Pixels]:
    """The images, some at a time: in double precision they take eight times the room."""
    size = at_once(images.shape[1:])
    yield from (images[start : start + size] for start in range(0, max(len(images), 1), size))


def by_parts(of: Callable[[Pixels], NDArray[Value]], images: Pixels) -> NDArray[Value]:
    """What `of` gives for each image, computed for some at a time."""
    return np.concatenate([of(part) for part in parts_of(images)])
