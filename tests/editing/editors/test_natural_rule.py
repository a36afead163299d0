"""Natural gradient as a rule, against the exact Fisher matrix and against the editor that solves for constraints."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from errata.editing.constraints.classification import violation
from errata.editing.editors.ewc import ElasticPenalty
from errata.editing.editors.gradient import GradientEditor
from errata.editing.editors.kfac import Kfac
from errata.editing.editors.natural import NaturalGradient
from errata.editing.editors.natural_rule import NaturalRule
from errata.editing.errors import MeasurementError, ScopeError
from errata.editing.scopes import Scope
from errata.editing.types import Constraint
from tests.editing.models import small_images, small_model

REFERENCE = small_images(300, 7)


def dense(fisher: Kfac) -> np.ndarray:
    """The damped matrix that the factors of a single layer stand for, rows and columns ordered as the weight's."""
    (layer,) = fisher.layers
    basis = torch.kron(layer.outputs, layer.inputs).double().numpy()
    found: np.ndarray = basis * layer.root.double().square().flatten().numpy() @ basis.T
    return found


@pytest.mark.parametrize("rate", [1.0, 0.3])
def test_a_step_is_the_closed_form_on_the_head(rate: float) -> None:
    model = small_model()
    layers = Scope("head").resolve(model)
    rule = NaturalRule(rate).fit(model, layers, REFERENCE)
    assert rule.fisher is not None
    generator = torch.Generator().manual_seed(3)
    params = layers.parameters(model)
    grads = {name: torch.randn(value.shape, generator=generator) for name, value in params.items()}
    update, state = rule.step(params, grads, rule.init(params), torch.tensor(0.7))
    g = torch.cat([grads["head.weight"], grads["head.bias"][:, None]], 1).double().flatten().numpy()
    natural = np.linalg.solve(dense(rule.fisher), g)
    found = torch.cat([update["head.weight"], update["head.bias"][:, None]], 1).detach().flatten().numpy()
    np.testing.assert_allclose(found, -rate * 0.7 * natural / (g @ natural), rtol=5e-3, atol=1e-6)
    assert state.time == 1
    np.testing.assert_allclose(found @ g, -rate * 0.7, rtol=1e-4)  # it removes that share of the linearised loss


def test_its_first_step_is_the_editors_for_one_constraint() -> None:
    model, image = small_model(), small_images(1, 5)[0]
    constraint = Constraint(image, int(model(image[None]).argsort(1)[0, -2]))
    scope = Scope("chain4")
    exact = NaturalGradient(scope, margin=0.0, steps=1)
    one = exact.edit(model, [constraint], exact.prepare(model, REFERENCE, REFERENCE)).model
    loop = GradientEditor(NaturalRule(1.0), scope, steps=1)
    other = loop.edit(model, [constraint], loop.prepare(model, REFERENCE, REFERENCE)).model
    for name in scope.resolve(model).names:
        moved = (one.get_parameter(name) - model.get_parameter(name)).detach()
        torch.testing.assert_close(
            other.get_parameter(name).detach() - model.get_parameter(name).detach(), moved, rtol=1e-3, atol=1e-6
        )


def test_it_changes_the_controls_less_than_the_gradient_does() -> None:
    model, image = small_model(), small_images(1, 5)[0]
    target = int(model(image[None]).argsort(1)[0, 0])
    layers = Scope("head").resolve(model)
    rule = NaturalRule(1.0, damping=1e-4).fit(model, layers, REFERENCE)
    params = {name: value.detach().requires_grad_() for name, value in layers.parameters(model).items()}
    tail = layers.frozen_tail(model)
    hidden = model.features(image[None]).detach()
    loss = violation(tail(params, hidden), torch.tensor([target]))[0]
    grads = dict(zip(params, torch.autograd.grad(loss, list(params.values())), strict=True))
    update, _ = rule.step(params, grads, rule.init(params), loss.detach())
    square = sum(float((g * g).sum()) for g in grads.values())
    plain = {name: -float(loss) / square * g for name, g in grads.items()}  # lowers the loss as far, to first order
    controls = model.features(REFERENCE).detach()
    root = tail(params, controls).log_softmax(1)

    def divergence(step: dict[str, torch.Tensor]) -> float:
        moved = tail({name: value + 0.1 * step[name] for name, value in params.items()}, controls).log_softmax(1)
        return float((root.exp() * (root - moved)).sum(1).mean())

    assert divergence(update) < 0.7 * divergence(plain)


def test_it_goes_with_a_penalty_and_leaves_normalisation_alone() -> None:
    model, image = small_model(), small_images(1, 5)[0]
    editor = GradientEditor(NaturalRule(), Scope("chain3"), 20, penalty=ElasticPenalty(0.1, 50))
    state = editor.prepare(model, REFERENCE, REFERENCE)
    result = editor.edit(model, [Constraint(image, int(model(image[None]).argsort(1)[0, -2]))], state)
    assert result.success
    changed = [
        name for name, value in model.named_parameters() if not torch.equal(value, result.model.get_parameter(name))
    ]
    assert changed and all("conv" in name or "shortcut" in name for name in changed), changed


def test_what_it_needs_is_named() -> None:
    model = small_model()
    params = Scope("head").resolve(model).parameters(model)
    rule = NaturalRule()
    with pytest.raises(MeasurementError, match="fit"):
        rule.step(params, params, rule.init(params), torch.tensor(1.0))
    with pytest.raises(ScopeError, match="linear or a convolution"):
        replace(rule).fit(model, Scope("*bn*").resolve(model), REFERENCE)
