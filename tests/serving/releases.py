"""Releases made without a night: a small model, one slot a correction, published and made live."""

import json
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from errata.data import layout
from errata.data.releases.edit_record import EditRecord, SlotRecord
from errata.data.releases.ledger import Correction as LedgerCorrection
from errata.data.releases.ledger import Ledger
from errata.data.releases.manifest import Action, FileEntry, Manifest, read_live, sha256
from errata.data.storage.base import Storage
from errata.editing.model import EditableModel
from errata.editing.onnx.export import onnx_bytes, with_weights
from errata.flows.releases.contents.bundle import Bundle, publish
from errata.flows.releases.pointer import make_live
from tests.editing.models import small_images, small_model

IMAGES: NDArray[np.uint8] = small_images(40, seed=7).numpy()


@dataclass(frozen=True)
class Correction:
    """Image number `image` of IMAGES is of class `expected`, held by slot `slot`."""

    image: int
    expected: int
    slot: int

    @property
    def key(self) -> str:
        return f"{self.image:064x}"


def held(each: Correction) -> LedgerCorrection:
    """Its line of the ledger; the report behind it is of the same name."""
    return LedgerCorrection(each.key, f"class {each.expected}", (each.key,))


def patched(corrections: tuple[Correction, ...], seed: int = 0) -> EditableModel:
    """The model with a slot for each correction that fires on its image and on no other of IMAGES."""
    model = small_model(seed)
    with torch.no_grad():
        features = model.patch.directions(model.features(torch.from_numpy(IMAGES)))
        for each in corrections:
            weight = features[each.image] - features.mean(0)
            along = features @ weight
            top, second = along.topk(2).values
            assert int(along.argmax()) == each.image, "the images do not separate; take another"
            model.patch.weight[each.slot] = weight
            model.patch.threshold[each.slot] = (top + second) / 2
            model.patch.value[each.slot, each.expected] = 40 / (top - second)
    return model


@cache
def exported() -> bytes:
    """The graph, exported once: of one architecture it is the same whatever the weights (tests/editing/test_export)."""
    return onnx_bytes(small_model(), {})


def bundle(version: int, corrections: tuple[Correction, ...] = (), seed: int = 0) -> Bundle:
    """A bundle as inference clients read it."""
    model = patched(corrections, seed)
    metadata = {"errata.version": str(version), "errata.classes": json.dumps(model.spec.classes)}
    slots = [SlotRecord(each.key, each.slot, 1.0, 0.0, separated=True) for each in corrections]
    slots.append(SlotRecord("fell back", 7, 0.0, 0.0, separated=False))
    record = EditRecord(success=True, steps=1, reason="", holds={}, slots=tuple(slots))
    files = {
        layout.model_file(version): with_weights(exported(), model, metadata),
        "edit.json": record.to_json(),
        layout.LABELS: "".join(f"{name}\n" for name in model.spec.classes).encode(),
        "ledger.jsonl": Ledger(version, tuple(map(held, corrections))).to_jsonl().encode(),
    }
    entries = {name: FileEntry(sha256(content), len(content)) for name, content in files.items()}
    manifest = Manifest(version, "edit", "a" * 64, "b" * 64, "c" * 64, "d" * 64, len(corrections), entries)
    return Bundle(manifest, files)


def point_at(storage: Storage, manifest: Manifest) -> None:
    """Make a published release live: by a rollback, if a newer one was."""
    found = read_live(storage)
    action: Action = "rolled back" if found and manifest.version < found[0].newest else "released"
    make_live(storage, manifest, found, action=action, by="test", why="test")


def release(storage: Storage, version: int, corrections: tuple[Correction, ...] = (), seed: int = 0) -> Bundle:
    """Publish a bundle and make it live."""
    made = bundle(version, corrections, seed)
    publish(storage, made)
    point_at(storage, made.manifest)
    return made
