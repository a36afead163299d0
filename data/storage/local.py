"""The store in a local folder.

A new object is written to a temporary file, synced, and *linked* to its name, which fails if the name is taken: it
appears whole or not at all. A pointer is replaced under a file lock. Symbolic links inside the store are refused:
nobody who may write there points us at other files.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from errata.data.storage.base import (
    PIECE,
    RECORD_BYTES,
    Versioned,
    check_digest,
    check_key,
    check_size,
    is_key,
    seal,
    unseal,
)
from errata.data.storage.probe import probe_conditions
from errata.editing.errors import AlreadyStored, NotStored, StoreError, StoreUnusable, Superseded, TooLarge, Unreadable

_LOCK = ".lock"
_TEMPORARY = ".tmp"
_LITTER_AFTER_SECONDS = 24 * 3600
_OF_ONE_FILE = {  # what the system says of one file while the disk is well
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ENXIO,  # a socket
    errno.EOPNOTSUPP,
    errno.ELOOP,  # a symbolic link
    errno.EBADMSG,
    errno.ENOKEY,
}
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class LocalStorage:
    """A folder that keeps the contract of `data.storage.base.Storage`, for any number of processes on one machine."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._real_root = self._root.resolve()

    @property
    def url(self) -> str:
        return str(self._root)

    def get(self, key: str, *, sha256: str | None = None, at_most: int | None = None) -> bytes:
        content = self._content(key, at_most)
        return check_digest(content, sha256, f"{self.url}/{key}")

    def stream(self, key: str, *, at_most: int | None = None) -> Iterator[bytes]:
        left = RECORD_BYTES if at_most is None else at_most
        with self._opened(key) as (file, size):
            check_size(size, at_most, f"{self.url}/{key}")
            while piece := file.read(PIECE):
                left = self._less(left, piece, key)
                yield piece

    def size(self, key: str) -> int:
        with self._opened(key) as (_, size):
            return size

    def put_once(self, key: str, content: bytes) -> None:
        target = self._path(key)
        with self._usable(key), self._written(content) as temporary:
            self._make_folder(target.parent)
            try:
                self._link(temporary, target)
            except FileExistsError:
                if not self._holds(key, content):
                    raise AlreadyStored(f"{self.url}/{key} already holds other content; it is never changed") from None
            _sync_folder(target.parent)

    def read(self, key: str) -> Versioned:
        stored = self._content(key)
        return Versioned(unseal(stored), _tag(stored))

    def swap(self, key: str, content: bytes, *, expected: str | None) -> Versioned:
        target, stored = self._path(key), seal(content)
        with self._usable(key), self._written(stored) as temporary, self._locked():
            found = self._found(key)
            if (None if found is None else _tag(found)) != expected:
                raise Superseded(f"{self.url}/{key} was changed by somebody else; read it again and decide anew")
            self._make_folder(target.parent)
            temporary.replace(target)
            _sync_folder(target.parent)
        return Versioned(content, _tag(stored))

    def keys(self, prefix: str) -> Iterator[str]:
        """As the contract says; the names of one folder at a time are held in memory."""
        folder, _, start = prefix.rpartition("/")
        if folder:
            check_key(folder)
        elif prefix.startswith("/"):
            raise StoreError(f"{prefix!r} begins with a slash; keys do not")
        base = self._path(folder) if folder else self._real_root
        yield from self._walk(base, f"{folder}/" if folder else "", start)

    def delete(self, key: str) -> None:
        target = self._path(key)
        with self._usable(key):
            try:
                target.unlink()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):  # a folder is no object
                return
            _sync_folder(target.parent)

    def flush(self) -> None:
        os.sync()

    def probe(self) -> None:
        probe_conditions(self)
        self._sweep()

    def _path(self, key: str) -> Path:
        """The file of a key. Raises StoreError on a bad key, StoreUnusable if a symbolic link is on its way."""
        path = self._real_root / check_key(key)
        if self._is_linked(path, key):
            raise StoreUnusable(f"{path} goes through a symbolic link; remove the link, the store follows none")
        return path

    def _is_linked(self, path: Path, key: str) -> bool:
        with self._usable(key):
            return path.is_symlink() or path.parent.resolve() != path.parent

    def _content(self, key: str, at_most: int | None = None) -> bytes:
        with self._opened(key) as (file, size):
            check_size(size, at_most, f"{self.url}/{key}")
            content = file.read(size + 1)
            if len(content) > size:  # it has grown since
                most = RECORD_BYTES if at_most is None else at_most
                content += file.read(max(most + 1 - len(content), 0))
                self._less(most, content, key)
            return content

    def _less(self, left: int, piece: bytes, key: str) -> int:
        """How many more bytes may be read after this piece: a file may have grown since it was opened."""
        if len(piece) > left:
            raise TooLarge(f"{self.url}/{key} grows while it is read, beyond the limit; file it when it is whole")
        return left - len(piece)

    @contextmanager
    def _opened(self, key: str) -> Iterator[tuple[BinaryIO, int]]:
        """The object's file and its size. What goes wrong, here or while it is read, is raised as the contract says."""
        path = self._real_root / check_key(key)
        if self._is_linked(path, key):  # one link must not hold up whoever reads a thousand objects
            raise NotStored(f"{path} goes through a symbolic link; remove the link, the store follows none")
        try:
            with self._usable(key), open(path, "rb", opener=_open_no_link) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise Unreadable(f"{self.url}/{key} is no file but a pipe or a device; remove it")
                yield file, status.st_size
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise NotStored(f"{self.url}/{key} is not stored") from error
        except StoreUnusable as error:
            if isinstance(error.__cause__, OSError) and _is_of_one_file(error.__cause__, path):
                advice = "see that it is a file which this user may read"
                raise Unreadable(f"{self.url}/{key}: {error.__cause__.strerror}; {advice}") from error
            raise

    def _found(self, key: str) -> bytes | None:
        """The object's bytes, or None if there is none."""
        try:
            return self._content(key)
        except NotStored:
            return None

    def _holds(self, key: str, content: bytes) -> bool:
        """Whether the object has just these bytes; of one that has more none is read."""
        try:
            return self._content(key, len(content)) == content
        except (NotStored, TooLarge):
            return False

    def _walk(self, folder: Path, prefix: str, start: str) -> Iterator[str]:
        """Keys below `folder` whose name begins with `start`, in byte order: a folder sorts as its name and a slash.

        A folder inside that cannot be listed counts as one object, which nobody can read.
        """
        with self._usable(prefix):
            try:
                with os.scandir(folder) as entries:
                    names = sorted(
                        f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name
                        for entry in entries
                        if entry.name.startswith(start) and is_key(prefix + entry.name) and not entry.is_symlink()
                    )
            except (FileNotFoundError, NotADirectoryError):
                return
        for name in names:
            if not name.endswith("/"):
                yield prefix + name
            elif os.access(folder / name, os.R_OK | os.X_OK):
                yield from self._walk(folder / name, prefix + name, "")
            else:
                yield prefix + name[:-1]

    @contextmanager
    def _written(self, content: bytes) -> Iterator[Path]:
        """A temporary file with this content, safe on disk; removed at the end if still there."""
        folder = self._real_root / _TEMPORARY
        self._make_folder(folder)
        path = folder / secrets.token_hex(16)
        try:
            with path.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _link(self, temporary: Path, target: Path) -> None:
        """Give the file its name; raises FileExistsError if the name is taken."""
        try:
            target.hardlink_to(temporary)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            with self._locked():  # the file system has no hard links; writers take turns instead
                if target.exists():
                    raise FileExistsError(errno.EEXIST, "exists", str(target)) from None
                temporary.replace(target)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time; the lock goes with the process, however that ends."""
        self._make_folder(self._real_root)
        with (self._real_root / _LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _usable(self, key: str) -> Iterator[None]:
        """Turn what the file system says into our own error; the file's absence is left for the caller to judge."""
        try:
            yield
        except (FileNotFoundError, FileExistsError, IsADirectoryError):
            raise
        except OSError as error:
            raise StoreUnusable(
                f"{self.url}/{key}: {error.strerror}; check the disk's space and permissions"
            ) from error

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            _sync_folder(folder.parent)

    def _sweep(self) -> None:
        """Remove temporary files of processes that died long ago."""
        oldest = time.time() - _LITTER_AFTER_SECONDS
        for path in (self._real_root / _TEMPORARY).iterdir():
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
            except FileNotFoundError:  # its own process, or another sweep, was faster
                continue


def _tag(stored: bytes) -> str:
    return hashlib.sha256(stored).hexdigest()


def _is_of_one_file(error: OSError, path: Path) -> bool:
    """Whether only this file is in trouble: its folder can say that a name which nobody has is not there."""
    if error.errno not in _OF_ONE_FILE:
        return False
    try:
        (path.parent / secrets.token_hex(16)).lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)  # nor wait for whoever writes to a pipe


def _sync_folder(folder: Path) -> None:
    """Make a new or removed name survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
