"""The reports that the store keeps, wherever they lie, and the images that they speak of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from errata.data import layout
from errata.data.inbox.quarantine import read_quarantined
from errata.data.inbox.what_waits import is_single
from errata.data.reports import MAX_REPORT_BYTES, parse_report
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged, DataError, NotStored, TooLarge, Unreadable

Result = TypeVar("Result")
_READERS = 8  # a store answers late, but several at once


@dataclass(frozen=True)
class KeptReport:
    """A report that can be read: its identity, where it lies, its image, and since when it is in quarantine."""

    id: str
    key: str
    image: str
    refused: datetime | None = None

    @property
    def settled(self) -> int | None:
        """The release that consumed it."""
        version = self.key.removeprefix(layout.SETTLED).partition("/")[0]
        return int(version) if self.key.startswith(layout.SETTLED) and version.isdecimal() else None


def kept_reports(storage: Storage, unread: list[str] | None = None) -> list[KeptReport]:
    """Every single report that can be read: in the inbox, consumed, in quarantine. `unread`: as in `read_each`."""
    found = []
    for prefix in (layout.INBOX, layout.SETTLED, layout.QUARANTINE):
        found += [report for _, report in read_each(storage, prefix, lambda key: _kept(storage, key), unread) if report]
    return found


def read_each(
    storage: Storage, prefix: str, read: Callable[[str], Result], unread: list[str] | None = None
) -> Iterator[tuple[str, Result]]:
    """What `read` makes of each key; what has gone meanwhile is left out, and what cannot be read is added to
    `unread`."""

    def attempt(key: str) -> tuple[str, Result] | None:
        try:
            return key, read(key)
        except NotStored:
            return None
        except Unreadable:
            if unread is not None:
                unread.append(key)
            return None

    with ThreadPoolExecutor(_READERS, thread_name_prefix="evidence") as pool:
        yield from (found for found in pool.map(attempt, storage.keys(prefix)) if found)


def _kept(storage: Storage, key: str) -> KeptReport | None:
    if key.startswith(layout.INBOX) and not is_single(key):
        return None
    try:
        if not key.startswith(layout.QUARANTINE):
            return KeptReport(layout.stem(key), key, parse_report(storage.get(key, at_most=MAX_REPORT_BYTES)).image)
        record = read_quarantined(storage, key)
        return KeptReport(layout.stem(key), key, parse_report(record.content or b"").image, record.when)
    except (DataError, Damaged, TooLarge):
        return None
