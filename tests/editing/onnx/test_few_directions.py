"""Slots that look at few directions: the file, the model, the shortcut and the delta say the same."""

import copy

import numpy as np
import torch
from safetensors.numpy import load

from errata.editing.features import Features
from errata.editing.model import fit_patch
from errata.editing.onnx.delta import apply_delta, make_delta
from errata.editing.onnx.export import OnnxClassifier, onnx_bytes, with_weights
from errata.editing.onnx.shortcut import shortcut
from tests.editing.models import small_images, small_model


def test_all_forms_of_a_release_agree() -> None:
    root, images = small_model(), small_images(60)
    root.look_at(12)
    fit_patch(root, images)
    edited = copy.deepcopy(root)
    with torch.no_grad():
        seen = edited.patch.directions(edited.features(images))
        own = seen[5] @ seen[5]
        edited.patch.weight[3] = seen[5]
        edited.patch.threshold[3] = (own + (seen @ seen[5])[torch.arange(60) != 5].max()) / 2
        edited.patch.value[3, 2] = 100.0
        wanted = edited(images).numpy()
    bare = onnx_bytes(root, {})
    release = with_weights(bare, edited, {"errata.version": "2"})
    short = shortcut(release, root, Features())
    assert short is not None
    for found in (OnnxClassifier(release).predict(images.numpy()), short.predict(images.numpy())):
        np.testing.assert_allclose(found.logits, wanted, rtol=1e-4, atol=1e-4)
        assert found.slot.tolist() == [3 if row == 5 else -1 for row in range(60)]
    delta = make_delta(bare, release)
    assert apply_delta(bare, delta) == release
    assert load(delta)["model.patch.weight:values"].shape == (1, 12)
    assert {name.split(":")[0] for name in load(delta)} == {
        f"model.patch.{one}" for one in ("weight", "threshold", "value")
    }
