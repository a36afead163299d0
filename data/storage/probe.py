"""The probe: a store that ignores conditional writes is found out before anything depends on it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from errata.data.storage.base import Storage
from errata.editing.errors import AlreadyStored, StoreUnusable, Superseded

_WRITERS = 8


def probe_conditions(storage: Storage) -> None:
    """Prove with two throw-away keys that conditions are honoured, one writer at a time and many at once.

    Raises StoreUnusable if a write that must lose wins. Some servers ignore the conditions without a word, others
    honour them except in a race.
    """
    name = secrets.token_hex(16)
    alone, raced = f"probe/{name}-alone", f"probe/{name}-raced"
    try:
        first = storage.swap(alone, b"first", expected=None)
        _must_lose(storage, "If-None-Match", lambda: storage.swap(alone, b"second", expected=None))
        _must_lose(storage, "If-None-Match", lambda: storage.put_once(alone, b"second"))
        storage.swap(alone, b"second", expected=first.tag)
        _must_lose(storage, "If-Match", lambda: storage.swap(alone, b"third", expected=first.tag))
        if storage.read(alone).content != b"second":
            raise StoreUnusable(f"{storage.url} does not return what was written last; keep the store elsewhere")
        with ThreadPoolExecutor(_WRITERS) as pool:
            won = sum(pool.map(lambda writer: _wins(storage, raced, writer), range(_WRITERS)))
        if won != 1:
            raise StoreUnusable(f"{storage.url} lets {won} of {_WRITERS} racing writers win; keep the store elsewhere")
    finally:
        storage.delete(alone)
        storage.delete(raced)


def _must_lose(storage: Storage, condition: str, write: Callable[[], object]) -> None:
    try:
        write()
    except (AlreadyStored, Superseded):
        return
    raise StoreUnusable(
        f"{storage.url} ignores conditional writes ({condition}), so two runs could both release; "
        "keep the store elsewhere"
    )


def _wins(storage: Storage, key: str, writer: int) -> bool:
    try:
        storage.swap(key, b"%d" % writer, expected=None)
    except Superseded:
        return False
    return True
