"""Editable Training: objective (2) of Sinitsin et al. 2020, which makes a model that a few gradient steps can edit.

    L = L_base + c_edit max(0, l_e(Edit(theta))) + c_loc E KL(p(.|x, theta) || p(.|x, Edit(theta)))

Edit is the editor's own loop, differentiated through all its steps; the rule's coefficients are trained along. One
random training image and one random class a batch make the constraint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from errata.editing.constraints import violation
from errata.editing.editors.gradient import Descent, descend
from errata.editing.model import EditableModel
from errata.editing.network import eval_mode
from errata.editing.rules import UNBOUNDED, RMSProp, Rule
from errata.editing.scopes import Scope, before
from errata.editing.settings import EditableSettings
from errata.editing.training import Progress, TrainingRecord, fit
from errata.editing.types import Tensors

START = RMSProp(2e-3, 0.5)  # the coefficients from which they are learned


@dataclass(frozen=True)
class EditableRecord:
    """What was done, and the rule with its learned coefficients as numbers."""

    training: TrainingRecord
    rule: Rule


class LearnableRule(nn.Module):
    """A rule whose coefficients are parameters without bounds: logarithms of UNBOUNDED ones, logits of the decays."""

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.initial = rule
        self.raw = nn.ParameterDict()
        for name in rule.coefficients:
            value = torch.as_tensor(getattr(rule, name), dtype=torch.float32)
            bounded = value.clamp(1e-3, 1 - 1e-3)
            self.raw[name] = nn.Parameter(value.log() if name in UNBOUNDED else bounded.logit())

    def forward(self) -> Rule:
        """The rule, attached to the parameters."""
        values = {name: raw.exp() if name in UNBOUNDED else raw.sigmoid() for name, raw in self.raw.items()}
        rule: Rule = replace(self.initial, **values)
        return rule

    def learned(self) -> Rule:
        """The rule with plain numbers."""
        rule: Rule = self()
        numbers: Rule = replace(rule, **{name: float(getattr(rule, name).detach()) for name in self.raw})
        return numbers


class EditableObjective:
    """Objective (2) on one batch. The prefix of the batch is computed once, for the base and the edited model."""

    def __init__(self, settings: EditableSettings, seed: int, rule: Rule = START) -> None:
        self.settings = settings
        self.scope = Scope(settings.scope)
        self.rule = LearnableRule(rule)
        self.generator = torch.Generator().manual_seed(seed)

    def coefficients(self) -> Sequence[nn.Parameter]:
        return tuple(self.rule.parameters()) if self.settings.learn_rule else ()

    def generators(self) -> Sequence[torch.Generator]:
        return (self.generator,)

    def edit(self, tail: nn.Module, params: Tensors, hidden: Tensor, target: Tensor) -> Descent:
        """Edit, attached to everything that is trained: `hidden` `[1, ...]` is to be predicted as `target` `[1]`."""
        return descend(
            lambda changed: violation(cast(Tensor, functional_call(tail, changed, (hidden,))), target),
            params,
            self.rule(),
            self.settings.edit_steps,
            differentiable=True,
        )

    def __call__(self, model: EditableModel, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, float]]:
        settings = self.settings
        layers = self.scope.resolve(model)
        tail = model.tail(layers.cut)
        hidden = before(model, images, layers.cut)
        logits = tail(hidden)
        loss = F.cross_entropy(logits, labels)
        measures = {"base": loss.item()}
        device = images.device
        chosen = int(torch.randint(len(images), (), generator=self.generator))
        target = torch.randint(len(model.spec.classes), (1,), generator=self.generator).to(device)
        with eval_mode(model):
            with torch.autocast(device.type, enabled=False):  # l_e near its boundary needs the full precision
                one = before(model, images[chosen : chosen + 1], layers.cut)
                descent = self.edit(tail, layers.parameters(model), one, target)
            edit_loss = descent.violations.clamp(min=0).mean()
            measures |= {"edit": edit_loss.item(), "steps": float(descent.steps), "local": 0.0}
            if descent.steps > 0:  # else the edited model is the model, and both terms are zero
                part = hidden[: max(1, round(settings.local_share * len(hidden)))]
                with torch.no_grad():
                    root = tail(part)
                edited = functional_call(tail, descent.params, (part,))
                local = divergence(root, edited)
                measures["local"] = local.item()
                loss = loss + settings.edit_weight * edit_loss + settings.locality_weight * local
        return loss, measures


def train_editable(
    model: EditableModel,
    images: Tensor,
    labels: Tensor,
    settings: EditableSettings,
    progress: Progress | None = None,
    *,
    rule: Rule = START,
    seed: int = 0,
    device: str = "cpu",
    resume: Path | None = None,
) -> EditableRecord:
    """Train `model` in place like `training.train`, by Editable Training, to be edited by `rule`.

    Raises ScopeError and DataError.
    """
    fitted = rule.fit(model, Scope(settings.scope).resolve(model), images)
    objective = EditableObjective(settings, seed, fitted)
    record = fit(model, images, labels, settings, objective, progress, seed=seed, device=device, resume=resume)
    return EditableRecord(record, objective.rule.learned())


def divergence(root: Tensor, edited: Tensor) -> Tensor:
    """Mean over images of KL(p_root || p_edited), summed over classes, from logits `[n, classes]`: a scalar."""
    old, new = F.log_softmax(root.float(), dim=1), F.log_softmax(edited.float(), dim=1)
    return (old.exp() * (old - new)).sum(1).mean()
