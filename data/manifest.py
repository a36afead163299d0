"""What a release is made of: the manifest of a bundle, the pointer to the live one, and how both are verified.

    releases/<version>/manifest.json   {"format", "version", "kind", "root", "ledger", ..., "files": {...}}
    live.json                          {"version", "manifest_sha256", "previous", "serial", "newest", "action", ...}

A release's digest is the SHA-256 of its manifest, which names that of every file: nothing in it carries the time.
`serial` counts the changes of live.json, so that the pointer never repeats its content (a compare-and-swap by content
hash cannot mistake an old state for a new one). `newest` is the highest version that ever was live. The pointer says
itself who set it and why, so that its line of the log can always be written, also after a crash.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Literal

from data import layout
from data.signing import check_signature, signatures_wanted
from data.storage.base import Storage
from editing.errors import Damaged, NotStored

FORMAT = "errata-release/1"
Action = Literal["released", "rolled back", "retracted", "reinstated"]


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class FileEntry:
    """One file of a bundle: its digest and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """The central noun of a release; `Manifest.from_json(m.to_json()) == m`.

    `kind` is "root" (trained; no correction shaped it) or "edit"; `root`, `ledger`, `splits` and `params` are the
    SHA-256 digests of what the release is a function of; `corrections` is how many are in force. `code` is the digest
    of the sources that made it, `libraries` the versions of those that compute: on others, expect other last bits.
    """

    version: int
    kind: Literal["root", "edit"]
    root: str
    ledger: str
    splits: str
    params: str
    corrections: int
    files: dict[str, FileEntry]
    code: str = ""
    libraries: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Canonical bytes."""
        return (json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True, indent=1) + "\n").encode()

    @staticmethod
    def from_json(content: bytes) -> Manifest:
        """Parse `to_json`'s output; raises Damaged on any other document."""
        try:
            raw = json.loads(content)
            if raw.pop("format") != FORMAT:
                raise ValueError(f"not of format {FORMAT}")
            files = {name: FileEntry(**entry) for name, entry in raw.pop("files").items()}
            return Manifest(files=files, **raw)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Damaged(f"manifest.json cannot be read ({error}); roll back to a release that verifies") from error

    @property
    def digest(self) -> str:
        """The release's digest."""
        return sha256(self.to_json())


@dataclass(frozen=True)
class Live:
    """Which release inference serves, and its manifest's digest; then who set it so, why, and when.

    `about` is the correction that a retraction or a reinstatement concerns; `run` is a random name of the run that set
    it, by which a run whose swap was not answered knows its own.
    """

    version: int
    manifest_sha256: str
    previous: int | None
    serial: int
    newest: int
    action: Action = "released"
    by: str = ""
    why: str = ""
    at: str = ""
    about: str = ""
    run: str = ""

    def to_json(self) -> bytes:
        """Canonical bytes."""
        return (json.dumps(asdict(self), sort_keys=True) + "\n").encode()

    @staticmethod
    def from_json(content: bytes) -> Live:
        """Parse `to_json`'s output; raises Damaged on any other document."""
        try:
            return Live(**json.loads(content))
        except (ValueError, TypeError) as error:
            raise Damaged(f"live.json cannot be read ({error}); restore it with `errata rollback VERSION`") from error


def read_live(storage: Storage) -> tuple[Live, str] | None:
    """The live pointer and its tag for the next swap, or None if nothing was ever released."""
    try:
        pointer = storage.read(layout.LIVE)
    except NotStored:
        return None
    return Live.from_json(pointer.content), pointer.tag


def read_manifest(storage: Storage, version: int, expected: str | None = None) -> Manifest:
    """The manifest of a release; `expected` is its digest where a pointer names one.

    Raises NotStored, and Damaged also if it lacks the signature that this client wants (`data.signing`).
    """
    key = layout.release_file(version, layout.MANIFEST)
    content = storage.get(key, sha256=expected)
    if signatures_wanted():
        try:
            signature = storage.get(layout.release_file(version, layout.SIGNATURE))
        except NotStored:
            signature = b""
        check_signature(content, signature, f"{storage.url}/{key}")
    manifest = Manifest.from_json(content)
    if manifest.version != version:
        raise Damaged(f"{storage.url}/{key} is that of release {manifest.version}; go back to a release that verifies")
    return manifest


def read_file(storage: Storage, manifest: Manifest, name: str) -> bytes:
    """One file of a bundle, checked against the manifest. Raises NotStored or Damaged."""
    if name not in manifest.files:
        raise NotStored(f"release {manifest.version} has no file {name}")
    return storage.get(layout.release_file(manifest.version, name), sha256=manifest.files[name].sha256)


def read_model(storage: Storage, manifest: Manifest) -> bytes:
    """The ONNX file that a release ships, checked against the manifest. Raises NotStored or Damaged."""
    return read_file(storage, manifest, layout.model_file(manifest.version))


def verify_bundle(storage: Storage, version: int, expected: str | None = None) -> tuple[str, ...]:
    """What is wrong with a bundle: a sentence for each changed, missing or extra file; empty if it is whole."""
    try:
        manifest = read_manifest(storage, version, expected)
    except (NotStored, Damaged) as error:
        return (str(error),)
    problems = []
    folder = layout.release_file(version, "")
    present = {key.removeprefix(folder) for key in storage.keys(folder)}
    for name in sorted(present - set(manifest.files) - {layout.MANIFEST, layout.SIGNATURE}):
        problems.append(f"extra: {name}")
    for name in sorted(manifest.files):
        try:
            read_file(storage, manifest, name)
        except NotStored:
            problems.append(f"missing: {name}")
        except Damaged:
            problems.append(f"changed: {name}")
    return tuple(problems)
