"""The bundles that lie in the store, whether they ever were live, whole or not: what may be removed is found there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from errata.data import layout
from errata.data.releases.ledger import Correction, Ledger
from errata.data.releases.manifest import Live, Manifest, read_manifest
from errata.data.releases.removal import Cause, Removal, record_removal, removal_of
from errata.data.releases.replay import NAME, NAME_BEFORE
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged, DataError, NotStored, Unreadable
from errata.flows.releases.pointer import log_entries


@dataclass(frozen=True)
class StoredBundle:
    """A bundle as far as it can be read. `last_live`: when that was, "" if never; `removal`: what was removed of it.

    `edited` are the corrections of its ledger, `taught` those that its root learned from.
    """

    version: int
    manifest: Manifest | None
    last_live: str
    edited: tuple[Correction, ...]
    taught: tuple[Correction, ...]
    removal: Removal | None

    @property
    def removable(self) -> dict[str, str]:
        """The digests of its weights and its page, by name, as its manifest has them."""
        files = self.manifest.files if self.manifest else {}
        return {name: files[name].sha256 for name in layout.removable(self.version) if name in files}


def stored_bundles(storage: Storage, live: Live | None) -> tuple[StoredBundle, ...]:
    """Every bundle in the store, by version."""
    log = sorted([*log_entries(storage), *([live] if live else [])], key=lambda entry: entry.serial)
    digests = {entry.version: entry.manifest_sha256 for entry in log}
    until = {entry.version: after.at for entry, after in zip(log, [*log[1:], *log[-1:]], strict=True)}
    found = {key.removeprefix(layout.RELEASES).partition("/")[0] for key in storage.keys(layout.RELEASES)}
    return tuple(
        StoredBundle(
            version,
            _manifest(storage, version, digests.get(version)),
            until.get(version, ""),
            _corrections(storage, version, ["ledger.jsonl"]),
            _corrections(storage, version, [NAME, NAME_BEFORE]),
            removal_of(storage, version),
        )
        for version in sorted(int(name) for name in found if name.isdecimal())
    )


def record_removals(
    storage: Storage, bundles: Iterable[StoredBundle], cause: Cause, *, by: str, why: str, at: str, erasure: int = 0
) -> list[Removal]:
    """Record of each bundle that its weights and its page are about to go; returns the records that stand."""
    return [
        record_removal(storage, Removal(each.version, each.removable, cause, erasure, by, why, at)) for each in bundles
    ]


def remove_bundle(storage: Storage, version: int) -> None:
    """Delete a bundle that never was live; its ledger last, for that tells whose photo it holds."""
    keys = list(storage.keys(layout.release_file(version, "")))
    for key in sorted(keys, key=lambda key: key.endswith("/ledger.jsonl")):
        storage.delete(key)


def removed_keys(removals: Iterable[Removal]) -> Iterator[str]:
    """The keys of the files that records name."""
    for removal in removals:
        for name in sorted(removal.files):
            yield layout.release_file(removal.version, name)


def _manifest(storage: Storage, version: int, digest: str | None) -> Manifest | None:
    try:
        return read_manifest(storage, version, digest)
    except (NotStored, Damaged, Unreadable):
        return None


def _corrections(storage: Storage, version: int, names: Iterable[str]) -> tuple[Correction, ...]:
    """Those of the first ledger of these names that is there; none if it cannot be read."""
    for name in names:
        try:
            return Ledger.from_jsonl(storage.get(layout.release_file(version, name)).decode()).corrections
        except NotStored:
            continue
        except (Damaged, DataError, Unreadable, UnicodeDecodeError):
            break
    return ()
