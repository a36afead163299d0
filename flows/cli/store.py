"""The store that a command works in: one that is there."""

from __future__ import annotations

from errata.data import layout
from errata.data.storage.base import Storage
from errata.editing.errors import NotStored
from errata.flows.workspace import no_store, open_store


def existing_store(url: str | None) -> Storage:
    """The store, opened. Raises StoreUnusable if there is none: no such folder, or on S3 nothing at all.

    On S3 a mistyped prefix and an empty store are the same thing.
    """
    storage = open_store(url)
    if "://" in storage.url:
        try:
            storage.read(layout.LIVE)
        except NotStored:
            if next(iter(storage.keys("")), None) is None:
                raise no_store(storage.url) from None
    return storage
