"""`errata status`: what is live, and what waits. It imports nothing that is slow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from errata.flows.cli.base import AsJson, Store, app, out, say_json

if TYPE_CHECKING:
    from errata.data.releases.manifest import Live, Manifest
    from errata.data.storage.base import Storage


# What people read for the names that `--json` has.
TOLD = {
    "live": "live release",
    "waiting": "reports in the inbox",
    "quarantined": "reports in quarantine",
    "open_erasures": "erasures that are not done",
    "corrections": "corrections in its ledger",
    "holding": "of which it holds",
}


@app.command(rich_help_panel="Releases")
def status(store: Store = None, as_json: AsJson = False) -> None:
    """What is live, and what waits."""
    from errata.data import layout
    from errata.data.inbox.what_waits import waiting
    from errata.data.releases.manifest import read_live, read_manifest
    from errata.flows.cli.store import existing_store
    from errata.flows.stages.progress import read_progress
    from errata.flows.workspace import open_workspace

    storage = existing_store(store)
    found = read_live(storage)
    erasures = {(layout.stem(key), key.split("/")[1]) for key in storage.keys(layout.ERASED)}
    content: dict[str, Any] = {
        "store": storage.url,
        "live": None,
        "waiting": sum(1 for _ in waiting(storage)),
        "quarantined": sum(1 for _ in storage.keys(layout.QUARANTINE)),
        "open_erasures": sorted(each for what, each in erasures if what == "asked" and ("done", each) not in erasures),
    }
    if found:
        manifest = read_manifest(storage, found[0].version, found[0].manifest_sha256)
        content |= {"live": found[0].version, "kind": manifest.kind, "corrections": manifest.corrections}
        content |= _held(storage, manifest)
        content |= {"digest": manifest.digest, "root": manifest.root}
        content |= {"expires": found[0].expires or "never"}
        content |= _in_shadow(storage, found[0])
    if running := read_progress(open_workspace()):
        content |= {"running": running.sentence}
    if as_json:
        say_json(content)
        return
    table = Table(show_header=False)
    for name, value in content.items():
        if value != []:
            table.add_row(TOLD.get(name, name), "nothing yet: run `errata train`" if value is None else _said(value))
    out.print(table)


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _held(storage: Storage, manifest: Manifest) -> dict[str, Any]:
    """How many of its corrections a release holds; nothing where it holds them all, or its record cannot be read."""
    from errata.data.releases.edit_record import EditRecord
    from errata.data.releases.manifest import read_file
    from errata.editing.errors import ErrataError

    try:
        deferred = EditRecord.from_json(read_file(storage, manifest, "edit.json")).deferred
    except ErrataError:  # `errata verify` says what is wrong with it
        return {}
    return {"holding": manifest.corrections - len(deferred)} if deferred else {}


def _in_shadow(storage: Storage, live: Live) -> dict[str, Any]:
    """The candidate beside the live release, and what services saw of it; most stores have none."""
    from errata.data import layout

    if not any(storage.keys(layout.CANDIDATE)):
        return {}
    from errata.data.releases.candidate import read_candidate, seen_counts  # brings numpy

    candidate = read_candidate(storage)
    if candidate is None or not candidate.waits(live.manifest_sha256, live.newest):
        return {}
    seen = list(seen_counts(storage, candidate.manifest_sha256, live.manifest_sha256))
    worse = sum(each.changed + each.failed for each in seen)
    told = f"{worse} of {sum(each.requests for each in seen)} requests answered otherwise"
    return {"candidate": candidate.version, "shadow": told}
