"""The store's contract: two backends (a folder, S3) keep it, one contract test suite runs over both.

Every object but a pointer is written once and never changed. A pointer (live.json) changes by compare-and-swap only, so
a crash anywhere leaves the old content, and of two writers exactly one wins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Versioned:
    """A pointer's content and the opaque tag that a later `swap` must present."""

    content: bytes
    tag: str


class Storage(Protocol):
    """A flat space of objects. Keys are relative, `/`-separated, without `..`; see `check_key`."""

    @property
    def url(self) -> str:
        """Where it is, for messages: a folder or s3://bucket/prefix."""
        ...

    def get(self, key: str, *, sha256: str | None = None) -> bytes:
        """The object's bytes. Raises NotStored; Damaged if `sha256` is given and differs."""
        ...

    def put_once(self, key: str, content: bytes) -> None:
        """Write a new object. The same content again is success (a retry); other content raises AlreadyStored."""
        ...

    def read(self, key: str) -> Versioned:
        """A pointer and its tag. Raises NotStored."""
        ...

    def swap(self, key: str, content: bytes, *, expected: str | None) -> Versioned:
        """Replace the pointer if its tag is still `expected` (None: it must not exist yet). Raises Superseded."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that starts with `prefix`, in byte order, streamed in pages; no bound on how many."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that is gone already is success."""
        ...

    def probe(self) -> None:
        """Prove with a throw-away key that conditional writes are honoured. Raises StoreUnusable if not."""
        ...
