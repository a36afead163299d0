"""Pictures inside a page: `data:` URLs, as large as what a page may weigh lets them be."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from errata.data.images import Pixels, decode_image, encode_png

SHARP = 40  # up to this side, in pixels, a browser shows single pixels as squares rather than blur them
LARGEST = 24_000  # characters of one picture
ALL = 1_200_000  # characters of all pictures of one sort on a page; a page of 1,000 corrections stays below 3 MB
COLUMNS = 4  # of views
_STEPS = ((320, 85), (224, 80), (160, 70), (96, 60), (64, 50), (48, 30))  # longest side in pixels, quality in WebP


def share(pictures: int) -> int:
    """How many characters each of so many pictures may have."""
    return min(LARGEST, ALL // max(pictures, 1))


def thumbnail(content: bytes, most: int = LARGEST) -> str:
    """A URL of a PNG file, of at most `most` characters where that can be: as it is, or smaller and as WebP."""
    if len(as_is := _url("png", content)) <= most:
        return as_is
    image = Image.open(io.BytesIO(content), formats=("PNG",))
    for side, quality in _STEPS:
        smaller = image.copy()
        smaller.thumbnail((side, side))
        out = io.BytesIO()
        smaller.save(out, "WEBP", quality=quality)
        if len(url := _url("webp", out.getvalue())) <= most:
            break
    return url


def grid(images: Pixels, most: int) -> str:
    """A URL of one picture with uint8 `[n, h, w, c]`, `COLUMNS` in a row; what is left of the last row is black."""
    count, height, width, channels = images.shape
    rows = -(-count // COLUMNS)
    filled = np.zeros((rows * COLUMNS, height, width, channels), np.uint8)
    filled[:count] = images
    tiles = filled.reshape(rows, COLUMNS, height, width, channels).swapaxes(1, 2)
    return thumbnail(encode_png(tiles.reshape(rows * height, COLUMNS * width, channels)), most)


def longest_side(content: bytes) -> int:
    """Of a PNG file's image, in pixels."""
    return int(max(decode_image(content).shape[:2]))


def _url(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
