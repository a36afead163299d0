"""What leaves the store by the stated retention: weights of old releases, what only they need, spent evidence, and what
services counted of candidates that wait no more.

Never what is live or was before it, nor the first release, by which the drawdown of all roots is measured. Manifest,
ledger, replay set and measurements of each release stay, so lineage verifies and every rollback keeps its meaning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from errata.data import layout
from errata.data.inbox.what_waits import batches
from errata.data.releases.candidate import read_candidate
from errata.data.releases.erasure import erased_digests
from errata.data.releases.manifest import Live
from errata.data.storage.base import Storage
from errata.editing.errors import NotStored, Superseded, Unreadable
from errata.flows.releases.pointer import log_entries, make_live, require_live, verified
from errata.flows.releases.retention.evidence import kept_reports
from errata.flows.releases.retention.remote import spent_objects
from errata.flows.releases.retention.stored import StoredBundle, record_removals, removed_keys, stored_bundles


@dataclass(frozen=True)
class PrunePlan:
    """What would go, with its bytes by key: `files` of `releases`, DVC's `objects`, `images`, shadows' `counts`."""

    live: Live
    tag: str
    releases: tuple[StoredBundle, ...]
    files: dict[str, int]
    objects: dict[str, int]
    images: dict[str, int]
    counts: dict[str, int]

    @property
    def size(self) -> int:
        """All bytes."""
        return sum(sum(each.values()) for each in (self.files, self.objects, self.images, self.counts))


def plan_prune(storage: Storage, *, keep: int, days: float, now: datetime | None = None) -> PrunePlan:
    """What goes now: releases that are neither among the `keep` newest nor were live within `days`, and evidence of
    reports, and counts of shadows, that are older. Nothing is changed."""
    live, tag = require_live(storage)
    before = (now or datetime.now(UTC)) - timedelta(days=days)
    bundles = stored_bundles(storage, live)
    versions = [each.version for each in bundles if each.last_live]
    log = [*log_entries(storage), live]
    stays = {live.version, live.previous, log[0].version, *(versions[-keep:] if keep else ())}
    old = [
        each
        for each in bundles
        if each.last_live
        and each.removal is None
        and each.version not in stays
        and each.removable
        and datetime.fromisoformat(each.last_live) < before
    ]
    spent = [each for each in bundles if each.removal is not None and each.version not in (live.version, live.previous)]
    names = {layout.release_file(each.version, name) for each in old for name in each.removable}
    names |= set(removed_keys(each.removal for each in spent if each.removal))
    versions_spent = {each.version for each in (*old, *spent)}
    return PrunePlan(
        live,
        tag,
        tuple(old),
        _sizes(storage, sorted(names)),
        _sizes(storage, spent_objects(storage, bundles, versions_spent) if versions_spent else ()),
        _sizes(
            storage, spent_images(storage, [each for each in bundles if each.version not in versions_spent], before)
        ),
        _sizes(storage, spent_counts(storage, live, before)),
    )


def spent_images(storage: Storage, kept: Iterable[StoredBundle], before: datetime) -> list[str]:
    """The keys of images of which only settled and refused reports from `before` speak, and no correction that a `kept`
    release holds; and of those that were erased and filed again. Images of which nobody speaks are left alone."""
    erased = erased_digests(storage)
    found = {layout.stem(key) for key in storage.keys(layout.IMAGES)}
    gone = found & erased
    unread: list[str] = []
    reports = kept_reports(storage, unread)
    if next(batches(storage), None) or any(key.startswith(layout.INBOX) for key in unread):
        return [layout.image(each) for each in sorted(gone)]  # what waits, and is not read yet, may speak of any image
    released = {each.version: datetime.fromisoformat(each.at) for each in reversed(log_entries(storage))}
    behind = {report for each in kept for held in (*each.edited, *each.taught) for report in held.reports}
    spoken: dict[str, bool] = {}
    for each in reports:
        since = each.refused or released.get(each.settled or 0)
        is_old = since is not None and since < before and each.id not in behind
        spoken[each.image] = spoken.get(each.image, True) and is_old
    gone |= {image for image in found if spoken.get(image)}
    return [layout.image(each) for each in sorted(gone)]


def spent_counts(storage: Storage, live: Live, before: datetime) -> list[str]:
    """The keys of what services counted, before then, of candidates that wait no more: each counts for nothing."""
    candidate = read_candidate(storage)
    waits = candidate is not None and candidate.waits(live.manifest_sha256, live.newest)
    kept = f"{layout.SHADOW}{candidate.manifest_sha256}/" if candidate and waits else None
    return [
        key
        for key in storage.keys(layout.SHADOW)
        if not (kept and key.startswith(kept)) and (at := layout.counted_at(key)) is not None and at < before
    ]


def prune(storage: Storage, plan: PrunePlan, *, by: str, why: str) -> None:
    """Carry a plan out. Killed anywhere, the next plan has what is left.

    The releases' records come first, then a swap of live.json, so that nobody makes one of them live meanwhile: raises
    Superseded, with nothing gone, if somebody changed what is live since the plan.
    """
    if plan.releases:
        at = datetime.now(UTC).isoformat(timespec="microseconds")  # by which this run knows its own records
        records = record_removals(storage, plan.releases, "pruned", by=by, why=why, at=at)
        manifest = verified(storage, plan.live.version, plan.live.manifest_sha256)
        try:
            make_live(storage, manifest, (plan.live, plan.tag), action="pruned", by=by, why=why)
        except Superseded:
            for each in records:
                if each.at == at:  # else it is that of an erasure, or of another run, which was faster
                    storage.delete(layout.removal(each.version))
            raise
    for key in (*plan.files, *plan.objects, *plan.images, *plan.counts):
        storage.delete(key)


def _sizes(storage: Storage, keys: Iterable[str]) -> dict[str, int]:
    """The bytes of each object that is there, in the same order; of one that cannot be read, none."""
    found = {}
    for key in keys:
        try:
            found[key] = storage.size(key)
        except Unreadable:
            found[key] = 0
        except NotStored:
            continue
    return found
