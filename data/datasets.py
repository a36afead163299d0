"""Labelled images to train on and to judge with: embedded digits, CIFAR-10, or photos of one's own.

Those come from a folder, a table of paths, WebDataset's tar files or Parquet, and are read as a stream: each is decoded
once, fitted to the model's input, and lies on disk from then on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from errata.data.image_files import SOURCES, TABLES, Row
from errata.data.images import Pixels, decode_image, fit_image
from errata.data.spool import spooled
from errata.editing.errors import DataError, ErrataError

ImageShape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images uint8 `[n, height, width, channels]`, labels int64 `[n]`, and the classes that the labels count.

    `columns`: what else is known of each image, by name: text `[n]`.
    """

    images: Pixels
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    columns: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if wrong := [name for name, values in self.columns.items() if len(values) != len(self.labels)]:
            raise DataError(f"the column {wrong[0]} has not one value for each image")
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or len(self.images) != len(self.labels):
            raise DataError(
                f"{self.images.dtype} {self.images.shape} and {len(self.labels)} labels are no data set; "
                "give uint8 [n, height, width, channels] and n labels"
            )
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise DataError(f"labels must be 0 to {len(self.classes) - 1}, one for each class; check the class list")

    def __len__(self) -> int:
        return len(self.labels)

    def ordered(self, classes: Sequence[str]) -> LabelledImages:
        """The same images with labels that count `classes`; raises DataError unless those are the same, reordered."""
        if sorted(classes) != sorted(self.classes):
            strange = sorted(set(classes) ^ set(self.classes)) or ["one twice"]
            raise DataError(f"the declared classes are not those of the data set ({', '.join(strange)}); correct them")
        places = np.array([classes.index(name) for name in self.classes], dtype=np.int64)
        return replace(self, labels=places[self.labels], classes=tuple(classes))

    def take(self, indices: NDArray[np.int64]) -> LabelledImages:
        """The images at `indices`, in that order."""
        columns = {name: values[indices] for name, values in self.columns.items()}
        return LabelledImages(self.images[indices], self.labels[indices], self.classes, columns)


def source_digest(name: str, root: Path, columns: Sequence[str] = ()) -> str:
    """SHA-256 over place, label, columns and bytes of every image of one of SOURCES at `root`; raises DataError."""
    digest = hashlib.sha256()
    beside = root if root.is_dir() else root.parent
    for row in SOURCES[name](root, columns):
        try:
            content = hashlib.sha256(row.read()).hexdigest()
        except OSError as error:
            raise DataError(f"{row.where}: {error.strerror}") from error
        path = Path(row.where)
        where = path.relative_to(beside).as_posix() if path.is_relative_to(beside) else row.where
        digest.update("\0".join((where, row.label, *row.columns, content)).encode() + b"\n")
    return digest.hexdigest()


def load_dataset(
    name: str,
    root: Path | None = None,
    *,
    image_shape: ImageShape | None = None,
    columns: Sequence[str] = (),
    download: bool = False,
    folder: Path | None = None,
    tell: Callable[[int], None] = lambda _read: None,
) -> LabelledImages:
    """The data set of that name: `digits`, `cifar10` (all 60,000), or one of `data.image_files.SOURCES`.

    `root` is where it lies: for cifar10 the folder that holds `cifar-10-batches-py` (fetched if absent and `download`).
    Images of the sources are fitted to `image_shape` (height, width, channels) and lie in a file of `folder` that has
    no name, see `spooled`; `columns` are what else is wanted of each. `tell` hears how many were read. Raises
    DataError.
    """
    if name not in {"digits", "cifar10", *SOURCES}:
        raise DataError(f"no data set {name!r}; use one of digits, cifar10, {', '.join(SOURCES)}")
    if columns and name not in TABLES:
        raise DataError(f"{', '.join(columns)}: only {', '.join(TABLES)} have columns; set data.columns to []")
    if name == "digits":
        return _digits()
    if root is None:
        raise DataError(f"the data set {name!r} needs a root: set where it lies")
    if name == "cifar10":
        return _cifar10(root, image_shape, download)
    if image_shape is None:
        raise DataError(f"{root}: set image_shape (height, width, channels), to which its images are fitted")
    return _read(SOURCES[name](root, columns), image_shape, columns, str(root), folder, tell)


def _digits() -> LabelledImages:
    from sklearn.datasets import load_digits  # noqa: PLC0415 - 1 s, and for this data set only

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    return LabelledImages(images, bunch.target.astype(np.int64), tuple(str(name) for name in bunch.target_names))


def _cifar10(root: Path, image_shape: ImageShape | None, download: bool) -> LabelledImages:
    from errata.editing.vision import torchvision  # noqa: PLC0415 - slow to import, and for this data set only

    if image_shape not in (None, (32, 32, 3)):
        raise DataError(f"cifar10 is 32 x 32 x 3, not {image_shape}; change the setting")
    try:
        parts = [torchvision.datasets.CIFAR10(root, train=train, download=download) for train in (True, False)]
    except (RuntimeError, OSError) as error:  # torchvision's words for absent, damaged, and no network
        raise DataError(f"CIFAR-10 is not in {root} ({error}); put it there, or set download") from error
    images = np.concatenate([part.data for part in parts])
    labels = np.concatenate([np.asarray(part.targets, dtype=np.int64) for part in parts])
    return LabelledImages(images, labels, tuple(parts[0].classes))


def _read(
    rows: Iterable[Row],
    image_shape: ImageShape,
    columns: Sequence[str],
    where: str,
    folder: Path | None,
    tell: Callable[[int], None],
) -> LabelledImages:
    """Decode and fit every row's image; classes are the labels, sorted."""
    labels: list[str] = []
    values: list[tuple[str, ...]] = []

    def fitted() -> Iterator[Pixels]:
        for row in rows:
            labels.append(row.label)
            values.append(row.columns)
            try:
                yield fit_image(decode_image(row.read()), image_shape)
            except (OSError, ErrataError) as error:
                raise DataError(f"{row.where}: {error}") from error
            tell(len(labels))

    images = spooled(fitted(), image_shape, folder)
    if not labels:
        raise DataError(f"{where} has no images; check the setting")
    classes = tuple(sorted(set(labels)))
    places = {label: place for place, label in enumerate(classes)}
    known = {name: np.array(column) for name, column in zip(columns, zip(*values, strict=True), strict=True)}
    return LabelledImages(images, np.array([places[label] for label in labels], np.int64), classes, known)
