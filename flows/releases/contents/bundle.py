"""From a workspace to an immutable bundle: every file of a release, and the manifest that names them by digest."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from errata.data import layout
from errata.data.releases.kind_inputs import load_inputs
from errata.data.releases.ledger import Ledger
from errata.data.releases.manifest import FileEntry, Manifest, sha256
from errata.data.releases.replay import NAME as REPLAY
from errata.data.releases.signing import signature_of
from errata.data.splits import RECORD, read_record, splits_digest
from errata.data.storage.base import Storage
from errata.editing.errors import AlreadyStored, Damaged, DataError
from errata.editing.model import ModelSpec
from errata.flows.gate.measurements import GateMeasurements
from errata.flows.releases.contents.model_card import model_card
from errata.flows.releases.contents.model_signature import put_model_signature
from errata.flows.releases.contents.provenance import code_digest, libraries
from errata.flows.releases.contents.report import bundle_lineage, picture_links, render_report
from errata.flows.releases.contents.triton import inference_files
from errata.flows.workspace import Workspace, tree_digest

MODEL_CARD = "mlbom.cdx.json"


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
        REPLAY: workspace.replay / "ledger.jsonl",
        "gate.json": workspace.gate,
        "edit.json": workspace.candidate / "edit.json",
        "evaluation.json": workspace.evaluation,
        RECORD: workspace.splits / RECORD,
        "dvc.yaml": workspace.folder / "dvc.yaml",
        "dvc.lock": workspace.folder / "dvc.lock",
        "params.yaml": workspace.folder / "params.yaml",
    }
    try:
        files = {name: path.read_bytes() for name, path in sources.items()}
        spec = ModelSpec.from_json((workspace.root / "model.json").read_text())
        files |= inference_files(workspace, spec, files[model])
        files |= load_inputs(workspace.ledger).to_files()
    except OSError as fault:
        raise DataError(f"{fault.filename}: {fault.strerror}; run `dvc repro`") from fault
    if files["params.yaml"] != workspace.params_file:
        raise DataError("params.yaml was changed while the candidate was made; run it again, with one or the other")
    measured = GateMeasurements.from_json(files["gate.json"])
    if measured.model != sha256(files[model]) or measured.version != ledger.version:
        raise Damaged("metrics/gate.json judged another file than artifacts/onnx/model.onnx; run `dvc repro` again")
    root, splits, params = tree_digest(workspace.root), splits_digest(workspace.splits), sha256(files["params.yaml"])
    inputs = {"splits": splits, "root model": root, "params.yaml": params, "ledger.jsonl": ledger.digest}
    files[MODEL_CARD] = model_card(files, spec, read_record(workspace.splits), root)
    lineage, side = bundle_lineage(ledger.version, files, inputs), max(spec.image_shape[:2])
    files[layout.REPORT] = render_report(files, picture_links(ledger), lineage, longest_side=side)
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


def publish(storage: Storage, bundle: Bundle, sbom: bytes | None = None) -> None:
    """Put the bundle, what lies beside its manifest (SBOM, signatures where a key is set), and the manifest last.

    Again with the same bytes is success, and what lies beside it stays as it is; raises AlreadyStored on other files.
    """
    version, manifest = bundle.manifest.version, bundle.manifest.to_json()
    signature = signature_of(manifest)
    for name, content in sorted(bundle.files.items()):
        storage.put_once(layout.release_file(version, name), content)
    signed = {**bundle.files, layout.MANIFEST: manifest}
    if sbom is not None:
        key = layout.release_file(version, layout.SBOM)
        with suppress(AlreadyStored):  # another machine began with this release
            storage.put_once(key, sbom)
        signed[layout.SBOM] = storage.get(key)
    if signature is not None:
        storage.put_once(layout.release_file(version, layout.SIGNATURE), signature)
    put_model_signature(storage, version, signed)
    storage.put_once(layout.release_file(version, layout.MANIFEST), manifest)
