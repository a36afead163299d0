"""Files of a release that were removed on purpose: with this record the release is spent, without it it is damaged.

    removed/<version>.json   {"format", "version", "files": {name: sha256}, "cause", "erasure", "by", "why", "at"}

The record is written before the files go. What else a bundle holds stays, and verifies as ever: manifest, ledger,
replay set, measurements.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from errata.data import layout
from errata.data.records import STRICT, Count, Sha256, canonical_json, parse_record
from errata.data.storage.base import Storage
from errata.editing.errors import AlreadyStored, Damaged, NotStored

Cause = Literal["erased", "pruned"]
_ADVICE = "restore it from a copy"


@dataclass(frozen=True, config=STRICT)
class Removal:
    """Which files of release `version` went, each with the digest that its manifest has of it, and why.

    `erasure` is the number of the erasure that it was for, 0 for none.
    """

    version: Count
    files: dict[str, Sha256]
    cause: Cause
    erasure: Count
    by: str
    why: str
    at: str
    format: Literal["errata-removal/1"] = "errata-removal/1"

    @property
    def sentence(self) -> str:
        """When, by whom, why."""
        proof = f", erasure {self.erasure}" if self.erasure else ""
        return f"{self.cause} on {self.at[:10]} by {self.by} ({self.why}{proof})"

    def to_json(self) -> bytes:
        """Canonical bytes."""
        return canonical_json(self)


_REMOVAL = TypeAdapter(Removal)


def removal_of(storage: Storage, version: int) -> Removal | None:
    """What was removed of a release on purpose, or None; raises Damaged, also on a record of what may not go."""
    key = layout.removal(version)
    try:
        found = parse_record(_REMOVAL, storage.get(key), f"{storage.url}/{key}", _ADVICE)
    except NotStored:
        return None
    if found.version != version or set(found.files) - set(layout.removable(version)):
        raise Damaged(f"{storage.url}/{key} names files of release {version} that are never removed; {_ADVICE}")
    return found


def record_removal(storage: Storage, removal: Removal) -> Removal:
    """Record that files are about to go; returns the record that stands, which may be an earlier one."""
    with suppress(AlreadyStored):
        storage.put_once(layout.removal(removal.version), removal.to_json())
        return removal
    return removal_of(storage, removal.version) or removal
