"""The root and the splits of a release, fetched from the store and checked before anything of them reaches DVC.

DVC's own `pull` checks neither the digest of what lists a folder's files nor the paths in it, so whoever writes to the
store could write anywhere on this machine. Here each path, size and MD5 is checked against the release's dvc.lock, and
the whole against the SHA-256 in its manifest; only then it goes into DVC's cache, and `dvc checkout` needs no remote.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from errata.data.records import written_out
from errata.data.releases.manifest import Manifest, read_file
from errata.data.splits import splits_digest
from errata.data.storage.base import Storage, is_key
from errata.editing.errors import Damaged, TooLarge
from errata.flows.releases.gate_images import judged_on_erased
from errata.flows.workspace import Log, Workspace, tree_digest

OBJECTS = "dvc/files/md5"  # in the store, as DVC lays them out
LOCK_BYTES, LIST_BYTES, FILES = 2**20, 2**20, 1000  # at most
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class _Output(BaseModel):
    """A folder that a stage made, as dvc.lock has it: `size` in bytes of its `nfiles` files."""

    model_config = ConfigDict(strict=True, frozen=True)
    path: str
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}\.dir$")]
    size: Annotated[int, Field(ge=0)]
    nfiles: Annotated[int, Field(ge=0, le=FILES)]


class ListedFile(BaseModel):
    """One file of a folder."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")
    relpath: str
    md5: Digest


_LISTING = TypeAdapter(Annotated[list[ListedFile], Field(max_length=FILES)])


def restore_outputs(storage: Storage, manifest: Manifest, workspace: Workspace, log: Log) -> None:
    """Put the release's splits and root into the workspace and DVC's cache.

    Raises NotStored if the store lost a part, Damaged or TooLarge if one is not what the release recorded; then
    neither the workspace nor the cache has changed. Without its splits, if a photo in them was erased: those are made
    again from the data set.
    """
    whole = not judged_on_erased(storage, manifest)
    said: list[str] = []
    workspace.dvc("cache", "dir", log=said.append)
    cache = (Path(said[-1]) if said else workspace.folder / ".dvc" / "cache") / "files" / "md5"
    (workspace.folder / ".dvc" / "tmp").mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="errata-", dir=workspace.folder / ".dvc" / "tmp") as temporary:
        objects: dict[str, Path] = {}
        for stage, name in (*([("prepare", "splits")] if whole else []), ("train", "root")):
            folder = Path(temporary) / name
            objects |= _fetch(storage, _output(storage, manifest, stage, f"artifacts/{name}"), folder)
        if tree_digest(Path(temporary) / "root") != manifest.root:
            raise Damaged(f"the root in the store is not that of release {manifest.version}; run `errata train`")
        if whole and splits_digest(Path(temporary) / "splits") != manifest.splits:
            raise Damaged(f"the splits in the store are not those of release {manifest.version}; run `errata train`")
        for md5, made in objects.items():
            _keep(cache / md5[:2] / md5[2:], made)
    workspace.dvc("checkout", "--force", *(["prepare"] if whole else []), "train", log=log)
    if not whole:
        log(f"a photo in the splits of release {manifest.version} was erased; they are made again from the data set")
        workspace.dvc("repro", "prepare", log=log)


def _output(storage: Storage, manifest: Manifest, stage: str, path: str) -> _Output:
    """What the release's dvc.lock says of the one folder that a stage makes."""
    content = read_file(storage, manifest, "dvc.lock")
    try:
        if len(content) > LOCK_BYTES:
            raise ValueError(f"it has {len(content):,} bytes")
        lock = yaml.safe_load(content)
        written_out(lock)  # DVC reads all of it
        (raw,) = lock["stages"][stage]["outs"]
        output = _Output.model_validate(raw)
        if output.path != path:
            raise ValueError(f"{stage} makes {output.path[:80]!r}, not {path}")
    except (ValueError, KeyError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise Damaged(f"dvc.lock of release {manifest.version} does not say what {path} is: {error}") from error
    return output


def _fetch(storage: Storage, output: _Output, folder: Path) -> dict[str, Path]:
    """Fetch a folder's files, each checked, into the new `folder`; what DVC's cache shall hold, by MD5."""
    folder.mkdir()
    if output.size > (room := shutil.disk_usage(folder).free):
        raise TooLarge(f"{output.path} in the store has {output.size:,} bytes, there is room for {room:,}; make some")
    listing = folder.with_suffix(".dir")
    listing.write_bytes(b"".join(_object(storage, output.md5, LIST_BYTES)))
    files = _parsed(listing.read_bytes(), output.path)
    names = [each.relpath for each in files]
    parents = {parent.as_posix() for name in names for parent in Path(name).parents}
    if bad := [name for name in names if not is_key(name) or names.count(name) > 1 or name in parents]:
        raise Damaged(f"{output.path} in the store names a file {bad[0][:80]!r}, which may not be: somebody changed it")
    if len(files) != output.nfiles:
        raise Damaged(f"{output.path} in the store has {len(files)} files, dvc.lock says {output.nfiles}")
    objects = {output.md5: listing}
    left = output.size
    for each in files:
        path = folder / each.relpath
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.writelines(_object(storage, each.md5, left))
        left -= path.stat().st_size
        objects[each.md5] = path
    return objects


def read_listing(storage: Storage, md5: str) -> list[ListedFile]:
    """The files of a folder that DVC pushed, by the name of its list, `<md5>.dir`; raises NotStored or Damaged."""
    return _parsed(b"".join(_object(storage, md5, LIST_BYTES)), md5)


def _parsed(listing: bytes, where: str) -> list[ListedFile]:
    try:
        return _LISTING.validate_json(listing)
    except ValidationError as error:
        raise Damaged(f"{where} in the store: its list of files cannot be read") from error


def _object(storage: Storage, md5: str, at_most: int) -> Iterator[bytes]:
    """One object of DVC's in the store, in pieces; raises Damaged behind the last if it is not what its name says."""
    key = f"{OBJECTS}/{md5[:2]}/{md5[2:]}"
    found = hashlib.md5(usedforsecurity=False)
    for piece in storage.stream(key, at_most=at_most):
        found.update(piece)
        yield piece
    if found.hexdigest() != md5.removesuffix(".dir"):
        raise Damaged(f"{storage.url}/{key} is not what its name says; restore it from a copy")


def _keep(path: Path, made: Path) -> None:
    """Move an object into DVC's cache, whole or not at all, unless it lies there as it should."""
    if path.is_file() and filecmp.cmp(path, made, shallow=False):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_name(f"{path.name}.{os.getpid()}")
    shutil.move(made, whole)
    whole.chmod(0o444)  # as DVC keeps them
    whole.replace(path)
