"""The shortcut says what the shipped file says in ONNX Runtime; a file that is no edit of head and slots has none."""

from pathlib import Path

import numpy as np
import pytest
import torch

from errata.editing.editors.patch import CalibratedPatch
from errata.editing.errors import ExportError
from errata.editing.features import Features
from errata.editing.model import fit_patch
from errata.editing.onnx.export import OnnxClassifier, onnx_bytes
from errata.editing.onnx.shortcut import shortcut
from errata.editing.settings import ViewSettings
from errata.editing.types import Constraint
from errata.editing.views import unseen_views
from tests.editing.models import small_images, small_model

VIEWS = ViewSettings(fitting=4, unseen=3)


def test_it_predicts_as_the_file_does() -> None:
    root, images = small_model(slots=16), small_images(300)
    fit_patch(root, images)
    editor = CalibratedPatch(views=VIEWS)
    with torch.no_grad():
        wanted = (root(images[:8]).argmax(1) + 1) % len(root.spec.classes)
    constraints = [Constraint(images[one], int(wanted[one]), f"{one}") for one in range(8)]
    edited = editor.edit(root, constraints, editor.prepare(root, images[100:200], images[200:])).model
    source = onnx_bytes(edited, {})
    short, file = shortcut(source, root, Features()), OnnxClassifier(source)
    assert short is not None
    one, other = short.predict(images.numpy()), file.predict(images.numpy())
    assert np.abs(one.logits - other.logits).max() < 1e-4
    assert np.abs(one.probabilities - other.probabilities).max() < 1e-5
    assert one.slot.dtype == other.slot.dtype
    assert np.array_equal(one.slot, other.slot)
    assert {-1} < set(other.slot.tolist())
    views = np.concatenate([unseen_views(image, VIEWS, 3).numpy() for image in images[:5]])
    seen = short.predict_views(images[:5], unseen_views, VIEWS, 3)
    assert np.abs(seen.logits - file.predict(views).logits).max() < 1e-4


@pytest.mark.slow
def test_another_backbone_or_architecture_has_none(tmp_path: Path) -> None:
    root, other = small_model(), small_model()
    with torch.no_grad():
        next(other.backbone.parameters()).add_(1e-3)
    assert shortcut(onnx_bytes(other, {}), root, Features()) is None
    assert shortcut(onnx_bytes(small_model(slots=5), {}), root, Features()) is None
    with pytest.raises(ExportError):
        shortcut(tmp_path / "none.onnx", root, Features())
