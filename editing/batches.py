"""How many images go through a network at once: what comes of them inside is far larger than they are."""

from __future__ import annotations

import math
from collections.abc import Sequence

BLOCK = 256  # images at most
_VALUES = 2**23  # of all of them together: 55 photos of 224 pixels, of which a network of ImageNet size makes 300 MB


def at_once(shape: Sequence[int]) -> int:
    """How many images of a `shape` (height, width, channels)."""
    return max(1, min(BLOCK, _VALUES // max(math.prod(shape), 1)))
