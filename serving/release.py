"""A release in memory: every file it is made of checked against the manifest, ready to predict, never changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data.manifest import Live, read_file, read_manifest, read_model
from data.storage.base import Storage
from editing.classifier import OnnxClassifier
from editing.errors import Damaged

EDIT = "edit.json"


@dataclass(frozen=True)
class Prediction:
    """What one image came to.

    `probabilities` float32 `[classes]`; `correction` is the identity of the correction whose slot decided, or None
    where none fired; `version` is the release that said so.
    """

    version: int
    predicted: str
    probabilities: NDArray[np.float32]
    correction: str | None


@dataclass(frozen=True)
class Release:
    """One release, loaded: `corrections` says which correction each slot holds; `digest` is its manifest's."""

    version: int
    digest: str
    classes: tuple[str, ...]
    corrections: Mapping[int, str]
    classifier: OnnxClassifier = field(repr=False)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels of the images that it takes."""
        return self.classifier.image_shape

    def predict(self, images: NDArray[np.uint8]) -> tuple[Prediction, ...]:
        """A prediction for each of uint8 `[n, height, width, channels]`; raises ExportError on any other input."""
        answers = self.classifier.predict(images)
        return tuple(
            Prediction(
                self.version,
                self.classes[int(logits.argmax())],
                probabilities,
                self.corrections.get(int(slot), f"slot-{slot}") if slot >= 0 else None,
            )
            for logits, probabilities, slot in zip(
                answers.logits, answers.probabilities, answers.correction, strict=True
            )
        )


def load_release(storage: Storage, live: Live, *, threads: int = 1) -> Release:
    """The release that `live` names, from bytes that all match the manifest, which matches `live`.

    `threads` is ONNX Runtime's, for one prediction. Raises NotStored or Damaged if it is not whole, ExportError if it
    cannot be run.
    """
    manifest = read_manifest(storage, live.version, live.manifest_sha256)
    classifier = OnnxClassifier(read_model(storage, manifest), threads=threads)
    try:
        classes = tuple(str(name) for name in json.loads(classifier.metadata["errata.classes"]))
        if classifier.metadata["errata.version"] != str(manifest.version):
            raise ValueError(f"its model says version {classifier.metadata['errata.version']}")
        slots = json.loads(read_file(storage, manifest, EDIT))["slots"]
        corrections = {int(slot["slot"]): str(slot["key"]) for slot in slots if slot["separated"]}
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"release {live.version} cannot be read ({error!r}); roll back to one that verifies") from error
    release = Release(manifest.version, live.manifest_sha256, classes, corrections, classifier)
    release.predict(np.zeros((1, *release.image_shape), np.uint8))  # what cannot answer must not go live
    return release
