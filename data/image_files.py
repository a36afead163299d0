"""Where labelled photos come from, one after the other and encoded as they are.

folder        a folder of image files for each class
csv           a table with the columns `path` (relative to the table) and `label`
webdataset    tar files, or a folder of them: files of one name are one sample, `7.jpg` with its label in `7.cls`
parquet       a table, or a folder of them, with the columns `image` (the file's bytes, or a struct with them in
              `bytes`, as Hugging Face's data sets have it) and `label`
"""

from __future__ import annotations

import csv
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from errata.editing.errors import DataError, NotInstalled

SUFFIXES = ("jpg", "jpeg", "png", "webp", "bmp")
_AT_ONCE = 64  # rows of a Parquet file


@dataclass(frozen=True)
class Row:
    """One image: `where` it is, for messages; its file is had by `read`; its label, and what else was asked for."""

    where: str
    read: Callable[[], bytes]
    label: str
    columns: tuple[str, ...] = ()


class Source(Protocol):
    """A way in which labelled images come."""

    def __call__(self, root: Path, columns: Sequence[str], /) -> Iterator[Row]:
        """The rows in order, with those `columns`. Raises DataError if they cannot be read to their end."""
        ...


def folder_of_folders(root: Path, _columns: Sequence[str]) -> Iterator[Row]:
    """Names of folders are labels."""
    if not root.is_dir():
        raise DataError(f"{root} is no folder; give one that has a folder of images for each class")
    for label in sorted(path.name for path in root.iterdir() if path.is_dir()):
        for path in sorted((root / label).iterdir()):
            if path.is_file() and not path.name.startswith("."):
                yield Row(str(path), path.read_bytes, label)


def csv_table(root: Path, columns: Sequence[str]) -> Iterator[Row]:
    """The table is read whole before the first image is."""
    wanted = ["path", "label", *columns]
    try:
        with root.open(newline="", encoding="utf-8") as lines:
            found = [[row[name].strip() for name in wanted] for row in csv.DictReader(lines)]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, AttributeError) as error:
        named = f"{', '.join(wanted[:-1])} and {wanted[-1]}"
        raise DataError(f"{root}: {error!r}; give a UTF-8 CSV file with the columns {named}") from error
    for path, label, *others in found:
        yield Row(str(root.parent / path), (root.parent / path).read_bytes, label, tuple(others))


def webdataset(root: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Samples in the order of the tar files and of what is in them: an image, and its label in `cls` or in `json`.

    Columns are fields of the sample's `json`.
    """
    for shard in _files(root, "tar"):
        try:
            with tarfile.open(shard, "r:") as archive:
                members = (member for member in archive if member.isfile())
                for key, sample in groupby(members, lambda member: key_and_suffix(member.name)[0]):
                    parts = {key_and_suffix(each.name)[1]: _content(archive, each) for each in sample}
                    yield _sample(f"{shard}: {key}", parts, columns)
        except (OSError, tarfile.TarError) as error:
            raise DataError(f"{shard}: {error}; give tar files as WebDataset writes them") from error


def key_and_suffix(name: str) -> tuple[str, str]:
    """WebDataset splits a name at the first dot behind its last slash."""
    folder, slash, file = name.rpartition("/")
    key, _, suffix = file.partition(".")
    return f"{folder}{slash}{key}", suffix.lower()


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file else b""


def _sample(where: str, parts: dict[str, bytes], columns: Sequence[str]) -> Row:
    pictures = [content for suffix, content in parts.items() if suffix in SUFFIXES]
    try:
        (picture,) = pictures
        fields = json.loads(parts.get("json", b"{}"))
        label = parts["cls"].decode().strip() if "cls" in parts else str(fields["label"])
        return Row(where, lambda: picture, label, tuple(str(fields[name]) for name in columns))
    except (ValueError, KeyError, TypeError) as error:
        named = ", ".join(["label", *columns])
        raise DataError(
            f"{where} has {', '.join(sorted(parts))}; give each sample one image ({', '.join(SUFFIXES)}) and its label "
            f"in .cls, or {named} in .json"
        ) from error


def parquet(root: Path, columns: Sequence[str]) -> Iterator[Row]:
    """A label is text or a number; of a number the name, where the file says it as Hugging Face's data sets do."""
    try:
        import pyarrow as arrow  # noqa: PLC0415 - an extra
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415
    except ImportError as error:
        raise NotInstalled("pyarrow not installed; `pip install 'errata-models[parquet]'` reads Parquet") from error
    for path in _files(root, "parquet"):
        try:
            # Without a buffer of its own size each column of a group of rows would be read whole.
            with ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
                names = _class_names(file.schema_arrow.metadata or {})
                number = 0
                for batch in file.iter_batches(_AT_ONCE, columns=["image", "label", *columns]):
                    for found in batch.select(["image", "label", *columns]).to_pylist():
                        where = f"{path}: row {number}"
                        yield _parquet_row(where, found, names, columns)
                        number += 1
        except (OSError, arrow.ArrowException, KeyError) as error:
            named = ", ".join(["image", "label", *columns])
            raise DataError(f"{path}: {error}; give Parquet files with the columns {named}") from error


def _parquet_row(where: str, found: dict[str, Any], names: Sequence[str], columns: Sequence[str]) -> Row:
    image, label = found["image"], found["label"]
    content = image.get("bytes") if isinstance(image, dict) else image
    if not isinstance(content, bytes) or not isinstance(label, int | str):
        raise DataError(f"{where} lacks the bytes of its image, or a label that is text or a number; mend it")
    if isinstance(label, int) and names:
        if not 0 <= label < len(names):
            raise DataError(f"{where} has label {label}, the file names {len(names)}; mend it")
        label = names[label]
    return Row(where, lambda: content, str(label), tuple(str(found[name]) for name in columns))


def _class_names(metadata: dict[bytes, bytes]) -> list[str]:
    """Names of the labels 0, 1, ... in Hugging Face's note in the file's schema; none if there is no such note."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    except (KeyError, ValueError, TypeError):
        return []
    return [str(name) for name in names]


def _files(root: Path, suffix: str) -> list[Path]:
    """`root` itself, or the files of that suffix in it, by name."""
    found = sorted(root.glob(f"*.{suffix}")) if root.is_dir() else [root]
    if not found:
        raise DataError(f"{root} has no .{suffix} file; check the setting")
    return found


SOURCES: dict[str, Source] = {
    "folder": folder_of_folders,
    "csv": csv_table,
    "webdataset": webdataset,
    "parquet": parquet,
}
TABLES = ("csv", "webdataset", "parquet")  # which know more of an image than its label
