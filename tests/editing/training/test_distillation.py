"""Editable Training without labels: the base term keeps the original's predictions, only the scope's layers move."""

import copy
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from errata.editing.editors.gradient import GradientEditor, GradientState
from errata.editing.errors import DataError, ModelError
from errata.editing.model import EditableModel, ModelSpec, load_model, save_model
from errata.editing.rules import GradientDescent
from errata.editing.scopes import Scope, before
from errata.editing.settings import EditableSettings
from errata.editing.training.distillation import train_without_labels
from errata.editing.types import Constraint
from tests.editing.models import small_images, small_model

IMAGES = small_images(64)
SETTINGS = EditableSettings(scope="adapter", epochs=12, batch=32, learning_rate=3e-3, edit_steps=2, edits=2)


def adapted() -> tuple[EditableModel, torch.Tensor]:
    torch.manual_seed(3)
    model = small_model().adapted(16)
    with torch.no_grad():
        return model, before(model, IMAGES, Scope("adapter").resolve(model).cut)


def test_an_adapter_changes_nothing_until_it_is_trained(tmp_path: Path) -> None:
    plain, (model, hidden) = small_model(), adapted()
    assert torch.equal(model(IMAGES), plain(IMAGES)) and torch.equal(hidden, plain.features(IMAGES))
    with torch.no_grad():
        model.get_parameter("backbone.adapter.out.weight").normal_()
        into, out = (getattr(model.backbone.adapter, name) for name in ("into", "out"))
        wanted = hidden + F.elu(hidden @ into.weight.T + into.bias) @ out.weight.T + out.bias
        torch.testing.assert_close(model.features(IMAGES), wanted)
    save_model(model, tmp_path)
    assert torch.equal(load_model(tmp_path)(IMAGES), model(IMAGES))
    assert "adapter" not in plain.spec.to_json() and ModelSpec.from_json(model.spec.to_json()) == model.spec
    with pytest.raises(ModelError, match="only a root without adapter"):
        model.adapted(4)


def test_a_backbone_that_is_no_sequence_gets_one_too() -> None:
    class Mean(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)[:, :5]

    spec = ModelSpec("resnet", ("a", "b"), (8, 8, 1), (0.4,), (0.3,), {}, 2)
    plain = EditableModel(spec, Mean(), torch.nn.Linear(5, 2)).eval()
    model = plain.adapted(3)
    assert [name for name, _ in model.backbone.named_children()] == ["network", "adapter"]
    assert torch.equal(model(IMAGES), plain(IMAGES))


def test_with_the_edit_terms_off_nothing_moves() -> None:
    """The divergence of a network from itself is zero, and so is its gradient: distillation alone is a fixed point."""
    model, hidden = adapted()
    settings = SETTINGS.model_copy(update={"edit_weight": 0.0, "locality_weight": 0.0, "epochs": 1})
    record = train_without_labels(model, hidden, settings)
    assert record.training.epochs[0].measures["base"] == pytest.approx(0.0, abs=1e-6)
    torch.testing.assert_close(model(IMAGES), small_model()(IMAGES), atol=2e-2, rtol=0)


def violations_after_an_edit(model: EditableModel, rule: GradientDescent) -> float:
    editor, total = GradientEditor(rule, Scope("adapter"), 2), 0.0
    for index, image in enumerate(IMAGES[:24]):
        edited = editor.edit(model, [Constraint(image, index % 4)], GradientState()).model
        logits = edited(image[None])[0].detach()
        others = torch.cat([logits[: index % 4], logits[index % 4 + 1 :]])
        total += max(0.0, float(others.max() - logits[index % 4])) / 24
    return total


def test_it_learns_to_be_edited_and_keeps_its_predictions() -> None:
    rule = GradientDescent(0.05)
    model, hidden = adapted()
    frozen = {name: value.clone() for name, value in model.state_dict().items() if "adapter" not in name}
    untrained = copy.deepcopy(model)
    record = train_without_labels(
        model, hidden, SETTINGS.model_copy(update={"learn_rule": False, "locality_weight": 0.1}), rule=rule
    )
    assert record.rule.learning_rate == pytest.approx(0.05)  # type: ignore[attr-defined]
    assert violations_after_an_edit(model, rule) < 0.8 * violations_after_an_edit(untrained, rule)
    old, new = F.log_softmax(untrained(IMAGES), 1), F.log_softmax(model(IMAGES), 1)
    assert F.kl_div(new, old, log_target=True, reduction="batchmean").item() < 0.1
    assert all(torch.equal(value, frozen[name]) for name, value in model.state_dict().items() if name in frozen)
    assert not model.training


def test_the_same_seed_gives_the_same_weights_and_too_few_images_are_refused() -> None:
    (one, hidden), (two, _) = adapted(), adapted()
    settings = SETTINGS.model_copy(update={"epochs": 1})
    rules = [train_without_labels(model, hidden, settings, seed=4).rule for model in (one, two)]
    assert rules[0] == rules[1]
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())
    with pytest.raises(DataError, match="too few"):
        train_without_labels(one, hidden[:1], settings)
