from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from errata.editing.constraints.classification import violation
from errata.editing.editors.natural import NaturalGradient, _least_norm
from errata.editing.model import EditableModel
from errata.editing.scopes import Scope
from errata.editing.settings import ViewSettings
from errata.editing.types import Constraint
from tests.editing.models import small_images, small_model

REFERENCE = small_images(300, 7)
VIEWS = ViewSettings(fitting=4, max_shift=0.0, flip=False, light=0.05, noise=0.01)


def mistakes(model: EditableModel, count: int, seed: int = 5) -> list[Constraint]:
    images = small_images(count, seed)
    with torch.no_grad():
        expected = model(images).argsort(1)[:, -2].tolist()
    return [Constraint(image, y, f"c{i}") for i, (image, y) in enumerate(zip(images, expected, strict=True))]


@pytest.mark.parametrize("scope", ["head", "chain4", "chain3"])
@pytest.mark.parametrize("count", [1, 6])
def test_constraints_hold_and_the_rest_is_frozen(scope: str, count: int) -> None:
    model = small_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    editor = NaturalGradient(Scope(scope))
    constraints = mistakes(model, count)
    result = editor.edit(model, constraints, editor.prepare(model, REFERENCE, REFERENCE))
    assert result.success, result.reason
    assert 1 <= result.steps <= 20
    images, expected = (
        torch.stack([one.image for one in constraints]),
        torch.tensor([one.expected for one in constraints]),
    )
    with torch.no_grad():
        assert bool((violation(result.model(images), expected) <= 0).all())
    after = result.model.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert scope in name or torch.equal(after[name], tensor)


def test_one_constraint_on_the_head_is_the_closed_form_step() -> None:
    model = small_model()
    editor = NaturalGradient(Scope("head"), margin=0.1, steps=1)
    state = editor.prepare(model, REFERENCE, REFERENCE)
    (constraint,) = mistakes(model, 1)
    result = editor.edit(model, [constraint], state)
    h = model.features(constraint.image[None])[0].detach().double().numpy()
    logits = model(constraint.image[None])[0].detach().double().numpy()
    top, y = int(logits.argmax()), constraint.expected
    (layer,) = state.layers
    basis = torch.kron(layer.outputs, layer.inputs).double().numpy()
    fisher = basis * layer.root.double().square().flatten().numpy() @ basis.T
    g = np.zeros((4, len(h) + 1))
    g[top], g[y] = np.append(h, 1), -np.append(h, 1)
    natural = np.linalg.solve(fisher, g.flatten())
    expected = -(logits[top] - logits[y] + 0.1) * natural / (g.flatten() @ natural)
    moved = (result.model.head.weight - model.head.weight).detach().numpy()
    np.testing.assert_allclose(moved, expected.reshape(4, -1)[:, :-1], rtol=5e-3, atol=1e-5)


def test_least_norm_agrees_with_a_general_solver() -> None:
    rng = np.random.default_rng(0)
    rows, demanded = rng.normal(size=(5, 12)), np.array([1.0, 0.5, -0.2, 2.0, -3.0])
    found = minimize(  # type: ignore[call-overload]
        lambda x: x @ x / 2,
        np.zeros(12),
        constraints=[{"type": "ineq", "fun": lambda x: rows @ x - demanded}],
        options={"ftol": 1e-14},
    ).x
    multipliers = _least_norm(torch.tensor(rows), torch.tensor(demanded)).numpy()
    assert (multipliers >= 0).all()
    np.testing.assert_allclose(rows.T @ multipliers, found, atol=1e-4)


def test_it_moves_control_predictions_less_than_a_plain_step_along_the_gradient() -> None:
    model = small_model()
    (constraint,) = mistakes(model, 1)
    editor = NaturalGradient(Scope("chain4"))
    natural = editor.edit(model, [constraint], editor.prepare(model, REFERENCE, REFERENCE)).model
    plain = small_model()
    names = [name for name, _ in plain.named_parameters() if "chain4" in name and "conv" in name]
    expected = torch.tensor([constraint.expected])
    while float(found := violation(plain(constraint.image[None]), expected)) > -0.05:
        gradients = torch.autograd.grad(found.sum(), [plain.get_parameter(name) for name in names])
        size = sum(float(g.square().sum()) for g in gradients)
        with torch.no_grad():
            for name, g in zip(names, gradients, strict=True):
                plain.get_parameter(name).sub_(g * (float(found) + 0.06) / size)
    control = small_images(500, 11)

    def divergence(edited: EditableModel) -> float:
        with torch.no_grad():
            p, q = model(control).log_softmax(1), edited(control).log_softmax(1)
        return float((p.exp() * (p - q)).sum(1).mean())

    assert divergence(natural) < 0.5 * divergence(plain)


def test_views_hold_too_when_asked_for() -> None:
    model = small_model()
    editor = NaturalGradient(Scope("chain4"), views=VIEWS)
    result = editor.edit(model, mistakes(model, 3), editor.prepare(model, REFERENCE, REFERENCE))
    assert result.success, result.reason


def test_what_holds_already_takes_no_step_and_order_does_not_matter() -> None:
    model = small_model()
    editor = NaturalGradient(Scope("chain4"))
    state = editor.prepare(model, REFERENCE, REFERENCE)
    image = small_images(1)[0]
    right = Constraint(image, int(model(image[None]).argmax()), "right")
    assert editor.edit(model, [right], state).steps == 0
    constraints = mistakes(model, 5)
    forward, backward = editor.edit(model, constraints, state), editor.edit(model, constraints[::-1], state)
    for name, tensor in forward.model.state_dict().items():
        assert torch.equal(tensor, backward.model.state_dict()[name])


def test_not_converging_is_a_result() -> None:
    model = small_model()
    editor = NaturalGradient(Scope("head"), steps=0)
    result = editor.edit(model, mistakes(model, 2), editor.prepare(model, REFERENCE, REFERENCE))
    assert not result.success
    assert "2 of 2" in result.reason
