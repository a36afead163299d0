"""The kinds of the live release, and what people decide about them: a name, or that one is dissolved into pictures.

A decision is a record written once (`data.releases.kind_inputs`), an input of every later night's release.
"""

from __future__ import annotations

from datetime import UTC, datetime

from errata.data.releases.edit_record import EditRecord, KindRecord
from errata.data.releases.kind_inputs import KindDecision, KindVerb, decide_kind
from errata.data.releases.manifest import read_file, read_manifest
from errata.data.storage.base import Storage
from errata.editing.errors import DataError, NightError
from errata.flows.releases.pointer import require_live

LONGEST_NAME = 80  # letters


def live_kinds(storage: Storage) -> EditRecord:
    """How the live release was edited, its kinds among it. Raises NightError if nothing is released, Damaged."""
    live, _ = require_live(storage)
    manifest = read_manifest(storage, live.version, live.manifest_sha256)
    return EditRecord.from_json(read_file(storage, manifest, "edit.json"))


def decide(storage: Storage, kind: str, action: KindVerb, *, name: str = "", by: str, why: str) -> KindRecord:
    """Record what a person says of a kind of the live release, used or not, by its name; the next night honours it.

    Raises NightError if no kind has that name, or several, and DataError for a name that cannot be given.
    """
    if action == "named" and (not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME):
        raise DataError(f"{name[:LONGEST_NAME]!r} cannot be a kind's name; give up to {LONGEST_NAME} printable letters")
    known = live_kinds(storage).kinds
    found = [each for each in known if each.name == kind]
    if len(found) != 1:
        names = ", ".join(repr(each.name) for each in known) or "none"
        raise NightError(f"{len(found)} kinds of the live release are called {kind!r}; it knows {names}")
    members = tuple(sorted(found[0].corrections))
    at = datetime.now(UTC).isoformat(timespec="seconds")
    decide_kind(storage, KindDecision(action, members, name), by=by, why=why, at=at)
    return found[0]
