"""Given weights that are trained to be edited: without labels, in the layers asked for, and told what it did."""

from pathlib import Path

import numpy as np
import pytest
import torch

from errata.data.datasets import LabelledImages
from errata.editing.model import EditableModel, ModelSpec
from errata.flows.params import Params, parse_params
from errata.flows.stages.root_training import RootTraining
from errata.flows.stages.train import train_given
from errata.flows.workspace import Workspace
from tests.editing.models import small_images, small_model

SPLIT = LabelledImages(small_images(60).numpy(), np.arange(60) % 4, tuple(f"class {index}" for index in range(4)))


def given() -> EditableModel:
    torch.manual_seed(0)
    return small_model().adapted(8)


def params(method: str) -> Params:
    return parse_params(
        b"model: {weights: mine.pth, weights_sha256: " + b"a" * 64 + b", adapter: 8}\n"
        b"train: {method: " + method.encode() + b", scope: adapter, editable_epochs: 3, given_rate: 0.01, batch: 16}"
    )


def test_editable_trains_the_adapter_alone_and_says_what_it_did(tmp_path: Path) -> None:
    model, root = given(), given()
    training = train_given(Workspace(tmp_path), params("editable"), model, SPLIT)
    unseen = torch.from_numpy(SPLIT.images[::5])
    with torch.no_grad():
        old, new = (one(unseen).argmax(1).numpy() for one in (root, model))
    assert training.effect is not None and training.effect.images == 12
    np.testing.assert_allclose(
        [training.effect.before, training.effect.after, training.effect.changed],
        [(old == SPLIT.labels[::5]).mean(), (new == SPLIT.labels[::5]).mean(), (old != new).mean()],
        rtol=1e-6,
    )
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, root.state_dict()[name])}
    assert changed and all(name.startswith("backbone.adapter.") for name in changed)
    assert training.rule is not None and training.settings["weights"] == "a" * 64 and len(training.losses) == 3
    assert RootTraining.from_json(training.to_json()) == training
    assert "before" in str(training.effect) and "12 images" in str(training.effect)


def test_labels_are_not_looked_at_but_to_tell_accuracy(tmp_path: Path) -> None:
    one, two = given(), given()
    train_given(Workspace(tmp_path), params("editable"), one, SPLIT)
    train_given(
        Workspace(tmp_path),
        params("editable"),
        two,
        LabelledImages(SPLIT.images, SPLIT.labels[::-1].copy(), SPLIT.classes),
    )
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.mark.slow
def test_by_default_and_plainly_given_weights_stay_as_they_are(tmp_path: Path) -> None:
    for method in ("auto", "plain"):
        model = given()
        training = train_given(Workspace(tmp_path), params(method), model, SPLIT)
        assert training.effect is None and training.rule is None and not training.losses
        assert all(torch.equal(value, given().state_dict()[name]) for name, value in model.state_dict().items())
    assert isinstance(model.spec, ModelSpec) and model.spec.adapter == 8
