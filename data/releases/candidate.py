"""A candidate in shadow: a bundle that is not live, which services ask beside the release that is, and what they saw.

    candidate.json                      {"format", "version", "manifest_sha256", "parent", "corrections", ...}
    shadow/<manifest>/<time>-<run>.json {"format", "candidate", "live", "requests", "changed", "failed"}

The pointer changes by compare-and-swap, the counts are written once. A candidate is one of its `parent` alone: as soon
as another release is live nobody asks it any more, and once it was live itself nobody ever does. It is not signed, for
it decides nothing: the bundle that it names is verified like any release, and what goes live is what the gate let pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from errata.data import layout
from errata.data.records import STRICT, Count, Sha256, canonical_json, parse_record
from errata.data.releases.ledger import Correction
from errata.data.storage.base import Storage
from errata.editing.errors import NotStored, Superseded


@dataclass(frozen=True, config=STRICT)
class Candidate:
    """Release `version` to be, by its manifest's digest, made by `run` from the release with the digest `parent`.

    `corrections` are new in it, `withdrawn` (identities) have left the ledger: with these a night makes it again.
    """

    version: Annotated[int, Field(ge=1)]
    manifest_sha256: Sha256
    parent: Sha256
    corrections: tuple[Correction, ...]
    withdrawn: tuple[str, ...]
    run: str
    at: str
    format: Literal["errata-candidate/1"] = "errata-candidate/1"

    def waits(self, live: str, newest: int) -> bool:
        """Whether it is one of the release with the digest `live`, and none that was live itself: the newest version
        that ever was is `newest`, and a rollback from a candidate makes its parent live again."""
        return self.parent == live and self.version > newest


@dataclass(frozen=True, config=STRICT)
class ShadowCounts:
    """Of `requests` that a service answered by `live`, `candidate` would have answered `changed` with another class,
    and `failed` not at all; both are digests of manifests."""

    candidate: Sha256
    live: Sha256
    requests: Count
    changed: Count = 0
    failed: Count = 0
    format: Literal["errata-shadow/1"] = "errata-shadow/1"

    def __post_init__(self) -> None:
        if self.changed + self.failed > self.requests:
            raise ValueError(f"{self.changed} changed and {self.failed} failed are more than {self.requests} requests")


_CANDIDATE, _COUNTS = TypeAdapter(Candidate), TypeAdapter(ShadowCounts)


def read_candidate(storage: Storage) -> Candidate | None:
    """The candidate that was put into shadow last, whatever is live now; None if there was none. Raises Damaged."""
    try:
        content = storage.read(layout.CANDIDATE).content
    except NotStored:
        return None
    return parse_record(_CANDIDATE, content, f"{storage.url}/{layout.CANDIDATE}", "delete it: the next night makes it")


def point_at_candidate(storage: Storage, candidate: Candidate) -> None:
    """Have services ask it. Of two nights that do so at once one wins, and the other's is asked by nobody."""
    try:
        tag = storage.read(layout.CANDIDATE).tag
    except NotStored:
        tag = None
    with suppress(Superseded):
        storage.swap(layout.CANDIDATE, canonical_json(candidate), expected=tag)


def put_counts(storage: Storage, key: str, counts: ShadowCounts) -> None:
    """Write what a service saw under a key of `layout.shadow_counts`. Raises StoreError."""
    storage.put_once(key, canonical_json(counts))


def seen_counts(storage: Storage, candidate: str, live: str) -> Iterator[ShadowCounts]:
    """What services saw of a candidate beside a release, both by digest, in order of time. Raises Damaged."""
    for key in storage.keys(f"{layout.SHADOW}{candidate}/"):
        counts = parse_record(
            _COUNTS, storage.get(key), f"{storage.url}/{key}", "delete it: it counts for nothing then"
        )
        if (counts.candidate, counts.live) == (candidate, live):
            yield counts
