"""Weights that somebody else trained, saved before the model was cut at its head, put into an editable model.

Weights are tensors and nothing else: safetensors, or a state dict read with `weights_only=True`, which runs no code.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from errata.editing.errors import ModelError
from errata.editing.model import EditableModel
from errata.editing.networks.architectures import Stages

_NESTED = ("state_dict", "model", "model_state_dict")  # under which checkpoints keep the weights
_PARALLEL = "module."  # what nn.DataParallel puts before every name


def load_weights(model: EditableModel, content: bytes, name: str, outputs: Sequence[int] = ()) -> None:
    """Put given weights into backbone and head; `content` is a file called `name` (.safetensors, or a state dict).

    Names are those of the original model, before it was cut at its head, or ours (`backbone.`, `head.`). `outputs` says
    which of the original's outputs the model's classes are, in their order; none: all of them. Raises ModelError unless
    every weight has a place and every place a weight of its shape.
    """
    state = _read(content, name)
    if not any(key.startswith("backbone.") for key in state):
        state = _renamed(state, model.backbone, name)
    state = {key: value for key, value in state.items() if not key.startswith("patch.")}
    if outputs:
        state |= _chosen(state, outputs, model, name)
    kept = {key: value for key, value in model.state_dict().items() if key.startswith("patch.")}
    try:
        model.load_state_dict({**state, **kept})
    except RuntimeError as error:
        said = " ".join(str(error).split()[:60])
        raise ModelError(f"{name} does not fit the architecture: {said}; check its name and arguments") from error


def _chosen(state: Mapping[str, Tensor], outputs: Sequence[int], model: EditableModel, name: str) -> dict[str, Tensor]:
    """The rows of the head that are `outputs`."""
    head = {key: value for key, value in state.items() if key.startswith("head.")}
    rows = min((len(value) for value in head.values()), default=0)
    if len(outputs) != len(model.spec.classes) or not all(0 <= one < rows for one in outputs):
        raise ModelError(
            f"model.outputs must say for each of {len(model.spec.classes)} classes which of the {rows} outputs of "
            f"{name} it is, counted from 0; correct it"
        )
    return {key: value[list(outputs)] for key, value in head.items()}


def _renamed(state: Mapping[str, Tensor], backbone: nn.Module, name: str) -> dict[str, Tensor]:
    """The original model's names as ours: what the backbone does not know must be one layer's, the head."""
    if isinstance(backbone, Stages):
        state = {_staged(key, backbone.origin): value for key, value in state.items()}
    known = backbone.state_dict().keys()
    rest = {key for key in state if key not in known}
    owners = {key.rpartition(".")[0] for key in rest}
    if len(owners) != 1 or not {key.rpartition(".")[2] for key in rest} <= {"weight", "bias"}:
        strange = ", ".join(sorted(rest)[:4]) or "no head"
        raise ModelError(f"{name} does not fit the architecture ({strange}); check its name and arguments")
    return {
        f"head.{key.rpartition('.')[2]}" if key in rest else f"backbone.{key}": value for key, value in state.items()
    }


def _staged(key: str, origin: Mapping[str, str]) -> str:
    """The name of a tensor of the original's in a backbone of stages."""
    return next((ours + key.removeprefix(part) for part, ours in origin.items() if key.startswith(f"{part}.")), key)


def _read(content: bytes, name: str) -> dict[str, Tensor]:
    """Tensors by name."""
    from safetensors import SafetensorError  # noqa: PLC0415 - not on every GPU machine
    from safetensors.torch import load  # noqa: PLC0415

    try:
        if Path(name).suffix == ".safetensors":
            state: Any = load(content)
        else:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{name} holds no weights that can be read safely ({first}); save `model.state_dict()` as safetensors"
        ) from error
    for key in _NESTED:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{name} is no state dict of tensors; save `model.state_dict()`")
    parallel = all(key.startswith(_PARALLEL) for key in state)
    return {key.removeprefix(_PARALLEL) if parallel else key: value for key, value in state.items()}
