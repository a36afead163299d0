"""The editable network: a backbone of stages and a head. It is all that an editor by gradients knows of a model.

    outputs = head(backbone(normalise(inputs)))       [n, ...]

`editing.model.EditableModel` is the one that classifies images. A network with real outputs is this class itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from errata.editing.likelihoods import Gaussian, Likelihood

Tensors = dict[str, Tensor]  # parameters, gradients or updates by the parameter's name


def stages_of(backbone: nn.Module) -> list[tuple[str, nn.Module]]:
    """A backbone's stages in order, by name; one that is no `nn.Sequential` is one stage, without a name."""
    if isinstance(backbone, nn.Sequential):
        return list(backbone.named_children())
    return [("", backbone)]


class BareTail(nn.Module):
    """A backbone from stage `cut` on, and its head, sharing modules whose parameters keep their names; no slots."""

    def __init__(self, backbone: nn.Module, head: nn.Module, cut: int) -> None:
        super().__init__()
        if cut == 0:
            self.backbone = backbone
        else:
            self.backbone = nn.Sequential()
            for name, stage in stages_of(backbone)[cut:]:
                self.backbone.add_module(name, stage)
        self.head = head

    def forward(self, hidden: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.backbone(hidden))
        return outputs


class EditableNetwork(nn.Module):
    """Takes inputs `[n, ...]` as the first stage of `backbone` does, returns the outputs `[n, ...]` of `head`.

    `likelihood` says what the outputs are: means of real values, unless another is given. A network that cannot be cut
    into stages is the backbone alone, with `nn.Identity()` as its head.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, likelihood: Likelihood | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.likelihood: Likelihood = likelihood or Gaussian()

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return next(self.parameters()).device

    def normalise(self, inputs: Tensor) -> Tensor:
        """What enters the first stage: real inputs in the type of the parameters, others as they are."""
        return inputs.to(next(self.parameters()).dtype) if inputs.is_floating_point() else inputs

    def features(self, inputs: Tensor) -> Tensor:
        """Penultimate features `[n, ...]`."""
        hidden: Tensor = self.backbone(self.normalise(inputs))
        return hidden

    def tail(self, cut: int) -> nn.Module:
        """The network from stage `cut` on, sharing its modules; parameters keep their names, so states fit both."""
        return BareTail(self.backbone, self.head, cut)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.tail(0)(self.normalise(inputs))  # type: ignore[no-any-return]


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Batch norm by its running statistics inside; the mode of every module as before outside."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
