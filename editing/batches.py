"""How many images go through a network at once: what comes of them inside is far larger than they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

BLOCK = 256  # images at most
_VALUES = 2**21  # of all of them together: 13 photos of 224 pixels. Of 55 a layer makes so much that the system hands
# out new pages for each layer anew, and clears them: EfficientNet-Lite0 takes twice the processor time for each photo


def at_once(shape: Sequence[int]) -> int:
    """How many images of a `shape` (height, width, channels)."""
    return max(1, min(BLOCK, _VALUES // max(math.prod(shape), 1)))


def parts(count: int, shape: Sequence[int], most: int) -> Iterator[slice]:
    """`count` images of a `shape` in their order: in each part whole batches of `at_once`, about `most` images."""
    batch = at_once(shape)
    step = batch * max(1, most // batch)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def spread(count: int, shape: Sequence[int], most: int) -> list[slice]:
    """Batches of `at_once` images, evenly spread over `count` images of a `shape`: all, or `most` images at most.

    One batch at least. Whole batches are what is kept of images (`editing.features`).
    """
    batch = at_once(shape)
    batches = -(-count // batch)
    kept = batches if count <= most else max(1, most // batch)
    starts = [number * batches // kept * batch for number in range(kept)]
    return [slice(start, min(start + batch, count)) for start in starts]
