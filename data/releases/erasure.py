"""A person's photo that shall be gone: what was asked, which every later night honours, and that it is done.

    erased/<n>/asked.json   {"format", "number", "images", "identities", "corrections", "reports", "gates", "by", ...}
    erased/<n>/done.json    {"format", "number", "version", "taught", "at"}

Both are written once and stay: digests say that a photo was here, and are no photo. From the moment in which it is
asked no report of the photo is taken, and no release that holds it can be made live again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Literal

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from errata.data import layout
from errata.data.records import STRICT, Count, Sha256, canonical_json, parse_record
from errata.data.releases.ledger import Correction
from errata.data.releases.numbered import put_numbered
from errata.data.storage.base import Storage
from errata.editing.errors import AlreadyStored, NotStored

ERASED_MEANWHILE = "a photo was erased while the night worked with it; nothing was consumed, run it again"
_ADVICE = "restore it from a copy: it says what must not come back"


@dataclass(frozen=True, config=STRICT)
class ReplacedGate:
    """A gate split that an operator had added and that held the photo, by its file's digest before and after: "" if
    nothing is left of it."""

    before: Sha256
    after: Sha256 | Literal[""]


@dataclass(frozen=True, config=STRICT)
class Erasure:
    """What was asked. `images`: digests of files; `identities`: digests of their pixels at the model's input size;
    `corrections`: all that releases ever claimed of them; `reports`: those that spoke of them; `gates`: splits that
    held them."""

    number: Count
    images: tuple[Sha256, ...]
    identities: tuple[Sha256, ...]
    corrections: tuple[Correction, ...]
    reports: tuple[str, ...]
    by: str
    why: str
    at: str
    gates: tuple[ReplacedGate, ...] = ()
    format: Literal["errata-erasure/1"] = "errata-erasure/1"

    @property
    def key(self) -> str:
        """Where the store keeps it."""
        return layout.erasure(self.number)

    @property
    def digests(self) -> frozenset[str]:
        """What is not taken again."""
        return frozenset({*self.images, *self.identities})

    def to_json(self) -> bytes:
        """Canonical bytes."""
        return canonical_json(self)


@dataclass(frozen=True, config=STRICT)
class Erased:
    """That nothing is left. `version`: what was live then; `taught`: releases whose root learned from the photo."""

    number: Count
    version: Count | None
    taught: tuple[Count, ...]
    at: str
    format: Literal["errata-erased/1"] = "errata-erased/1"

    def to_json(self) -> bytes:
        """Canonical bytes."""
        return canonical_json(self)


_ERASURE, _ERASED = TypeAdapter(Erasure), TypeAdapter(Erased)


def erasures(storage: Storage) -> Iterator[Erasure]:
    """Everything that anybody ever asked, in order. Raises Damaged: nobody knows then what must not come back."""
    for key in storage.keys(layout.ERASED):
        if layout.stem(key) == "asked":
            yield parse_record(_ERASURE, storage.get(key), f"{storage.url}/{key}", _ADVICE)


def erased_digests(storage: Storage) -> frozenset[str]:
    """The digests of all image files, and of all pixels at the model's input size, that are not taken again."""
    return frozenset[str]().union(*(each.digests for each in erasures(storage)))


def replaced_gates(storage: Storage) -> dict[str, str]:
    """What each gate split that held an erased photo became in the end, by digest: "" if nothing is left of it."""
    became = {gate.before: gate.after for each in erasures(storage) for gate in each.gates}

    def last(digest: str) -> str:
        return last(became[digest]) if digest in became else digest

    return {before: last(after) for before, after in became.items()}


def ask(storage: Storage, erasure: Erasure) -> Erasure:
    """Record that it is asked, under its number or the next that is free; returns it with that number."""
    return put_numbered(storage, erasure.number, lambda number: replace(erasure, number=number))


def outcome_of(storage: Storage, erasure: Erasure) -> Erased | None:
    """What came of it, or None while something may be left."""
    key = layout.erasure_done(erasure.number)
    try:
        return parse_record(_ERASED, storage.get(key), f"{storage.url}/{key}", _ADVICE)
    except NotStored:
        return None


def record_outcome(storage: Storage, erased: Erased) -> Erased:
    """Record that it is done; an earlier record of it stands."""
    with suppress(AlreadyStored):
        storage.put_once(layout.erasure_done(erased.number), erased.to_json())
    return erased
