"""A release's report made on demand, from the store alone: what its bundle knows, and the releases before it."""

from __future__ import annotations

from data import layout
from data.correction_images import correction_file
from data.ledger import Ledger
from data.manifest import Live, read_file, read_manifest
from data.storage.base import Storage
from editing.errors import NotStored
from editing.export import OnnxClassifier
from flows.gate.measurements import GateMeasurements
from flows.releases.pointer import require_live, verified
from flows.releases.report import HistoryPoint, bundle_lineage, render_report


def release_page(storage: Storage, version: int | None = None) -> bytes:
    """The HTML page of release `version` (None: the live one), with the drawdown of every release up to it.

    Raises NotStored if there is no such release, Damaged if it does not verify.
    """
    live, _ = require_live(storage)
    which = live.version if version is None else version
    manifest = verified(storage, which, live.manifest_sha256 if which == live.version else None)
    model = layout.model_file(which)
    names = ("gate.json", "edit.json", "evaluation.json", "ledger.jsonl", model)
    files = {name: read_file(storage, manifest, name) for name in names}
    ledger = Ledger.from_jsonl(files["ledger.jsonl"].decode())
    shape = OnnxClassifier(files[model]).image_shape
    images = {each.id: correction_file(storage, each.id, shape) for each in ledger.corrections}
    digests = {
        "splits": manifest.splits,
        "root model": manifest.root,
        "params.yaml": manifest.params,
        "ledger.jsonl": manifest.ledger,
    }
    return render_report(files, images, bundle_lineage(which, files, digests), history_points(storage, live, which))


def history_points(storage: Storage, live: Live, upto: int) -> list[HistoryPoint]:
    """Every release up to version `upto` that the store holds, oldest first."""
    found = []
    for version in range(1, upto + 1):
        try:
            manifest = read_manifest(storage, version)
            error = GateMeasurements.from_json(read_file(storage, manifest, "gate.json")).error.gate
        except NotStored:  # a version may be skipped
            continue
        found.append(HistoryPoint(version, manifest.corrections, error.before, error.after, version == live.version))
    return found
