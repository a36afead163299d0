"""The editor by gradient descent on `l_e`: a rule says which way, a scope which layers, this loop when to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from errata.editing.constraints.demands import AnyConstraint, Demands, M, gather
from errata.editing.errors import ConstraintError
from errata.editing.network import EditableNetwork, Tensors
from errata.editing.rules import Rule
from errata.editing.scopes import EditableLayers, Scope, before
from errata.editing.settings import ViewSettings
from errata.editing.types import EditResult
from errata.editing.views import fitting_views


class Anchor(Protocol):
    """What an editor's penalty knows of the root: called with the editable parameters, it returns a scalar."""

    def __call__(self, params: Tensors) -> Tensor: ...


class Penalty(Protocol):
    """A term added to the constraint's loss, such as elastic weight consolidation."""

    def anchor(self, model: EditableNetwork, layers: EditableLayers, reference: Tensor) -> Anchor:
        """Compute what depends on the root alone, on inputs `reference` `[n, ...]`."""
        ...


@dataclass(frozen=True)
class Descent:
    """Where the loop ended: parameters, `l_e` of whatever it descended on, `[n]` or more, and updates made."""

    params: Tensors
    violations: Tensor
    steps: int


def descend(
    l_e: Callable[[Tensors], Tensor],
    params: Tensors,
    rule: Rule,
    steps: int,
    *,
    margin: float = 0.0,
    anchor: Anchor | None = None,
    differentiable: bool = False,
) -> Descent:
    """Follow `rule` from `params` until every `l_e <= -margin`, at most `steps` updates (the paper's Edit, section 3).

    `l_e(params)` is `[n]`; the loss is the mean over constraints of the positive part of `l_e + margin`,
    plus `anchor(params)`. With `differentiable` the result is a function of `params` that autograd can go through.
    """
    state = rule.init(params)
    if not differentiable:
        params = {name: value.detach().requires_grad_() for name, value in params.items()}
    step = 0
    while True:
        with torch.enable_grad():
            violations = l_e(params)
        open_ones = violations > -margin
        if step == steps or not bool(open_ones.any()) or not bool(torch.isfinite(violations).all()):
            return Descent(params, violations, step)
        with torch.enable_grad():
            loss = (violations + margin).clamp(min=0).mean()
            if anchor is not None:
                loss = loss + anchor(params)
        values = list(params.values())
        grads = torch.autograd.grad(loss, values, create_graph=differentiable, materialize_grads=True)
        update, state = rule.step(params, dict(zip(params, grads, strict=True)), state, loss)
        params = {name: value + update[name].to(value.dtype) for name, value in params.items()}
        if not differentiable:
            params = {name: value.detach().requires_grad_() for name, value in params.items()}
        step += 1


@dataclass(frozen=True)
class GradientState:
    """What depends on the root only: the rule fitted to it (None: as it is), and the anchor of the penalty."""

    rule: Rule | None = None
    anchor: Anchor | None = None


@dataclass(frozen=True)
class GradientEditor:
    """Gradient descent on the constraint with any rule and scope: the paper's baseline editors, and its own.

    `steps` is the paper's k. `margin` (logits, or what `l_e` is measured in) asks for `l_e <= -margin` (0 as in the
    paper; 0.05 survives rounding in an exported model). `views`: also fit these views of each image, drawn by `seed`
    (None: the image alone, as in the paper); what holds is judged on the image itself. An edit whose `l_e` becomes NaN
    or infinite leaves the root's parameters in place.
    """

    rule: Rule
    scope: Scope
    steps: int = 10
    margin: float = 0.0
    penalty: Penalty | None = None
    views: ViewSettings | None = None
    seed: int = 0

    def prepare(self, model: EditableNetwork, reference: Tensor, calibration: Tensor) -> GradientState:
        """What the rule and the penalty need to know of the root, computed on `reference`. Raises ScopeError."""
        layers = self.scope.resolve(model)
        anchor = self.penalty.anchor(layers.copy(model), layers, reference) if self.penalty else None
        return GradientState(self.rule.fit(model, layers, reference), anchor)

    def edit(self, model: M, constraints: Sequence[AnyConstraint[M]], state: GradientState) -> EditResult[M]:
        """Descend in a copy of `model`, all constraints together. Raises ConstraintError and ScopeError."""
        started = time.perf_counter()
        demands = gather(model, constraints)
        layers = self.scope.resolve(model)
        edited = layers.copy(model)
        with torch.no_grad():
            hidden = before(edited, self.fitted(demands).flatten(0, 1), layers.cut)
        targets = demands.targets.repeat_interleave(len(hidden) // len(demands.targets), 0)
        tail = layers.frozen_tail(edited)
        descent = descend(
            lambda params: demands.measure.violations(tail, params, hidden, targets),
            layers.parameters(edited),
            state.rule or self.rule,
            self.steps,
            margin=self.margin,
            anchor=state.anchor,
        )
        descent = replace(descent, violations=descent.violations.view(len(demands.targets), -1))
        return self.finish(edited, layers, descent, time.perf_counter() - started)

    def fitted(self, demands: Demands) -> Tensor:
        """What is fitted of each constraint, its own input first: `[n, views, ...]`. Raises ConstraintError."""
        if self.views is None:
            return demands.inputs[:, None]
        if not demands.images:
            raise ConstraintError("views are drawn of images only; leave `views` out for other inputs")
        return torch.stack([fitting_views(image, self.views, self.seed) for image in demands.inputs])

    def finish(self, edited: M, layers: EditableLayers, descent: Descent, seconds: float) -> EditResult[M]:
        """The result of a descent with `l_e` of every view, `[n, views]`; its parameters go into `edited`, a copy of
        the root, if they are finite."""
        result = EditResult(edited, False, (False,) * len(descent.violations), descent.steps, "", seconds)
        if not bool(torch.isfinite(descent.violations).all()):
            return replace(
                result, reason=f"l_e is no longer finite after {descent.steps} steps; try a smaller learning rate"
            )
        layers.write(edited, descent.params)
        holds = tuple(bool(one) for one in descent.violations[:, 0] <= 0)
        missing = len(holds) - sum(holds)
        reason = f"{missing} of {len(holds)} constraints do not hold after {descent.steps} steps" if missing else ""
        return replace(result, holds=holds, success=not missing, reason=reason)
