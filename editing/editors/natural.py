"""The natural-gradient editor: the least change of the control predictions that makes every constraint hold.

Each step solves the edit as linearised where it stands,

    minimise d^T F d / 2   such that   l_j + g_j^T d <= -margin   for every constraint j,

where `d^T F d / 2` is the KL divergence of the control predictions to second order (F: the root's Fisher matrix on the
reference split, `editing.editors.kfac`). In whitened coordinates it is a non-negative least-squares problem in as many
unknowns as constraints; for one constraint its solution is the step `l F^-1 g / (g^T F^-1 g)`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from scipy.optimize import nnls
from torch import Tensor

from errata.editing.constraints.demands import AnyConstraint, M, Measure, Network, canonical_order, gather
from errata.editing.editors.kfac import Kfac, fit_kfac
from errata.editing.errors import ConstraintError
from errata.editing.features import Features, entering
from errata.editing.network import EditableNetwork, Tensors
from errata.editing.scopes import Scope
from errata.editing.settings import ViewSettings
from errata.editing.types import EditResult
from errata.editing.views import fitting_views

_MEMORY = 2**28  # numbers of gradients held at a time: 1 GiB in float32


@dataclass(frozen=True)
class NaturalGradient:
    """Steps along `F^-1 g`, scaled to the constraints, at most `steps` of them.

    `damping`: share of the mean eigenvalue product. `margin` (logits, or what `l_e` is measured in): asks for
    `l_e <= -margin`. `views`: fit these
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

    def prepare(self, model: EditableNetwork, reference: Tensor, calibration: Tensor) -> Kfac:
        """The factored Fisher matrix on up to `images` of the reference split. Raises ScopeError."""
        return fit_kfac(
            model, self.scope.resolve(model), reference[: self.images], self.damping, self.seed, self.features
        )

    def edit(self, model: M, constraints: Sequence[AnyConstraint[M]], state: Kfac) -> EditResult[M]:
        """Step in a copy of `model`, all constraints together. Raises ConstraintError and ScopeError."""
        started = time.perf_counter()
        demands = gather(model, constraints)
        if self.views is not None and not demands.images:
            raise ConstraintError("views are drawn of images only; leave `views` out for other inputs")
        layers = self.scope.resolve(model)
        edited = layers.copy(model)
        tail = layers.frozen_tail(edited)
        order = torch.tensor(canonical_order(constraints), device=model.device)
        inputs, targets, measure = demands.inputs[order], demands.targets[order], demands.measure
        params = {name: value.detach().clone() for name, value in layers.parameters(edited).items()}
        with torch.no_grad():
            layer = entering(edited, layers.cut)
            views = (
                self.features.of(edited, inputs, layer)[:, None]
                if self.views is None
                else self.features.of_views(edited, inputs, fitting_views, self.views, self.seed, layer)
            )
            own = views[:, 0]  # the first view is the image itself
            holds = measure.violations(tail, params, own, targets) <= 0
            steps = 0
            if not bool(holds.all()):
                wanted = targets.repeat_interleave(views.shape[1], 0)
                params, steps = self._solve(measure, tail, params, views.flatten(0, 1), wanted, state)
                holds = measure.violations(tail, params, own, targets) <= 0
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
        measure: Measure,
        network: Network,
        params: Tensors,
        hidden: Tensor,
        targets: Tensor,
        fisher: Kfac,
    ) -> tuple[Tensors, int]:
        """The edited parameters and the number of updates. Blocks of constraints take turns until all hold."""
        size = sum(layer.root.numel() for layer in fisher.layers)
        block = max(1, min(self.block, _MEMORY // size))
        once_open = torch.zeros(len(hidden), dtype=torch.bool, device=hidden.device)
        steps = 0
        while True:
            found = _violations(measure, network, params, hidden, targets)
            once_open |= found > -self.margin
            if steps == self.steps or not bool((found > -self.margin).any()) or not bool(torch.isfinite(found).all()):
                return params, steps
            for part in once_open.nonzero()[:, 0].split(block):
                demanded = _violations(measure, network, params, hidden[part], targets[part]) + self.margin
                if not bool((demanded > 0).any()):
                    continue
                white = fisher.whiten(measure.gradients(network, params, fisher.names, hidden[part], targets[part]))
                weights = _least_norm(white, demanded)
                step = fisher.unwhiten(weights @ white, params)
                params = {**params, **{name: params[name] - step[name].to(params[name].dtype) for name in step}}
            steps += 1


def _violations(measure: Measure, network: Network, params: Tensors, hidden: Tensor, targets: Tensor) -> Tensor:
    pairs = zip(hidden.split(512), targets.split(512), strict=True)
    return torch.cat([measure.violations(network, params, x, y) for x, y in pairs])


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
