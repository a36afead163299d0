"""The natural-gradient editor: the least change of the control predictions that makes every constraint hold.

Each step solves the edit as linearised where it stands,

    minimise d^T F d / 2   such that   l_j + g_j^T d <= -margin   for every constraint j,

where `d^T F d / 2` is the KL divergence of the control predictions to second order (F: the root's Fisher matrix on the
reference split, `editing.editors.kfac`). In whitened coordinates it is a non-negative least-squares problem in as many
unknowns as constraints; for one constraint its solution is the step `l F^-1 g / (g^T F^-1 g)`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from scipy.optimize import nnls
from torch import Tensor
from torch.func import grad, vmap

from errata.editing.constraints import canonical_order, check_constraints, violation
from errata.editing.editors.kfac import Kfac, fit_kfac
from errata.editing.features import Features, entering
from errata.editing.model import EditableModel
from errata.editing.scopes import Scope
from errata.editing.settings import ViewSettings
from errata.editing.types import Constraint, EditResult, Tensors
from errata.editing.views import fitting_views

_MEMORY = 2**28  # numbers of gradients held at a time: 1 GiB in float32


@dataclass(frozen=True)
class NaturalGradient:
    """Steps along `F^-1 g`, scaled to the constraints, at most `steps` of them.

    `damping`: share of the mean eigenvalue product. `margin` (logits): asks for `l_e <= -margin`. `views`: fit these
    views of each image (None: the image alone), which is what makes the edit generalize. `images`: how many reference
    images the Fisher matrix is estimated on. `block`: at most how many views are solved for together. `features` keeps
    what was computed before.
    """

    scope: Scope
    damping: float = 0.01
    steps: int = 20
    margin: float = 0.05
    views: ViewSettings | None = None
    images: int = 2000
    block: int = 512
    seed: int = 0
    features: Features = field(default_factory=Features)

    def prepare(self, model: EditableModel, reference: Tensor, calibration: Tensor) -> Kfac:
        """The factored Fisher matrix on up to `images` of the reference split. Raises ScopeError."""
        return fit_kfac(
            model, self.scope.resolve(model), reference[: self.images], self.damping, self.seed, self.features
        )

    def edit(self, model: EditableModel, constraints: Sequence[Constraint], state: Kfac) -> EditResult:
        """Step in a copy of `model`, all constraints together. Raises ConstraintError and ScopeError."""
        started = time.perf_counter()
        images, expected = check_constraints(model, constraints)
        layers = self.scope.resolve(model)
        edited = layers.copy(model)
        tail = layers.frozen_tail(edited)
        order = torch.tensor(canonical_order(constraints), device=images.device)
        images, expected = images[order], expected[order]
        params = {name: value.detach().clone() for name, value in layers.parameters(edited).items()}
        with torch.no_grad():
            layer = entering(edited, layers.cut)
            views = (
                self.features.of(edited, images, layer)[:, None]
                if self.views is None
                else self.features.of_views(edited, images, fitting_views, self.views, self.seed, layer)
            )
            own = views[:, 0]  # the first view is the image itself
            holds = violation(tail(params, own), expected) <= 0
            steps = 0
            if not bool(holds.all()):
                targets = expected.repeat_interleave(views.shape[1])
                params, steps = self._solve(tail, params, views.flatten(0, 1), targets, state)
                holds = violation(tail(params, own), expected) <= 0
        finite = all(bool(torch.isfinite(value).all()) for value in params.values())
        if finite:
            layers.write(edited, params)
        else:
            holds = torch.zeros_like(holds)
        holds = torch.zeros_like(holds).index_copy_(0, order, holds)
        missing = int((~holds).sum())
        reason = f"{missing} of {len(holds)} constraints do not hold after {steps} steps" if missing else ""
        if not finite:
            reason = f"the parameters are no longer finite after {steps} steps; raise the damping"
        return EditResult(edited, not missing, tuple(holds.tolist()), steps, reason, time.perf_counter() - started)

    def _solve(
        self,
        logits: Callable[[Tensors, Tensor], Tensor],
        params: Tensors,
        hidden: Tensor,
        expected: Tensor,
        fisher: Kfac,
    ) -> tuple[Tensors, int]:
        """The edited parameters and the number of updates. Blocks of constraints take turns until all hold."""
        size = sum(layer.root.numel() for layer in fisher.layers)
        block = max(1, min(self.block, _MEMORY // size))
        gradients = vmap(
            grad(lambda values, x, y: violation(logits({**params, **values}, x[None]), y[None])[0]),
            in_dims=(None, 0, 0),
            chunk_size=32,
        )
        once_open = torch.zeros(len(hidden), dtype=torch.bool, device=hidden.device)
        steps = 0
        while True:
            found = _violations(logits, params, hidden, expected)
            once_open |= found > -self.margin
            if steps == self.steps or not bool((found > -self.margin).any()) or not bool(torch.isfinite(found).all()):
                return params, steps
            for part in once_open.nonzero()[:, 0].split(block):
                demanded = _violations(logits, params, hidden[part], expected[part]) + self.margin
                if not bool((demanded > 0).any()):
                    continue
                values = {name: params[name] for name in fisher.names}
                white = fisher.whiten(gradients(values, hidden[part], expected[part]))
                weights = _least_norm(white, demanded)
                step = fisher.unwhiten(weights @ white, values)
                params = {**params, **{name: params[name] - step[name].to(params[name].dtype) for name in step}}
            steps += 1


def _violations(
    logits: Callable[[Tensors, Tensor], Tensor], params: Tensors, hidden: Tensor, expected: Tensor
) -> Tensor:
    pairs = zip(hidden.split(512), expected.split(512), strict=True)
    return torch.cat([violation(logits(params, x), y) for x, y in pairs])


def _least_norm(rows: Tensor, demanded: Tensor) -> Tensor:
    """The multipliers `m >= 0` `[k]` of the shortest `x = rows^T m` with `rows x >= demanded`.

    The dual, `min m^T K m / 2 - m^T demanded` with `K = rows rows^T`, is non-negative least squares in a square root of
    `K`, which gets a trace of ridge: views of one image have nearly equal rows.
    """
    gram = (rows @ rows.T).double().cpu()
    gram.diagonal().add_(1e-6 * gram.diagonal().mean().clamp(min=1e-30))
    lower = torch.linalg.cholesky(gram)
    right = torch.linalg.solve_triangular(lower, demanded.double().cpu()[:, None], upper=False)[:, 0]
    multipliers, _ = nnls(lower.T.numpy(), right.numpy(), maxiter=30 * len(gram))
    return torch.from_numpy(multipliers).to(rows)
