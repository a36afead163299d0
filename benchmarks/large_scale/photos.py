"""Photos of an ImageNet-like folder in disjoint parts, and what a frozen backbone makes of them, kept in pieces.

A photo goes through the backbone once, ever: what is kept is keyed by the weights, the side in pixels and the list of
files. A run that is stopped goes on at the piece it was at.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from errata.data.image_files import SUFFIXES
from errata.data.images import decode_image, fit_image
from errata.editing.batches import at_once
from errata.editing.errors import DataError
from errata.editing.model import EditableModel

PIECE = 500  # photos whose features are kept in one file
PARTS = ("train", "reference", "calibration", "control", "pool")


@dataclass(frozen=True)
class Photos:
    """Files of photos and their classes int64 `[n]`."""

    paths: tuple[Path, ...]
    labels: Tensor

    def image(self, row: int, side: int) -> Tensor:
        """One of them, decoded and fitted: uint8 `[side, side, 3]`."""
        return torch.from_numpy(fit_image(decode_image(self.paths[row].read_bytes()), (side, side, 3)))

    def thinned(self, most: int) -> Photos:
        """At most so many of them, evenly spread over their order."""
        step = max(1, -(-len(self.paths) // most))
        return Photos(self.paths[::step], self.labels[::step])


def split_photos(root: Path, sizes: Sequence[int]) -> tuple[tuple[str, ...], dict[str, Photos]]:
    """The classes, which are the folders of `root`, and as many photos of each class as `sizes` says for each of PARTS.

    Photos may lie in folders of a class's folder. Raises DataError where a class has too few.
    """
    classes = tuple(sorted(path.name for path in root.iterdir() if path.is_dir()))
    found: dict[str, list[tuple[Path, int]]] = {part: [] for part in PARTS}
    for label, name in enumerate(classes):
        files = sorted(path for path in (root / name).rglob("*") if path.suffix.lower().lstrip(".") in SUFFIXES)
        if len(files) < sum(sizes):
            raise DataError(f"{root / name} has {len(files)} photos of {sum(sizes)}; ask for fewer of each class")
        order = np.random.default_rng(label).permutation(len(files))
        for part, (start, end) in zip(PARTS, pairwise(accumulate(sizes, initial=0)), strict=True):
            found[part] += [(files[place], label) for place in order[start:end]]
    return classes, {
        part: Photos(tuple(path for path, _ in rows), torch.tensor([label for _, label in rows]))
        for part, rows in found.items()
    }


def features_of(root: EditableModel, photos: Photos, side: int, key: str, cache: Path) -> Tensor:
    """The root's penultimate features `[n, d]` of `photos`, computed piece by piece where they are not in `cache`.

    `key` says which weights they are of.
    """
    listing = "\n".join(f"{path.parent.name}/{path.name}" for path in photos.paths)
    folder = cache / hashlib.sha256(f"{key} {side}\n{listing}".encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for start in range(0, len(photos.paths), PIECE):
        path = folder / f"{start:07}.npy"
        if not path.exists():
            started = time.perf_counter()
            rows = range(start, min(start + PIECE, len(photos.paths)))
            computed = through(root, (photos.image(row, side) for row in rows), side)
            unfinished = path.with_suffix(".part")
            with unfinished.open("wb") as file:
                np.save(file, computed.numpy())
            unfinished.replace(path)
            print(f"{len(rows) / (time.perf_counter() - started):.1f} photos a second: {path}", flush=True)
        found.append(torch.from_numpy(np.load(path)))
    return torch.cat(found)


@torch.no_grad()
def through(root: EditableModel, images: Iterable[Tensor], side: int) -> Tensor:
    """Features `[n, d]` of images uint8 `[side, side, 3]`, few of which are held at a time."""
    most, waiting, found = at_once((side, side, 3)), list[Tensor](), list[Tensor]()
    for image in images:
        waiting.append(image)
        if len(waiting) == most:
            found.append(root.features(torch.stack(waiting)))
            waiting = []
    if waiting:
        found.append(root.features(torch.stack(waiting)))
    return torch.cat(found)
