"""The doubt of tonight's claims: what the live model and the root see in their images, held against the control set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from errata.data.belief.doubt import Opinion, Record, estimate_doubts
from errata.data.belief.image_evidence import ImageEvidence
from errata.data.belief.names import same_reporter
from errata.data.images import Pixels, pixel_digest
from errata.data.inbox.claim import Claim
from errata.data.splits import load_split
from errata.editing.batches import spread
from errata.editing.features import Features
from errata.editing.metrics import predicted_classes
from errata.editing.model import EditableModel, load_model
from errata.editing.onnx.export import OnnxClassifier
from errata.editing.onnx.shortcut import shortcut
from errata.editing.tensors import tensor_of
from errata.flows.night.second_network import SecondNetwork
from errata.flows.night.state import Parent
from errata.flows.stages.common import device, load_plugins, open_features
from errata.flows.workspace import Workspace

CONTROL = ("reference", "calibration")  # never the gate split: it judges what comes of the claims
MOST_CONTROL = 10_000


@dataclass
class DoubtEstimator:
    """The live model's probabilities and the root's features of every image that it is shown, by pixel digest."""

    workspace: Workspace
    parent: Parent
    _seen: dict[str, tuple[NDArray[np.float32], NDArray[np.float16], NDArray[np.float32]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._live = OnnxClassifier(self.parent.model)
        self._second = SecondNetwork(self.workspace)

    def predict(self, pixels: Pixels) -> NDArray[np.int64]:
        """What the live model predicts for uint8 `[n, h, w, c]`: `[n]`; what was seen is kept for `doubts`."""
        predictions = self._live.predict(pixels)
        features = Features().of(self._root, torch.from_numpy(pixels)).cpu().numpy().astype(np.float16)
        second = self._second.features(pixels)
        for image, *seen in zip(pixels, predictions.probabilities, features, second, strict=True):
            self._seen.setdefault(pixel_digest(image), (seen[0], seen[1], seen[2]))
        return predicted_classes(predictions.logits)

    def doubts(
        self, claims: Iterable[Claim], error: float, records: Mapping[str, Record]
    ) -> dict[tuple[str, str], float]:
        """The doubt of each claim, by correction and class. Who claims what the live model predicts supports it."""
        usable = [claim for claim in claims if not claim.control]
        images = sorted({claim.correction for claim in usable})
        if not images:
            return {}
        row, classes = {image: number for number, image in enumerate(images)}, self.parent.classes
        probabilities = np.stack([self._seen[image][0] for image in images])
        features = np.stack([self._seen[image][1] for image in images])
        second = np.stack([self._seen[image][2] for image in images])
        evidence = self._evidence()
        found = estimate_doubts(
            evidence.posterior(probabilities, features, second if self._second.name else None),
            [
                Opinion(row[each.correction], classes.index(each.expected), same_reporter(each.reporter))
                for each in usable
            ],
            error,
            evidence.accuracy,
            evidence.near(features),
            records,
        )
        return {(images[image], classes[claimed]): doubt for (image, claimed), doubt in found.items()}

    @cached_property
    def _root(self) -> EditableModel:
        load_plugins(self.workspace.params.model.plugins, self.workspace)
        return load_model(self.workspace.root).to(device())

    def _evidence(self) -> ImageEvidence:
        """Of the control images whose labels are known and on which nothing is decided, or an even sample of them: few
        are in memory at a time."""
        features = open_features(self.workspace, self._root, "doubt")
        live = shortcut(self.parent.model, self._root, features) or self._live
        splits = [load_split(self.workspace.splits, name) for name in CONTROL]
        most = MOST_CONTROL // len(splits)
        sampled = [
            (split.images[part], split.labels[part])
            for split in splits
            for part in spread(len(split), split.images.shape[1:], most)
        ]
        images = [images for images, _ in sampled]
        return ImageEvidence(
            np.concatenate([live.predict(each).probabilities for each in images]),
            np.concatenate([features.of(self._root, tensor_of(each)).cpu() for each in images]),
            np.concatenate([labels for _, labels in sampled]),
            np.concatenate([self._second.features(each) for each in images]) if self._second.name else None,
        )
