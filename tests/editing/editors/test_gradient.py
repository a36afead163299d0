"""The loop: when it stops, what it touches, and its meta-gradient against finite differences."""

from dataclasses import replace

import pytest
import torch

from errata.editing.constraints.classification import violation
from errata.editing.editors.gradient import GradientEditor, GradientState, descend
from errata.editing.rules import RULES, Adam, GradientDescent, Momentum, RMSProp, Rule, ScaledGradientDescent
from errata.editing.scopes import Scope, before
from errata.editing.settings import ViewSettings
from errata.editing.types import Constraint
from errata.editing.views import fitting_views
from tests.editing.models import small_images, small_model

RATES = {"gd": 0.3, "scaled_gd": 0.5, "polyak": 1.2, "rprop": 0.02, "rmsprop": 0.02, "momentum": 0.1, "adam": 0.02}


@pytest.mark.parametrize("name", sorted(RULES))
@pytest.mark.parametrize("scope", ["whole", "chain3", "head"])
def test_stops_as_soon_as_the_constraint_holds(name: str, scope: str) -> None:
    model, image = small_model(), small_images(1)[0]
    rule = replace(RULES[name](), learning_rate=RATES[name])
    target = int(model(image[None]).argsort()[0, -2])
    result = GradientEditor(rule, Scope(scope), steps=30).edit(model, [Constraint(image, target)], GradientState())
    assert result.success and result.steps > 0 and result.reason == ""
    assert int(result.model(image[None]).argmax()) == target
    shorter = GradientEditor(rule, Scope(scope), steps=result.steps - 1)
    earlier = shorter.edit(model, [Constraint(image, target)], GradientState())
    assert not earlier.success and "do not hold after" in earlier.reason


def test_a_margin_is_kept() -> None:
    model, image = small_model(), small_images(1)[0]
    target = int(model(image[None]).argsort()[0, -2])
    result = GradientEditor(RULES["rmsprop"](0.005), Scope("chain4"), 50, margin=0.5).edit(  # type: ignore[call-arg]
        model, [Constraint(image, target)], GradientState()
    )
    assert result.success and violation(result.model(image[None]), torch.tensor([target])).item() <= -0.5


def test_views_are_fitted_with_the_image() -> None:
    """One step of gradient descent on the mean of the violations of every view, by hand."""
    model, image, views = small_model(), small_images(1)[0], ViewSettings(fitting=4)
    target = int(model(image[None]).argmin())
    editor = GradientEditor(GradientDescent(0.3), Scope("head"), 1, margin=3.0, views=views)
    edited = editor.edit(model, [Constraint(image, target)], GradientState()).model
    features = model.features(fitting_views(image, views))
    weight = model.head.weight.detach().clone().requires_grad_()
    logits = features.detach() @ weight.T + model.head.bias.detach()
    others = torch.cat([logits[:, :target], logits[:, target + 1 :]], 1).amax(1)
    (others - logits[:, target] + 3.0).mean().backward()
    assert weight.grad is not None
    torch.testing.assert_close(edited.head.weight.detach(), model.head.weight - 0.3 * weight.grad)
    far = GradientEditor(RMSProp(0.02), Scope("chain4"), 60, margin=1.0, views=views)
    result = far.edit(model, [Constraint(image, target)], GradientState())
    gaps = violation(result.model(fitting_views(image, views)), torch.tensor(4 * [target]))
    assert result.success and gaps.max().item() <= -1.0 + 1e-4


def test_joint_constraints_say_which_hold() -> None:
    model, images = small_model(), small_images(6)
    predicted = model(images).argmax(1)
    constraints = [Constraint(image, int(c)) for image, c in zip(images, predicted, strict=True)]
    constraints[4] = Constraint(images[4], (int(predicted[4]) + 1) % 4)
    untouched = GradientEditor(GradientDescent(), Scope("head"), steps=0).edit(model, constraints, GradientState())
    assert untouched.holds == (True, True, True, True, False, True)
    joint = GradientEditor(RMSProp(0.02), Scope("whole"), steps=60).edit(model, constraints, GradientState())
    assert joint.success and joint.holds == (True,) * 6


def test_a_diverged_edit_leaves_the_root_in_place() -> None:
    model, image = small_model(), small_images(1)[0]
    target = int(model(image[None]).argmin())
    result = GradientEditor(GradientDescent(float("inf")), Scope("chain3")).edit(
        model, [Constraint(image, target)], GradientState()
    )
    assert not result.success and "no longer finite" in result.reason
    assert torch.equal(result.model(image[None]), model(image[None]))


@pytest.mark.parametrize(
    "rule",
    [
        GradientDescent(0.005),
        ScaledGradientDescent(0.02),
        RMSProp(0.003, 0.5, 1e-4),
        Momentum(0.002, 0.7),
        Adam(0.003, 0.5, 0.9, 1e-4),
    ],
    ids=lambda one: type(one).__name__,
)
def test_meta_gradient_is_the_finite_difference(rule: Rule) -> None:
    """d l_e(Edit(theta)) / d(theta, learning rate) in float64; k = 3 steps, none of which satisfies the constraint."""
    model, images = small_model().double(), small_images(1)
    layers = Scope("chain4", "head").resolve(model)
    tail, hidden = layers.frozen_tail(model), before(model, images, layers.cut).detach()
    expected = model(images).argmin(1)
    start = {name: value.detach() for name, value in layers.parameters(model).items()}

    def edited_violation(params: dict[str, torch.Tensor], rate: torch.Tensor) -> torch.Tensor:
        changed = replace(rule, learning_rate=rate)
        descent = descend(lambda p: violation(tail(p, hidden), expected), params, changed, 3, differentiable=True)
        assert descent.steps == 3
        return descent.violations.sum()

    rate = torch.tensor(rule.learning_rate, dtype=torch.float64, requires_grad=True)  # type: ignore[attr-defined]
    params = {name: value.clone().requires_grad_() for name, value in start.items()}
    derivatives = torch.autograd.grad(edited_violation(params, rate), [*params.values(), rate])
    generator, step = torch.Generator().manual_seed(3), 1e-6
    for trial in range(3):
        way = {
            name: torch.randn(value.shape, generator=generator, dtype=torch.float64) for name, value in start.items()
        }
        turn = 1e-3 * torch.randn((), generator=generator, dtype=torch.float64) if trial else torch.tensor(0.0)
        forward, backward = (
            edited_violation(
                {name: (value + sign * step * way[name]).requires_grad_() for name, value in start.items()},
                rate.detach() + sign * step * turn,
            ).item()
            for sign in (1, -1)
        )
        pieces = zip(derivatives, [*way.values(), turn], strict=True)
        wanted = sum(float((slope * move).sum()) for slope, move in pieces)
        assert (forward - backward) / (2 * step) == pytest.approx(wanted, rel=2e-5, abs=1e-7)
