"""Update rules: from the gradient of `l_e` to a change of the editable parameters (Sinitsin et al. 2020, section 4.1).

A rule is pure: `step` makes new tensors and autograd goes through it. Its coefficients are its fields, numbers or
scalar tensors, so that Editable Training learns them by `dataclasses.replace(rule, learning_rate=tensor)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Protocol, Self

import torch
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor

from errata.editing.errors import ModelError
from errata.editing.network import EditableNetwork, Tensors
from errata.editing.scopes import EditableLayers

Coefficient = float | Tensor
UNBOUNDED = frozenset({"learning_rate", "epsilon"})  # coefficients above 0, tuned and learned on a logarithmic scale


@dataclass(frozen=True)
class RuleState:
    """What a rule remembers: how many steps it made, and its running moments (none before the first step)."""

    time: int = 0
    moments: tuple[Tensors, ...] = ()


class Rule(Protocol):
    """Says which way and how far to move; the loop says when to stop."""

    __dataclass_fields__: ClassVar[dict[str, Any]]  # every rule is a dataclass: `replace` sets its coefficients
    coefficients: ClassVar[tuple[str, ...]]  # the fields that are tuned or learned: UNBOUNDED, or decays in [0, 1]

    def init(self, params: Mapping[str, Tensor]) -> RuleState:
        """The state before the first step."""
        ...

    def fit(self, model: EditableNetwork, layers: EditableLayers, reference: Tensor) -> Self:
        """The rule with what it needs to know of the root; `reference` are inputs `[n, ...]`."""
        ...

    def step(
        self, params: Mapping[str, Tensor], grads: Tensors, state: RuleState, loss: Tensor
    ) -> tuple[Tensors, RuleState]:
        """What to add to the parameters, and the next state, from the gradient of `loss` (a scalar)."""
        ...


class BaseRule:
    """What most rules share: they start from their first gradient and need to know nothing of the root."""

    coefficients: ClassVar[tuple[str, ...]] = ("learning_rate",)

    def init(self, params: Mapping[str, Tensor]) -> RuleState:
        """The empty state."""
        return RuleState()

    def fit(self, model: EditableNetwork, layers: EditableLayers, reference: Tensor) -> Self:
        """The rule as it is."""
        return self


@dataclass(frozen=True)
class GradientDescent(BaseRule):
    """`theta - a g`."""

    learning_rate: Coefficient = 1e-2

    def step(
        self, params: Mapping[str, Tensor], grads: Tensors, state: RuleState, loss: Tensor
    ) -> tuple[Tensors, RuleState]:
        return {name: -self.learning_rate * g for name, g in grads.items()}, RuleState(state.time + 1)


@dataclass(frozen=True)
class ScaledGradientDescent(BaseRule):
    """`theta - a g / |g|`. The paper names no norm: this is the Euclidean one over all editable parameters together."""

    learning_rate: Coefficient = 1e-1
    epsilon: float = 1e-12  # inside the root: a gradient of zero must not give NaN, nor a NaN second derivative

    def step(
        self, params: Mapping[str, Tensor], grads: Tensors, state: RuleState, loss: Tensor
    ) -> tuple[Tensors, RuleState]:
        norm = torch.sqrt(torch.stack([(g * g).sum() for g in grads.values()]).sum() + self.epsilon)
        return {name: -self.learning_rate * g / norm for name, g in grads.items()}, RuleState(state.time + 1)


@dataclass(frozen=True)
class Polyak(BaseRule):
    """`theta - a l g / |g|^2` (Polyak 1969): a = 1 lands where the linearised loss `l` is zero, more steps past it.

    The step has no length to tune: one rate serves every edit. Among all steps that lower the linearised loss so far it
    changes the parameters least, where `editing.editors.natural_rule` changes the control predictions least.
    """

    learning_rate: Coefficient = 1.2

    def step(
        self, params: Mapping[str, Tensor], grads: Tensors, state: RuleState, loss: Tensor
    ) -> tuple[Tensors, RuleState]:
        square = torch.stack([(g * g).sum() for g in grads.values()]).sum()
        scale = self.learning_rate * loss / (square + torch.finfo(square.dtype).tiny)
        return {name: -scale * g for name, g in grads.items()}, RuleState(state.time + 1)


@dataclass(frozen=True)
class RProp(BaseRule):
    """`theta - a sign(g)`."""

    learning_rate: Coefficient = 1e-3

    def step(
        self, params: Mapping[str, Tensor], grads: Tensors, state: RuleState, loss: Tensor
    ) -> tuple[Tensors, RuleState]:
        return {name: -self.learning_rate * torch.sign(g) for name, g in grads.items()}, RuleState(state.time + 1)


@dataclass(frozen=True)
class RMSProp(BaseRule):
    """`rms_0 = g_0^2`, `rms_{t+1} = b rms_t + (1 - b) g^2`, `theta - a g / sqrt(rms + eps)`."""

    coefficients: ClassVar[tuple[str, ...]] = ("learning_rate", "beta", "epsilon")

    learning_rate: Coefficient = 1e-3
    beta: Coefficient = 0.9
    epsilon: Coefficient = 1e-8

    def step(
        self, params: Mapping[str, Tensor], grads: Tensors, state: RuleState, loss: Tensor
    ) -> tuple[Tensors, RuleState]:
        squares = {name: g * g for name, g in grads.items()}
        rms = _decay(self.beta, state.moments[0], squares) if state.moments else squares
        update = {name: -self.learning_rate * g / torch.sqrt(rms[name] + self.epsilon) for name, g in grads.items()}
        return update, RuleState(state.time + 1, (rms,))


@dataclass(frozen=True)
class Momentum(BaseRule):
    """`v_0 = 0`, `v_{t+1} = a g + m v_t`, `theta - v`."""

    coefficients: ClassVar[tuple[str, ...]] = ("learning_rate", "momentum")

    learning_rate: Coefficient = 1e-2
    momentum: Coefficient = 0.9

    def step(
        self, params: Mapping[str, Tensor], grads: Tensors, state: RuleState, loss: Tensor
    ) -> tuple[Tensors, RuleState]:
        velocity = {name: self.learning_rate * g for name, g in grads.items()}
        if state.moments:
            velocity = {name: v + self.momentum * state.moments[0][name] for name, v in velocity.items()}
        return {name: -v for name, v in velocity.items()}, RuleState(state.time + 1, (velocity,))


@dataclass(frozen=True)
class Adam(BaseRule):
    """Adam, its bias-corrected moments written as weighted means of the gradients so far.

    `sum_i b^(t-i) g_i / sum_i b^(t-i)` equals the usual `m / (1 - b^t)` for b < 1 and is defined up to b1 = 1 (the
    plain mean), the end of the interval that the paper searches. `eps` is inside the root, as for RMSProp: autograd
    through `sqrt(0) + eps` gives NaN.
    """

    coefficients: ClassVar[tuple[str, ...]] = ("learning_rate", "beta1", "beta2")

    learning_rate: Coefficient = 1e-3
    beta1: Coefficient = 0.9
    beta2: Coefficient = 0.999
    epsilon: float = 1e-8

    def step(
        self, params: Mapping[str, Tensor], grads: Tensors, state: RuleState, loss: Tensor
    ) -> tuple[Tensors, RuleState]:
        first, second = grads, {name: g * g for name, g in grads.items()}
        if state.moments:
            first = {name: self.beta1 * state.moments[0][name] + g for name, g in first.items()}
            second = {name: self.beta2 * state.moments[1][name] + g for name, g in second.items()}
        time = state.time + 1
        weight1 = sum(self.beta1**age for age in range(time))
        weight2 = sum(self.beta2**age for age in range(time))
        update = {
            name: -self.learning_rate * (first[name] / weight1) / torch.sqrt(second[name] / weight2 + self.epsilon)
            for name in grads
        }
        return update, RuleState(time, (first, second))


def _decay(beta: Coefficient, old: Tensors, new: Tensors) -> Tensors:
    return {name: beta * old[name] + (1 - beta) * value for name, value in new.items()}


RULES: dict[str, type[Rule]] = {
    "gd": GradientDescent,
    "scaled_gd": ScaledGradientDescent,
    "polyak": Polyak,
    "rprop": RProp,
    "rmsprop": RMSProp,
    "momentum": Momentum,
    "adam": Adam,
}


class RuleRecord(BaseModel):
    """A rule as data, its name and its numbers in one flat object: `{"name": "gd", "learning_rate": 0.01}`.

    `RuleRecord.of(rule).rule() == rule`. Parsing refuses a name that is not in RULES, a coefficient that the rule does
    not have, and what is no finite number.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, float]
    name: str

    @classmethod
    def of(cls, rule: Rule) -> Self:
        """The record of one of RULES with plain numbers; raises ModelError for any other."""
        for name, kind in RULES.items():
            if type(rule) is kind:
                return cls.model_validate({"name": name, **asdict(rule)})
        raise ModelError(f"{type(rule).__name__} has no record; give one of {', '.join(RULES)}")

    def rule(self) -> Rule:
        """The rule."""
        return RULES[self.name](**self.__pydantic_extra__)

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.name not in RULES:
            raise ValueError(f"no rule is called {self.name!r}; known: {', '.join(RULES)}")
        known = {each.name for each in fields(RULES[self.name])}
        if unknown := sorted(self.__pydantic_extra__.keys() - known):
            raise ValueError(f"{self.name} has no {unknown[0]!r}; it has {', '.join(sorted(known))}")
        return self
