"""What one claim, accepted, would change by itself among the day's requests that the workspace keeps.

A slot for it alone is made on the root, as a night makes them, and the requests go through the head with and without
it. The night solves for all corrections together, so this is an estimate; what is released the gate measures.
"""

from __future__ import annotations

from functools import cached_property
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from errata.data.kept_blocks import KeptBlocks
from errata.data.releases.edit_record import WHY_DEFERRED
from errata.data.releases.manifest import read_manifest
from errata.data.splits import load_split
from errata.data.storage.base import Storage
from errata.editing.features import Features, backbone_digest
from errata.editing.model import EditableModel, load_model
from errata.editing.tensors import tensor_of
from errata.editing.types import Constraint, Editor
from errata.flows.cli.review.live import Looked
from errata.flows.night.parent import root_digest
from errata.flows.releases.classes import check_class
from errata.flows.releases.pointer import require_live
from errata.flows.stages.common import features_file, load_plugins
from errata.flows.stages.editors import build_editor, calibrating_traffic
from errata.flows.workspace import Workspace

NO_TRAFFIC = "No request of the day is kept here (data.splits.traffic), so what else it changes is known at the gate"
OTHER_ROOT = "What else it changes is not known here: the root of what is live is not in this folder; a night brings it"
NO_SLOTS = "What else it changes is not known before the night: an editor without slots moves the weights of all images"


class TrafficEffect:
    """What accepting a claim would change in the day's requests; all that needs is read when it is first asked."""

    def __init__(self, workspace: Workspace, storage: Storage) -> None:
        self._workspace, self._storage, self._lock = workspace, storage, Lock()
        self._root, self._day, self._told = "", _Day(workspace), dict[tuple[str, str], str]()

    def __call__(self, looked: Looked, expected: str) -> str:
        """A sentence. Raises DataError if the model has no such class, ModelError, Damaged, NightError."""
        if not (self._workspace.splits / "traffic.npz").is_file():
            return NO_TRAFFIC
        if self._workspace.params.edit.editor != "patch":
            return NO_SLOTS
        live, _ = require_live(self._storage)
        root = read_manifest(self._storage, live.version, live.manifest_sha256).root
        if root != root_digest(self._workspace):
            return OTHER_ROOT
        with self._lock:  # torch has its threads already
            if root != self._root:
                self._root, self._day, self._told = root, _Day(self._workspace), {}
            key = looked.correction, expected
            if key not in self._told:
                self._told[key] = self._day.told(torch.tensor(looked.pixels), expected, looked.correction)
            return self._told[key]


class _Day:
    """The root, what its editor knows of it, and what it makes of the day's requests."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace, self._params = workspace, workspace.params

    @cached_property
    def _root(self) -> EditableModel:
        load_plugins(self._params.model.plugins, self._workspace)
        return load_model(self._workspace.root).eval()

    @cached_property
    def _features(self) -> Features:
        digest = backbone_digest(self._root)
        return Features(KeptBlocks(features_file(self._workspace, digest)), digest)

    def told(self, pixels: Tensor, expected: str, key: str) -> str:
        """The sentence for one image `[h, w, c]`."""
        check_class(expected, self._root.spec.classes)
        constraint = Constraint(pixels, self._root.spec.classes.index(expected), key)
        editor, state = self._editor
        result = editor.edit(self._root, [constraint], state)
        if result.deferred:
            return f"By itself it could not be held: {WHY_DEFERRED[result.deferred[0].value]}"
        features, before = self._requests
        with torch.no_grad():
            after = result.model.classify(features).argmax(1)
        changed = int((after != before).sum())
        return f"By itself it changes {changed} of {len(before):,} requests of the day (the split traffic)"

    @cached_property
    def _editor(self) -> tuple[Editor[Any], Any]:
        traffic = calibrating_traffic(self._workspace.splits)
        params = self._params
        editor = build_editor(params.edit, params.views, params.seed, None, self._features, traffic)
        images = (tensor_of(load_split(self._workspace.splits, each).images) for each in ("reference", "calibration"))
        return editor, editor.prepare(self._root, *images)

    @cached_property
    def _requests(self) -> tuple[Tensor, Tensor]:
        """Features `[n, d]` and classes `[n]` of the day's requests, by the root."""
        features = self._features.of(self._root, tensor_of(load_split(self._workspace.splits, "traffic").images))
        with torch.no_grad():
            return features, self._root.classify(features).argmax(1)
