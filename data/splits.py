"""The control set and its disjoint parts, made once, and recorded by digest.

Disjoint by pixels, not by index only: of equal images one is kept (a copy would be counted twice by every bound), and
of equal images with different labels none.

A split is one file of pixels as the model takes them, decoded once and used where they lie: no stage holds more of it
than what it looks at. `splits.json` says the digest of each.
"""

from __future__ import annotations

import hashlib
import io
import math
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from errata.data.datasets import LabelledImages
from errata.data.images import Pixels, pixel_digest
from errata.data.records import STRICT, Count, Sha256, canonical_json, parse_record
from errata.data.spool import BLOCK, spooled
from errata.editing.errors import Damaged, DataError

RECORD = "splits.json"
REST = -1
IMAGES = "images.npy"
COLUMN = "column_"  # of what else is known of the images, in a split's file
LEARNED = ("train", "reference", "calibration")
Rows = NDArray[np.int64]  # indices of images
SPLIT_BYTES = 2**34  # at most, of a split's file that is read into memory
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can hold


@dataclass(frozen=True, config=STRICT)
class SplitEntry:
    """One split: how many images it has, and the digest of its file."""

    images: Count
    sha256: Sha256


@dataclass(frozen=True, config=STRICT)
class SplitsRecord:
    """splits.json: every split by name."""

    splits: dict[str, SplitEntry]
    format: Literal["errata-splits/1"]

    @property
    def learned(self) -> dict[str, SplitEntry]:
        """The splits that a release is made from; the others only judge it."""
        return {name: self.splits[name] for name in LEARNED if name in self.splits}


_RECORD = TypeAdapter(SplitsRecord)


def split_rows(dataset: LabelledImages, sizes: Mapping[str, int], seed: int) -> dict[str, Rows]:
    """Which images are in each of disjoint splits of the given sizes (one may be -1: all the rest), in order.

    Each split has the data set's shares of classes, to within one image. The same data, sizes and seed give the same
    splits. Raises DataError if the sizes cannot be had.
    """
    order = _spread(dataset, np.random.default_rng(seed))
    rest = len(order) - sum(size for size in sizes.values() if size != REST)
    if rest < 0 or list(sizes.values()).count(REST) > 1 or any(size < REST for size in sizes.values()):
        raise DataError(
            f"splits of {dict(sizes)} cannot be had from {len(order)} distinct images; "
            "lower them (one may be -1: the rest)"
        )
    rows, start = {}, 0
    for name, size in sizes.items():
        stop = start + (rest if size == REST else size)
        rows[name] = np.sort(order[start:stop])
        start = stop
    return rows


def make_splits(dataset: LabelledImages, sizes: Mapping[str, int], seed: int) -> dict[str, LabelledImages]:
    """The splits of `split_rows`, in memory."""
    return {name: dataset.take(rows) for name, rows in split_rows(dataset, sizes, seed).items()}


def _spread(dataset: LabelledImages, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of the distinct images, shuffled such that any stretch of them has each class in proportion.

    The images of a class are spread evenly over 0..1, from a random offset; sorting by place interleaves the classes.
    """
    labels_of: dict[str, set[int]] = {}
    first: dict[str, int] = {}
    for index, (image, label) in enumerate(zip(dataset.images, dataset.labels, strict=True)):
        digest = pixel_digest(image)
        first.setdefault(digest, index)
        labels_of.setdefault(digest, set()).add(int(label))
    distinct = np.array([index for digest, index in first.items() if len(labels_of[digest]) == 1], dtype=np.int64)
    place = np.empty(len(distinct))
    for label in range(len(dataset.classes)):
        mine = np.flatnonzero(dataset.labels[distinct] == label)
        if len(mine):
            place[rng.permutation(mine)] = (np.arange(len(mine)) + rng.random()) / len(mine)
    return distinct[np.argsort(place, kind="stable")]


def refreshed(
    splits: dict[str, LabelledImages], gates: Sequence[LabelledImages], folder: Path | None = None
) -> dict[str, LabelledImages]:
    """The same splits with the last of `gates` as the gate split; all that judged before it are the split `retired`.

    The images of the latter are put together in a file of `folder` that has no name. Raises DataError if the images are
    of another shape or other classes.
    """
    if not gates:
        return splits
    before = splits["gate"]
    for each in gates:
        if each.classes != before.classes or each.images.shape[1:] != before.images.shape[1:]:
            raise DataError("a gate split that was added has other classes or images of another size than the data set")
    retired = [before, *gates[:-1]]
    images = spooled((each.images for each in retired), before.images.shape[1:], folder)
    labels = np.concatenate([each.labels for each in retired])
    return {**splits, "gate": gates[-1], "retired": LabelledImages(images, labels, before.classes)}


def save_splits(splits: Mapping[str, LabelledImages], folder: Path) -> None:
    """Write `<name>.npz` for each split and `splits.json` with their digests; the same splits give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    record_splits({name: write_split(split, folder / f"{name}.npz") for name, split in splits.items()}, folder)


def record_splits(entries: Mapping[str, SplitEntry], folder: Path) -> None:
    """Write `splits.json`."""
    (folder / RECORD).write_bytes(canonical_json(SplitsRecord(dict(entries), "errata-splits/1")))


def write_split(source: LabelledImages, path: Path, rows: Rows | None = None) -> SplitEntry:
    """Write those `rows` of `source` (by default all) into the file `path`, a block at a time, whole or not at all."""
    unfinished = path.with_suffix(".new")  # never written over: whoever uses the old file keeps it
    with unfinished.open("wb") as file:
        _pack(source, rows, file)
    with unfinished.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    unfinished.replace(path)
    return SplitEntry(len(source) if rows is None else len(rows), digest)


def pack_split(split: LabelledImages) -> bytes:
    """What `write_split` writes."""
    out = io.BytesIO()
    _pack(split, None, out)
    return out.getvalue()


def _pack(source: LabelledImages, rows: Rows | None, file: BinaryIO) -> None:
    """An uncompressed .npz in which nothing depends on the time or on the version of a compressor.

    What it holds can be used where it lies.
    """
    rows = np.arange(len(source)) if rows is None else rows
    shape = (len(rows), *source.images.shape[1:])
    others: dict[str, NDArray[Any]] = {
        "labels": source.labels[rows],
        "classes": np.array(source.classes),
        **{f"{COLUMN}{name}": values[rows] for name, values in source.columns.items()},
    }
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        member = zipfile.ZipInfo(IMAGES, _EPOCH)
        member.file_size = len(header.getvalue()) + math.prod(shape)
        with archive.open(member, "w") as out:
            out.write(header.getvalue())
            for start in range(0, len(rows), BLOCK):
                out.write(np.ascontiguousarray(source.images[rows[start : start + BLOCK]]).data)
        for name, array in others.items():
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), content.getvalue())


def load_split(folder: Path, name: str) -> LabelledImages:
    """The split of that name, its images read-only and on disk until they are looked at.

    Raises DataError if it was never saved, Damaged if its bytes are not those recorded.
    """
    path = folder / f"{name}.npz"
    record = read_record(folder).splits
    if name not in record:
        raise DataError(f"{folder} has no split {name!r}; it has {', '.join(sorted(record))}")
    try:
        return read_split(path, record[name].sha256)
    except OSError as error:
        raise Damaged(f"{path}: {error.strerror}; make the splits again (dvc repro prepare)") from error
    except Damaged as error:
        raise Damaged(
            f"{path} is not the file that {RECORD} records; make the splits again (dvc repro prepare)"
        ) from error


def read_split(path: Path, sha256: str) -> LabelledImages:
    """The split in a file of that digest: `read_split(path, write_split(s, path).sha256)` is `s`.

    Raises OSError if it cannot be read, Damaged if it is another.
    """
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise Damaged(f"{path} is not what its digest says; restore it")
        return _unpacked(file, _mapped)


def unpack_split(content: bytes) -> LabelledImages:
    """The split in a file's bytes, in memory: `unpack_split(pack_split(s))` is `s`. Raises Damaged on any other."""
    try:
        return _unpacked(io.BytesIO(content), _in_memory)
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, EOFError, struct.error) as error:
        raise Damaged(f"a split cannot be read ({type(error).__name__}: {error}); restore it from a copy") from error


def _unpacked(file: BinaryIO, images_of: Callable[[BinaryIO, int], Pixels]) -> LabelledImages:
    """`images_of` gives the images of the file, whose part of it begins at a byte."""
    with zipfile.ZipFile(file) as archive:
        if packed := [each.filename for each in archive.infolist() if each.compress_type != zipfile.ZIP_STORED]:
            raise Damaged(f"a split is never compressed, and its part {packed[0]!r} is; restore it from a copy")
        others = {
            name.removesuffix(".npy"): np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
            for name in archive.namelist()
            if name != IMAGES
        }
        start = archive.getinfo(IMAGES).header_offset
    classes = tuple(str(label) for label in others["classes"])
    columns = {name.removeprefix(COLUMN): others[name] for name in others if name.startswith(COLUMN)}
    return LabelledImages(images_of(file, start), others["labels"], classes, columns)


def _in_memory(file: BinaryIO, _start: int) -> Pixels:
    """The images of the whole file, read."""
    file.seek(0)
    images: Pixels = np.load(file, allow_pickle=False)["images"]
    return images


def _mapped(file: BinaryIO, start: int) -> Pixels:
    """The array of the uncompressed zip member whose local header begins at `start`, read-only, where it lies."""
    # APPNOTE.TXT 4.3.7: after 30 bytes come the name and the extra field, whose lengths are the last four of these
    file.seek(start + 26)
    file.seek(sum(struct.unpack("<HH", file.read(4))), io.SEEK_CUR)
    np.lib.format.read_magic(file)
    shape, _, kind = np.lib.format.read_array_header_1_0(file)
    if not math.prod(shape):
        return np.empty(shape, kind)
    return np.asarray(np.memmap(file, kind, "r", file.tell(), shape))


def splits_digest(folder: Path) -> str:
    """SHA-256 (hex) of `splits.json`: one digest for every image and label of every split."""
    read_record(folder)
    return hashlib.sha256((folder / RECORD).read_bytes()).hexdigest()


def read_record(folder: Path) -> SplitsRecord:
    """What splits.json says; raises DataError if there is none, Damaged on any other document."""
    path = folder / RECORD
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; make the splits (dvc repro prepare)") from error
    return parse_splits(content, str(path))


def parse_splits(content: bytes, where: str) -> SplitsRecord:
    """The record in a file's bytes; raises Damaged on any other document."""
    return parse_record(_RECORD, content, where, "make the splits again (dvc repro prepare)")
