"""The conditioned model is the plain one at zero; the network learns to edit; only the vector changes."""

import pytest
import torch
from torch.nn import functional as F

from errata.editing.errors import ModelError
from errata.editing.scopes import Scope, before
from errata.editing.settings import EditableSettings
from errata.editing.studies.cnp import (
    VECTOR,
    ConditionalEditor,
    ConditionNetwork,
    ConditionObjective,
    conditioned,
    train_conditional,
)
from errata.editing.types import Constraint
from tests.editing.models import small_images, small_model

IMAGES, LABELS = small_images(64), torch.arange(64) % 4


def test_a_zero_condition_is_the_plain_model() -> None:
    plain = small_model()
    model = conditioned(plain)
    assert torch.equal(model(IMAGES), plain(IMAGES)) and not model.training
    with pytest.raises(ModelError, match="conditioned-resnet"):
        conditioned(model)
    with pytest.raises(ModelError, match="no stage `condition`"):
        ConditionNetwork.of(plain)


def test_a_vector_is_added_to_the_activations_of_chain_3() -> None:
    model = conditioned(small_model())
    with torch.no_grad():
        model.get_parameter(VECTOR).copy_(torch.arange(16.0))
        hidden = model.normalise(IMAGES)
        for name, stage in model.backbone.named_children():
            if name != "condition":
                hidden = stage(hidden)
            if name == "chain3":
                hidden = hidden + torch.arange(16.0).reshape(1, 16, 1, 1)
        torch.testing.assert_close(model(IMAGES), model.head(hidden))


@pytest.mark.slow
def test_training_makes_edits_succeed_and_leaves_the_condition_at_zero() -> None:
    model = conditioned(small_model())
    demands = [Constraint(image, index % 4) for index, image in enumerate(IMAGES[:16])]

    def successes(editor: ConditionalEditor) -> int:
        return sum(editor.edit(model, [one], None).success for one in demands)

    fresh = successes(ConditionalEditor(ConditionNetwork.of(model)))
    settings = EditableSettings(
        epochs=40, batch=16, learning_rate=5e-3, shift=0, edits=4, edit_weight=0.1, locality_weight=0.1
    )
    network, record = train_conditional(model, IMAGES, LABELS, settings)
    assert not bool(model.get_parameter(VECTOR).any())
    assert successes(ConditionalEditor(network)) >= fresh + 6
    assert record.epochs[-1].measures["base"] < record.epochs[0].measures["base"]


def test_joint_edits_take_the_mean_vector_of_those_that_do_not_hold() -> None:
    model = conditioned(small_model())
    network = ConditionNetwork.of(model)
    with torch.no_grad():
        network.out.weight.normal_(generator=torch.Generator().manual_seed(0))
    predicted = model(IMAGES[:3]).argmax(1)
    expected = [int(predicted[0]), (int(predicted[1]) + 1) % 4, (int(predicted[2]) + 2) % 4]
    result = ConditionalEditor(network).edit(
        model, [Constraint(image, one) for image, one in zip(IMAGES, expected, strict=False)], None
    )
    with torch.no_grad():
        hidden = model.normalise(IMAGES[1:3])
        for name, stage in model.backbone.named_children():
            hidden = stage(hidden)
            if name == "chain3":
                break
        wanted = network(hidden, torch.tensor(expected[1:])).mean(0)
    torch.testing.assert_close(result.model.get_parameter(VECTOR), wanted)
    assert result.steps == 1 and not bool(model.get_parameter(VECTOR).any())


def test_all_conditions_together_are_what_the_editor_gives_one_by_one() -> None:
    model = conditioned(small_model())
    network = ConditionNetwork.of(model)
    torch.nn.init.normal_(network.out.weight, std=0.3, generator=torch.Generator().manual_seed(0))
    objective = ConditionObjective(network, EditableSettings(edits=5), 0)
    layers = Scope("condition").resolve(model)
    hidden, target = before(model, IMAGES, layers.cut), torch.arange(5) % 4
    with torch.no_grad():
        found = objective.edits(model.tail(layers.cut), layers.parameters(model), hidden[:5], target, hidden)
    asked = 0
    for row, wanted in enumerate(target.tolist()):
        result = ConditionalEditor(network).edit(model, [Constraint(IMAGES[row], wanted)], None)
        if result.steps:
            asked += 1
            torch.testing.assert_close(found.logits[row], result.model(IMAGES))
            assert (float(found.violations[row]) <= 0) == result.success
    assert asked >= 3


def test_base_term_sees_the_model_that_is_edited() -> None:
    model = conditioned(small_model())
    expected = F.cross_entropy(model(IMAGES), LABELS).item()  # by running statistics
    statistics = {name: value.clone() for name, value in model.named_buffers()}
    objective = ConditionObjective(ConditionNetwork.of(model), EditableSettings(edits=2), 0)
    _, measures = objective(model.train(), IMAGES, LABELS)
    assert measures["base"] == pytest.approx(expected, rel=1e-4)
    assert all(torch.equal(value, statistics[name]) for name, value in model.named_buffers()) and model.training
