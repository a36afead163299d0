"""The classes that a release knows, and the refusal of a name that is none of them. Reads no model."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from errata.data import layout
from errata.data.releases.manifest import Live, read_file, read_manifest
from errata.data.storage.base import Storage
from errata.editing.errors import DataError

LISTED = 20  # names in a message


def read_classes(storage: Storage, live: Live) -> tuple[str, ...]:
    """The names of a release's classes, in the order of its outputs; raises Damaged or NotStored."""
    manifest = read_manifest(storage, live.version, live.manifest_sha256)
    return tuple(read_file(storage, manifest, layout.LABELS).decode().splitlines())


def check_class(name: str, classes: Sequence[str]) -> None:
    """Raises DataError, with the nearest name and the list, if `name` is none of `classes`."""
    if name in classes:
        return
    nearest = get_close_matches(name, classes, n=1)
    listed = ", ".join(classes[:LISTED]) + (f" and {len(classes) - LISTED} more" if len(classes) > LISTED else "")
    meant = f"; did you mean {nearest[0]!r}?" if nearest else "."
    raise DataError(f"the live model has no class {name!r}{meant} It knows {listed}")
