"""Scopes: which layers an editor may change, and how to compute everything before them only once.

A model whose backbone is an `nn.Sequential` of stages is cut before the first stage that holds an editable parameter:

    hidden = before(model, inputs, cut)      once per set of inputs
    outputs = model.tail(cut)(hidden)        again for every change of the parameters
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from errata.editing.errors import ScopeError
from errata.editing.network import EditableNetwork, Tensors, stages_of

WHOLE = "whole"
M = TypeVar("M", bound=EditableNetwork)


@dataclass(frozen=True)
class Scope:
    """The parameters whose names match a pattern: "whole", a stage ("chain3", "head") or a name with wildcards.

    A pattern matches a parameter by its full name or the name of a module around it, with or without the leading
    `backbone.`; "whole" is everything but the patch slots, which belong to the calibrated patch.
    """

    patterns: tuple[str, ...]

    def __init__(self, *patterns: str) -> None:
        object.__setattr__(self, "patterns", patterns)

    def resolve(self, model: EditableNetwork) -> EditableLayers:
        """The editable layers in `model`; raises ScopeError if a pattern matches no parameter."""
        names = [name for name, _ in model.named_parameters()]
        for pattern in self.patterns:
            if not any(_matches(name, pattern) for name in names):
                stages = ", ".join(name for name, _ in model.backbone.named_children())
                raise ScopeError(
                    f"the editable layers {pattern!r} match no parameter; give whole, head, a stage ({stages}) "
                    "or a pattern of parameter names"
                )
        chosen = tuple(name for name in names if any(_matches(name, pattern) for pattern in self.patterns))
        if not chosen:
            raise ScopeError("the scope has no patterns; give whole, head, a stage or a pattern of parameter names")
        return EditableLayers(chosen, min(stage_of(model, name) for name in chosen))


def _matches(name: str, pattern: str) -> bool:
    if name.startswith("patch.") and not pattern.startswith("patch"):
        return False
    if pattern == WHOLE:
        return True
    names = [name, name.removeprefix("backbone.")]
    return any(fnmatchcase(one, pattern) or fnmatchcase(one, pattern + ".*") for one in names)


def stages(model: EditableNetwork) -> list[tuple[str, nn.Module]]:
    """The backbone's stages in order, by name; a backbone that is no `nn.Sequential` is one stage."""
    return stages_of(model.backbone)


def stage_of(model: EditableNetwork, name: str) -> int:
    """The number of the stage that holds the parameter or buffer `name`; head and patch come after the last stage."""
    parts = stages(model)
    if not name.startswith("backbone."):
        return len(parts)
    if parts and parts[0][0] == "":
        return 0
    return [stage for stage, _ in parts].index(name.split(".")[1])


def before(model: EditableNetwork, inputs: Tensor, cut: int) -> Tensor:
    """What reaches stage `cut`: normalised inputs through the stages before it; `[n, ...]`."""
    hidden = model.normalise(inputs)
    for _, stage in stages(model)[:cut]:
        hidden = stage(hidden)
    return hidden


@dataclass(frozen=True)
class EditableLayers:
    """A scope resolved in one model: `names` of the editable parameters; `cut`, the first stage that holds one."""

    names: tuple[str, ...]
    cut: int

    def copy(self, model: M) -> M:
        """A copy in eval mode that owns its editable parameters and shares every frozen tensor with `model`."""
        editable = set(self.names)
        frozen = [tensor for name, tensor in model.named_parameters() if name not in editable]
        memo = {id(tensor): tensor for tensor in [*frozen, *model.buffers()]}
        return copy.deepcopy(model, memo).eval()

    def parameters(self, model: EditableNetwork) -> Tensors:
        """The editable parameters by name, attached to `model`."""
        return {name: model.get_parameter(name) for name in self.names}

    def write(self, model: EditableNetwork, values: Mapping[str, Tensor]) -> None:
        """Set the editable parameters of `model` to `values`."""
        with torch.no_grad():
            for name in self.names:
                model.get_parameter(name).copy_(values[name])

    def frozen_tail(self, model: EditableNetwork) -> Callable[[Tensors, Tensor], Tensor]:
        """`(editable, hidden) -> outputs`: the tail with `editable` put in; nothing else receives a gradient."""
        tail = model.tail(self.cut)
        constants = {name: value.detach() for name, value in tail.named_parameters() if name not in set(self.names)}

        def outputs(editable: Tensors, hidden: Tensor) -> Tensor:
            result: Tensor = functional_call(tail, {**constants, **editable}, (hidden,))
            return result

        return outputs
