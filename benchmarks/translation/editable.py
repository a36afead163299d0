"""Editable Training of the translator, and plain training for as many steps beside it.

    L = L_base + c_edit max(0, l_e(Edit(theta))) + c_loc E KL(p(.|x, theta) || p(.|x, Edit(theta)))

The constraint of a step is a sample at temperature 1.2 for one sentence of its batch; KL is the mean over the places of
the batch. Source: Sinitsin et al. 2020, objective (2), for a sequence as in their translation experiment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.rows import kept_value
from benchmarks.translation.demands import sampled
from benchmarks.translation.model import PADDING, Pair, batches, translation_loss
from errata.editing.constraints.demands import gather
from errata.editing.constraints.sequences import BeamSearch, SequenceConstraint
from errata.editing.editors.gradient import descend
from errata.editing.network import EditableNetwork, Tensors, eval_mode
from errata.editing.rules import RMSProp, Rule, RuleRecord
from errata.editing.scopes import Scope
from errata.editing.training.editable import LearnableRule, divergence


@dataclass(frozen=True)
class Further:
    """How the trained network is trained further; with `edits` by objective (2), else by its base loss alone."""

    edits: bool
    scope: str
    batches: int = 150
    tokens: int = 700
    rate: float = 3e-4
    edit_steps: int = 3
    edit_weight: float = 1.0
    locality_weight: float = 1.0
    rule_rate: float = 1e-2
    seed: int = 3


START_RULE = RMSProp(1e-3, 0.5)
_KEPT = 25  # steps after which the state is kept


def train_further(
    path: Path, network: EditableNetwork, pairs: Sequence[Pair], search: BeamSearch, further: Further
) -> RMSProp:
    """Train `network` in place, kept in `path` and taken up from there; the rule with its learned coefficients."""
    rule = LearnableRule(START_RULE)
    optimizer = torch.optim.Adam(
        [{"params": network.parameters(), "lr": further.rate}, {"params": rule.parameters(), "lr": further.rule_rate}]
    )
    parts: tuple[Any, ...] = network, rule, optimizer
    done = 0
    if path.exists():
        kept = torch.load(path, weights_only=True, map_location=network.device)
        for part, state in zip(parts, kept["parts"], strict=True):
            part.load_state_dict(state)
        done = kept["batches"]
    everything = list(batches(pairs, further.tokens, torch.Generator().manual_seed(further.seed)))
    for step in range(done, further.batches):
        torch.manual_seed(1000 * further.seed + step)  # for dropout
        inputs, targets = (one.to(network.device) for one in everything[step % len(everything)])
        loss = translation_loss(network.train()(inputs), targets)
        if further.edits:
            loss = loss + _objective(network, rule(), inputs, search, further, step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % _KEPT == 0 or step + 1 == further.batches:
            fresh = path.with_suffix(".new")
            torch.save({"parts": [one.state_dict() for one in parts], "batches": step + 1}, fresh)
            fresh.replace(path)
            print(f"{path.stem}: {step + 1} of {further.batches} batches", flush=True)
    network.eval()
    return cast(RMSProp, rule.learned())


def _objective(
    network: EditableNetwork, rule: Rule, inputs: Tensor, search: BeamSearch, further: Further, step: int
) -> Tensor:
    """The edit's two terms for one sentence of the batch."""
    generator = torch.Generator().manual_seed(1000 * further.seed + step)
    layers = Scope(further.scope).resolve(network)
    tail = network.tail(layers.cut)

    def outputs(params: Tensors, pairs: Tensor) -> Tensor:
        return cast(Tensor, functional_call(tail, params, (pairs,)))

    # The fused attention has no second derivative.
    with eval_mode(network), sdpa_kernel(SDPBackend.MATH):
        source = inputs[int(torch.randint(len(inputs), (), generator=generator)), 0]
        source = source[source != PADDING]
        wanted = sampled(network, source.tolist(), search, generator)
        if not wanted:
            return inputs.new_zeros((), dtype=torch.float32)
        demands = gather(network, [SequenceConstraint(source.cpu(), torch.tensor(wanted), search)])
        descent = descend(
            lambda params: demands.measure.violations(outputs, params, demands.inputs, demands.targets),
            layers.parameters(network),
            rule,
            further.edit_steps,
            differentiable=True,
        )
        if descent.steps == 0:
            return inputs.new_zeros((), dtype=torch.float32)
        places = inputs[:, 1] != PADDING
        with torch.no_grad():
            root = tail(inputs)[places]
        local = divergence(root, outputs(descent.params, inputs)[places])
    return further.edit_weight * descent.violations.clamp(min=0).mean() + further.locality_weight * local


def learned_rule(path: Path, rule: RMSProp) -> RMSProp:
    """The rule as numbers, kept beside the network."""
    kept = kept_value(path, lambda: RuleRecord.of(rule).model_dump())
    return cast(RMSProp, RuleRecord.model_validate(kept).rule())
