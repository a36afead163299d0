"""What is live: the pointer moved by compare-and-swap, its log, and the verified release that it names.

Order is what makes a crash harmless: bytes to DVC's remote, then the bundle's files, then its manifest, then one
compare-and-swap of live.json, then the log. Before the swap the old model is live; after it the new one is, whole.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from errata.data import layout
from errata.data.releases.looks import Looks
from errata.data.releases.manifest import (
    Action,
    JudgedSplit,
    Live,
    Manifest,
    check_log,
    read_entry,
    read_live,
    read_manifest,
    verify_bundle,
)
from errata.data.releases.removal import removal_of
from errata.data.storage.base import Storage
from errata.editing.errors import AlreadyStored, Damaged, NightError, Removed, Superseded

SWAPS = 5  # attempts at live.json while others write it


def make_live(
    storage: Storage,
    manifest: Manifest,
    parent: tuple[Live, str | None] | None,
    *,
    action: Action,
    by: str,
    why: str,
    about: str = "",
    run: str = "",
    valid_hours: float | None = None,
    judged: Mapping[str, JudgedSplit] | None = None,
) -> Live:
    """Point live.json at a published release, if it still is what `parent` says; raises Superseded otherwise.

    A swap whose answer was lost has happened all the same: tried again by the same `run`, which then finds its own name
    in live.json, it is success. Another run that made the very same release is not this one, and is told so.
    `valid_hours`: when it expires, 0: never, None: as long as the pointer before was made for; `judged`: the looks that
    it vouches for, None: those of the pointer before. Raises Damaged if the
    log does not end with `parent`.
    """
    old = parent[0] if parent else None
    check_log(storage, old)
    if old:
        record(storage, old)  # a crash may have left it unlogged; after this swap nobody could tell
    hours = valid_hours if valid_hours is not None else old.valid_hours if old else 0.0
    at = datetime.now(UTC)
    new = Live(
        version=manifest.version,
        manifest_sha256=manifest.digest,
        previous=None if old is None else old.previous if old.version == manifest.version else old.version,
        serial=old.serial + 1 if old else 1,
        newest=max(manifest.version, old.newest if old else 0),
        action=action,
        by=by,
        why=why,
        at=at.isoformat(timespec="microseconds"),
        about=about,
        run=run or secrets.token_hex(8),
        judged=dict(judged) if judged is not None else old.judged if old else {},
    )
    new = new.valid_for(hours, at).signed()
    try:
        storage.swap(layout.LIVE, new.to_json(), expected=parent[1] if parent else None)
    except Superseded:
        now = read_live(storage)
        if now is None or (now[0].serial, now[0].run) != (new.serial, new.run):
            other = f"release {now[0].version} was {now[0].action}" if now else "live.json vanished"
            raise Superseded(f"superseded: {other} meanwhile; nothing was consumed") from None
        new = now[0]
    record(storage, new)
    return new


def renew(storage: Storage, hours: float, judged: Mapping[str, JudgedSplit] | None = None) -> None:
    """Say that what is live still is, for so many hours from now (0: for ever), and vouch for the looks `judged`, by
    default for those that it vouches for; the log keeps its entry.

    Whoever changes live.json at this moment says it as well. Raises Damaged if the log cannot be believed.
    """
    live, tag = require_live(storage)
    looks = live.judged if judged is None else dict(judged)
    if hours or live.valid_hours or looks != live.judged:
        renewed = replace(live, judged=looks).valid_for(hours, datetime.now(UTC)).signed()
        with suppress(Superseded):
            storage.swap(layout.LIVE, renewed.to_json(), expected=tag)


def vouch_for_looks(storage: Storage, looks: Looks) -> None:
    """Let live.json vouch for the looks so far, where keys are set: then those of a night that is killed stay, too.

    What it says of what is live does not change, nor when it expires. Raises Damaged, Superseded.
    """
    for _ in range(SWAPS):
        found, judged = read_live(storage), looks.standing()
        if found is None or not judged or judged == found[0].judged:
            return
        with suppress(Superseded):
            storage.swap(layout.LIVE, replace(found[0], judged=judged).signed().to_json(), expected=found[1])
    raise Superseded("live.json changes too fast to vouch for the looks at the gate split; try again")


def as_it_is_now(storage: Storage, parent: tuple[Live, str] | None) -> tuple[Live, str] | None:
    """`parent` with the tag that live.json has now, if it says the same still: what nights renew in it may differ."""
    found = read_live(storage)
    return found if found and parent and found[0].change == parent[0].change else parent


def record(storage: Storage, live: Live) -> None:
    """Append a change of live.json to the log; an entry that is there already stays."""
    with suppress(AlreadyStored):
        storage.put_once(layout.log_entry(live.serial), live.to_json())


def log_entries(storage: Storage) -> list[Live]:
    """Every change of live.json, oldest first, as the log has it."""
    return [read_entry(storage, key) for key in storage.keys(layout.LOG)]


def verified(storage: Storage, version: int, expected: str | None = None, *, spent: bool = False) -> Manifest:
    """The manifest of a release whose every file was just checked; raises Damaged naming what is wrong.

    Raises Removed where it lacks no more than was removed on purpose, unless it may be `spent`.
    """
    if problems := verify_bundle(storage, version, expected):
        removal = removal_of(storage, version)
        if removal is None or verify_bundle(storage, version, expected, removal.files):
            raise Damaged(
                f"release {version} does not verify: {'; '.join(problems)}. `errata rollback` to one that does"
            )
        if not spent:
            raise Removed(f"{', '.join(sorted(removal.files))} of release {version} were {removal.sentence}")
    return read_manifest(storage, version, expected)


def announce(storage: Storage, action: Action, about: str, *, by: str, why: str) -> Live:
    """Log what was done by a swap of live.json that keeps the version; once for each `about`, also after a crash.

    Whoever is about to swap live.json at this moment, a night say, loses.
    """
    for _ in range(SWAPS):
        live, tag = require_live(storage)
        if any(each.about == about for each in (live, *log_entries(storage))):
            record(storage, live)  # where a crash came between swap and log
            return live
        manifest = verified(storage, live.version, live.manifest_sha256)
        with suppress(Superseded):
            return make_live(storage, manifest, (live, tag), action=action, by=by, why=why, about=about)
    raise Superseded(f"{action}, and that stands, but live.json changes too fast to log it; try again")


def require_live(storage: Storage) -> tuple[Live, str]:
    """The live pointer and its tag. Raises NightError if nothing was ever released, Damaged if the log disagrees."""
    found = read_live(storage)
    check_log(storage, found[0] if found else None)
    if found is None:
        raise NightError(f"nothing is released yet in {storage.url}; run `errata train` for a first root release")
    return found


def released_digests(storage: Storage) -> dict[int, str]:
    """The digest of the manifest of each release that ever was live, by version, as live.json and the log have it.

    Raises NightError if nothing was ever released, Damaged if the log cannot be believed.
    """
    live, _ = require_live(storage)
    return {each.version: each.manifest_sha256 for each in (*log_entries(storage), live)}


def released_digest(storage: Storage, version: int) -> str:
    """The digest of a release's manifest, as the log has it; raises NightError if it never was live."""
    digests = released_digests(storage)
    if version not in digests:
        raise NightError(f"release {version} never was live; `errata releases` lists those that were")
    return digests[version]
