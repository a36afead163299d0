"""Which keys of a store wait for a night: single reports under their identities, and batches of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from errata.data import layout
from errata.data.storage.base import Storage

BATCH_ENDINGS = (".jsonl", ".csv", ".parquet", ".tar")
_SINGLE = re.compile(re.escape(layout.INBOX) + r"[0-9a-f]{64}\.json")


def is_single(key: str) -> bool:
    """Whether an inbox key has the form of one report under its identity."""
    return _SINGLE.fullmatch(key) is not None


def batches(storage: Storage) -> Iterator[str]:
    """The keys of all batches that wait."""
    yield from (key for key in storage.keys(layout.INBOX) if not is_single(key))
    yield from _bulk(storage)


def waiting(storage: Storage) -> Iterator[str]:
    """The keys of all that a night has to look at: reports and batches."""
    yield from storage.keys(layout.INBOX)
    yield from _bulk(storage)


def _bulk(storage: Storage) -> Iterator[str]:
    yield from (key for key in storage.keys(layout.BULK) if key.endswith(BATCH_ENDINGS))
