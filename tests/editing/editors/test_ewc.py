"""The diagonal Fisher in closed form, and what the penalty does to an edit."""

from dataclasses import replace

import pytest
import torch

from errata.editing.editors.ewc import ElasticPenalty, diagonal_fisher
from errata.editing.editors.gradient import GradientEditor, GradientState
from errata.editing.errors import DataError
from errata.editing.rules import GradientDescent, RMSProp
from errata.editing.scopes import Scope, before
from errata.editing.types import Constraint
from tests.editing.models import small_images, small_model


def test_fisher_of_the_head_is_the_closed_form() -> None:
    """For a linear head, E over sampled labels of the squared gradient is E[h_j^2 p_c (1 - p_c)]; bias: h = 1."""
    model, images = small_model(), small_images(40)
    layers = Scope("head").resolve(model)
    with torch.no_grad():
        features = before(model, images, layers.cut)
        p = torch.softmax(model(images), 1)
    wanted = ((p * (1 - p))[:, :, None] * features[:, None, :] ** 2).mean(0)
    draws = [diagonal_fisher(model, layers, images, seed) for seed in range(200)]
    found = torch.stack([draw["head.weight"] for draw in draws])
    error = found.std(0) / 200**0.5
    assert bool(((found.mean(0) - wanted).abs() < 5 * error + 1e-7).all())
    bias = torch.stack([draw["head.bias"] for draw in draws]).mean(0)
    torch.testing.assert_close(bias, (p * (1 - p)).mean(0), rtol=0.1, atol=1e-3)


def test_fisher_of_a_convolution_is_the_mean_of_squared_gradients() -> None:
    model, images = small_model(), small_images(5)
    layers = Scope("chain4").resolve(model)
    found = diagonal_fisher(model, layers, images, seed=3)
    labels = torch.multinomial(torch.softmax(model(images), 1), 1, generator=torch.Generator().manual_seed(3))[:, 0]
    total = torch.zeros_like(model.get_parameter("backbone.chain4.0.conv1.weight"))
    for image, label in zip(images, labels, strict=True):
        loss = -torch.log_softmax(model(image[None]), 1)[0, label]
        total += torch.autograd.grad(loss, model.get_parameter("backbone.chain4.0.conv1.weight"))[0] ** 2 / 5
    torch.testing.assert_close(found["backbone.chain4.0.conv1.weight"], total, rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("rule", [GradientDescent(0.05), RMSProp(0.005)])
def test_the_penalty_vanishes_at_the_root_and_holds_back(rule: GradientDescent) -> None:
    model, image = small_model(), small_images(1)[0]
    constraint = Constraint(image, int(model(image[None]).argmin()))
    free = GradientEditor(rule, Scope("chain4"), steps=5)
    held = replace(free, penalty=ElasticPenalty(weight=1e6, images=20))
    state = held.prepare(model, small_images(20), small_images(20))
    layers = Scope("chain4").resolve(model)
    assert state.anchor is not None and state.anchor(layers.parameters(model)).item() == 0.0
    loose = replace(held, penalty=ElasticPenalty(weight=0.0, images=20))
    twin = loose.edit(model, [constraint], loose.prepare(model, small_images(20), small_images(20)))
    plain = free.edit(model, [constraint], GradientState())
    for name in layers.names:
        assert torch.equal(plain.model.get_parameter(name), twin.model.get_parameter(name))
    result = held.edit(model, [constraint], state)

    def distance(edited: torch.nn.Module) -> float:
        anchor = ElasticPenalty(2.0, 20).anchor(layers.copy(model), layers, small_images(20))
        return anchor({name: edited.get_parameter(name).detach() for name in layers.names}).item()

    assert distance(plain.model) > 0
    if isinstance(rule, RMSProp):  # its steps do not grow with the penalty's gradient
        assert distance(result.model) < distance(plain.model)


def test_no_reference_is_refused() -> None:
    model = small_model()
    with pytest.raises(DataError, match="Fisher matrix needs"):
        diagonal_fisher(model, Scope("head").resolve(model), small_images(0))
