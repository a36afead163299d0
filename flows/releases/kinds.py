"""The kinds of the live release, and what people decide about them: a name, that two are one, that one is two, or
that one is dissolved into pictures.

A decision is a record written once (`data.releases.kind_inputs`), an input of every later night's release.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def merge(storage: Storage, kinds: Sequence[str], *, name: str = "", by: str, why: str) -> None:
    """Record that kinds of the live release are one; the next night honours it.

    Raises NightError if a name is no kind's, DataError if they are fewer than two, if not all are kinds of image or all
    of concept, or if the new `name` cannot be given.
    """
    if len(set(kinds)) < 2:
        raise DataError("one kind alone cannot be merged; name two or more")
    if name:
        check_name(name)
    merged = [live_kind(storage, kind) for kind in kinds]
    if len({each.concept for each in merged}) > 1:
        concepts = ", ".join(repr(each.name) for each in merged if each.concept)
        raise DataError(
            f"{concepts} of concept cannot be merged with kinds of image, at which detectors look otherwise"
        )
    members = sorted({correction for each in merged for correction in each.corrections})
    _record(storage, KindDecision("merged", tuple(members), name), by, why)


def split(storage: Storage, kind: str, corrections: Sequence[str], *, by: str, why: str) -> None:
    """Record that these `corrections` of a kind, by the beginnings of their names, are another kind.

    Raises NightError if no kind has that name, and DataError if one is no correction of it, or none would be left.
    """
    known = live_kind(storage, kind).corrections
    members = set()
    for name in corrections:
        found = [each for each in known if each.startswith(name)]
        if len(found) != 1 or not name:
            raise DataError(f"{len(found)} corrections of {kind!r} begin with {name!r}; `errata show` lists them")
        members |= set(found)
    if not members or members == known:
        raise DataError(f"a split leaves corrections on both sides; {kind!r} has {len(known)}")
    _record(storage, KindDecision("split", tuple(sorted(members)), others=tuple(sorted(known - members))), by, why)


def decide(storage: Storage, kind: str, action: KindVerb, *, name: str = "", by: str, why: str) -> KindRecord:
    """Record what a person says of a kind of the live release, used or not, by its name; the next night honours it.

    Raises NightError if no kind has that name, or several, and DataError for a name that cannot be given.
    """
    if action == "named":
        check_name(name)
    found = live_kind(storage, kind)
    _record(storage, KindDecision(action, tuple(sorted(found.corrections)), name), by, why)
    return found


def check_name(name: str) -> None:
    """Raises DataError for a name that cannot be given."""
    if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        raise DataError(f"{name[:LONGEST_NAME]!r} cannot be a kind's name; give up to {LONGEST_NAME} printable letters")


def live_kind(storage: Storage, kind: str) -> KindRecord:
    """The kind of the live release, used or not, of this name. Raises NightError if there is none, or several."""
    known = live_kinds(storage).kinds
    found = [each for each in known if each.name == kind]
    if len(found) != 1:
        names = ", ".join(repr(each.name) for each in known) or "none"
        raise NightError(f"{len(found)} kinds of the live release are called {kind!r}; it knows {names}")
    return found[0]


def _record(storage: Storage, decision: KindDecision, by: str, why: str) -> None:
    decide_kind(storage, decision, by=by, why=why, at=datetime.now(UTC).isoformat(timespec="seconds"))
