"""What a release is made of: the manifest of a bundle, the pointer to the live one, and how both are verified.

    releases/<version>/manifest.json   {"format", "version", "kind", "root", "ledger", ..., "files": {...}}
    live.json, log/<serial>.json       {"version", "manifest_sha256", "previous", "serial", "newest", "action", ...}

A release's digest is the SHA-256 of its manifest, which names that of every file: nothing in it carries the time.
`serial` counts the changes of live.json and is the pointer's place in the log, which holds each pointer that ever was
live. `newest` is the highest version that ever was live. The pointer says itself who set it and why, so that its line
of the log can always be written, also after a crash. Where keys are set (`data.releases.signing`), a pointer carries a
signature of all its other fields: of its version and its place in the log as well. A pointer may expire (`expires`):
then nights renew it, and what keeps the newest one from clients is found out by its age.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, field, replace
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from errata.data import layout
from errata.data.records import STRICT, Count, Sha256, canonical_json, parse_record
from errata.data.releases.signing import check_signature, signature_of, signatures_wanted
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged, Expired, NotStored, TooLarge

FORMAT: Literal["errata-release/1"] = "errata-release/1"
Action = Literal["released", "rolled back", "retracted", "reinstated", "erased", "pruned"]
Number = Annotated[int, Field(ge=1)]
MOST_HOURS = 87_600  # ten years, for which a pointer may be made at most


def _time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time without its zone")
    return text


Time = Annotated[str, AfterValidator(_time)]
_OPTIONAL = (
    "signature",
    "expires",
    "valid_hours",
    "judged",
)  # left out of a pointer where empty, as before there were any
_SIGNED_AS = b"errata live.json\n"  # so that no signature of a pointer is one of a manifest


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, config=STRICT)
class FileEntry:
    """One file of a bundle: its digest and its size in bytes, at most what an ONNX file may have."""

    sha256: Sha256
    size: Annotated[int, Field(ge=0, le=2**31)]


@dataclass(frozen=True, config=STRICT)
class Manifest:
    """The central noun of a release; `Manifest.from_json(m.to_json()) == m`.

    `kind` is "root" (trained; no correction shaped it) or "edit"; `root`, `ledger`, `splits` and `params` are the
    SHA-256 digests of what the release is a function of; `corrections` is how many are in force. `code` is the digest
    of the sources that made it, `libraries` the versions of those that compute: on others, expect other last bits.
    """

    version: Number
    kind: Literal["root", "edit"]
    root: Sha256
    ledger: Sha256
    splits: Sha256
    params: Sha256
    corrections: Count
    files: dict[str, FileEntry]
    code: Sha256 | Literal[""] = ""
    libraries: dict[str, str] = field(default_factory=dict)
    format: Literal["errata-release/1"] = FORMAT

    def to_json(self) -> bytes:
        """Canonical bytes."""
        return canonical_json(self)

    @staticmethod
    def from_json(content: bytes) -> Manifest:
        """Parse `to_json`'s output; raises Damaged, naming each field that is wrong, on any other document."""
        return parse_record(_MANIFEST, content, "manifest.json", "roll back to a release that verifies")

    @property
    def digest(self) -> str:
        """The release's digest."""
        return sha256(self.to_json())


@dataclass(frozen=True, config=STRICT)
class JudgedSplit:
    """How often models were judged on a split, and the digest of the list of its images (`data.releases.looks`)."""

    looks: Count
    images: Sha256


@dataclass(frozen=True, config=STRICT)
class Live:
    """Which release inference serves, and its manifest's digest; then who set it so, why, and when.

    `about` is the correction that a retraction or a reinstatement concerns; `run` is a random name of the run that set
    it, by which a run whose swap was not answered knows its own. `expires` is the time after which no client starts on
    it, empty if it never does, and `valid_hours` for how long it is renewed. `judged`: the looks at each split, by its
    digest, where pointers are signed: so they cannot be taken back. `signature` is of all other fields.
    """

    version: Number
    manifest_sha256: Sha256
    previous: Number | None
    serial: Number
    newest: Number
    action: Action = "released"
    by: str = ""
    why: str = ""
    at: str = ""
    about: str = ""
    run: str = ""
    expires: Time | Literal[""] = ""
    valid_hours: Annotated[float, Field(ge=0, le=MOST_HOURS)] = 0.0
    judged: dict[Sha256, JudgedSplit] = field(default_factory=dict)
    signature: str = ""

    def to_json(self) -> bytes:
        """Canonical bytes: one line, fields by name; a signature and an end only where there are."""
        fields = {name: value for name, value in asdict(self).items() if name not in _OPTIONAL or value}
        return (json.dumps(fields, sort_keys=True) + "\n").encode()

    @staticmethod
    def from_json(content: bytes) -> Live:
        """Parse `to_json`'s output; raises Damaged, naming each field that is wrong, on any other document.

        Whether it is signed is not looked at: `read_live` and `read_entry` do.
        """
        return parse_record(_LIVE, content, "live.json", "restore it with `errata rollback VERSION`")

    @property
    def unsigned(self) -> Live:
        """What the signature is of."""
        return replace(self, signature="")

    @property
    def change(self) -> Live:
        """What it says of what is live: two pointers say the same if these are equal, for nights renew the rest."""
        return replace(self, signature="", expires="", valid_hours=0.0, judged={})

    def valid_for(self, hours: float, now: datetime) -> Live:
        """The same, unsigned, until so many hours from `now`; 0: for ever."""
        end = (now + timedelta(hours=hours)).isoformat(timespec="seconds") if hours else ""
        return replace(self, expires=end, valid_hours=float(hours), signature="")

    def check_fresh(self, now: datetime, where: str) -> None:
        """Raise Expired if its time is over at `now`."""
        if self.expires and datetime.fromisoformat(self.expires) <= now:
            raise Expired(
                f"{where} (release {self.version}) expired at {self.expires} and was not renewed: see whether nights "
                "still end, or whether somebody keeps a newer one back; `errata correct` renews it"
            )

    def signed(self) -> Live:
        """The same with its signature, if a signing key is set; raises DataError if only a public key is."""
        signature = signature_of(_SIGNED_AS + self.unsigned.to_json())
        return self if signature is None else replace(self, signature=signature.decode().strip())

    def verified(self, where: str) -> Live:
        """Itself; raises Damaged if it lacks the signature that this client wants (`data.releases.signing`)."""
        if signatures_wanted():
            check_signature(_SIGNED_AS + self.unsigned.to_json(), self.signature.encode(), where)
        return self


_MANIFEST, _LIVE = TypeAdapter(Manifest), TypeAdapter(Live)


def read_live(storage: Storage) -> tuple[Live, str] | None:
    """The live pointer and its tag for the next swap, or None if nothing was ever released. Raises Damaged."""
    try:
        pointer = storage.read(layout.LIVE)
    except NotStored:
        return None
    return Live.from_json(pointer.content).verified(f"{storage.url}/{layout.LIVE}"), pointer.tag


def read_entry(storage: Storage, key: str) -> Live:
    """One entry of the log; raises Damaged also if it is another entry than its name says. Raises NotStored."""
    entry = Live.from_json(storage.get(key)).verified(f"{storage.url}/{key}")
    if key != layout.log_entry(entry.serial):
        raise Damaged(f"{storage.url}/{key} is entry {entry.serial} of the log; restore it from a copy")
    return entry


def check_log(storage: Storage, live: Live | None) -> None:
    """Raise Damaged if the log goes beyond the pointer `live` (None: there is no live.json) or says otherwise.

    So whoever puts an older live.json back, signed as it once was, or removes it, is found out. A client without the
    right to read the log remembers instead (`serving.seen`).
    """
    restore = "`errata rollback VERSION` makes a release live that verifies"
    if live is None:
        if next(iter(storage.keys(layout.LOG)), None) is not None:
            raise Damaged(f"{storage.url} has a log of releases but no {layout.LIVE}; {restore}")
        return
    try:
        entry = read_entry(storage, layout.log_entry(live.serial))
    except NotStored:  # a crash came between the swap and the log
        entry = live
    if entry.change != live.change:
        raise Damaged(f"{storage.url}/{layout.LIVE} and entry {live.serial} of the log differ; {restore}")
    try:
        later = storage.get(layout.log_entry(live.serial + 1))
    except NotStored:
        return
    found = read_live(storage)
    if later and found is not None and found[0].serial == live.serial:  # else somebody else swapped meanwhile
        raise Damaged(f"{storage.url}/{layout.LIVE} was put back to change {live.serial}, the log goes on; {restore}")


def read_manifest(storage: Storage, version: int, expected: str | None = None) -> Manifest:
    """The manifest of a release; `expected` is its digest where a pointer names one.

    Raises NotStored, and Damaged also if it lacks the signature that this client wants (`data.releases.signing`).
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
    """One file of a bundle, checked against the manifest. Raises NotStored or Damaged; of one that is larger than the
    manifest says nothing is read."""
    if name not in manifest.files:
        raise NotStored(f"release {manifest.version} has no file {name}")
    key, entry = layout.release_file(manifest.version, name), manifest.files[name]
    try:
        return storage.get(key, sha256=entry.sha256, at_most=entry.size)
    except TooLarge as fault:
        raise Damaged(f"{fault}, as the manifest says; restore it from a copy") from fault


def read_model(storage: Storage, manifest: Manifest) -> bytes:
    """The ONNX file that a release ships, checked against the manifest. Raises NotStored or Damaged."""
    return read_file(storage, manifest, layout.model_file(manifest.version))


def verify_bundle(
    storage: Storage, version: int, expected: str | None = None, removed: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """What is wrong with a bundle: a sentence for each changed, missing or extra file; empty if it is whole.

    `removed`: files that may be missing, each with the digest that the manifest must have of it.
    """
    try:
        manifest = read_manifest(storage, version, expected)
    except (NotStored, Damaged) as error:
        return (str(error),)
    problems = []
    folder = layout.release_file(version, "")
    present = {key.removeprefix(folder) for key in storage.keys(folder)}
    for name in sorted(present - set(manifest.files) - layout.BESIDE):
        problems.append(f"extra: {name}")
    for name in sorted(manifest.files):
        try:
            read_file(storage, manifest, name)
        except NotStored:
            if (removed or {}).get(name) != manifest.files[name].sha256:
                problems.append(f"missing: {name}")
        except Damaged:
            problems.append(f"changed: {name}")
    return tuple(problems)
