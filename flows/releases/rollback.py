"""Going back to an earlier release, verified before it is live again: one compare-and-swap of live.json, nothing else.

The corrections that it lacks stay out until somebody says otherwise; that is derived from the log.
"""

from __future__ import annotations

from dataclasses import dataclass

from data import layout
from data.releases.manifest import Live, read_manifest
from data.storage.base import Storage
from editing.errors import Damaged, NightError, NotStored
from flows.releases.pointer import log_entries, make_live, require_live, verified
from flows.releases.standing import Held, decisions, effect_of, held_by


@dataclass(frozen=True)
class Rollback:
    """What a rollback did. `dropped` is None if the release it left was too damaged to say what it held."""

    live: Live
    left: int
    dropped: Held | None
    regained: Held = ()


def rollback(storage: Storage, version: int | None = None, *, by: str, why: str) -> Rollback:
    """Make an earlier release live again: `version`, or the one before the live one.

    Every digest of the target is checked first; then one compare-and-swap of live.json does it all. That the
    corrections which the target lacks stay out, and that those which a rollback took return when going forward again,
    follows from the log (`flows.releases.standing`).

    Raises NightError if there is nothing to go back to, Damaged if the target does not verify, and Superseded if
    somebody else changed what is live meanwhile: then all stays as it was.
    """
    live, tag, readable = current(storage)
    digests = {each.version: each.manifest_sha256 for each in (*log_entries(storage), live)}
    target = version if version is not None else max((each for each in digests if each < live.version), default=None)
    if target is None:
        raise NightError(f"release {live.version} is the first; there is nothing to go back to")
    if target not in digests:
        raise NightError(f"release {target} never was live, so no gate vouches for it; `errata releases` lists those")
    manifest = verified(storage, target, digests[target])
    if target == live.version and readable:
        return Rollback(live, live.version, ())
    held, kept = left_by(storage, live), held_by(storage, manifest)
    forward = target > live.version
    standing = decisions(storage, live) if forward else {}  # going back works also where some old release is damaged
    effect = effect_of(standing, held or (), kept, forward=forward)
    about = layout.release_file(live.version, "ledger.jsonl") if held is not None and target != live.version else ""
    new = make_live(storage, manifest, (live, tag), action="rolled back", by=by, why=why, about=about)
    return Rollback(new, live.version, None if held is None else effect.dropped, effect.regained)


def left_by(storage: Storage, live: Live) -> Held | None:
    """What the release to be left holds, or None if it is too damaged to say: often the very reason for leaving."""
    try:
        return held_by(storage, read_manifest(storage, live.version, live.manifest_sha256))
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
