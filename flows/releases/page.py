"""A release's report made on demand, from the store: what its bundle knows, who said so, and the releases before it.

Where a workspace has the splits that the release was judged on, it also shows the test images that the release turned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from errata.data import layout
from errata.data.expectations.observations import doubts_of
from errata.data.images import decode_image, encode_png
from errata.data.releases.correction_images import correction_file
from errata.data.releases.erasure import erased_digests
from errata.data.releases.evaluation import Evaluation
from errata.data.releases.ledger import Ledger
from errata.data.releases.manifest import Live, Manifest, read_file, read_manifest
from errata.data.splits import RECORD, load_split, splits_digest
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged, NotStored
from errata.editing.onnx.export import OnnxClassifier
from errata.editing.views import unseen_views
from errata.flows.gate.measurements import GateMeasurements
from errata.flows.params import parse_params
from errata.flows.releases.contents.cards import MOST_FLIPS, Beside, Known
from errata.flows.releases.contents.history import HistoryPoint
from errata.flows.releases.contents.pictures import grid, share, thumbnail
from errata.flows.releases.contents.report import bundle_lineage, render_report
from errata.flows.releases.lineage import judged, settled_reports
from errata.flows.releases.pointer import released_digest, released_digests, require_live, verified
from errata.flows.workspace import Workspace

MOST_VIEWS = 200  # corrections up to which a page draws their views


def release_page(
    storage: Storage,
    version: int | None = None,
    workspace: Workspace | None = None,
    requests: Beside | None = None,
) -> bytes:
    """The HTML page of release `version` (None: the live one), with the drawdown of every release up to it.

    `requests`: what became of the day's requests, where their classes are known. Raises NightError if that release
    never was live, Damaged if it is not what the log says was, Removed if it is spent.
    """
    live, _ = require_live(storage)
    which = live.version if version is None else version
    manifest = verified(storage, which, released_digest(storage, which))
    model = layout.model_file(which)
    names = ("gate.json", "edit.json", "evaluation.json", "ledger.jsonl", "params.yaml", model)
    files = {name: read_file(storage, manifest, name) for name in names}
    ledger = Ledger.from_jsonl(files["ledger.jsonl"].decode())
    shape = OnnxClassifier(files[model]).image_shape
    erased = erased_digests(storage)
    images = {each.id: correction_file(storage, each.id, shape) for each in ledger.corrections if each.id not in erased}
    inputs = {
        "splits": manifest.splits,
        "root model": manifest.root,
        "params.yaml": manifest.params,
        "ledger.jsonl": manifest.ledger,
    }
    known = Known(
        history=history_points(storage, live, which),
        judged=judged(storage, manifest, GateMeasurements.from_json(files["gate.json"])),
        reports=settled_reports(storage, {report for each in ledger.corrections for report in each.reports}),
        doubts=doubts_of(storage, images),
        views=view_pictures(images, files["params.yaml"]) if len(images) <= MOST_VIEWS else {},
        tests=test_pictures(workspace, manifest, Evaluation.from_json(files["evaluation.json"])) if workspace else {},
        requests=requests,
    )
    pictures = {name: thumbnail(content, share(len(images))) for name, content in images.items()}
    return render_report(files, pictures, bundle_lineage(which, files, inputs), known, longest_side=max(shape[:2]))


def view_pictures(images: Mapping[str, bytes], params: bytes) -> dict[str, str]:
    """One picture of each correction's unseen views, those that its generalization was measured on."""
    settings = parse_params(params)

    def views(content: bytes) -> str:
        drawn = unseen_views(torch.from_numpy(np.array(decode_image(content))), settings.views, settings.seed)
        return grid(drawn.numpy(), share(4 * len(images)))

    return {name: views(content) for name, content in images.items()}


def test_pictures(workspace: Workspace, manifest: Manifest, evaluation: Evaluation) -> dict[int, str]:
    """Pictures of the test images that a release turned, by number; none where the splits are others or are not here.

    They are the control set's, which the store does not hold.
    """
    if evaluation.test is None or not (workspace.splits / RECORD).is_file():
        return {}
    if splits_digest(workspace.splits) != manifest.splits:
        return {}
    flipped = evaluation.test.flipped
    shown = [
        each.index for broken in (True, False) for each in [one for one in flipped if one.broken == broken][:MOST_FLIPS]
    ]
    images = load_split(workspace.splits, "test").images
    return {index: thumbnail(encode_png(images[index]), share(4 * len(shown))) for index in shown}


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
