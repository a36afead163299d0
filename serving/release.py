"""A release in memory: every file it is made of checked against the manifest, ready to predict, never changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from errata.data import layout
from errata.data.images import pixel_digest
from errata.data.releases.edit_record import EditRecord
from errata.data.releases.evaluation import Evaluation
from errata.data.releases.manifest import Live, Manifest, read_file, read_manifest, read_model
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged
from errata.editing.onnx.classifier import OnnxClassifier, Predictions

EDIT, EVALUATION = "edit.json", "evaluation.json"


@dataclass(frozen=True)
class Prediction:
    """What one image came to.

    `probabilities` float32 `[classes]`; `version` is the release that said so. `correction` is the identity of the
    correction that decided, where that is certain: its slot did, or it is in the weights and this is its very image.
    None otherwise. `kind` is the name of the kind that fired, None where none did: then the answer comes
    from the kind's own change of the network, made from its corrections.
    """

    version: int
    predicted: str
    probabilities: NDArray[np.float32]
    correction: str | None
    kind: str | None = None


@dataclass(frozen=True)
class Release:
    """One release, loaded; `digest` is its manifest's.

    `corrections` says which correction each slot holds, `kinds` the name of each kind, `in_weights`
    what is expected of each image (by its pixels'
    digest) that comes out right in this release, did not in the root, and has no slot.
    """

    version: int
    digest: str
    classes: tuple[str, ...]
    corrections: Mapping[int, str]
    in_weights: Mapping[str, str]
    classifier: OnnxClassifier = field(repr=False)
    kinds: Mapping[int, str] = field(default_factory=dict)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels of the images that it takes."""
        return self.classifier.image_shape

    def predict(self, images: NDArray[np.uint8]) -> tuple[Prediction, ...]:
        """A prediction for each of uint8 `[n, height, width, channels]`; raises ExportError on any other input."""
        return self.tell(images, self.classifier.predict(images))

    def tell(self, images: NDArray[np.uint8], answers: Predictions) -> tuple[Prediction, ...]:
        """What the file's answers to these images say."""
        predictions = []
        rows = zip(images, answers.logits, answers.probabilities, answers.slot, answers.kind, strict=True)
        for image, logits, probabilities, slot, kind in rows:
            predicted = self.classes[int(logits.argmax())]
            correction = self._in_slot(int(slot)) if slot >= 0 else self._in_weights(image, predicted)
            named = self.kinds.get(int(kind), f"kind {kind}") if kind >= 0 else None
            predictions.append(Prediction(self.version, predicted, probabilities, correction, named))
        return tuple(predictions)

    def _in_slot(self, slot: int) -> str:
        return self.corrections.get(slot, f"slot-{slot}")

    def _in_weights(self, image: NDArray[np.uint8], predicted: str) -> str | None:
        if not self.in_weights:
            return None
        identity = pixel_digest(image)
        return identity if self.in_weights.get(identity) == predicted else None


def release_files(manifest: Manifest) -> tuple[str, ...]:
    """The files of a bundle that `load_release` reads."""
    return (layout.model_file(manifest.version), EDIT, *(name for name in (EVALUATION,) if name in manifest.files))


def load_release(storage: Storage, live: Live, *, threads: int = 1) -> Release:
    """The release that `live` names, from bytes that all match the manifest, which matches `live`.

    `threads` is ONNX Runtime's, for one prediction. Raises NotStored or Damaged if it is not whole, ExportError if it
    cannot be run.
    """
    manifest = read_manifest(storage, live.version, live.manifest_sha256)
    classifier = OnnxClassifier(read_model(storage, manifest), threads=threads)
    blank = np.zeros((1, *classifier.image_shape), np.uint8)
    answers = classifier.predict(blank)  # what cannot answer must not go live
    try:
        classes = tuple(str(name) for name in json.loads(classifier.metadata["errata.classes"]))
        if classifier.metadata["errata.version"] != str(manifest.version):
            raise ValueError(f"its model says version {classifier.metadata['errata.version']}")
        if (answers.logits.shape, answers.slot.shape) != ((1, len(classes)), (1,)):
            raise ValueError(f"its model answers one image in another form than of {len(classes)} classes")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(f"release {live.version} cannot be read ({error!r}); roll back to one that verifies") from error
    record = EditRecord.from_json(read_file(storage, manifest, EDIT))
    kinds = {each.kind: each.name for each in record.used_kinds}
    in_weights = {}
    if EVALUATION in manifest.files:
        in_weights = {
            each.id: each.expected
            for each in Evaluation.from_json(read_file(storage, manifest, EVALUATION)).corrections
            if each.slot < 0 and each.before != each.expected == each.after
        }
    return Release(manifest.version, live.manifest_sha256, classes, record.by_slot, in_weights, classifier, kinds)
