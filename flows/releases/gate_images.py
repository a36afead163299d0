"""Gate splits that operators added: in the store under their digest, and where the stage `prepare` reads them."""

from __future__ import annotations

from errata.data import layout
from errata.data.storage.base import Storage
from errata.editing.errors import NotStored
from errata.flows.workspace import Workspace


def keep_gate(storage: Storage, workspace: Workspace, digest: str, content: bytes) -> None:
    """Put a gate split into the store first, then into the workspace."""
    storage.put_once(layout.gate_images(digest), content)
    _write(workspace, digest, content)


def fetch_gates(storage: Storage, workspace: Workspace) -> None:
    """Bring the gate splits that params.yaml names into a workspace that lacks them; raises Damaged on another file.

    One that the store lacks is left to the stage that needs it.
    """
    for digest in workspace.params.data.gates:
        if not (workspace.gates / f"{digest}.npz").exists():
            try:
                _write(workspace, digest, storage.get(layout.gate_images(digest), sha256=digest))
            except NotStored:
                continue


def _write(workspace: Workspace, digest: str, content: bytes) -> None:
    workspace.gates.mkdir(exist_ok=True)
    path = workspace.gates / f"{digest}.npz"
    whole = path.with_suffix(".new")
    whole.write_bytes(content)
    whole.replace(path)
