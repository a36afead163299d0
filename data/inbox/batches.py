"""Many reports in one file, filed one by one before the night reads them.

    reports/inbox/<anything>.jsonl    a report (errata-report/1) on every line
    reports/inbox/<anything>.csv      the schema's field names, then a report on every row; empty cells are absent
    reports/inbox/<anything>.parquet  a table of the same columns, in which `image` may be the image's file itself
    reports/inbox/<anything>.tar      a WebDataset shard: files of one name are a report (.json) and its image
    reports/inbox/<anything>          one report
    reports/bulk/<folder>/...         the four kinds of batches with images beside them, which they name by `path`

Each report becomes an object under its identity, and its image one under its digest. What is no report is kept as it
is, under the digest of its bytes, for intake to refuse with a reason; such rows beside each other are kept together, so
that a file of junk becomes few objects. A row without the image that it names goes to quarantine at once. A batch is
read as a stream, and a night files only so many rows: the rest stays, and a marker beside the inbox says how many are
filed, so that the next night, or the next run after a crash, goes on from there. A batch is removed when all of it is
filed, and then the images beside it that were stored; one with a row that is too long, or a table that cannot be read
to its end, stays and is refused by name after what could be filed.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from errata.data import layout
from errata.data.inbox.batch_rows import BatchLimits, Odd, Row, lines_of, table_rows
from errata.data.inbox.filed_rows import RowFiler, content, put_document
from errata.data.inbox.packed_rows import parquet_rows, shard_rows
from errata.data.inbox.quarantine import keep_refused
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.inbox.what_waits import BATCH_ENDINGS, batches
from errata.data.reports import parse_report
from errata.data.storage.base import Storage
from errata.editing.errors import (
    DataError,
    NotInstalled,
    NotStored,
    StoreUnusable,
    Superseded,
    TooLarge,
    Unreadable,
)

_WINDOW = 256  # rows that are filed together, and then marked as filed
_WINDOW_BYTES = 16 * 2**20  # of their images
_STREAMED = {".jsonl": lines_of, ".csv": table_rows}
_PACKED = {".parquet": parquet_rows, ".tar": shard_rows}


class Marker(BaseModel):
    """How far a batch is filed: its key, how many lines, and the digest of these, which tells it from another file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: str
    filed: int = Field(ge=0)
    sha256: str


@dataclass(frozen=True)
class _Stays:
    """Why a batch, or a part of it, cannot be filed."""

    reason: Reason
    why: str


def batch_id(key: str) -> str:
    """What stands for the identity of a batch that cannot be filed to its end."""
    return hashlib.sha256(key.encode()).hexdigest()


def file_singly(
    storage: Storage, limits: BatchLimits | None = None, erased: frozenset[str] = frozenset()
) -> Iterator[Refusal]:
    """Replace the batches by their single reports; a refusal for each row without its image, and for each batch that
    cannot be filed to its end. Images whose digest is `erased` are not stored.

    Each batch gets an equal share of the night's rows, and of what others leave. The names of batches are held in
    memory, of their content a few rows. Raises StoreError, also if the disk has no room for a copy of a batch.
    """
    limits = limits or BatchLimits()
    keys = list(batches(storage))
    left = limits.lines_a_night
    with ThreadPoolExecutor(8, thread_name_prefix="batches") as pool:
        for number, key in enumerate(keys):
            batch = _Batch(storage, pool, key, limits, erased)
            try:
                batch.file(share=-(-left // (len(keys) - number)))
            except (NotStored, Superseded):  # another run was faster
                continue
            except (TooLarge, Unreadable, NotInstalled) as error:
                reason = Reason.TOO_LARGE if isinstance(error, TooLarge) else Reason.UNREADABLE
                batch.stays = _Stays(reason, str(error))
            left -= batch.filed_now
            yield from batch.refused
            if batch.stays:
                yield Refusal(batch_id(key), batch.stays.reason, f"{key}: {batch.stays.why}; it stays where it is")


class _Batch:
    """One batch on its way into the inbox. `filed_now`: how many of its rows were filed tonight; `refused`: those of
    them that lack their image; `stays`: why it cannot be filed to its end."""

    def __init__(
        self, storage: Storage, pool: ThreadPoolExecutor, key: str, limits: BatchLimits, erased: frozenset[str]
    ) -> None:
        self._storage, self._pool, self._key, self._limits = storage, pool, key, limits
        self._filer = RowFiler(storage, key, limits.max_image_bytes, erased)
        self._marker_key = layout.batch_marker(batch_id(key))
        self.filed_now = 0
        self.refused: list[Refusal] = []
        self.stays: _Stays | None = None

    def file(self, share: int) -> None:
        """File up to `share` rows after those that are filed already. When all are filed, remove the batch."""
        if not self._key.endswith(BATCH_ENDINGS):
            put_document(self._storage, *_named(self._storage.get(self._key, at_most=self._limits.max_line_bytes)))
            self.filed_now = 1
            self._storage.delete(self._key)
            return
        marker, tag = self._marker()
        filed, rows, digest = marker.filed, self._rows(), hashlib.sha256()
        for row in islice(rows, filed):
            digest.update(content(row))
        if digest.hexdigest() != marker.sha256:  # another file under the same name
            filed, rows, digest = 0, self._rows(), hashlib.sha256()
        while window := _window(rows, min(_WINDOW, share - self.filed_now, self._limits.max_lines - filed)):
            self._file_rows(window)
            for row in window:
                digest.update(content(row))
            filed += len(window)
            self.filed_now += len(window)
            marker = Marker(batch=self._key, filed=filed, sha256=digest.hexdigest())
            tag = self._storage.swap(self._marker_key, marker.model_dump_json().encode(), expected=tag).tag
        if next(rows, None) is not None:
            if filed == self._limits.max_lines:
                self.stays = _Stays(Reason.TOO_LARGE, f"more than {filed:,} lines; file what is behind them in another")
        elif self.stays is not None:
            return
        elif self._key.startswith(layout.BULK):
            self._delete_beside()
            self._storage.delete(self._key)  # first: without its marker it would be filed anew, and its images are gone
            self._storage.delete(self._marker_key)
        else:
            self._storage.delete(self._marker_key)  # first: what is left of a batch must not look filed
            self._storage.delete(self._key)

    def _file_rows(self, window: list[Row]) -> None:
        """Each report under its identity, and what is no report together."""
        junk = []
        for row, left in zip(window, self._pool.map(self._filer.file, window), strict=True):
            if isinstance(left, bytes):
                junk.append(left)
            elif left is not None:
                keep_refused(self._storage, left, row.document, datetime.now(UTC))
                self.refused.append(left)
        for each in _together(junk, self._limits.max_line_bytes):
            put_document(self._storage, hashlib.sha256(each).hexdigest(), each)

    def _delete_beside(self) -> None:
        rows = self._rows()
        while window := _window(rows, _WINDOW):
            for _ in self._pool.map(self._filer.delete_beside, window):
                pass  # raises what the store raised

    def _marker(self) -> tuple[Marker, str | None]:
        """The marker and its tag; one that cannot be parsed counts as none."""
        none = Marker(batch=self._key, filed=0, sha256=hashlib.sha256().hexdigest())
        try:
            found = self._storage.read(self._marker_key)
        except NotStored:
            return none, None
        try:
            return Marker.model_validate_json(found.content), found.tag
        except ValidationError:
            return none, found.tag

    def _rows(self) -> Iterator[Row]:
        """The rows of the batch; sets `stays` where one of them, or all from one on, cannot be had."""
        self.stays = None
        ending = self._key[self._key.rindex(".") :]
        try:
            for row in self._streamed(ending) if ending in _STREAMED else self._packed(ending):
                if isinstance(row, Row):
                    yield row
                elif self.stays is None:
                    self.stays = _Stays(Reason.TOO_LARGE, row.why)
        except DataError as error:
            self.stays = _Stays(Reason.MALFORMED, f"no table from here on ({error}); mend it")

    def _streamed(self, ending: str) -> Iterator[Row | Odd]:
        yield from _STREAMED[ending](self._storage.stream(self._key, at_most=self._limits.max_bytes), self._limits)

    def _packed(self, ending: str) -> Iterator[Row | Odd]:
        with tempfile.TemporaryFile(prefix="errata-batch-") as file:
            for piece in self._storage.stream(self._key, at_most=self._limits.max_packed_bytes):
                try:
                    file.write(piece)
                except OSError as error:
                    where = f"{tempfile.gettempdir()}: {error.strerror}; check the disk's space"
                    raise StoreUnusable(f"{where}, for {self._key} is copied there") from error
            file.seek(0)
            yield from _PACKED[ending](file, self._limits)


def _window(rows: Iterator[Row], most: int) -> list[Row]:
    """The next rows, at most so many, and few enough that their images do not fill the memory."""
    window, held = [], 0
    for row in islice(rows, most):
        window.append(row)
        held += len(row.image or b"")
        if held >= _WINDOW_BYTES:
            break
    return window


def _together(junk: Iterable[bytes], longest: int) -> Iterator[bytes]:
    """What is no report, in documents of about `longest` bytes."""
    held = b""
    for each in junk:
        if held and len(held) + len(each) >= longest:
            yield held
            held = b""
        held += b"\n" + each if held else each
    if held:
        yield held


def _named(content: bytes) -> tuple[str, bytes]:
    """One report under its identity; what is none, under the digest of its bytes."""
    try:
        report = parse_report(content)
    except DataError:
        return hashlib.sha256(content).hexdigest(), content
    return report.id, report.to_json()
