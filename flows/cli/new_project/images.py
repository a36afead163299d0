"""What the image files of a new project are: which classes, how many of each, which sizes, grey or in colour."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low

import numpy as np

from errata.data.datasets import ImageShape, LabelledImages
from errata.data.image_files import SOURCES
from errata.data.images import decode_image
from errata.editing.errors import DataError, ErrataError

MOST_NAMED = 20  # files that cannot be read
LARGEST_SIDE = 224  # of what images are fitted to by default


@dataclass(frozen=True)
class Seen:
    """Images by class, by size (height, width), and whether all of them are grey."""

    classes: dict[str, int]
    sizes: dict[tuple[int, int], int]
    grey: bool

    @property
    def sizes_sentence(self) -> str:
        """The sizes, in words."""
        heights, widths = zip(*self.sizes, strict=True)
        if len(self.sizes) == 1:
            return f"all {heights[0]} x {widths[0]} pixels"
        return f"{len(self.sizes)} sizes, {min(heights)} to {max(heights)} high and {min(widths)} to {max(widths)} wide"

    def shape(self, size: tuple[int, int] | None, channels: int | None) -> ImageShape:
        """What to fit them to: their own size if all have the same, else a square of the median shorter side."""
        if size is None and len(self.sizes) == 1:
            (size,) = self.sizes
        if size is None:
            side = median_low([side for each, count in self.sizes.items() for side in [min(each)] * count])
            size = (min(side, LARGEST_SIDE),) * 2
        return (*size, channels or (1 if self.grey else 3))


def look_at(dataset: str, root: Path) -> Seen:
    """Decode every image of `folder` or `csv` at `root`; raises DataError that names the files which are none."""
    classes: Counter[str] = Counter()
    sizes: Counter[tuple[int, int]] = Counter()
    unreadable, grey = [], True
    count = 0
    for row in SOURCES[dataset](root, ()):
        count += 1
        try:
            pixels = decode_image(row.read())
        except (OSError, ErrataError) as fault:
            unreadable.append(f"{row.where}: {fault}")
            continue
        classes[row.label] += 1
        sizes[pixels.shape[0], pixels.shape[1]] += 1
        grey = grey and bool((pixels == pixels[:, :, :1]).all())
    if not count:
        words = "it must hold a folder for each class" if root.is_dir() else "it names none"
        raise DataError(f"{root} has no images: {words}")
    if unreadable:
        more = f"\n  and {len(unreadable) - MOST_NAMED} more" if len(unreadable) > MOST_NAMED else ""
        raise DataError(
            f"{len(unreadable)} of {count} files of {root} cannot be used; take them away or mend them:\n  "
            + "\n  ".join(unreadable[:MOST_NAMED])
            + more
        )
    if len(classes) < 2:
        raise DataError(f"{root} has the class {next(iter(classes))!r} only; a classifier needs two at least")
    return Seen(dict(sorted(classes.items())), dict(sizes), grey)


def statistics(dataset: LabelledImages) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel's pixels, as shares of their range."""
    total = np.zeros((2, dataset.images.shape[3]))
    for image in dataset.images:  # one by one: as floats they would take eight times their memory
        pixels = image / 255
        total += np.stack([pixels.mean(axis=(0, 1)), (pixels**2).mean(axis=(0, 1))])
    mean, square = total / len(dataset)
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    return tuple(round(float(each), 3) for each in mean), tuple(max(round(float(each), 3), 0.001) for each in deviation)
