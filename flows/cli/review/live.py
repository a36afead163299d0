"""The live release as a reviewer needs it: what it says of an image, what it holds, what people decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from errata.data import layout
from errata.data.images import Pixels, decode_image, fit_image, pixel_digest
from errata.data.releases.edit_record import EditRecord
from errata.data.releases.ledger import Correction, Ledger
from errata.data.releases.manifest import Live, read_file, read_manifest, read_model
from errata.data.reports import read_image
from errata.data.storage.base import Storage
from errata.editing.errors import DataError, NotStored
from errata.editing.onnx.classifier import OnnxClassifier
from errata.flows.releases.classes import read_classes
from errata.flows.releases.decision import Claim, Decision
from errata.flows.releases.pointer import require_live
from errata.flows.releases.standing import decisions


@dataclass(frozen=True)
class Looked:
    """What the live release makes of an image: its identity, the class, every class's probability, the kind that
    fired. `pixels`: uint8 at the model's input size."""

    correction: str
    predicted: str
    probabilities: Mapping[str, float]
    kind: str | None
    pixels: Pixels = field(repr=False)


Effect = Callable[[Looked, str], str]  # what a claim of that class would change in the day's requests, in a sentence


class LiveModel:
    """One release in memory."""

    def __init__(self, storage: Storage, live: Live) -> None:
        """Every file that is read is checked against the manifest. Raises Damaged, NotStored, ExportError."""
        manifest = read_manifest(storage, live.version, live.manifest_sha256)
        self._storage, self._classifier = storage, OnnxClassifier(read_model(storage, manifest), threads=1)
        self.version, self.classes = live.version, read_classes(storage, live)
        self.image_shape = self._classifier.image_shape
        ledger = Ledger.from_jsonl(read_file(storage, manifest, "ledger.jsonl").decode())
        self.held = {each.id: each for each in ledger.corrections}
        record = EditRecord.from_json(read_file(storage, manifest, "edit.json"))
        self.slots = sum(key in self.held for key in record.by_slot.values())
        self._kinds = {each.kind: each.name for each in record.used_kinds}
        self.look = lru_cache(maxsize=1000)(self._look)

    def correction_of(self, report_id: str) -> Correction | None:
        """The correction that a report is behind, if the release holds it."""
        return next((each for each in self.held.values() if report_id in each.reports), None)

    def _look(self, image: str) -> Looked:
        """What it makes of the image file `image`. Raises DataError, TooLarge, Damaged, NotStored."""
        try:
            content = read_image(self._storage, image)
        except NotStored as fault:
            raise DataError("no image is stored for this report") from fault
        pixels = fit_image(decode_image(content), self._classifier.image_shape)
        answers = self._classifier.predict(pixels[None])
        kind = int(answers.kind[0])
        return Looked(
            correction=pixel_digest(pixels),
            predicted=self.classes[int(answers.logits[0].argmax())],
            probabilities=dict(zip(self.classes, answers.probabilities[0].tolist(), strict=True)),
            kind=self._kinds.get(kind, f"kind {kind}") if kind >= 0 else None,
            pixels=pixels,
        )


class Desk:
    """What is live and what was decided, read again where the store says that it changed."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._model: tuple[str, LiveModel] | None = None
        self._standing: tuple[object, dict[Claim, Decision]] | None = None

    def model(self) -> LiveModel:
        """The live release. Raises NightError if there is none, Damaged."""
        live, _ = require_live(self.storage)
        if self._model is None or self._model[0] != live.manifest_sha256:
            self._model = live.manifest_sha256, LiveModel(self.storage, live)
        return self._model[1]

    def standing(self) -> dict[Claim, Decision]:
        """The decision that stands on each claim about which there ever was one. Raises Damaged."""
        live, _ = require_live(self.storage)
        records = (tuple(self.storage.keys(layout.RETRACTED)), tuple(self.storage.keys(layout.ERASED)))
        seen = (live.serial, records)
        if self._standing is None or self._standing[0] != seen:
            self._standing = seen, decisions(self.storage, live)
        return self._standing[1]
