"""Releases: from a workspace to an immutable bundle, and from a bundle to what is live.

Order is what makes a crash harmless: bytes to DVC's remote, then the bundle's files, then its manifest, then one
compare-and-swap of live.json, then the log. Before the swap the old model is live; after it the new one is, whole.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from data import layout
from data.manifest import Action, FileEntry, Live, Manifest, read_live, read_manifest, sha256, verify_bundle
from data.signing import signature_of
from data.splits import splits_digest
from data.storage.base import Storage
from editing.errors import AlreadyStored, Damaged, DataError, NightError, Superseded
from flows.data_docs import NAME as DATA_DOCS
from flows.data_docs import data_docs
from flows.gate import from_rows
from flows.inference_files import inference_files
from flows.ledger import Ledger, correction_images
from flows.lessons import NAME as LESSONS
from flows.provenance import code_digest, libraries
from flows.report import bundle_lineage, render_report
from flows.workspace import Workspace, tree_digest

REPORT = "report.html"


@dataclass(frozen=True)
class Bundle:
    """A release not yet published: its manifest and its files by name."""

    manifest: Manifest
    files: Mapping[str, bytes]


def build_bundle(workspace: Workspace) -> Bundle:
    """The bundle of what the workspace holds; the same workspace gives the same bytes."""
    ledger = Ledger.from_jsonl((workspace.ledger / "ledger.jsonl").read_text())
    model = layout.model_file(ledger.version)
    sources = {
        model: workspace.onnx / "model.onnx",
        "ledger.jsonl": workspace.ledger / "ledger.jsonl",
        LESSONS: workspace.lessons / "ledger.jsonl",
        "gate.json": workspace.gate,
        "edit.json": workspace.candidate / "edit.json",
        "findings.json": workspace.findings,
        "dvc.yaml": workspace.folder / "dvc.yaml",
        "dvc.lock": workspace.folder / "dvc.lock",
        "params.yaml": workspace.folder / "params.yaml",
    }
    try:
        files = {name: path.read_bytes() for name, path in sources.items()}
        images = correction_images(workspace.ledger, ledger)
        files |= inference_files(workspace, files[model])
    except OSError as fault:
        raise DataError(f"{fault.filename}: {fault.strerror}; run `dvc repro`") from fault
    judged = json.loads(files["gate.json"])
    if judged["model"] != sha256(files[model]) or judged["version"] != ledger.version:
        raise Damaged("metrics/gate.json judged another file than artifacts/onnx/model.onnx; run `dvc repro` again")
    files[DATA_DOCS] = data_docs(judged["kind"], from_rows(judged["criteria"]), workspace.params.gate)
    root, splits, params = tree_digest(workspace.root), splits_digest(workspace.splits), sha256(files["params.yaml"])
    inputs = {"splits": splits, "root model": root, "params.yaml": params, "ledger.jsonl": ledger.digest}
    files[REPORT] = render_report(files, images, bundle_lineage(ledger.version, files, inputs))
    manifest = Manifest(
        version=ledger.version,
        kind="edit" if ledger.corrections else "root",
        root=root,
        ledger=ledger.digest,
        splits=splits,
        params=params,
        corrections=len(ledger.corrections),
        files={name: FileEntry(sha256(content), len(content)) for name, content in files.items()},
        code=code_digest(),
        libraries=libraries(),
    )
    return Bundle(manifest, files)


def publish(storage: Storage, bundle: Bundle) -> None:
    """Put the bundle, its signature (if a key is set) and its manifest last.

    Again with the same bytes is success; raises AlreadyStored on others.
    """
    manifest = bundle.manifest.to_json()
    signature = signature_of(manifest)
    for name, content in sorted(bundle.files.items()):
        storage.put_once(layout.release_file(bundle.manifest.version, name), content)
    if signature is not None:
        storage.put_once(layout.release_file(bundle.manifest.version, layout.SIGNATURE), signature)
    storage.put_once(layout.release_file(bundle.manifest.version, layout.MANIFEST), manifest)


def make_live(
    storage: Storage,
    manifest: Manifest,
    parent: tuple[Live, str] | None,
    *,
    action: Action,
    by: str,
    why: str,
    about: str = "",
    run: str = "",
) -> Live:
    """Point live.json at a published release, if it still is what `parent` says; raises Superseded otherwise.

    A swap whose answer was lost has happened all the same: tried again by the same `run`, which then finds its own name
    in live.json, it is success. Another run that made the very same release is not this one, and is told so.
    """
    old = parent[0] if parent else None
    if old:
        record(storage, old)  # a crash may have left it unlogged; after this swap nobody could tell
    new = Live(
        version=manifest.version,
        manifest_sha256=manifest.digest,
        previous=None if old is None else old.previous if old.version == manifest.version else old.version,
        serial=old.serial + 1 if old else 1,
        newest=max(manifest.version, old.newest if old else 0),
        action=action,
        by=by,
        why=why,
        at=datetime.now(UTC).isoformat(timespec="microseconds"),
        about=about,
        run=run or secrets.token_hex(8),
    )
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


def record(storage: Storage, live: Live) -> None:
    """Append a change of live.json to the log; an entry that is there already stays."""
    with suppress(AlreadyStored):
        storage.put_once(layout.log_entry(live.serial), live.to_json())


def history(storage: Storage) -> list[Live]:
    """Every change of live.json, oldest first, as the log has it."""
    return [Live.from_json(storage.get(key)) for key in storage.keys(layout.LOG)]


def verified(storage: Storage, version: int, expected: str | None = None) -> Manifest:
    """The manifest of a release whose every file was just checked; raises Damaged naming what is wrong."""
    if problems := verify_bundle(storage, version, expected):
        raise Damaged(f"release {version} does not verify: {'; '.join(problems)}. `errata rollback` to one that does")
    return read_manifest(storage, version, expected)


def require_live(storage: Storage) -> tuple[Live, str]:
    """The live pointer and its tag; raises NightError if nothing was ever released."""
    found = read_live(storage)
    if found is None:
        raise NightError(f"nothing is released yet in {storage.url}; run `errata train` for a first root release")
    return found
