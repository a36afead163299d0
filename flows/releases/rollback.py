"""Going back to an earlier release, verified before it is live again: one compare-and-swap of live.json, nothing else.

The corrections that it lacks stay out until somebody says otherwise; that is derived from the log.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from errata.data import layout
from errata.data.releases.erasure import erased_digests
from errata.data.releases.manifest import Live, read_manifest
from errata.data.releases.removal import removal_of
from errata.data.releases.replay import replay_of
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged, NightError, NotStored, Removed
from errata.flows.releases.pointer import log_entries, make_live, require_live, verified
from errata.flows.releases.standing import Held, decisions, edited_by, effect_of, held_by


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

    Raises NightError if there is nothing to go back to, Removed if the target was pruned or holds an erased photo,
    Damaged if it does not verify, and Superseded if somebody else changed what is live meanwhile: then all stays as it
    was.
    """
    live, tag, readable = current(storage)
    digests = {each.version: each.manifest_sha256 for each in (*log_entries(storage), live)}
    target = version if version is not None else max((each for each in digests if each < live.version), default=None)
    if target is None:
        raise NightError(f"release {live.version} is the first; there is nothing to go back to")
    if target not in digests:
        raise NightError(f"release {target} never was live, so no gate vouches for it; `errata releases` lists those")
    if target != live.version and (bar := why_not(storage, target, digests[target], live)):
        others = sorted((each for each in digests if each < live.version and each != target), reverse=True)
        free = next((each for each in others if not why_not(storage, each, digests[each], live)), None)
        raise Removed(bar + (f". `errata rollback {free}` goes back to the newest that may be live" if free else ""))
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


def why_not(storage: Storage, version: int, digest: str, live: Live) -> str:
    """Why an earlier release may never be live again, or nothing; raises Damaged if it cannot say what it holds.

    It was pruned, or it holds an erased photo: in a slot, or in a root that learned from it and is not live any more.
    """
    if removal := removal_of(storage, version):
        return f"release {version} was {removal.sentence}: it cannot be live again"
    erased = erased_digests(storage)
    try:
        manifest = read_manifest(storage, version, digest)
        edited = edited_by(storage, manifest)
        taught = replay_of(storage, manifest).corrections
    except NotStored as fault:
        raise Damaged(f"release {version} does not verify: {fault}. `errata rollback` to one that does") from fault
    with suppress(Damaged, NotStored):
        if manifest.root == read_manifest(storage, live.version, live.manifest_sha256).root:
            taught = ()
    if any(each.id in erased for each in (*edited, *taught)):
        return f"release {version} holds a photo that was erased: it cannot be live again"
    return ""


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
