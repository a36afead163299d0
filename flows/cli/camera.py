"""One bad camera, for the demonstration: what it takes is blurred, and pale on a grey ground."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from errata.data.images import Pixels

BLUR = 0.6  # standard deviation, in pixels
CONTRAST, GROUND = 0.65, 15  # of what is left of black to white, and where black lies of 255


def through_bad_camera(images: Pixels) -> Pixels:
    """Images uint8 `[n, h, w, c]` as the camera sees them."""
    blurred = gaussian_filter(images.astype(np.float64), (0, BLUR, BLUR, 0))
    return (blurred * CONTRAST + GROUND).round().clip(0, 255).astype(np.uint8)
