"""Editable + CNP: an edit is one vector, computed by a network, added to chain 3's activations for all inputs.

After conditional neural processes (Garnelo et al. 2018), a baseline of Sinitsin et al. 2020 (section 4.1). The model
carries the vector as a stage of its own; while it is zero, the model is the plain one. The network that computes it is
one residual block on the activations of the image to be corrected plus an embedding of the class it should get, and is
trained together with the model by Editable Training's objective.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from errata.editing.constraints.classification import check_constraints, violation
from errata.editing.errors import ModelError
from errata.editing.model import EditableModel
from errata.editing.network import eval_mode
from errata.editing.networks.architectures import BasicBlock, register, resnet
from errata.editing.scopes import Scope, before
from errata.editing.settings import EditableSettings
from errata.editing.training.editable import EditableObjective, Edits
from errata.editing.training.plain import Progress, TrainingRecord, by_adam, fit
from errata.editing.types import Constraint, EditResult, Tensors

VECTOR = "backbone.condition.vector"
STAGE = "condition"


class Condition(nn.Module):
    """Adds one vector `[channels]` to the activations at every position of every input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Only edits set it. Trained with the other weights, it would drift away from zero, the plain model.
        self.vector = nn.Parameter(torch.zeros(channels), requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.vector[:, None, None]


@register("conditioned-resnet")
def conditioned_resnet(
    classes: int, image_shape: tuple[int, int, int], width: int = 64, blocks: int = 2
) -> tuple[nn.Module, nn.Linear]:
    """The architecture "resnet" with a stage `condition` after chain 3."""
    plain, head = resnet(classes, image_shape, width, blocks)
    backbone = nn.Sequential()
    for name, stage in plain.named_children():
        backbone.add_module(name, stage)
        if name == "chain3":
            backbone.add_module("condition", Condition(4 * width))
    return backbone, head


def conditioned(model: EditableModel) -> EditableModel:
    """A copy of a "resnet" with the same weights and a condition of zero; raises ModelError for any other."""
    if model.spec.architecture != "resnet":
        raise ModelError(f"only the architecture 'resnet' can be conditioned, not {model.spec.architecture!r}")
    found = EditableModel.from_spec(replace(model.spec, architecture="conditioned-resnet"))
    found.load_state_dict({**model.state_dict(), VECTOR: torch.zeros_like(found.get_parameter(VECTOR))})
    return found.train(model.training)


class ConditionNetwork(nn.Module):
    """From chain 3's activations `[n, channels, h, w]` and target classes `[n]` to condition vectors `[n, channels]`.

    Its batch norms keep their initial statistics: an edit is a batch of one. It starts with vectors of zero.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, channels)
        self.block = BasicBlock(channels, channels, 1)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.eval()

    @staticmethod
    def of(model: EditableModel) -> ConditionNetwork:
        """A fresh network for a conditioned model; raises ModelError if the model has no condition."""
        if VECTOR not in dict(model.named_parameters()):
            raise ModelError("the model has no stage `condition`; make one by `errata.editing.studies.cnp.conditioned`")
        return ConditionNetwork(len(model.get_parameter(VECTOR)), len(model.spec.classes))

    def forward(self, activations: Tensor, target: Tensor) -> Tensor:
        hidden = self.block(activations + self.embedding(target)[:, :, None, None])
        vectors: Tensor = self.out(hidden.mean((2, 3)))
        return vectors


class ConditionObjective(EditableObjective):
    """Objective (2) where Edit is one pass of the condition network."""

    def __init__(self, network: ConditionNetwork, settings: EditableSettings, seed: int) -> None:
        super().__init__(settings.model_copy(update={"scope": STAGE}), seed)
        self.network = network

    def coefficients(self) -> Sequence[nn.Parameter]:
        return tuple(self.network.parameters())

    def __call__(self, model: EditableModel, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, float]]:
        """All three terms with the plain model's batch-norm statistics, as the editor sees the model. With those of
        each batch the base term alone would see another model, and thousands of edits make use of the gap: the model
        becomes easy to edit where it has forgotten its classes."""
        with eval_mode(model):
            return super().__call__(model, images, labels)

    def edits(self, tail: nn.Module, params: Tensors, one: Tensor, target: Tensor, part: Tensor) -> Edits:
        """All conditions in one pass, and every image under every condition in another. They are added to what enters
        the tail, whose first stage then adds its own condition, zero."""
        with torch.autocast(part.device.type, enabled=False):
            vectors = self.network(one, target)
            own = tail(one + vectors[:, :, None, None])
        places = part[None] + vectors[:, None, :, None, None]
        logits = tail(places.flatten(0, 1)).unflatten(0, (len(one), len(part)))
        return Edits(violation(own, target), list(logits), 1.0)


def train_conditional(
    model: EditableModel,
    images: Tensor,
    labels: Tensor,
    settings: EditableSettings,
    progress: Progress | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
    resume: Path | None = None,
) -> tuple[ConditionNetwork, TrainingRecord]:
    """Train a conditioned model in place, and the network that edits it, both by Adam with a rate that falls along a
    cosine; batch norms keep their statistics. It takes thousands of edits: 2,500 batches of 16 each make an editor
    (benchmarks.digits_editable), 626 edits in all do not. Raises ModelError and DataError."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ConditionNetwork.of(model).to(device)
    objective = ConditionObjective(network, settings, seed)
    record = fit(
        model,
        images,
        labels,
        settings,
        objective,
        progress,
        seed=seed,
        device=device,
        resume=resume,
        optimize=by_adam,
    )
    return network.to("cpu"), record


@dataclass(frozen=True, eq=False)
class ConditionalEditor:
    """Sets the condition of a conditioned model: one step, whatever comes of it.

    Of several constraints the mean of their vectors is taken: there is only one vector for all inputs.
    """

    network: ConditionNetwork

    def __repr__(self) -> str:
        return "ConditionalEditor()"

    def prepare(self, model: EditableModel, reference: Tensor, calibration: Tensor) -> None:
        """Nothing is computed ahead; raises ModelError if the model has no condition."""
        ConditionNetwork.of(model)

    def edit(self, model: EditableModel, constraints: Sequence[Constraint], state: Any) -> EditResult:
        """One pass of the network for the constraints that do not hold. Raises ConstraintError and ScopeError."""
        started = time.perf_counter()
        images, expected = check_constraints(model, constraints)
        layers = Scope(STAGE).resolve(model)
        edited = layers.copy(model)
        steps = 0
        with torch.no_grad():
            hidden = before(edited, images, layers.cut)
            tail = edited.tail(layers.cut)
            unsatisfied = violation(tail(hidden), expected) > 0
            if bool(unsatisfied.any()):
                network = copy.deepcopy(self.network).to(hidden)
                vectors = network(hidden[unsatisfied], expected[unsatisfied])
                layers.write(edited, {VECTOR: edited.get_parameter(VECTOR) + vectors.mean(0)})
                steps = 1
            holds = tuple((violation(tail(hidden), expected) <= 0).tolist())
        missing = holds.count(False)
        reason = f"{missing} of {len(holds)} constraints do not hold under one common condition" if missing else ""
        return EditResult(edited, not missing, holds, steps, reason, time.perf_counter() - started)
