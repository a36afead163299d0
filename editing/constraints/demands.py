"""What editors by gradients know of constraints: `l_e` as a function of the parameters, for constraints of one type.

    demands = gather(model, constraints)                                    checked, as tensors
    l_e     = demands.measure.violations(network, params, hidden, targets)  [n]

A type of constraint is a class that keeps `AnyConstraint`; `editing.constraints.classification` has the one of
classification, `editing.constraints.regression` that of real outputs. No editor by gradients knows which it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from torch import Tensor
from torch.func import grad, vmap

from errata.editing.errors import ConstraintError
from errata.editing.network import EditableNetwork, Tensors

# (editable parameters, what reaches the cut [n, ...]) -> outputs [n, ...]
Network = Callable[[Tensors, Tensor], Tensor]
M_contra = TypeVar("M_contra", bound=EditableNetwork, contravariant=True)
M = TypeVar("M", bound=EditableNetwork)


class Measure(Protocol):
    """`l_e` of constraints of one type, in a network that is given as a function."""

    def violations(self, network: Network, params: Tensors, inputs: Tensor, targets: Tensor) -> Tensor:
        """`l_e` of each constraint `[n]`, at most 0 iff it holds; autograd goes through it to `params`."""
        ...

    def gradients(
        self, network: Network, params: Tensors, names: Sequence[str], inputs: Tensor, targets: Tensor
    ) -> Tensors:
        """The gradient of each `l_e` alone, by the parameters `names`: `[n, ...]` each."""
        ...


@dataclass(frozen=True)
class Pointwise:
    """`l_e` as a function of the outputs at one input: `violation(outputs [n, ...], targets [n, ...])` is `[n]`."""

    violation: Callable[[Tensor, Tensor], Tensor]

    def violations(self, network: Network, params: Tensors, inputs: Tensor, targets: Tensor) -> Tensor:
        return self.violation(network(params, inputs), targets)

    def gradients(
        self, network: Network, params: Tensors, names: Sequence[str], inputs: Tensor, targets: Tensor
    ) -> Tensors:
        def one(values: Tensors, x: Tensor, y: Tensor) -> Tensor:
            return self.violation(network({**params, **values}, x[None]), y[None])[0]

        values = {name: params[name] for name in names}
        found: Tensors = vmap(grad(one), in_dims=(None, 0, 0), chunk_size=32)(values, inputs, targets)
        return found


@dataclass(frozen=True)
class Demands:
    """Constraints of one type that a model can be held to: `inputs` `[n, ...]` as the model takes them, `targets`
    `[n, ...]` and their `measure`; `images` says whether views can be drawn of the inputs."""

    inputs: Tensor
    targets: Tensor
    measure: Measure
    images: bool = False


class AnyConstraint(Protocol[M_contra]):
    """What one edit demands of a network of type `M`. `key` names it in messages."""

    @property
    def key(self) -> str: ...

    @property
    def identity(self) -> tuple[Any, ...]:
        """What the constraint is, as values that have an order, the key first."""
        ...

    @classmethod
    def demands(cls, model: M_contra, constraints: Sequence[Any]) -> Demands:
        """Constraints of this type as tensors on the model's device; raises ConstraintError, naming the constraint, if
        one does not fit the model or two contradict."""
        ...


def gather(model: M, constraints: Sequence[AnyConstraint[M]]) -> Demands:
    """The constraints as editors know them. Raises ConstraintError if there are none, if they are of more than one
    type, or what their type raises."""
    if not constraints:
        raise ConstraintError("there are no constraints; give at least one")
    types = sorted({type(one).__name__ for one in constraints})
    if len(types) > 1:
        raise ConstraintError(f"constraints of several types: {', '.join(types)}; edit for one type at a time")
    return constraints[0].demands(model, constraints)


def canonical_order(constraints: Sequence[AnyConstraint[Any]]) -> list[int]:
    """Positions of the constraints by identity: solved in this order, the order given is no part of the result."""
    identities = [one.identity for one in constraints]
    return sorted(range(len(constraints)), key=identities.__getitem__)


def content(values: Tensor) -> bytes:
    """The bytes of a tensor, by which two are the same."""
    found: bytes = values.detach().cpu().contiguous().numpy().tobytes()
    return found
