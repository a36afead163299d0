"""A release with a kind, served: the answer says which kind fired, and which correction none can name."""

import json
from pathlib import Path

import pytest
import torch

from errata.data import layout
from errata.data.releases.edit_record import EditRecord, KindRecord
from errata.data.releases.manifest import FileEntry, Manifest, read_live, sha256
from errata.data.storage.local import LocalStorage
from errata.editing.onnx.export import onnx_bytes
from errata.flows.releases.contents.bundle import Bundle, publish
from errata.serving.release import load_release
from tests.editing.kinds.pale import found, kinded, pale_images
from tests.editing.models import small_images
from tests.serving.releases import point_at


@pytest.mark.slow
def test_the_answer_says_which_kind_fired(tmp_path: Path) -> None:
    storage, model = LocalStorage(tmp_path), kinded()
    fitted = found()[1][0].fitted
    kinds = (
        KindRecord("left out", -1, ("x",), (), 0, 0.0, 0.0, 0, 0.0, 0.0, "it mends nothing"),
        KindRecord("south camera", 0, fitted, ("held out",), 1, 0.05, 0.0, 40, -0.2, -0.1),
    )
    record = EditRecord(success=True, steps=1, reason="", holds={}, kinds=kinds)
    metadata = {"errata.version": "1", "errata.classes": json.dumps(model.spec.classes)}
    files = {layout.model_file(1): onnx_bytes(model, metadata), "edit.json": record.to_json()}
    assert EditRecord.from_json(files["edit.json"]) == record
    entries = {name: FileEntry(sha256(content), len(content)) for name, content in files.items()}
    made = Bundle(Manifest(1, "edit", "a" * 64, "b" * 64, "c" * 64, "d" * 64, 1, entries), files)
    publish(storage, made)
    point_at(storage, made.manifest)
    live = read_live(storage)
    assert live is not None
    release = load_release(storage, live[0])
    ordinary, pictures = small_images(3, seed=60), pale_images(3, seed=61)[0]
    answers = release.predict(torch.cat([ordinary, pictures]).numpy())
    assert [each.kind for each in answers] == [None] * 3 + ["south camera"] * 3
    assert {each.correction for each in answers} == {None}
