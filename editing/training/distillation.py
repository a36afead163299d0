"""Editable Training without labels, for a network that somebody else trained: objective (2) with distillation.

    L = E KL(p_original || p) + c_edit max(0, l_e(Edit(theta))) + c_loc E KL(p || p_Edit)

The base term keeps the original network's predictions (Sinitsin et al. 2020, their large-scale experiment). Only the
layers of the scope are trained, a residual adapter before the head for example (`editing.networks.adapter`);
normalisation keeps its statistics. What enters them is computed once, so that an epoch costs what the editable part
does.
"""

from __future__ import annotations

import copy
import time

import torch
from torch import Tensor

from errata.editing.errors import DataError
from errata.editing.model import EditableModel
from errata.editing.rules import Rule
from errata.editing.scopes import Scope
from errata.editing.settings import EditableSettings
from errata.editing.training.editable import START, EditableObjective, EditableRecord, divergence
from errata.editing.training.plain import Epoch, Progress, TrainingRecord
from errata.editing.training.processes import ALONE, Processes


def train_without_labels(
    model: EditableModel,
    hidden: Tensor,
    settings: EditableSettings,
    progress: Progress | None = None,
    *,
    rule: Rule = START,
    seed: int = 0,
    processes: Processes = ALONE,
) -> EditableRecord:
    """Train the layers of `settings.scope` in place, to be edited by `rule`, by Adam with a rate that falls along a
    cosine from `settings.learning_rate`; the model's other parameters stay, bit for bit.

    `hidden` `[n, ...]`, on the model's device: what enters the first stage that holds such a layer
    (`scopes.before(model, images, cut)`). Leaves the model in eval mode. Raises ScopeError, and DataError where there
    are fewer than two images.
    """
    if len(hidden) < 2:
        raise DataError(f"{len(hidden)} images are too few to learn from; give at least two, without labels")
    processes.check(len(hidden), settings.batch)
    layers = Scope(settings.scope).resolve(model)
    model.eval()
    tail, original = model.tail(layers.cut), copy.deepcopy(model.tail(layers.cut))
    objective = EditableObjective(settings, seed, rule, processes)
    objective.rule.to(hidden.device)
    params = layers.parameters(model)
    adam = torch.optim.Adam([{"params": list(params.values())}], settings.learning_rate)
    coefficients = list(objective.coefficients())
    if coefficients:
        adam.add_param_group({"params": coefficients, "lr": 1e-2})
    steps = -(-len(hidden) // settings.batch)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps * settings.epochs)
    generator = torch.Generator().manual_seed(seed)
    epochs = []
    for number in range(1, settings.epochs + 1):
        started = time.perf_counter()
        totals: dict[str, float] = {}
        for rows in torch.randperm(len(hidden), generator=generator).split(settings.batch):
            batch = hidden[rows.to(hidden.device)]
            own = processes.part(batch)
            with torch.no_grad():
                wanted = original(own)
            base = divergence(wanted, tail(own)) * processes.weight(len(own), len(batch))
            chosen, target = objective.draw(len(batch), len(model.spec.classes))
            one = batch[chosen.to(batch.device)]
            terms, measures = objective.terms(tail, params, one, target.to(batch.device), own, len(batch), chosen)
            adam.zero_grad()
            (base + terms).backward()
            processes.average([*params.values(), *coefficients])
            torch.nn.utils.clip_grad_norm_(params.values(), settings.clip or float("inf"))
            adam.step()
            cosine.step()
            measures |= {"loss": (base + terms).item(), "base": base.item()}
            for name, value in processes.mean(measures).items():
                totals[name] = totals.get(name, 0.0) + value / steps
        epochs.append(Epoch(number, totals.pop("loss"), totals, time.perf_counter() - started))
        if progress is not None and processes.rank == 0:
            progress(epochs[-1])
    record = {**settings.model_dump(), "seed": seed, "device": str(hidden.device), **processes.record}
    return EditableRecord(TrainingRecord(record, tuple(epochs)), objective.rule.learned())
