"""The stage `export`: the file that ships, which is the root's graph with the candidate's weights, and its kinds."""

from __future__ import annotations

import json

from errata.data.releases.ledger import load_ledger
from errata.editing.model import load_model
from errata.editing.onnx.export import METADATA_PREFIX, onnx_bytes, with_weights
from errata.flows.workspace import Workspace, tree_digest


def export(workspace: Workspace) -> None:
    """Write the file that ships: the root's graph with the candidate's weights, or with its kinds, if it has any."""
    root, candidate = load_model(workspace.root), load_model(workspace.candidate)
    ledger = load_ledger(workspace.ledger)
    metadata = {
        "version": str(ledger.version),
        "root": tree_digest(workspace.root),
        "ledger": ledger.digest,
        "classes": json.dumps(root.spec.classes),
        "preprocessing": "none: uint8 images [batch, height, width, channels]; normalisation is inside the graph",
    }
    workspace.onnx.mkdir(parents=True, exist_ok=True)
    named = {f"{METADATA_PREFIX}{key}": value for key, value in metadata.items()}
    if candidate.kinds is None:
        content = with_weights(workspace.root / "root.onnx", candidate, named)
    else:  # each kind adds nodes
        content = onnx_bytes(candidate, named)
    (workspace.onnx / "model.onnx").write_bytes(content)
