"""Records that have a number each, which gives their order: written once, under the next that is free."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar

from errata.data.storage.base import Storage
from errata.editing.errors import AlreadyStored, StoreError

TRIES = 100  # at a free number, while others write as well


class Numbered(Protocol):
    """A record that knows where the store keeps it, and its bytes."""

    @property
    def key(self) -> str: ...

    def to_json(self) -> bytes: ...


Kept = TypeVar("Kept", bound=Numbered)


def put_numbered(storage: Storage, first: int, record: Callable[[int], Kept]) -> Kept:
    """Write the record of number `first`, or of the next that is free, and return it; raises StoreError if none is."""
    for number in range(first, first + TRIES):
        numbered = record(number)
        with suppress(AlreadyStored):
            storage.put_once(numbered.key, numbered.to_json())
            return numbered
    raise StoreError(f"{storage.url}/{numbered.key} is not free, nor are the {TRIES} before it; look at them")
