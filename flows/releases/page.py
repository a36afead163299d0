"""A release's report made on demand, from the store alone: what its bundle knows, and the releases before it."""

from __future__ import annotations

from dataclasses import replace

from errata.data import layout
from errata.data.releases.correction_images import correction_file
from errata.data.releases.erasure import erased_digests
from errata.data.releases.ledger import Ledger
from errata.data.releases.manifest import Live, read_file, read_manifest
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged, NotStored
from errata.editing.export import OnnxClassifier
from errata.flows.gate.measurements import GateMeasurements
from errata.flows.releases.contents.report import HistoryPoint, bundle_lineage, render_report, thumbnail
from errata.flows.releases.lineage import judged
from errata.flows.releases.pointer import released_digest, released_digests, require_live, verified


def release_page(storage: Storage, version: int | None = None) -> bytes:
    """The HTML page of release `version` (None: the live one), with the drawdown of every release up to it.

    Raises NightError if that release never was live, Damaged if it is not what the log says was, Removed if it is
    spent.
    """
    live, _ = require_live(storage)
    which = live.version if version is None else version
    manifest = verified(storage, which, released_digest(storage, which))
    model = layout.model_file(which)
    names = ("gate.json", "edit.json", "evaluation.json", "ledger.jsonl", model)
    files = {name: read_file(storage, manifest, name) for name in names}
    ledger = Ledger.from_jsonl(files["ledger.jsonl"].decode())
    shape = OnnxClassifier(files[model]).image_shape
    left = {each.id for each in ledger.corrections} - erased_digests(storage)
    pictures = {each: thumbnail(correction_file(storage, each, shape)) for each in left}
    inputs = {
        "splits": manifest.splits,
        "root model": manifest.root,
        "params.yaml": manifest.params,
        "ledger.jsonl": manifest.ledger,
    }
    lineage, history = bundle_lineage(which, files, inputs), history_points(storage, live, which)
    gate_result = judged(storage, manifest, GateMeasurements.from_json(files["gate.json"]))
    return render_report(files, pictures, lineage, history, gate_result, longest_side=max(shape[:2]))


def history_points(storage: Storage, live: Live, upto: int) -> list[HistoryPoint]:
    """Every release up to version `upto` that ever was live, oldest first, each as the log's digest vouches for it.

    One whose bundle is gone or is another than was live has no numbers.
    """
    found = []
    for version, digest in sorted(released_digests(storage).items()):
        if version > upto:
            break
        try:
            manifest = read_manifest(storage, version, digest)
            error = GateMeasurements.from_json(read_file(storage, manifest, "gate.json")).error.gate
            point = HistoryPoint(version, manifest.corrections, error.before, error.after)
        except (NotStored, Damaged):
            point = HistoryPoint(version)
        found.append(replace(point, live=version == live.version))
    return found
