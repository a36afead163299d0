"""What every stage takes: where models compute, the modules that bring them, and the features that are known."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from errata.data.kept_blocks import KeptBlocks
from errata.editing.devices import choose_device
from errata.editing.engine import chosen_engine
from errata.editing.errors import DataError
from errata.editing.features import Features, backbone_digest
from errata.editing.model import EditableModel
from errata.flows.stages.progress import open_teller
from errata.flows.workspace import Workspace

DEVICE = "ERRATA_DEVICE"  # what differs between machines is in the environment


def device() -> torch.device:
    """Where to compute: ERRATA_DEVICE, by default a GPU if there is one; of torchrun's processes each has its own."""
    chosen = choose_device(os.environ.get(DEVICE, "auto"))
    if chosen.type == "cuda" and chosen.index is None and (number := os.environ.get("LOCAL_RANK")):
        return choose_device(f"cuda:{number}")
    return chosen


def load_plugins(modules: Sequence[str], workspace: Workspace) -> None:
    """Import the modules that register architectures, from the workspace too; raises DataError if one cannot be."""
    if modules:
        find_modules_of(workspace)
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise DataError(f"params.yaml: model.plugins: {name!r} cannot be imported here: {error}") from error


def find_modules_of(workspace: Workspace) -> None:
    """Have modules found in the workspace too: the command `errata` itself looks beside its own file only."""
    if (folder := str(workspace.folder.resolve())) not in sys.path:
        sys.path.append(folder)


def features_file(workspace: Workspace, digest: str) -> Path:
    """Where what the backbone of that digest makes of images is kept."""
    return workspace.features / f"{digest[:16]}.sqlite"


def open_features(workspace: Workspace, root: EditableModel, stage: str) -> Features:
    """What `root` makes of images, kept in the workspace; what was kept of another root is deleted.

    How far it is, where that takes long, is told as work of the `stage`.
    """
    digest = backbone_digest(root)
    path = features_file(workspace, digest)
    for other in workspace.features.glob("*.sqlite"):
        if other != path:
            other.unlink(missing_ok=True)
    return Features(KeptBlocks(path), digest, open_teller(workspace, stage).tell, chosen_engine())
