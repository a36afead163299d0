"""What a candidate that did not pass left in the workspace, loaded: enough to ask which of its corrections do harm.

Harm is looked for on probes: labelled images that the release decision does not rest on, each with a few views of it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.releases.edit_record import EditRecord
from data.releases.ledger import Ledger, read_ledger
from data.splits import load_split
from editing.model import EditableModel, batched_features, load_model
from editing.views import unseen_views
from flows.params import Params
from flows.stages.common import load_plugins
from flows.workspace import Workspace

PROBED = ("train", "reference", "calibration")  # all that is labelled, but gate and test


@dataclass(frozen=True)
class Candidate:
    """The last attempt: models, ledger, the editor's diagnostics; `slots` says which correction a slot belongs to."""

    params: Params
    root: EditableModel
    edited: EditableModel
    ledger: Ledger
    images: Tensor
    expected: Tensor
    holds: dict[str, bool]
    reason: str
    slots: dict[int, str]
    splits: Path
    learned: Path

    @cached_property
    def based(self) -> EditableModel:
        """What slots were written on: the root, with the candidate's kinds if it has any."""
        if self.edited.kinds is None:
            return self.root
        made = copy.deepcopy(self.edited)
        made.load_state_dict({**self.edited.state_dict(), **self.root.state_dict()})
        return made


def load_candidate(workspace: Workspace) -> Candidate:
    """Read what the pipeline left."""
    load_plugins(workspace.params.model.plugins)
    root = load_model(workspace.root)
    ledger, images = read_ledger(workspace.ledger, root.spec.image_shape)
    record = EditRecord.from_json(workspace.read(workspace.candidate / "edit.json"))
    classes = {name: index for index, name in enumerate(root.spec.classes)}
    return Candidate(
        workspace.params,
        root,
        load_model(workspace.candidate),
        ledger,
        torch.from_numpy(images),
        torch.tensor([classes[each.expected] for each in ledger.corrections], dtype=torch.int64),
        record.holds,
        record.reason,
        record.by_slot,
        workspace.splits,
        workspace.root,
    )


@dataclass(frozen=True)
class Probes:
    """`images` uint8 `[n, h, w, c]` that the root gets right, and their `labels` `[n]`.

    `features` `[n, d]` are the root's, where edits leave them as they are (the patch and the head do) and decide by
    them alone (kinds do not), else None.
    """

    images: Tensor
    labels: Tensor
    features: Tensor | None

    @torch.no_grad()
    def logits(self, model: EditableModel) -> Tensor:
        """What a model edited from the root says of them: `[n, classes]`."""
        if self.features is not None:
            return torch.cat([model.classify(part) for part in self.features.split(1024)])
        return torch.cat([model(part) for part in self.images.split(1024)])


@torch.no_grad()
def make_probes(candidate: Candidate) -> Probes:
    """Labelled images and views of them that the root gets right; at most `deferral.probes` of both together."""
    settings = candidate.params.views.model_copy(update={"unseen": candidate.params.deferral.views})
    splits = [load_split(candidate.splits, name) for name in PROBED]
    images, labels = (np.concatenate([getattr(one, part) for one in splits]) for part in ("images", "labels"))
    take = np.linspace(0, len(images) - 1, min(len(images), candidate.params.deferral.probes // (1 + settings.unseen)))
    chosen = torch.from_numpy(images[take.astype(np.int64)])
    views = torch.cat([torch.cat([one[None], unseen_views(one, settings, candidate.params.seed)]) for one in chosen])
    known = torch.from_numpy(labels[take.astype(np.int64)]).repeat_interleave(1 + settings.unseen)
    features = batched_features(candidate.root, views)
    right = candidate.root.classify(features).argmax(1) == known
    return Probes(
        views[right], known[right], features[right] if candidate.slots and candidate.edited.kinds is None else None
    )
