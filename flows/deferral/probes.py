"""What a candidate that did not pass left in the workspace, loaded: enough to ask which of its corrections do harm.

Harm is looked for on probes: labelled images that the release decision does not rest on, each with a few views of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from errata.data.releases.edit_record import EditRecord, Unheld
from errata.data.releases.ledger import Ledger, read_ledger
from errata.data.splits import load_split
from errata.editing.batches import at_once
from errata.editing.features import Features
from errata.editing.kinds.batch_norm import with_tensors
from errata.editing.model import EditableModel, load_model
from errata.editing.settings import ViewSettings
from errata.editing.views import unseen_views
from errata.flows.params import Params
from errata.flows.stages.common import load_plugins, open_features
from errata.flows.workspace import Workspace

PROBED = ("train", "reference", "calibration")  # all that is labelled, but gate and test


@dataclass(frozen=True)
class Candidate:
    """The last attempt: models, ledger, the editor's diagnostics; `slots` says which correction a slot belongs to,
    `deferred` which corrections no slot can hold."""

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
    features: Features = field(default_factory=Features)
    deferred: Mapping[str, Unheld] = field(default_factory=dict)

    @cached_property
    def based(self) -> EditableModel:
        """What slots were written on: the root, with the candidate's kinds if it has any."""
        if self.edited.kinds is None:
            return self.root
        looks = {"patch.centre", "patch.whitening"}  # which kinds of concept look at as well
        return with_tensors(self.edited, {k: v for k, v in self.root.state_dict().items() if k not in looks})


def load_candidate(workspace: Workspace) -> Candidate:
    """Read what the pipeline left."""
    load_plugins(workspace.params.model.plugins, workspace)
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
        open_features(workspace, root, "find harm"),
        record.deferred,
    )


@dataclass(frozen=True)
class Probes:
    """Images that the root gets right, as it sees them: `features` `[n, d]`, and their `labels` `[n]`.

    Where edits change features too (the patch and the head do not), or more than features decides (kinds), `images`
    uint8 `[n, h, w, c]` are there as well.
    """

    features: Tensor
    labels: Tensor
    images: Tensor | None

    @torch.no_grad()
    def logits(self, model: EditableModel) -> Tensor:
        """What a model edited from the root says of them: `[n, classes]`."""
        if self.images is None:
            return torch.cat([model.classify(part) for part in self.features.split(1024)])
        return torch.cat([model(part) for part in self.images.split(at_once(self.images.shape[1:]))])


@torch.no_grad()
def make_probes(candidate: Candidate) -> Probes:
    """Labelled images and views of them that the root gets right; at most `deferral.probes` of both together."""
    settings = candidate.params.views.model_copy(update={"unseen": candidate.params.deferral.views})
    splits = [load_split(candidate.splits, name) for name in PROBED]
    count = sum(map(len, splits))
    take = np.linspace(0, count - 1, min(count, candidate.params.deferral.probes // (1 + settings.unseen)))
    first = np.cumsum([0, *map(len, splits)])
    taken = [one.take(mine(take.astype(np.int64), start, len(one))) for one, start in zip(splits, first, strict=False)]
    chosen = torch.from_numpy(np.concatenate([one.images for one in taken]))
    known = torch.from_numpy(np.concatenate([one.labels for one in taken])).repeat_interleave(1 + settings.unseen)
    features = candidate.features.of_views(candidate.root, chosen, with_unseen, settings, candidate.params.seed)
    features = features.flatten(0, 1)
    right = candidate.root.classify(features).argmax(1) == known
    views = None
    if not candidate.slots or candidate.edited.kinds is not None:
        views = torch.cat([with_unseen(one, settings, candidate.params.seed) for one in chosen])[right]
    return Probes(features[right], known[right], views)


def mine(rows: NDArray[np.int64], start: int, count: int) -> NDArray[np.int64]:
    """Those of `rows` of all splits together that are of the one with `count` images behind `start` others, in it."""
    return rows[(start <= rows) & (rows < start + count)] - start


def with_unseen(image: Tensor, settings: ViewSettings, seed: int = 0) -> Tensor:
    """An image and its unseen views: uint8 `[1 + settings.unseen, h, w, c]`."""
    return torch.cat([image[None], unseen_views(image, settings, seed)])
