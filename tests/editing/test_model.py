from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from errata.editing.errors import ModelError
from errata.editing.model import ModelSpec, batched_features, fit_patch, load_model, save_model
from tests.editing.models import small_images, small_model


def test_slots_look_at_whitened_directions() -> None:
    model = small_model()
    fit_patch(model, small_images(200))
    assert model.patch.fitted
    features = batched_features(model, small_images(200)).double().numpy()
    covariance = np.cov(features.T)
    ridge = 0.01 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    values, vectors = np.linalg.eigh(covariance + ridge)
    whitened = (features - features.mean(0)) @ (vectors / np.sqrt(values)) @ vectors.T
    expected = whitened / np.linalg.norm(whitened, axis=1, keepdims=True)
    with torch.no_grad():
        found = model.patch.directions(batched_features(model, small_images(200))).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_the_slots_in_use_add_what_all_of_them_add() -> None:
    model, images = small_model(), small_images(50)
    features = model.features(images).detach()
    model.patch.fit(features)
    assert not model.patch.used()(features).any()
    with torch.no_grad():
        for slot in (1, 5):
            model.patch.weight[slot] = torch.randn(model.patch.weight.shape[1])
            model.patch.threshold[slot] = -0.1
            model.patch.value[slot] = torch.tensor([1.0, -2.0, 0.0, 3.0])
    used = model.patch.used()
    assert len(used.weight) == 2
    torch.testing.assert_close(used(features), model.patch(features))
    assert model.patch(features).abs().amax() > 0.1


def test_an_unpatched_model_is_exactly_its_head_whether_fitted_or_not() -> None:
    model = small_model()
    with torch.no_grad():
        before = model(small_images(20))
        assert torch.equal(before, model.head(model.features(small_images(20))))
        fit_patch(model, small_images(50))
        assert torch.equal(model(small_images(20)), before)


def test_it_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    model = small_model()
    fit_patch(model, small_images(50))
    save_model(model, tmp_path / "one")
    back = load_model(tmp_path / "one")
    save_model(back, tmp_path / "two")
    assert back.spec == model.spec
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


SPEC = ModelSpec("resnet", ("cat", "köter"), (8, 6, 1), (0.5,), (0.25,), {"width": 4, "ratio": 0.5, "bias": True}, 16)


def test_a_spec_is_the_json_that_older_releases_hold() -> None:
    assert json.loads(SPEC.to_json()) == {
        "format": "errata-model/1",
        "architecture": "resnet",
        "arguments": {"width": 4, "ratio": 0.5, "bias": True},
        "classes": ["cat", "köter"],
        "image_shape": [8, 6, 1],
        "mean": [0.5],
        "slots": 16,
        "std": [0.25],
    }
    back = ModelSpec.from_json(SPEC.to_json())
    assert back == SPEC
    assert {name: type(value) for name, value in back.arguments.items()} == {"width": int, "ratio": float, "bias": bool}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"slots": "16"}, "slots"),
        ({"slots": 16.5}, "slots"),
        ({"image_shape": [8, 6]}, "image_shape"),
        ({"image_shape": [8, 6, "1"]}, "image_shape"),
        ({"classes": "ab"}, "classes"),
        ({"mean": [float("nan")]}, "mean"),
        ({"arguments": {"width": [4]}}, "arguments"),
        ({"weights": "https://example.org"}, "weights"),
        ({"format": "errata-model/2"}, "format"),
        ({"format": None}, "format"),
    ],
)
def test_a_spec_of_another_form_is_refused_by_the_field(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError, match=rf"^model\.json: {named}.*; restore"):
        ModelSpec.from_json(json.dumps({**json.loads(SPEC.to_json()), **change}))


@pytest.mark.parametrize("missing", ["format", "mean", "architecture"])
def test_a_spec_that_lacks_a_field_is_refused(missing: str) -> None:
    document = json.loads(SPEC.to_json())
    del document[missing]
    with pytest.raises(ModelError, match=rf"^model\.json: {missing}: Field required"):
        ModelSpec.from_json(json.dumps(document))


@pytest.mark.parametrize("text", ["", "{", "[]", "7"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match=r"^model\.json: it: "):
        ModelSpec.from_json(text)


def test_only_an_unpatched_model_may_lack_what_its_slots_look_at() -> None:
    state = small_model().state_dict()
    del state["patch.centre"], state["patch.whitening"]
    fresh = small_model(seed=3)
    fresh.load_state_dict(state)
    assert not fresh.patch.fitted
    state["patch.weight"] = torch.ones_like(state["patch.weight"])
    with pytest.raises(RuntimeError, match=r"patch\.whitening"):
        fresh.load_state_dict(state)


def test_what_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        load_model(tmp_path)
    save_model(small_model(), tmp_path)
    content = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[:-10])
    with pytest.raises(ModelError, match="restore"):
        load_model(tmp_path)
