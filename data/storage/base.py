"""The store's contract: two backends (a folder, S3) keep it, one contract test suite runs over both.

Every object but a pointer is written once and never changed. A pointer (live.json) changes by compare-and-swap only, so
a crash anywhere leaves the old content, and of two writers exactly one wins.

A pointer is stored *sealed*: its content, then a newline and 64 blanks that spell a random number (space 0, tab 1),
which any JSON reader skips. So the same content never has the same bytes twice, and a tag made of the bytes never
returns to an earlier value (on S3 an ETag is a digest of the content); and a writer whose response got lost can tell
whether the bytes in the store are its own.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from errata.editing.errors import Damaged, StoreError, TooLarge

PIECE = 64 * 2**10
RECORD_BYTES = 64 * 2**20  # at most, where a reader names no limit: no record of ours comes near
SEAL_BITS = 64
_SEALED = re.compile(rb"(?s)(.*)\n[ \t]{%d}" % SEAL_BITS)
_LONGEST_KEY = 512
_LONGEST_SEGMENT = 200


@dataclass(frozen=True)
class Versioned:
    """A pointer's content and the opaque tag that a later `swap` must present."""

    content: bytes
    tag: str


class Storage(Protocol):
    """A flat space of objects. Keys are relative, `/`-separated, without `..` (see `check_key`); none is a folder of
    another (`a` beside `a/b`)."""

    @property
    def url(self) -> str:
        """Where it is, for messages: a folder or s3://bucket/prefix."""
        ...

    def get(self, key: str, *, sha256: str | None = None, at_most: int | None = None) -> bytes:
        """The object's bytes. Raises NotStored; Unreadable; TooLarge if it has more than `at_most` bytes (none of
        which are then read); Damaged if `sha256` is given and differs, and if no limit is given and it has more than
        `RECORD_BYTES`.

        Unreadable is this object's trouble, StoreUnusable the store's. What tells them apart is a question for a
        neighbour, a name in the same folder that nobody has: a store that answers that it is not there does answer."""
        ...

    def stream(self, key: str, *, at_most: int | None = None) -> Iterator[bytes]:
        """The object's bytes in order, in pieces of at most `PIECE`; raises as `get`, when the first is asked for."""
        ...

    def size(self, key: str) -> int:
        """How many bytes an object has; none is read. Raises NotStored; Unreadable or StoreUnusable."""
        ...

    def put_once(self, key: str, content: bytes) -> None:
        """Write a new object. The same content again is success (a retry); other content raises AlreadyStored, and
        Unreadable if what is there cannot be compared."""
        ...

    def read(self, key: str) -> Versioned:
        """A pointer and its tag. Raises NotStored, Unreadable; Damaged if it has more than `RECORD_BYTES`."""
        ...

    def swap(self, key: str, content: bytes, *, expected: str | None) -> Versioned:
        """Replace the pointer if its tag is still `expected` (None: it must not exist yet). Raises Superseded."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that starts with `prefix`, in byte order, streamed in pages; no bound on how many.

        What others put there under names that are no keys (`is_key`) is not seen. Raises StoreUnusable if the listing
        fails."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that is gone already is success."""
        ...

    def flush(self) -> None:
        """Make last what others wrote into it by its address: after that it survives a loss of power."""
        ...

    def probe(self) -> None:
        """Prove with throw-away keys that conditional writes are honoured. Raises StoreUnusable if not."""
        ...


def check_key(key: str) -> str:
    """The key itself, if it can name an object in every backend; raises StoreError if not."""
    if not is_key(key):
        raise StoreError(f"{key[:80]!r} is not a key of the store: see data.storage.base.is_key for what is")
    return key


def is_key(key: str) -> bool:
    """Whether this can name an object: printable segments between slashes, without backslashes, none of which begins
    with a dot or a dash (so that no key leaves the store, hides in it, or reads as an option), at most 200 bytes each
    and 512 together."""
    return len(key.encode(errors="replace")) <= _LONGEST_KEY and all(
        segment.isprintable()
        and segment[:1] not in ("", ".", "-")
        and "\\" not in segment
        and len(segment.encode()) <= _LONGEST_SEGMENT
        for segment in key.split("/")
    )


def check_digest(content: bytes, sha256: str | None, where: str) -> bytes:
    """The content itself, if it has the digest `sha256` (None: not asked for); raises Damaged if not."""
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise Damaged(f"{where}: its SHA-256 is not the recorded {sha256[:12]}…; restore it from a copy")
    return content


def check_size(size: int, at_most: int | None, where: str) -> None:
    """Raise TooLarge if an object of `size` bytes is beyond `at_most`; Damaged beyond `RECORD_BYTES`, if it is None."""
    if at_most is None and size > RECORD_BYTES:
        raise Damaged(f"{where} has {size:,} bytes, no record has so many; restore it from a copy, or remove it")
    if at_most is not None and size > at_most:
        raise TooLarge(f"{where} has {size:,} bytes, the limit is {at_most:,}")


def seal(content: bytes) -> bytes:
    """The bytes to store for a pointer: `unseal(seal(content)) == content`, and never the same bytes twice."""
    blanks = f"{secrets.randbits(SEAL_BITS):0{SEAL_BITS}b}".translate({ord("0"): " ", ord("1"): "\t"})
    return content + b"\n" + blanks.encode()


def unseal(stored: bytes) -> bytes:
    """A pointer's content; bytes without a seal (written by hand) are the content."""
    match = _SEALED.fullmatch(stored)
    return match.group(1) if match else stored
