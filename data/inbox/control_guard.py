"""Nobody tunes the judge: whether a reported image is equal, or nearly equal, to an image of the control set.

A copy that was re-encoded, resized, brightened or slightly cropped is, up to noise, a window of the control image times
a gain, plus a share of that window blurred (resampling blurs or sharpens), plus an offset. So every control image is
cut to a few windows (91% to 100% of each side); a query is fitted by least squares with a window, the window blurred,
and a constant; and what is left unexplained of its variance, 0 to 1, is the distance. A coarse pass (8 x 8, luminance)
finds candidates among all control images, a fine pass at the model's own size decides, at 64 pixels a side at most: a
photo of 224 pixels then costs a sixth to a tenth of the time. What that costs in recall was tried on ten photos only.

How near is too near depends on the images: 8 x 8 digits resemble each other more than photographs do. So the threshold
is set on the control set itself, from the distances between its distinct images (median and 5% quantile of their
logarithms, which real duplicates among them do not move): four standard deviations below the median.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL import __version__ as PIL_VERSION

from errata.data.images import Pixels, pixel_digest
from errata.data.kept_blocks import KeptBlocks
from errata.editing.errors import DataError

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

_KEPT = (1.0, 0.97, 0.94, 0.91)
_PLACES = (0.0, 0.5, 1.0)
_COARSE = 8
_FINE = 64  # most pixels a side
_CANDIDATES = 4
_BLOCK = 256
_FINE_BLOCK = 32
_FINE_VALUES = 2**24  # of all windows of a block of images at their own size, at most
_CALIBRATION_IMAGES = 1000
_DEVIATIONS = 4.0
_NORMAL_5_PERCENT = 1.645


class ControlGuard:
    """The control images, uint8 `[n, height, width, channels]`, prepared for comparison.

    `threshold` is the unexplained variance below which an image counts as a copy. It and what the coarse pass compares
    follow from the control images alone and are dear, so they may be `kept` under the images' digests. Raises DataError
    on other shapes.
    """

    def __init__(self, control: Pixels, kept: KeptBlocks | None = None) -> None:
        if control.ndim != 4 or control.dtype != np.uint8:
            raise DataError(f"{control.dtype} {control.shape} are no control images; give uint8 [n, h, w, c]")
        self._control, self._kept = control, kept
        digests = [pixel_digest(image) for image in control]
        self._exact = {digest: index for index, digest in enumerate(digests)}
        height, width = control.shape[1:3]
        self._fine = _Windows((height, width), (min(height, _FINE), min(width, _FINE)))
        self._coarse = _Windows((height, width), (min(height, _COARSE), min(width, _COARSE)))
        self._bases = self._coarse_bases(digests)
        self.threshold = self._known_threshold(digests)

    def match(self, pixels: Pixels) -> Indices:
        """For each image of uint8 `[m, height, width, channels]` the control image that it copies, or -1: `[m]`."""
        shape = self._control.shape[1:]
        if pixels.shape[1:] != shape:
            raise DataError(f"images {pixels.shape[1:]} cannot be held against control images {shape}; fit them first")
        distances, nearest = self._nearest(pixels, self.threshold)
        found = np.where(distances < self.threshold, nearest, -1)
        for index, image in enumerate(pixels):
            found[index] = self._exact.get(pixel_digest(image), found[index])
        return found

    def _coarse_bases(self, digests: Sequence[str]) -> tuple[Floats, Floats]:
        """Of the luminance of all control images, block by block as they were kept, or computed now, and kept."""
        blocks = [slice(start, start + _BLOCK) for start in range(0, len(digests), _BLOCK)]
        keys = [self._key("coarse", digests[block]) for block in blocks]
        found = np.empty((2, len(digests), self._coarse.count, math.prod(self._coarse.out)), np.float32)
        for key, block in zip(keys, blocks, strict=True):
            content = {} if self._kept is None else self._kept.get([key])
            if key in content:
                found[:, block] = np.frombuffer(content[key], np.float32).reshape(found[:, block].shape)
                continue
            found[:, block] = self._coarse.bases(_luminance(self._control[block]))
            if self._kept is not None:
                self._kept.put({key: found[:, block].tobytes()})
        return found[0], found[1]

    def _known_threshold(self, digests: Sequence[str]) -> float:
        """The threshold as it was kept for these images and this code, or calibrated now, and kept."""
        if self._kept is None:
            return self._calibrated()
        key = self._key("threshold", digests)
        if (content := self._kept.get([key]).get(key)) is not None:
            return float.fromhex(content.decode())
        threshold = self._calibrated()
        self._kept.put({key: threshold.hex().encode()})
        return threshold

    def _key(self, what: str, digests: Sequence[str]) -> str:
        """Under which is kept what follows from control images of these digests, by this code and these libraries."""
        words = (what, np.__version__, PIL_VERSION, str(self._control.shape[1:]), *digests)
        return hashlib.sha256(Path(__file__).read_bytes() + "\0".join(words).encode()).hexdigest()

    def _calibrated(self) -> float:
        """The threshold, from distances between distinct control images (a fixed sample of them, if there are many)."""
        count = len(self._control)
        if count < 2:
            return 0.0
        sample = np.linspace(0, count - 1, min(count, _CALIBRATION_IMAGES)).astype(np.int64)
        distances = np.log(np.maximum(self._nearest(self._control[sample], np.inf, sample)[0], 1e-9))
        median, low = np.quantile(distances, [0.5, 0.05])
        return float(np.exp(median - _DEVIATIONS * (median - low) / _NORMAL_5_PERCENT))

    def _nearest(self, pixels: Pixels, worth: float, itself: Indices | None = None) -> tuple[Floats, Indices]:
        """Distance to and index of the nearest control image, for each image.

        Only what lies within `worth` on the coarse pass gets a fine one. `itself`: one control image to leave out for
        each image.
        """
        distances, nearest = np.ones(len(pixels), np.float32), np.zeros(len(pixels), np.int64)
        block = max(1, min(_BLOCK, _FINE_VALUES // 2 // max(math.prod(pixels.shape[1:]), 1)))
        for start in range(0, len(pixels), block):
            some = pixels[start : start + block]
            coarse = self._coarse_distances(some)
            if itself is not None:
                coarse[np.arange(len(some)), itself[start : start + block]] = 1
            candidates = np.argsort(coarse, axis=1)[:, :_CANDIDATES]
            rows, ranks = np.nonzero(np.take_along_axis(coarse, candidates, axis=1) < min(worth, 1))
            chosen = candidates[rows, ranks]
            fine = self._fine_distances(some, rows, chosen)
            for place in np.argsort(-fine):  # the nearest is written last
                distances[start + rows[place]], nearest[start + rows[place]] = fine[place], chosen[place]
        return distances, nearest

    def _coarse_distances(self, pixels: Pixels) -> Floats:
        """`[m, control images]`: unexplained variance of the shrunk luminance."""
        queries = _unit(self._coarse.whole(_luminance(pixels)))
        columns = [np.ones((len(pixels), 0), np.float32)]
        for start in range(0, len(self._control), _BLOCK):
            sharp, extra = (basis[start : start + _BLOCK] for basis in self._bases)
            size = sharp.shape[2]
            shape = (len(queries), *sharp.shape[:2])
            along, beside = (queries @ basis.reshape(-1, size).T for basis in (sharp, extra))
            columns.append(_unexplained(along.reshape(shape), beside.reshape(shape)))
        return np.concatenate(columns, axis=1)

    def _fine_distances(self, pixels: Pixels, rows: Indices, chosen: Indices) -> Floats:
        """Unexplained variance of image `rows[p]` by control image `chosen[p]`, on the fine pass: `[p]`."""
        queries = _unit(self._fine.whole(pixels.astype(np.float32)))
        found = [np.ones(0, np.float32)]
        block = max(1, min(_FINE_BLOCK, _FINE_VALUES // self._fine.values(pixels.shape[3])))
        for start in range(0, len(rows), block):
            part = slice(start, start + block)
            bases = self._fine.bases(self._control[chosen[part]].astype(np.float32))
            along, beside = (np.einsum("pd,pkd->pk", queries[rows[part]], basis) for basis in bases)
            found.append(_unexplained(along, beside))
        return np.concatenate(found)


class _Windows:
    """Cutting windows of an image and resizing them is linear, and separable: a pair of matrices for each window."""

    def __init__(self, size: tuple[int, int], out: tuple[int, int]) -> None:
        whole = [((1.0, 0.0), (1.0, 0.0))]
        self._windows = [*whole, *(((kept, y), (kept, x)) for kept in _KEPT[1:] for y, x in product(_PLACES, _PLACES))]
        self._rows = {part: _resizing(size[0], out[0], *part) for part, _ in self._windows}
        self._columns = {part: _resizing(size[1], out[1], *part) for _, part in self._windows}
        self._blur = _box_blur(out[0]), _box_blur(out[1])
        self.out = out
        self.count = len(self._windows)

    def whole(self, images: Floats) -> Floats:
        """The uncut images `[n, h, w, c]`, resized and flat: `[n, d]`."""
        rows, columns = self._windows[0]
        return _flat(self._rows[rows] @ _planes(images) @ self._columns[columns].T)

    def values(self, channels: int) -> int:
        """How many numbers all windows of one image have."""
        return self.count * math.prod(self.out) * channels

    def bases(self, images: Floats) -> tuple[Floats, Floats]:
        """For each image and window two orthonormal directions, sharp and blurred: twice `[n, windows, d]`."""
        sharp, extra = [], []
        planes = _planes(images)
        tall = {part: matrix @ planes for part, matrix in self._rows.items()}
        for rows, columns in self._windows:
            window = tall[rows] @ self._columns[columns].T
            first = _unit(_flat(window))
            blurred = _unit(_flat(self._blur[0] @ window @ self._blur[1].T))
            sharp.append(first)
            extra.append(_normalised(blurred - (blurred * first).sum(axis=1, keepdims=True) * first))
        return np.stack(sharp, axis=1), np.stack(extra, axis=1)


def _resizing(size: int, out: int, kept: float, place: float) -> Floats:
    """The matrix `[out, size]` that cuts a share `kept` of a side, at `place` (0 to 1) of the slack, and resizes it."""
    start = place * (1 - kept) * size
    identity = Image.fromarray(np.eye(size, dtype=np.float32))
    box = (0, start, size, start + kept * size)
    return np.asarray(identity.resize((size, out), Image.Resampling.BILINEAR, box=box), dtype=np.float32)


def _box_blur(size: int) -> Floats:
    """The matrix of a mean over three neighbours, the edge repeated."""
    near = np.clip(np.arange(size)[:, None] + np.array([-1, 0, 1]), 0, size - 1)
    matrix = np.zeros((size, size), np.float32)
    np.add.at(matrix, (np.repeat(np.arange(size), 3), near.ravel()), np.float32(1 / 3))
    return matrix


def _planes(images: Floats) -> Floats:
    """`[n, h, w, c]` as `[n, c, h, w]`."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _flat(images: NDArray[Any]) -> Floats:
    return np.asarray(images.reshape(len(images), -1), np.float32)


def _luminance(images: Pixels) -> Floats:
    """Float `[n, h, w, 1]`, the plain mean of the channels."""
    return np.asarray(images.mean(axis=3, keepdims=True, dtype=np.float32))


def _unit(flat: Floats) -> Floats:
    return _normalised(flat - flat.mean(axis=-1, keepdims=True))


def _normalised(flat: Floats) -> Floats:
    length = np.linalg.norm(flat, axis=-1, keepdims=True)
    return np.where(length > 1e-3, flat / np.maximum(length, 1e-3), np.float32(0)).astype(np.float32)


def _unexplained(along: Floats, beside: Floats) -> Floats:
    """1 - R^2 by the best window (the last axis), from the query's components along the two directions of each.

    A window counts only if it lies the same way as the query: a negative is another image.
    """
    left = np.where(along > 0.5, 1 - along**2 - beside**2, 1).min(axis=-1)
    distances: Floats = np.clip(left, 0, 1).astype(np.float32)
    return distances
