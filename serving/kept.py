"""The last good release, kept in a local folder: a service that starts while the store is damaged or away serves that.

The folder has the store's own layout, one store's release in each subfolder, so that what is kept is verified on load
exactly as what is live: its pointer names the manifest's digest, the manifest every file's.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from errata.data import layout
from errata.data.releases.manifest import Live, read_file, read_live, read_manifest
from errata.data.storage.base import Storage
from errata.data.storage.local import LocalStorage
from errata.editing.errors import AlreadyStored, NotStored
from errata.serving.release import release_files


class Kept:
    """One release of one store in `folder`, which several stores may share."""

    def __init__(self, folder: Path, store: str) -> None:
        """`store` is the store's URL: what was kept of one store is never served for another."""
        self.storage: Storage = LocalStorage(folder / hashlib.sha256(store.encode()).hexdigest()[:16])

    def live(self) -> Live | None:
        """What points at the release that is kept, or None."""
        found = read_live(self.storage)
        return found[0] if found else None

    def keep(self, store: Storage, live: Live) -> None:
        """Copy the release that `live` names out of `store`, in place of the one that was kept.

        A crash at any moment leaves the old one or the new one. Raises ErrataError where either cannot be had: then
        nothing is lost but the copy.
        """
        manifest = read_manifest(store, live.version, live.manifest_sha256)
        names = release_files(manifest)
        wanted = {layout.release_file(live.version, name): read_file(store, manifest, name) for name in names}
        for name in (layout.MANIFEST, layout.SIGNATURE):
            key = layout.release_file(live.version, name)
            with suppress(NotStored):  # not every store signs
                wanted[key] = store.get(key)
        for key, content in wanted.items():
            try:
                self.storage.put_once(key, content)
            except AlreadyStored:  # it was damaged here, or the store was made anew
                self.storage.delete(key)
                self.storage.put_once(key, content)
        try:
            tag = self.storage.read(layout.LIVE).tag
        except NotStored:
            tag = None
        self.storage.swap(layout.LIVE, live.to_json(), expected=tag)
        for key in list(self.storage.keys(layout.RELEASES)):
            if key not in wanted:
                self.storage.delete(key)
