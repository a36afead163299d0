"""Slots may look at few directions of the features: those in which control images vary most, whitened."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from errata.editing.features import Features, backbone_digest
from errata.editing.kinds.concepts import open_concepts
from errata.editing.kinds.find import Kind, KindState, with_kinds
from errata.editing.model import EditableModel, ModelSpec, batched_features, fit_patch, load_model, save_model
from errata.editing.scopes import Scope
from tests.editing.models import small_images, small_model

FEW = 12  # of 32


def few_directions() -> EditableModel:
    model = small_model()
    model.look_at(FEW)
    fit_patch(model, small_images(200))
    return model


def wide_model(spec: ModelSpec, features: int) -> EditableModel:
    return EditableModel(replace(spec, image_shape=(features, 1, 1)), nn.Flatten(), nn.Linear(features, 4))


def test_the_cosines_are_those_of_whitened_principal_components() -> None:
    model = few_directions()
    assert model.patch.fitted
    features = batched_features(model, small_images(200)).double().numpy()
    centred = features - features.mean(0)
    _, singular, components = np.linalg.svd(centred, full_matrices=False)  # the largest first
    variances = singular**2 / (len(features) - 1)
    whitened = centred @ components[:FEW].T / np.sqrt(variances[:FEW] + 0.01 * variances.mean())
    unit = whitened / np.linalg.norm(whitened, axis=1, keepdims=True)
    with torch.no_grad():
        found = model.patch.directions(batched_features(model, small_images(200))).numpy()
    assert found.shape == (200, FEW)
    np.testing.assert_allclose(found @ found.T, unit @ unit.T, atol=1e-3)  # signs and bases may differ


@pytest.mark.parametrize(("features", "asked", "kept"), [(512, 0, 512), (513, 0, 64), (513, 40, 40), (513, 999, 513)])
def test_how_many_directions_there_are(features: int, asked: int, kept: int) -> None:
    model = wide_model(small_model().spec, features)
    model.look_at(asked)
    assert model.patch.whitening.shape == (features, kept)
    assert model.patch.weight.shape == (8, kept)
    assert ("directions" in json.loads(model.spec.to_json())) == (kept < features)


def test_a_root_of_before_keeps_all_directions_however_wide_it_is() -> None:
    older = json.loads(small_model().spec.to_json())
    assert "directions" not in older
    model = wide_model(ModelSpec.from_json(json.dumps(older)), 600)
    assert model.patch.whitening.shape == (600, 600)


def test_it_is_saved_and_its_features_are_what_they_were(tmp_path: Path) -> None:
    model = few_directions()
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert again.spec == model.spec and again.spec.directions == FEW
    assert torch.equal(again.patch.whitening, model.patch.whitening)
    assert backbone_digest(model) == backbone_digest(small_model())


def test_kinds_of_concept_look_at_the_same_directions(tmp_path: Path) -> None:
    model, images = few_directions(), small_images(100, seed=9)
    sight = open_concepts(model, Features(), images[:50], images[50:], 0.01)
    seen = sight.slots.directions(batched_features(model, images))
    weight, threshold = seen[7], 0.99 * seen[7] @ seen[7]
    head = {"head.weight": -model.head.weight.detach(), "head.bias": -model.head.bias.detach()}
    state = KindState(None, Scope("head").resolve(model), images, sight)
    made = with_kinds(model, [Kind((), weight, threshold, 0.0, head, concept=True)], state)
    save_model(made, tmp_path)
    with torch.no_grad():
        found, fired = load_model(tmp_path)(images), made.see(images).kind
        assert fired is not None and fired.nonzero()[:, 0].tolist() == [row for row in range(100) if row != 7]
        torch.testing.assert_close(found[7], -model(images)[7])
        assert torch.equal(found[8:], model(images)[8:])


def test_few_directions_of_fewer_images_are_still_directions() -> None:
    model = small_model()
    model.look_at(FEW)
    fit_patch(model, small_images(5))
    with torch.no_grad():
        lengths = model.patch.directions(batched_features(model, small_images(50, seed=3))).norm(dim=1)
    np.testing.assert_allclose(lengths.numpy(), 1, atol=1e-5)
