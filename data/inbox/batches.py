"""Many reports in one file: JSON Lines and CSV in the inbox, filed one by one before the night reads them.

    reports/inbox/<anything>.jsonl   a report (errata-report/1) on every line
    reports/inbox/<anything>.csv     the schema's field names, then a report on every row; empty cells are absent
    reports/inbox/<anything>         one report

Each report becomes an object under its identity. What is no report is kept as it is, under the digest of its bytes, for
intake to refuse with a reason; such lines beside each other are kept together, so that a file of junk becomes few
objects. A batch is streamed, and a night files only so many lines: the rest stays, and a marker beside the inbox says
how many lines are filed, so that the next night, or the next run after a crash, goes on from there. A batch is removed
when all of it is filed; one with a line that is too long, or a table that cannot be read to its end, stays and is
refused by name after what could be filed.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from errata.data import layout
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.reports import MAX_REPORT_BYTES, Report, parse_report
from errata.data.storage.base import Storage
from errata.editing.errors import AlreadyStored, DataError, NotStored, Superseded, TooLarge, Unreadable

_SINGLE = re.compile(re.escape(layout.INBOX) + r"[0-9a-f]{64}\.json")
_WINDOW = 256  # lines that are filed together, and then marked as filed


@dataclass(frozen=True)
class BatchLimits:
    """The most bytes of a batch and of one line, the most lines of a batch, and how many lines a night files of all."""

    max_bytes: int = 64 * 2**20
    max_line_bytes: int = MAX_REPORT_BYTES
    max_lines: int = 100_000
    lines_a_night: int = 20_000


class Marker(BaseModel):
    """How far a batch is filed: its key, how many lines, and the digest of these, which tells it from another file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: str
    filed: int = Field(ge=0)
    sha256: str


@dataclass(frozen=True)
class _Odd:
    """A part of a batch that cannot be filed, and why."""

    reason: Reason
    why: str


def is_single(key: str) -> bool:
    """Whether an inbox key has the form of one report under its identity."""
    return _SINGLE.fullmatch(key) is not None


def batch_id(key: str) -> str:
    """What stands for the identity of a batch that cannot be filed to its end."""
    return hashlib.sha256(key.encode()).hexdigest()


def file_singly(storage: Storage, limits: BatchLimits | None = None) -> Iterator[Refusal]:
    """Replace the batches in the inbox by their single reports; a refusal for each that cannot be filed to its end.

    Each batch gets an equal share of the night's lines, and of what others leave. The names of batches are held in
    memory, of their content a few lines. Raises StoreError.
    """
    limits = limits or BatchLimits()
    batches = [key for key in storage.keys(layout.INBOX) if not is_single(key)]
    left = limits.lines_a_night
    with ThreadPoolExecutor(8, thread_name_prefix="batches") as pool:
        for number, key in enumerate(batches):
            batch = _Batch(storage, pool, key, limits)
            try:
                batch.file(share=-(-left // (len(batches) - number)))
            except (NotStored, Superseded):  # another run was faster
                continue
            except (TooLarge, Unreadable) as error:
                batch.odd = _Odd(Reason.TOO_LARGE if isinstance(error, TooLarge) else Reason.UNREADABLE, str(error))
            left -= batch.filed_now
            if batch.odd:
                yield Refusal(batch_id(key), batch.odd.reason, f"{key}: {batch.odd.why}; it stays in the inbox")


class _Batch:
    """One batch on its way into the inbox. `filed_now`: how many of its lines were filed tonight; `odd`: the first part
    that cannot be."""

    def __init__(self, storage: Storage, pool: ThreadPoolExecutor, key: str, limits: BatchLimits) -> None:
        self._storage, self._pool, self._key, self._limits = storage, pool, key, limits
        self._marker_key = layout.batch_marker(batch_id(key))
        self.filed_now = 0
        self.odd: _Odd | None = None

    def file(self, share: int) -> None:
        """File up to `share` lines after those that are filed already. When all are filed, remove the batch."""
        if not self._key.endswith((".jsonl", ".csv")):
            self._put(_named(self._storage.get(self._key, at_most=self._limits.max_line_bytes)))
            self.filed_now = 1
            self._storage.delete(self._key)
            return
        marker, tag = self._marker()
        filed, lines, digest = marker.filed, self._lines(), hashlib.sha256()
        for line in islice(lines, filed):
            digest.update(line)
        if digest.hexdigest() != marker.sha256:  # another file under the same name
            filed, lines, digest = 0, self._lines(), hashlib.sha256()
        while window := list(islice(lines, min(_WINDOW, share - self.filed_now, self._limits.max_lines - filed))):
            for _ in self._pool.map(self._put, _objects(window, self._limits.max_line_bytes)):
                pass  # raises what the store raised
            for line in window:
                digest.update(line)
            filed += len(window)
            self.filed_now += len(window)
            marker = Marker(batch=self._key, filed=filed, sha256=digest.hexdigest())
            tag = self._storage.swap(self._marker_key, marker.model_dump_json().encode(), expected=tag).tag
        if next(lines, None) is not None:
            if filed == self._limits.max_lines:
                self.odd = _Odd(Reason.TOO_LARGE, f"more than {filed:,} lines; file what is behind them in another")
        elif self.odd is None:
            self._storage.delete(self._marker_key)  # first: what is left of a batch must not look filed
            self._storage.delete(self._key)

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

    def _put(self, item: tuple[str, bytes]) -> None:
        name, content = item
        try:
            self._storage.put_once(layout.inbox_report(name), content)
        except (AlreadyStored, Unreadable):  # the same claim, filed before; intake judges what is there
            return

    def _lines(self) -> Iterator[bytes]:
        """The JSON documents of the batch, one for each line, also for a blank one; sets `odd`."""
        self.odd = None
        longest = self._limits.max_line_bytes
        lines = _split(self._storage.stream(self._key, at_most=self._limits.max_bytes), longest)
        if self._key.endswith(".csv"):
            try:
                yield from _rows(lines, longest)
            except (UnicodeDecodeError, csv.Error, DataError) as error:
                self.odd = _Odd(Reason.MALFORMED, f"no table from here on ({error}); mend it")
            return
        for number, line in enumerate(lines, start=1):
            if isinstance(line, bytes):
                yield line
            elif self.odd is None:
                self.odd = _Odd(Reason.TOO_LARGE, f"line {number} has {line:,} bytes, the limit is {longest:,}")


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


def _rows(lines: Iterator[bytes | int], longest: int) -> Iterator[bytes]:
    """Each row of a table as a JSON document; what does not fit the schema is left for it to refuse.

    Raises DataError on a column that the schema does not have and on a row of more than `longest` bytes.
    """
    size = 0  # of the row that is being read

    def text() -> Iterator[str]:
        nonlocal size
        encoding = "utf-8-sig"
        for line in lines:
            size += len(line) if isinstance(line, bytes) else line
            if isinstance(line, int) or size > longest:
                raise DataError(f"a row has {size:,} bytes or more, the limit is {longest:,}")
            yield line.decode(encoding) + "\n"
            encoding = "utf-8"

    rows = csv.reader(text(), strict=True)
    header = next(rows, [])
    if unknown := [name for name in header if name not in Report.model_fields]:
        raise DataError(f"the column {unknown[0][:50]!r} is none of a report's fields")
    size = 0
    for row in rows:
        size = 0
        yield _document(header, row)


def _document(header: list[str], row: list[str]) -> bytes:
    fields: dict[str, object] = {name: cell for name, cell in zip(header, row, strict=False) if cell}
    if surplus := row[len(header) :]:
        fields["cells without a column"] = surplus
    version = fields.get("model_version")
    if isinstance(version, str) and re.fullmatch(r"[0-9]{1,10}", version):
        fields["model_version"] = int(version)
    return json.dumps(fields).encode() if row else b""


def _objects(lines: list[bytes], longest: int) -> Iterator[tuple[str, bytes]]:
    """What the lines become, by name: each report, and the others together, in documents of about `longest` bytes."""
    junk = b""
    for line in lines:
        if not line.strip():
            continue
        try:
            report = parse_report(line)
        except DataError:
            if junk and len(junk) + len(line) >= longest:
                yield hashlib.sha256(junk).hexdigest(), junk
                junk = b""
            junk += b"\n" + line if junk else line
        else:
            yield report.id, report.to_json()
    if junk:
        yield hashlib.sha256(junk).hexdigest(), junk


def _named(content: bytes) -> tuple[str, bytes]:
    """One report under its identity; what is none, under the digest of its bytes."""
    try:
        report = parse_report(content)
    except DataError:
        return hashlib.sha256(content).hexdigest(), content
    return report.id, report.to_json()
