"""The rows of batches that bring their images along: Parquet tables and WebDataset shards.

Both say themselves how long their parts are, so nothing is read that is longer than the limits, whatever they say. One
thing cannot be bounded so: a page of Parquet is unpacked whole, and only the page itself says how much that is.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from typing import Any, BinaryIO

from errata.data.image_files import SUFFIXES, key_and_suffix
from errata.data.inbox.batch_rows import PATH, BatchLimits, Odd, Row, check_columns, document
from errata.editing.errors import DataError, NotInstalled

_AT_ONCE = 4 * 2**20  # bytes of a table
_MOST_ROWS = 256
_HEADER_BYTES = 64 * 2**10  # of one member of a tar file, its long name and its other attributes
_END = bytes(512)


def parquet_rows(file: BinaryIO, limits: BatchLimits) -> Iterator[Row | Odd]:
    """The columns have the names of a report's fields; nulls are absent. `image` may also be the image's file, or a
    struct with that in `bytes` or its `path`, as Hugging Face's data sets have it.

    Raises DataError on another column, on what is no Parquet, and where it cannot be read on; NotInstalled.
    """
    try:
        import pyarrow as arrow  # noqa: PLC0415 - an extra
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415
    except ImportError as error:
        raise NotInstalled("pyarrow not installed; `pip install 'errata-models[parquet]'` reads Parquet") from error
    try:
        # Without a buffer of its own size each column of a group of rows would be read whole.
        with ParquetFile(file, buffer_size=2**20, pre_buffer=False) as table:
            check_columns(table.schema_arrow.names)
            about = table.metadata
            groups = [about.row_group(number) for number in range(about.num_row_groups)]
            if (unpacked := sum(group.total_byte_size for group in groups)) > limits.max_packed_bytes:
                raise DataError(f"it has {unpacked:,} bytes when unpacked, the limit is {limits.max_packed_bytes:,}")
            at_once = _AT_ONCE * about.num_rows // max(unpacked, 1)
            number = 0
            for batch in table.iter_batches(min(max(at_once, 1), _MOST_ROWS)):
                for found in batch.to_pylist():
                    number += 1
                    yield _bounded(f"row {number}", *_taken_apart(found), limits)
    except (OSError, arrow.ArrowException) as error:
        raise DataError(" ".join(str(error).split())) from error


def _taken_apart(found: dict[str, Any]) -> tuple[dict[str, Any], bytes | None]:
    """A row's fields and its image."""
    image = found.pop("image", None)
    if isinstance(image, dict):
        found = {PATH: image.get("path")} | found
        image = image.get("bytes")
    elif not isinstance(image, bytes):
        found["image"], image = image, None
    fields = {name: each for name, each in found.items() if each is not None}
    if isinstance(filed_at := fields.get("filed_at"), datetime):
        fields["filed_at"] = filed_at.isoformat()
    return fields, image


def _bounded(where: str, fields: dict[str, Any], image: bytes | None, limits: BatchLimits) -> Row | Odd:
    row = Row(document(fields), image)
    if len(row.document) > limits.max_line_bytes:
        return Odd(f"{where} has {len(row.document):,} bytes, the limit is {limits.max_line_bytes:,}")
    if image is not None and len(image) > limits.max_image_bytes:
        return Odd(f"the image of {where} has {len(image):,} bytes, the limit is {limits.max_image_bytes:,}")
    return row


def shard_rows(file: BinaryIO, limits: BatchLimits) -> Iterator[Row | Odd]:
    """WebDataset: files of one name are one sample, `7.jpg` with its report in `7.json`.

    Raises DataError on what is no tar file, and where it breaks off.
    """
    rationed = _Rationed(file)
    try:
        with tarfile.open(fileobj=rationed, mode="r:") as archive:  # type: ignore[call-overload]
            for key, sample in groupby(_members(archive, rationed), lambda member: key_and_suffix(member.name)[0]):
                yield _sample(f"sample {key}", archive, rationed, sample, limits)
            file.seek(archive.offset)
            if file.read(len(_END)) != _END:
                raise DataError("it breaks off: what follows is no file of an archive")
    except (OSError, tarfile.TarError) as error:
        raise DataError(str(error)) from error


def _members(archive: tarfile.TarFile, rationed: _Rationed) -> Iterator[tarfile.TarInfo]:
    """The ordinary files in order. None of them is remembered, which the archive would do."""
    while True:
        rationed.left = _HEADER_BYTES
        if (member := archive.next()) is None:
            return
        archive.members.clear()  # type: ignore[attr-defined]  # typeshed does not list it
        if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
            yield member


def _sample(
    where: str, archive: tarfile.TarFile, rationed: _Rationed, sample: Iterator[tarfile.TarInfo], limits: BatchLimits
) -> Row | Odd:
    told: bytes | None = None
    odd: Odd | None = None
    pictures: list[bytes] = []
    for member in sample:
        suffix = key_and_suffix(member.name)[1]
        if suffix not in ("json", *SUFFIXES) or (pictures and suffix in SUFFIXES):
            odd = odd or Odd(f"{where} has a {suffix} file; give each sample one image and its report in .json")
            continue
        most = limits.max_line_bytes if suffix == "json" else limits.max_image_bytes
        if member.size > most:
            odd = odd or Odd(f"{member.name} has {member.size:,} bytes, the limit is {most:,}")
            continue
        rationed.left = member.size
        content = archive.extractfile(member)
        found = content.read() if content else b""
        if suffix == "json":
            told = found
        else:
            pictures.append(found)
    return odd or Row(document({"without": "json"}) if told is None else told, pictures[0] if pictures else None)


class _Rationed:
    """A file of which only `left` bytes may be read before its reader is given more."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.left = file, _HEADER_BYTES

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.left:
            raise DataError(f"it has a header of more than {_HEADER_BYTES:,} bytes")
        self.left -= size
        return self._file.read(size)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(position, whence)

    def tell(self) -> int:
        return self._file.tell()
