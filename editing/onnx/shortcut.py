"""A file that ships, answered for by the root's features: the same predictions without the way through the backbone.

A release that differs from its root in head and slots alone is a function of the root's features, which are computed
once for each image. Its weights are read from the file itself. Whoever decides by this holds it against the file, run
whole in ONNX Runtime, on some of the images (`editing.onnx.export.compare`).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from errata.editing.features import Draw, Features, after_the_backbone
from errata.editing.model import EditableModel
from errata.editing.onnx.classifier import Predictions
from errata.editing.onnx.file import parse_onnx
from errata.editing.settings import ViewSettings
from errata.editing.tensors import tensor_of

_ROWS = 4096  # of features at a time: bounds memory at as many rows of slots


class Classifier(Protocol):
    """Whatever predicts as the shipped file does."""

    def predict(self, images: NDArray[np.uint8]) -> Predictions:
        """Predictions for uint8 `[n, height, width, channels]`, n >= 1."""
        ...


@dataclass(frozen=True)
class Shortcut:
    """Predictions of `model`, which has the root's backbone, from `features`."""

    model: EditableModel
    features: Features

    def predict(self, images: NDArray[np.uint8]) -> Predictions:
        """As `OnnxClassifier.predict`, to within rounding."""
        return self.of_features(self.features.of(self.model, tensor_of(np.ascontiguousarray(images))))

    def predict_views(self, images: Tensor, draw: Draw, settings: ViewSettings, seed: int) -> Predictions:
        """Of all views that `draw` makes of each of uint8 `[k, height, width, channels]`: rows `[k * views]`."""
        return self.of_features(self.features.of_views(self.model, images, draw, settings, seed).flatten(0, 1))

    @torch.no_grad()
    def of_features(self, features: Tensor) -> Predictions:
        """Predictions for images of which the root's features `[n, d]` are these."""
        parts = [self._part(part) for part in features.split(_ROWS)]
        logits, probabilities, slot = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
        return Predictions(logits, probabilities, slot, np.full_like(slot, -1))

    def _part(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        patch, logits = self.model.patch, self.model.head(features)
        used = self._used
        if not len(used):
            return logits, torch.softmax(logits, dim=1), torch.full_like(logits[:, 0], -1, dtype=torch.int64)
        value = patch.value[used]
        slots = torch.relu(F.linear(patch.directions(features), patch.weight[used], -patch.threshold[used]))
        logits = logits + slots @ value
        given = slots * value.T[logits.argmax(dim=1)]
        decided = used[torch.where(slots > 0, given, -torch.inf).argmax(dim=1)]
        return logits, torch.softmax(logits, dim=1), torch.where(slots.amax(dim=1) > 0, decided, -1)

    @cached_property
    def _used(self) -> Tensor:
        """The slots that are anything but zeros: the others never fire."""
        patch = self.model.patch
        return ((patch.weight != 0).any(1) | (patch.value != 0).any(1) | (patch.threshold != 0)).nonzero()[:, 0]


def shortcut(source: Path | bytes, root: EditableModel, features: Features) -> Shortcut | None:
    """The shortcut of the exported file `source`; None if it is not `root` with another head and other slots.

    Raises ExportError if it is missing or damaged.
    """
    model = copy.deepcopy(root)
    state: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for tensor in parse_onnx(source).graph.initializer:
        if not tensor.name.startswith("model."):
            continue  # a constant of the graph
        weight = state.get(tensor.name.removeprefix("model."))
        if weight is None or list(weight.shape) != list(tensor.dims):
            return None
        read = np.frombuffer(bytearray(tensor.raw_data), dtype=str(weight.dtype).removeprefix("torch."))
        weight.data.copy_(torch.from_numpy(read.reshape(weight.shape)))
    return Shortcut(model.eval(), features) if after_the_backbone(model, root) else None
