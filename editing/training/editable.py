"""Editable Training: objective (2) of Sinitsin et al. 2020, which makes a model that a few gradient steps can edit.

    L = L_base + c_edit max(0, l_e(Edit(theta))) + c_loc E KL(p(.|x, theta) || p(.|x, Edit(theta)))

Edit is the editor's own loop, differentiated through all its steps; the rule's coefficients are trained along. Each
batch makes `settings.edits` constraints, of random images of it and random classes; both terms are means over them, and
the image that an edit is about is left out of its KL: it is meant to change.
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

from errata.editing.constraints.classification import violation
from errata.editing.editors.gradient import Descent, descend
from errata.editing.model import EditableModel
from errata.editing.network import eval_mode
from errata.editing.rules import UNBOUNDED, RMSProp, Rule
from errata.editing.scopes import Scope, before
from errata.editing.settings import EditableSettings
from errata.editing.training.plain import Progress, TrainingRecord, fit
from errata.editing.training.processes import ALONE, Processes
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


@dataclass(frozen=True)
class Edits:
    """What edits came to: `l_e` after each `[k]`, the edited logits `[n, classes]` of other images, None where no step
    was made, and the mean number of steps."""

    violations: Tensor
    logits: Sequence[Tensor | None]
    steps: float


class EditableObjective:
    """Objective (2) on one batch. The prefix of the batch is computed once, for the base and the edited model."""

    def __init__(self, settings: EditableSettings, seed: int, rule: Rule = START, processes: Processes = ALONE) -> None:
        self.settings = settings
        self.processes = processes
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

    def edits(self, tail: nn.Module, params: Tensors, one: Tensor, target: Tensor, part: Tensor) -> Edits:
        """An edit for each of `one` `[k, ...]` and `target` `[k]`, from the unedited parameters."""
        descents = []
        with torch.autocast(part.device.type, enabled=False):  # l_e near its boundary needs the full precision
            for hidden, wanted in zip(one.split(1), target.split(1), strict=True):
                descents.append(self.edit(tail, params, hidden, wanted))
        # without a step the edited model is the model, and its KL is zero
        logits = [functional_call(tail, each.params, (part,)) if each.steps else None for each in descents]
        steps = sum(each.steps for each in descents) / len(descents)
        return Edits(torch.cat([each.violations for each in descents]), logits, steps)

    def terms(
        self, tail: nn.Module, params: Tensors, one: Tensor, target: Tensor, hidden: Tensor, rows: int, chosen: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum of both terms of the edit, and what they are.

        `hidden` `[n, ...]`: what enters the tail, of this process's part of a batch of `rows` images; `chosen` `[k]`:
        the places in that batch of the images that are edited.
        """
        images = max(self.processes.count, round(self.settings.local_share * rows))  # of the KL: the batch's first ones
        part = hidden[: len(self.processes.part(torch.arange(images)))]
        edits = self.edits(tail, params, one, target, part)
        edit_loss = edits.violations.clamp(min=0).mean()
        measures = {"edit": edit_loss.item(), "steps": edits.steps, "local": 0.0}
        with torch.no_grad():
            root = tail(part)
        places = self.processes.places(chosen)
        found = []
        for place, row, edited in zip(places, chosen.tolist(), edits.logits, strict=True):
            others = (torch.arange(len(part)) != place).to(part.device)
            if edited is not None and (count := int(others.sum())):
                weight = self.processes.weight(count, images - (row < images))
                found.append(divergence(root[others], edited[others]) * weight)
        if not found:
            return self.settings.edit_weight * edit_loss, measures
        local = torch.stack(found).sum() / len(target)
        measures["local"] = local.item()
        return self.settings.edit_weight * edit_loss + self.settings.locality_weight * local, measures

    def __call__(self, model: EditableModel, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, float]]:
        layers = self.scope.resolve(model)
        tail = model.tail(layers.cut)
        hidden = before(model, self.processes.part(images), layers.cut)
        wanted = self.processes.part(labels)
        loss = F.cross_entropy(tail(hidden), wanted) * self.processes.weight(len(wanted), len(labels))
        base = loss.item()
        chosen, target = self.draw(len(images), len(model.spec.classes))
        with eval_mode(model):
            with torch.autocast(images.device.type, enabled=False):
                one = before(model, images[chosen.to(images.device)], layers.cut)
            params = layers.parameters(model)
            terms, measures = self.terms(tail, params, one, target.to(images.device), hidden, len(images), chosen)
        return loss + terms, {"base": base, **measures}

    def draw(self, images: int, classes: int) -> tuple[Tensor, Tensor]:
        """The next constraints: numbers of images and classes, int64 `[edits]` each."""
        count = (self.settings.edits,)
        chosen = torch.randint(images, count, generator=self.generator)
        return chosen, torch.randint(classes, count, generator=self.generator)


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
    processes: Processes = ALONE,
) -> EditableRecord:
    """Train `model` in place like `training.train`, by Editable Training, to be edited by `rule`.

    Raises ScopeError and DataError.
    """
    fitted = rule.fit(model, Scope(settings.scope).resolve(model), images)
    objective = EditableObjective(settings, seed, fitted, processes)
    record = fit(model, images, labels, settings, objective, progress, seed=seed, device=device, resume=resume)
    return EditableRecord(record, objective.rule.learned())


def divergence(root: Tensor, edited: Tensor) -> Tensor:
    """Mean over images of KL(p_root || p_edited), summed over classes, from logits `[n, classes]`: a scalar."""
    old, new = F.log_softmax(root.float(), dim=1), F.log_softmax(edited.float(), dim=1)
    return (old.exp() * (old - new)).sum(1).mean()
