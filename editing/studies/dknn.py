"""Deep k-NN (Papernot & McDaniel 2018): a prediction is a vote of the nearest memories in the layers' embeddings.

It is edited without training: the labels of an image's neighbours are flipped, the nearest first, until the vote is
right (a baseline of Sinitsin et al. 2020, section 4.1). The vote is written as a model like any other: the backbone
finds the neighbours, the head is a matrix with a one for every memory's label, and flipping a label changes a column.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from errata.editing.constraints.classification import check_constraints, violation
from errata.editing.errors import DataError, ModelError
from errata.editing.model import EditableModel, PatchSlots
from errata.editing.scopes import stages
from errata.editing.types import Constraint, EditResult


class Embeddings(nn.Module):
    """Images to one embedding a layer: the mean over positions, scaled to length one; list of `[n, channels]`."""

    def __init__(self, network: EditableModel, layers: Sequence[str]) -> None:
        super().__init__()
        self.network, self.layers = network, tuple(layers)
        known = [name for name, _ in stages(network)]
        if not layers or not set(layers) <= set(known):
            raise ModelError(f"the layers {tuple(layers)} are not all stages of the network; known: {', '.join(known)}")

    def forward(self, hidden: Tensor) -> list[Tensor]:
        found = []
        for name, stage in stages(self.network):
            hidden = stage(hidden)
            if name in self.layers:
                pooled = hidden.flatten(2).mean(2) if hidden.ndim > 2 else hidden
                found.append(nn.functional.normalize(pooled.float(), dim=1))
        return found


class NeighbourSearch(nn.Module):
    """Normalised images to the numbers of their `k` nearest memories in each layer: `[n, layers * k]`, nearest first.

    The order is by rank, then by layer. Numbers are floats, exact up to 2^24.
    """

    def __init__(self, embeddings: Embeddings, memory: list[Tensor], k: int) -> None:
        super().__init__()
        from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415 - a second to import

        self.embeddings = embeddings
        self.indices: list[Any] = [NearestNeighbors(n_neighbors=k).fit(layer.cpu().numpy()) for layer in memory]

    @torch.no_grad()
    def forward(self, hidden: Tensor) -> Tensor:
        found = [
            torch.from_numpy(index.kneighbors(layer.cpu().numpy(), return_distance=False))
            for index, layer in zip(self.indices, self.embeddings(hidden), strict=True)
        ]
        return torch.stack(found, 2).flatten(1).to(hidden.device, torch.float32)

    def __deepcopy__(self, memo: dict[int, object]) -> NeighbourSearch:
        return self  # the memories never change: an edited model shares them


class Vote(nn.Linear):
    """How many of the memories numbered in `[n, neighbours]` bear each label: `[n, classes]`."""

    def forward(self, input: Tensor) -> Tensor:
        # Ties go to the class of the nearer memories: a neighbour's weight falls a little with its rank.
        count = input.shape[1]
        weight = 1 - 1e-3 * torch.arange(count, device=input.device) / count
        return (self.weight.T[input.long()] * weight[:, None]).sum(1)


class _NoSlots(PatchSlots):
    def forward(self, features: Tensor) -> Tensor:
        return features.new_zeros(())

    def used(self) -> PatchSlots:
        return self


class NeighbourModel(EditableModel):
    """Deep k-NN over the stages `layers` of a trained network, with labelled memories.

    `images` uint8 `[m, height, width, channels]`, `labels` int64 `[m]`. Logits are numbers of votes.
    """

    def __init__(self, network: EditableModel, images: Tensor, labels: Tensor, layers: Sequence[str], k: int) -> None:
        if not 0 < k <= len(images) or len(images) != len(labels):
            raise DataError(f"{k} neighbours of {len(images)} memories with {len(labels)} labels; give 1 to as many")
        network = copy.deepcopy(network).eval()
        embeddings = Embeddings(network, layers)
        with torch.no_grad():
            parts = [embeddings(network.normalise(part)) for part in images.split(256)]
        memory = [torch.cat(layer) for layer in zip(*parts, strict=True)]
        head = Vote(len(images), len(network.spec.classes), bias=False)
        with torch.no_grad():
            head.weight.copy_(nn.functional.one_hot(labels, len(network.spec.classes)).T)
        super().__init__(network.spec, NeighbourSearch(embeddings, memory, k), head)
        self.patch = _NoSlots(0, 0, 0)
        self.eval()


@dataclass(frozen=True)
class DeepNeighbours:
    """Edits a `NeighbourModel` by flipping its memories' labels; a step is one flip."""

    def prepare(self, model: EditableModel, reference: Tensor, calibration: Tensor) -> None:
        """Nothing but the memories is needed; raises ModelError if the model has none."""
        _memories(model)

    def edit(self, model: EditableModel, constraints: Sequence[Constraint], state: None) -> EditResult:
        """Flip the neighbours' labels, image by image; a later image may flip back what an earlier one needs."""
        started = time.perf_counter()
        root = _memories(model)
        images, expected = check_constraints(model, constraints)
        edited = copy.copy(root)
        edited._modules = dict(root._modules)
        edited.head = copy.deepcopy(root.head)
        steps = 0
        with torch.no_grad():
            neighbours = root.features(images)
            for own, target in zip(neighbours, expected, strict=True):
                for memory in own.long():
                    if float(violation(edited.classify(own[None]), target[None])) <= 0:
                        break
                    if edited.head.weight[target, memory] != 1:
                        edited.head.weight[:, memory] = 0
                        edited.head.weight[target, memory] = 1
                        steps += 1
            holds = tuple((violation(edited.classify(neighbours), expected) <= 0).tolist())
        missing = holds.count(False)
        reason = f"{missing} of {len(holds)} images share neighbours with others' corrections" if missing else ""
        return EditResult(edited, not missing, holds, steps, reason, time.perf_counter() - started)


def _memories(model: EditableModel) -> NeighbourModel:
    if not isinstance(model, NeighbourModel):
        raise ModelError("Deep k-NN edits the labels of memories; make a NeighbourModel of the network first")
    return model
