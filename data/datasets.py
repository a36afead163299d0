"""Labelled images to train on and to judge with: embedded digits, CIFAR-10, a folder, or a table of paths."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from errata.data.images import Pixels, decode_image, fit_image
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


@dataclass(frozen=True)
class ListedImage:
    """One image file of a folder or a CSV file: its label, and the values of the columns that were asked for."""

    path: Path
    label: str
    columns: tuple[str, ...] = ()


def list_images(name: str, root: Path, columns: Sequence[str] = ()) -> list[ListedImage]:
    """The image files of the data set `folder` or `csv` at `root`, in the order in which they are read.

    Raises DataError if there are none.
    """
    found = _listed_in_csv(root, columns) if name == "csv" else _listed_in_folder(root)
    if not found:
        raise DataError(f"{root} has no images; check the setting")
    return found


def source_digest(name: str, root: Path, columns: Sequence[str] = ()) -> str:
    """SHA-256 over the path, label, columns and bytes of every image of `folder` or `csv`; raises DataError."""
    digest = hashlib.sha256()
    beside = root if root.is_dir() else root.parent
    for row in list_images(name, root, columns):
        try:
            content = hashlib.sha256(row.path.read_bytes()).hexdigest()
        except OSError as error:
            raise DataError(f"{row.path}: {error.strerror}") from error
        where = row.path.relative_to(beside).as_posix() if row.path.is_relative_to(beside) else str(row.path)
        digest.update("\0".join((where, row.label, *row.columns, content)).encode() + b"\n")
    return digest.hexdigest()


def load_dataset(
    name: str,
    root: Path | None = None,
    *,
    image_shape: ImageShape | None = None,
    columns: Sequence[str] = (),
    download: bool = False,
) -> LabelledImages:
    """The data set of that name: `digits`, `cifar10` (all 60,000), `folder` or `csv`.

    `root` is where it lies: for cifar10 the folder that holds `cifar-10-batches-py` (fetched if absent and `download`),
    for folder one that has a folder of images for each class, for csv a file with the columns `path` (relative to the
    file), `label` and those of `columns`. The latter two are fitted to `image_shape` (height, width, channels). Raises
    DataError.
    """
    if columns and name != "csv":
        raise DataError(f"{', '.join(columns)}: only a CSV file has columns; give one, or set data.columns to []")
    if name == "digits":
        return _digits()
    if name not in {"cifar10", "folder", "csv"}:
        raise DataError(f"no data set {name!r}; use one of digits, cifar10, folder, csv")
    if root is None:
        raise DataError(f"the data set {name!r} needs a root: set where it lies")
    if name == "cifar10":
        return _cifar10(root, image_shape, download)
    rows = list_images(name, root, columns)
    more = {column: np.array([row.columns[place] for row in rows]) for place, column in enumerate(columns)}
    return replace(_read(rows, image_shape, str(root)), columns=more)


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


def _listed_in_folder(root: Path) -> list[ListedImage]:
    if not root.is_dir():
        raise DataError(f"{root} is no folder; give one that has a folder of images for each class")
    classes = sorted(path.name for path in root.iterdir() if path.is_dir())
    return [
        ListedImage(path, label)
        for label in classes
        for path in sorted((root / label).iterdir())
        if path.is_file() and not path.name.startswith(".")
    ]


def _listed_in_csv(root: Path, columns: Sequence[str]) -> list[ListedImage]:
    wanted = ["path", "label", *columns]
    try:
        with root.open(newline="", encoding="utf-8") as lines:
            found = [[row[name].strip() for name in wanted] for row in csv.DictReader(lines)]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, AttributeError) as error:
        named = f"{', '.join(wanted[:-1])} and {wanted[-1]}"
        raise DataError(f"{root}: {error!r}; give a UTF-8 CSV file with the columns {named}") from error
    return [ListedImage(root.parent / path, label, tuple(more)) for path, label, *more in found]


def _read(rows: Sequence[ListedImage], image_shape: ImageShape | None, where: str) -> LabelledImages:
    """Decode and fit every row's image; classes are the labels, sorted."""
    if image_shape is None:
        raise DataError(f"{where}: set image_shape (height, width, channels), to which its images are fitted")
    classes = tuple(sorted({row.label for row in rows}))
    images = np.empty((len(rows), *image_shape), np.uint8)
    for index, row in enumerate(rows):
        try:
            images[index] = fit_image(decode_image(row.path.read_bytes()), image_shape)
        except (OSError, ErrataError) as error:
            raise DataError(f"{row.path}: {error}") from error
    return LabelledImages(images, np.array([classes.index(row.label) for row in rows], dtype=np.int64), classes)
