"""Blocks of bytes that were dear to compute, kept on this machine in one SQLite file: a cache, and nothing more.

What is damaged is not there: a block counts only with the digest under which it was written, and a file that is no
database is put away for a new one. Losing any of it costs time, never truth. So it is not synchronised to the disk:
a crash of this process loses nothing, one of the machine perhaps the file.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

Answer = TypeVar("Answer")

MOST_BYTES = 4 * 2**30
_WAIT = 60.0  # seconds for another process that writes
_AT_ONCE = 500  # keys in one question
_TABLE = "CREATE TABLE IF NOT EXISTS blocks (key TEXT PRIMARY KEY, sha256 BLOB NOT NULL, content BLOB NOT NULL)"


class KeptBlocks:
    """The blocks in the file `path`, made when something is put there; `most` bytes, then the oldest half goes."""

    def __init__(self, path: Path, most: int = MOST_BYTES) -> None:
        self._path, self._most = path, most

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Those of the blocks that are there and whole."""
        if not keys or not self._path.exists():
            return {}

        def read(database: sqlite3.Connection) -> dict[str, bytes]:
            found: dict[str, bytes] = {}
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = database.execute(f"SELECT key, sha256, content FROM blocks WHERE key IN ({marks})", some)
                found |= {key: content for key, digest, content in rows if _digest(key, content) == digest}
            return found

        return self._tried(read) or {}

    def put(self, blocks: Mapping[str, bytes]) -> None:
        """Keep the blocks, all or none; one that was damaged is replaced."""

        def write(database: sqlite3.Connection) -> None:
            rows = [(key, _digest(key, content), content) for key, content in blocks.items()]
            with database:
                database.executemany("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?)", rows)
            if self._path.stat().st_size > self._most:
                with database:
                    database.execute(
                        "DELETE FROM blocks WHERE rowid <= (SELECT (MIN(rowid) + MAX(rowid)) / 2 FROM blocks)"
                    )
                database.execute("VACUUM")

        self._tried(write)

    def _tried(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer | None:
        """What `work` gives; None if the file is no database (then it is deleted), busy for long, or the disk full."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=_WAIT)) as database:
                database.execute("PRAGMA synchronous = OFF")
                database.execute(_TABLE)
                return work(database)
        except sqlite3.OperationalError:
            return None
        except sqlite3.DatabaseError:
            self._path.unlink(missing_ok=True)
            return None
        except OSError:
            return None


def _digest(key: str, content: bytes) -> bytes:
    """A block under another's key is damaged too."""
    return hashlib.sha256(key.encode() + b"\0" + content).digest()
