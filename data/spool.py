"""Images that lie on disk while they are used: memory holds what is looked at."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from errata.data.images import Pixels
from errata.editing.errors import DataError

BLOCK = 64  # images that are held at once where all of them are gone through


def spooled(arrays: Iterable[Pixels], shape: tuple[int, ...], folder: Path | None = None) -> Pixels:
    """The images of all `arrays` one behind the other, uint8 `[n, *shape]`, in a file of `folder` that has no name.

    Each array is an image of that `shape` or several. The file goes when the images do. By default it lies where the
    system keeps temporary files, which may be memory. Raises DataError if the disk is full.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            for array in arrays:
                file.write(np.ascontiguousarray(array).data)
            file.flush()
        except OSError as error:
            where = folder or tempfile.gettempdir()
            raise DataError(
                f"{where}: {error.strerror}; check the disk's space: {file.tell():,} bytes of images went there"
            ) from error
        count = file.tell() // int(np.prod(shape))
        # a memory map of nothing cannot be had
        return (
            np.asarray(np.memmap(file, np.uint8, "r+", shape=(count, *shape)))
            if count
            else np.empty((0, *shape), np.uint8)
        )
