"""Natural gradient as an update rule: with any scope, penalty and number of steps, in the loop of every other rule.

    theta - a l F^-1 g / (g^T F^-1 g)

F is the root's Fisher matrix (`editing.editors.kfac`), so that among all steps which lower the linearised loss `l` to
`(1 - a) l` this one changes the control predictions least. The length is Polyak's step in the metric F (Polyak 1969),
which needs no rate of its own: a = 1 lands on the boundary, more steps past it. `editing.editors.natural` solves for
many constraints exactly where this rule follows the gradient of their mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from errata.editing.editors.kfac import Kfac, fit_kfac
from errata.editing.errors import MeasurementError
from errata.editing.network import EditableNetwork, Tensors
from errata.editing.rules import BaseRule, Coefficient, RuleState
from errata.editing.scopes import EditableLayers


@dataclass(frozen=True)
class NaturalRule(BaseRule):
    """`learning_rate` is the share of the loss that a step is to remove; the rest is as for `NaturalGradient`."""

    learning_rate: Coefficient = 1.2
    damping: float = 0.01
    images: int = 2000
    seed: int = 0
    fisher: Kfac | None = field(default=None, repr=False, compare=False)

    def fit(self, model: EditableNetwork, layers: EditableLayers, reference: Tensor) -> Self:
        """With the factored Fisher matrix on up to `images` of `reference`. Raises ScopeError."""
        return replace(self, fisher=fit_kfac(model, layers, reference[: self.images], self.damping, self.seed))

    def step(
        self, params: Mapping[str, Tensor], grads: Tensors, state: RuleState, loss: Tensor
    ) -> tuple[Tensors, RuleState]:
        """Parameters without a factor (normalisation layers) stay. Raises MeasurementError before `fit`."""
        if self.fisher is None:
            raise MeasurementError("the natural rule has no Fisher matrix yet; call fit, or the editor's prepare")
        (white,) = self.fisher.whiten({name: grads[name][None] for name in self.fisher.names})
        scale = self.learning_rate * loss / (white @ white + torch.finfo(white.dtype).tiny)
        found = self.fisher.unwhiten(white, grads)
        update = {name: -scale * found[name] if name in found else torch.zeros_like(g) for name, g in grads.items()}
        return update, RuleState(state.time + 1)
