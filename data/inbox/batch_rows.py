"""The rows of a batch of reports, one after the other, whatever its format; a batch may be large and made to hurt.

JSON Lines and CSV are read as a stream. Parquet and tar (`data.inbox.packed_rows`) are read from a copy in a file
without a name, since their readers want to seek. Memory holds a few rows.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from errata.data.images import ImageLimits
from errata.data.reports import MAX_REPORT_BYTES, Report
from errata.editing.errors import DataError
from errata.editing.settings import Section, parameter

PATH = "path"  # what a row may have beside a report's fields: where its image lies, seen from the batch
FIELDS = frozenset({*Report.model_fields, PATH})


class BatchLimits(Section):
    """Bulk reports: how much one file may hold, and how much a night files of all."""

    lines_a_night: int = parameter(
        20_000, "most reports of batches that a night files; the rest waits", "reports", ge=1
    )
    max_lines: int = parameter(100_000, "most reports in one batch", "reports", ge=1)
    max_bytes: int = parameter(64 * 2**20, "largest batch in JSON Lines or CSV", "bytes", ge=1)
    max_packed_bytes: int = parameter(
        4 * 2**30, "largest batch in Parquet or tar, which brings its images along", "bytes", ge=1
    )
    max_line_bytes: int = parameter(MAX_REPORT_BYTES, "longest report in a batch, without its image", "bytes", ge=1)
    max_image_bytes: int = parameter(ImageLimits().max_bytes, "largest image of a batch", "bytes", ge=1)


@dataclass(frozen=True)
class Row:
    """One report as JSON, or whatever was put in its place; `image`: its image's file, where the batch has it."""

    document: bytes
    image: bytes | None = None


@dataclass(frozen=True)
class Odd:
    """A part of a batch that cannot be filed, and why. It is not in memory."""

    why: str


def lines_of(stream: Iterator[bytes], limits: BatchLimits) -> Iterator[Row | Odd]:
    """JSON Lines: a row for each line, also for a blank one."""
    longest = limits.max_line_bytes
    for number, line in enumerate(_split(stream, longest), start=1):
        if isinstance(line, bytes):
            yield Row(line)
        else:
            yield Odd(f"line {number} has {line:,} bytes, the limit is {longest:,}")


def table_rows(stream: Iterator[bytes], limits: BatchLimits) -> Iterator[Row | Odd]:
    """CSV: a row for each of the table; what does not fit the schema is left for it to refuse.

    Raises DataError on a column that no report has, on a row that is too long, and where the table breaks off.
    """
    longest, size = limits.max_line_bytes, 0  # size: of the row that is being read

    def text() -> Iterator[str]:
        nonlocal size
        encoding = "utf-8-sig"
        for line in _split(stream, longest):
            size += len(line) if isinstance(line, bytes) else line
            if isinstance(line, int) or size > longest:
                raise DataError(f"a row has {size:,} bytes or more, the limit is {longest:,}")
            yield line.decode(encoding) + "\n"
            encoding = "utf-8"

    try:
        rows = csv.reader(text(), strict=True)
        header = next(rows, [])
        check_columns(header)
        size = 0
        for row in rows:
            size = 0
            fields: dict[str, Any] = {name: cell for name, cell in zip(header, row, strict=False) if cell}
            if surplus := row[len(header) :]:
                fields["cells without a column"] = surplus
            yield Row(document(fields) if row else b"")
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(str(error)) from error


def check_columns(names: list[str]) -> None:
    """Raise DataError if a table has a column that no report has."""
    if unknown := [name for name in names if name not in FIELDS]:
        raise DataError(f"the column {unknown[0][:50]!r} is none of a report's fields")


def document(fields: dict[str, Any]) -> bytes:
    """The fields as JSON. Tables know whole numbers as text or, where some are missing, as fractions."""
    version = fields.get("model_version")
    if isinstance(version, str) and re.fullmatch(r"[0-9]{1,10}", version):
        fields["model_version"] = int(version)
    if isinstance(version, float) and version.is_integer():
        fields["model_version"] = int(version)
    return json.dumps(fields, default=str).encode()


def _split(pieces: Iterator[bytes], longest: int) -> Iterator[bytes | int]:
    """The lines of a stream; of one with more than `longest` bytes only their number, for it is never held."""
    held, dropped = b"", 0
    for piece in pieces:
        *ends, rest = piece.split(b"\n")
        for end in ends:
            size = dropped + len(held) + len(end)
            yield held + end if size <= longest else size
            held, dropped = b"", 0
        if dropped or len(held) + len(rest) > longest:
            held, dropped = b"", dropped + len(held) + len(rest)
        else:
            held += rest
    if held or dropped:
        yield held or dropped
