"""Signing a store that was released before there was a key, or under another: an operator's act.

It believes what lies in the store, so verify that first. Where it was stopped, it is started again.
"""

from __future__ import annotations

import os
from contextlib import suppress

from errata.data import layout
from errata.data.releases.manifest import Live, Manifest, read_entry
from errata.data.releases.signing import SIGNING_KEY, signature_of
from errata.data.storage.base import Storage
from errata.editing.errors import DataError, NotStored
from errata.flows.releases.contents.model_signature import MODEL_KEY, sign_model_again


def sign_store(storage: Storage) -> tuple[Live, ...]:
    """Sign each release that the log names, each entry of the log, and live.json, with each key that is set.

    Returns the entries. Raises DataError if no key is set, Damaged where a release is not the one that its entry names.
    """
    plain = signature_of(b"") is not None
    if not plain and not os.environ.get(MODEL_KEY):
        raise DataError(f"there is nothing to sign with; set {SIGNING_KEY} or {MODEL_KEY} to the path of a private key")
    keys = list(storage.keys(layout.LOG))
    entries = tuple(_sign_pointer(storage, key) if plain else read_entry(storage, key) for key in keys)
    for version, digest in {each.version: each.manifest_sha256 for each in entries}.items():
        manifest = storage.get(layout.release_file(version, layout.MANIFEST), sha256=digest)
        if plain:
            _sign_manifest(storage, version, manifest)
        sign_model_again(storage, Manifest.from_json(manifest))
    if plain and keys:
        _sign_pointer(storage, layout.LIVE)
    return entries


def _sign_pointer(storage: Storage, key: str) -> Live:
    found = storage.read(key)
    live = Live.from_json(found.content)
    signed = live.unsigned.signed()
    if signed != live:
        storage.swap(key, signed.to_json(), expected=found.tag)
    return signed


def _sign_manifest(storage: Storage, version: int, manifest: bytes) -> None:
    key, signature = layout.release_file(version, layout.SIGNATURE), signature_of(manifest) or b""
    with suppress(NotStored):
        if storage.get(key) != signature:
            storage.delete(key)  # by another key
    storage.put_once(key, signature)
