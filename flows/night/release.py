"""The end of the night: the candidate made live, and each report put where it belongs.

A report leaves the inbox only after the release that consumed it is live.
"""

from __future__ import annotations

from datetime import UTC, datetime

from errata.data.inbox.deferred import defer as count_deferral
from errata.data.inbox.deferred import forget
from errata.data.inbox.quarantine import quarantine as quarantine_report
from errata.data.inbox.quarantine import settle as settle_reports
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.releases.erasure import ERASED_MEANWHILE, erased_digests
from errata.data.releases.ledger import Ledger
from errata.data.releases.manifest import Live, read_live
from errata.editing.errors import AlreadyStored, Superseded
from errata.flows.night.state import Batch, Night
from errata.flows.night.step import STORE_AWAY, step
from errata.flows.releases.contents.bundle import Bundle, build_bundle, publish
from errata.flows.releases.contents.sbom import environment_sbom
from errata.flows.releases.git_tag import tag_release
from errata.flows.releases.pointer import as_it_is_now, make_live
from errata.flows.releases.pointer import renew as renew_pointer
from errata.flows.releases.retention.stored import remove_bundle


@step("release", waits=STORE_AWAY)
def release(night: Night, parent: tuple[Live, str] | None, *, why: str) -> Bundle:
    """Push the bytes, publish the bundle, make it live.

    Raises Superseded if live.json is not `parent` any more, and AlreadyStored if the version's files are taken.
    """
    bundle = build_bundle(night.workspace)
    if _erased_in(night, bundle):
        raise Superseded(ERASED_MEANWHILE)
    night.workspace.push(night.storage.url, night.log)
    night.storage.flush()  # DVC writes without syncing, and the swap must not outlive the bytes that it points at
    parent = as_it_is_now(night.storage, parent)  # the night has vouched for its looks in it
    try:
        put_bundle(night, bundle, parent[0] if parent else None)
    except AlreadyStored:
        found = read_live(night.storage)
        if (found and found[1]) != (parent and parent[1]):
            raise Superseded("superseded: another release went live meanwhile; nothing was consumed") from None
        raise
    hours = night.workspace.params.pointer.valid_hours
    make_live(
        night.storage,
        bundle.manifest,
        parent,
        action="released",
        by=night.by,
        why=why,
        run=night.name,
        valid_hours=hours,
        judged=night.looks.standing(),
    )
    tag_release(night.workspace, night.storage, bundle.manifest, night.log)
    return bundle


def put_bundle(night: Night, bundle: Bundle, live: Live | None) -> None:
    """Publish a bundle made from the release `live`, but none of a photo that was erased while it was made.

    An erasure removes the bundles that it finds once live.json tells of it; one that came later is removed here.
    Raises Superseded then, and AlreadyStored if the version's files are taken.
    """
    publish(night.storage, bundle, environment_sbom())
    if _erased_in(night, bundle):
        found, version = read_live(night.storage), bundle.manifest.version
        if found and live and found[0].serial != live.serial and found[0].version != version:
            remove_bundle(night.storage, version)
        raise Superseded(ERASED_MEANWHILE)


def _erased_in(night: Night, bundle: Bundle) -> bool:
    erased = erased_digests(night.storage)
    ledger = Ledger.from_jsonl(bundle.files["ledger.jsonl"].decode())
    return any(each.id in erased for each in ledger.corrections)


@step("renew", waits=STORE_AWAY)
def renew(night: Night) -> None:
    """Say in live.json that what is live still is, and how often was looked: this night ends and releases nothing."""
    renew_pointer(night.storage, night.workspace.params.pointer.valid_hours, night.looks.standing())


@step("settle", waits=STORE_AWAY)
def settle(night: Night, reports: tuple[str, ...], version: int) -> None:
    """Move what release `version` consumed out of the inbox.

    How often each was left out is forgotten first: after a crash in between nobody would.
    """
    forget(night.storage, reports)
    settle_reports(night.storage, sorted(reports), version)


@step("defer", waits=STORE_AWAY)
def defer(night: Night, batch: Batch) -> None:
    """Count one more night for the reports that were left out; after enough of them, quarantine."""
    enough = night.workspace.params.deferral.nights
    for each in batch.deferred:
        for report in each.reports:
            if (nights := count_deferral(night.storage, report, each.why, night.name).nights) >= enough:
                refusal = Refusal(report, Reason.HARMFUL, f"left out of a release {nights} times; the last: {each.why}")
                quarantine_report(night.storage, refusal, datetime.now(UTC))
                forget(night.storage, [report])


@step("quarantine", waits=STORE_AWAY)
def quarantine(night: Night, batch: Batch) -> None:
    """Keep each refused report with its typed reason, and forget how often it was left out."""
    now = datetime.now(UTC)
    for refusal in batch.refused:
        quarantine_report(night.storage, refusal, now)
    forget(night.storage, [each.report_id for each in batch.refused])
