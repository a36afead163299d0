"""Signing a store that was released before there was a key, or under another: an operator's act.

It believes what lies in the store, so verify that first. Where it was stopped, it is started again.
"""

from __future__ import annotations

from contextlib import suppress

from data import layout
from data.releases.manifest import Live
from data.releases.signing import SIGNING_KEY, signature_of
from data.storage.base import Storage
from editing.errors import DataError, NotStored


def sign_store(storage: Storage) -> tuple[Live, ...]:
    """Sign each manifest that the log names, each entry of the log, and live.json; returns the entries, signed.

    Raises DataError if no key is set, Damaged where a manifest is not the one that its entry names.
    """
    if signature_of(b"") is None:
        raise DataError(f"there is nothing to sign with; set {SIGNING_KEY} to the path of a private key")
    keys = list(storage.keys(layout.LOG))
    signed = tuple(_sign_pointer(storage, key) for key in keys)
    for live in signed:
        _sign_manifest(storage, live)
    if keys:
        _sign_pointer(storage, layout.LIVE)
    return signed


def _sign_pointer(storage: Storage, key: str) -> Live:
    found = storage.read(key)
    live = Live.from_json(found.content)
    signed = live.unsigned.signed()
    if signed != live:
        storage.swap(key, signed.to_json(), expected=found.tag)
    return signed


def _sign_manifest(storage: Storage, live: Live) -> None:
    manifest = storage.get(layout.release_file(live.version, layout.MANIFEST), sha256=live.manifest_sha256)
    key, signature = layout.release_file(live.version, layout.SIGNATURE), signature_of(manifest) or b""
    with suppress(NotStored):
        if storage.get(key) != signature:
            storage.delete(key)  # by another key
    storage.put_once(key, signature)
