"""The constraint of a network with real outputs: at one input, every output is to be within a tolerance of a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from errata.editing.constraints.demands import Demands, Pointwise, content
from errata.editing.errors import ConstraintError
from errata.editing.network import EditableNetwork, eval_mode


def deviation(outputs: Tensor, targets: Tensor) -> Tensor:
    """`l_e = max over outputs of |f(x) - y| - e`: `[n]`, at most 0 iff the constraint holds.

    `outputs` `[n, outputs]`; `targets` `[n, outputs + 1]`, the values y and after them the tolerance e. In float32 at
    least.
    """
    outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    return (outputs - targets[:, :-1]).abs().amax(1) - targets[:, -1]


@dataclass(frozen=True)
class RegressionConstraint:
    """What one correction of a network with real outputs demands: at `features` (float, one input as the network takes
    it), every output is to be within `tolerance` of `expected` `[outputs]`. `key` names it in messages."""

    features: Tensor
    expected: Tensor
    tolerance: float
    key: str = ""

    @property
    def identity(self) -> tuple[str, float, bytes, bytes]:
        """Key, tolerance, values and features."""
        return self.key, self.tolerance, content(self.expected), content(self.features)

    @classmethod
    def demands(cls, model: EditableNetwork, constraints: Sequence[RegressionConstraint]) -> Demands:
        """Raises ConstraintError, naming the constraint, if features or values are not of the shape or the type that
        the model takes or gives, are not finite, the tolerance is not positive, or two contradict."""
        names = [one.key or f"constraint {position}" for position, one in enumerate(constraints)]
        for constraint, name in zip(constraints, names, strict=True):
            _check_one(constraint, constraints[0], name)
        _check_pairs(constraints, names)
        inputs = torch.stack([one.features.to(model.device, torch.float32) for one in constraints])
        targets = torch.stack(
            [torch.cat([one.expected, one.expected.new_tensor([one.tolerance])]).float() for one in constraints]
        ).to(model.device)
        with torch.no_grad(), eval_mode(model):
            try:
                outputs = model(inputs[:1])
            except RuntimeError as error:
                raise ConstraintError(
                    f"{names[0]}: the features are of shape {tuple(inputs.shape[1:])}, which the network does not "
                    f"take: {error}"
                ) from error
        if outputs.shape[1:] != targets[0, :-1].shape:
            raise ConstraintError(
                f"{names[0]}: {targets.shape[1] - 1} values are expected, the network gives outputs of shape "
                f"{tuple(outputs.shape[1:])}"
            )
        return Demands(inputs, targets, Pointwise(deviation))


def _check_one(constraint: RegressionConstraint, first: RegressionConstraint, name: str) -> None:
    for what, values, model in (
        ("features", constraint.features, first.features),
        ("expected values", constraint.expected, first.expected),
    ):
        if not values.is_floating_point():
            raise ConstraintError(f"{name}: the {what} are of type {values.dtype}; give floats")
        if values.shape != model.shape:
            raise ConstraintError(
                f"{name}: the {what} are of shape {tuple(values.shape)}, those of the first of {tuple(model.shape)}; "
                "make them equal"
            )
        if not bool(torch.isfinite(values).all()):
            raise ConstraintError(f"{name}: the {what} hold NaN or infinite values; give finite ones")
    if constraint.expected.ndim != 1:
        raise ConstraintError(f"{name}: the expected values are of shape {tuple(constraint.expected.shape)}; give [n]")
    if not 0 < constraint.tolerance < float("inf"):
        raise ConstraintError(f"{name}: the tolerance is {constraint.tolerance}; give a positive number")


def _check_pairs(constraints: Sequence[RegressionConstraint], names: Sequence[str]) -> None:
    same: dict[bytes, list[int]] = {}
    for position, one in enumerate(constraints):
        same.setdefault(content(one.features.float()), []).append(position)
    for positions in same.values():
        for a, b in combinations(positions, 2):
            apart = float((constraints[a].expected - constraints[b].expected).abs().amax())
            if apart > constraints[a].tolerance + constraints[b].tolerance:
                raise ConstraintError(
                    f"{names[a]} and {names[b]} contradict: the same features with values {apart:g} apart, farther "
                    "than both tolerances; remove one"
                )
