"""Independent edits side by side: many descents of one root in one batched computation (torch.func.vmap).

Each edit has parameters of its own from the first editable stage on, so that one step of all is a few large kernels
instead of many small ones, which is faster even on a CPU.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from errata.editing.constraints.classification import violation
from errata.editing.constraints.demands import gather
from errata.editing.editors.gradient import Descent, GradientEditor, GradientState
from errata.editing.model import EditableModel
from errata.editing.rules import RuleState
from errata.editing.scopes import before
from errata.editing.types import Constraint, EditResult, Tensors


def edit_side_by_side(
    editor: GradientEditor, model: EditableModel, constraints: Sequence[Constraint], state: GradientState
) -> list[EditResult]:
    """What `editor.edit(model, [constraint], state)` gives for each constraint, computed together.

    Memory: the editable parameters, their gradients and the rule's moments once for each constraint; give as many as
    fit. `seconds` of each result is an equal share. Raises ConstraintError and ScopeError.
    """
    started = time.perf_counter()
    demands = gather(model, constraints)
    expected = demands.targets
    layers = editor.scope.resolve(model)
    tail = layers.frozen_tail(layers.copy(model))
    with torch.no_grad():
        fitted = editor.fitted(demands)
        hidden = before(model, fitted.flatten(0, 1), layers.cut).unflatten(0, fitted.shape[:2])
    rule, count = state.rule or editor.rule, len(expected)
    root = {name: value.detach() for name, value in layers.parameters(model).items()}
    params = {name: value.expand(count, *value.shape).clone() for name, value in root.items()}

    def loss(own: Tensors, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        found = violation(tail(own, x), y.expand(len(x)))
        positive = (found + editor.margin).clamp(min=0).mean()
        return positive + state.anchor(own) if state.anchor else positive, found

    slopes = vmap(grad_and_value(loss, has_aux=True))
    moments = rule.init(root).moments
    steps = torch.zeros(count, dtype=torch.long, device=hidden.device)
    for number in range(editor.steps + 1):
        grads, (losses, violations) = slopes(params, hidden, expected)
        moving = (violations > -editor.margin).any(1) & torch.isfinite(violations).all(1)
        if number == editor.steps or not bool(moving.any()):
            break

        def step(
            own: Tensors, grad: Tensors, kept: tuple[Tensors, ...], value: Tensor, time: int = number
        ) -> tuple[Tensors, tuple[Tensors, ...]]:
            update, after = rule.step(own, grad, RuleState(time, kept), value)
            return update, after.moments

        updates, moments = vmap(step)(params, grads, moments, losses)
        for name, update in updates.items():
            still = moving.reshape(-1, *[1] * (update.ndim - 1))
            params[name] = torch.where(still, params[name] + update.to(params[name].dtype), params[name])
        steps += moving
    seconds = (time.perf_counter() - started) / count
    results = []
    for index in range(count):
        own = {name: value[index] for name, value in params.items()}
        descent = Descent(own, violations[index : index + 1].detach(), int(steps[index]))
        results.append(editor.finish(layers.copy(model), layers, descent, seconds))
    return results
