"""Going back to an earlier release, verified before it is live again.

The corrections that it lacks stay out until somebody says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from data import layout
from data.ledger import Correction, Ledger
from data.manifest import Live, Manifest, read_file, read_manifest
from data.storage.base import Storage
from editing.errors import Damaged, NightError, NotStored, Superseded
from flows.releases.pointer import log_entries, make_live, record, require_live, verified
from flows.releases.retraction import decisions, record_decision


@dataclass(frozen=True)
class Rollback:
    """What a rollback did. `dropped` is None if the release it left was too damaged to say what it held."""

    live: Live
    left: int
    dropped: tuple[Correction, ...] | None
    regained: tuple[Correction, ...] = ()


def rollback(storage: Storage, version: int | None = None, *, by: str, why: str) -> Rollback:
    """Make an earlier release live again: `version`, or the one before the live one.

    Every digest of the target is checked first. The corrections that it lacks are then recorded as retracted, so that
    no night brings them back; going forward again, those that a rollback took return. Last comes the swap.

    Raises NightError if there is nothing to go back to, Damaged if the target does not verify, and Superseded if
    somebody else changed what is live meanwhile: then all stays as it was.
    """
    live, tag, readable = current(storage)
    record(storage, live)
    digests = {each.version: each.manifest_sha256 for each in log_entries(storage)}
    target = version if version is not None else max((each for each in digests if each < live.version), default=None)
    if target is None:
        raise NightError(f"release {live.version} is the first; there is nothing to go back to")
    if target not in digests:
        raise NightError(f"release {target} never was live, so no gate vouches for it; `errata releases` lists those")
    manifest = verified(storage, target, digests[target])
    if target == live.version and readable:
        return Rollback(live, live.version, ())
    kept, held = ledger_of(storage, manifest).corrections, held_by(storage, live)
    out = {claim: each.cause for claim, each in decisions(storage).items() if each.action == "retracted"}
    dropped = None if held is None else tuple(each for each in held if each.claim not in {one.claim for one in kept})
    taken = [each for each in dropped or () if each.claim not in out]
    regained = tuple(each for each in kept if target > live.version and out.get(each.claim) == "rollback")
    for each in taken:
        record_decision(storage, each, "retracted", cause="rollback", by=by, why=why)
    for each in regained:
        record_decision(storage, each, "reinstated", cause="rollback", by=by, why=why)
    try:
        new = make_live(storage, manifest, (live, tag), action="rolled back", by=by, why=why)
    except Superseded:
        for each in taken:
            record_decision(storage, each, "reinstated", cause="rollback", by=by, why="the rollback came too late")
        for each in regained:
            record_decision(storage, each, "retracted", cause="rollback", by=by, why="the rollback came too late")
        raise
    return Rollback(new, live.version, dropped, regained)


def ledger_of(storage: Storage, manifest: Manifest) -> Ledger:
    """The ledger of a release. Raises NotStored or Damaged."""
    return Ledger.from_jsonl(read_file(storage, manifest, "ledger.jsonl").decode())


def held_by(storage: Storage, live: Live) -> tuple[Correction, ...] | None:
    """The corrections of a release, or None if it is too damaged to say: often the very reason for going back."""
    try:
        return ledger_of(storage, read_manifest(storage, live.version, live.manifest_sha256)).corrections
    except (Damaged, NotStored):
        return None


def current(storage: Storage) -> tuple[Live, str | None, bool]:
    """What is live, the pointer's tag (None: it is gone), and whether it could be read and believed.

    If live.json is damaged, was put back or removed, the log says what is live.
    """
    try:
        return (*require_live(storage), True)
    except Damaged:
        log = log_entries(storage)
        if not log:
            raise
        try:
            tag = storage.read(layout.LIVE).tag
        except NotStored:
            tag = None
        return log[-1], tag, False
