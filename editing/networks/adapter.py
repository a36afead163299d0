"""A residual adapter before the head, as the editable layer of somebody else's network: `h + MLP(h)`.

The last layer of the MLP starts as zeros, so that the network is what it was until the adapter is trained or edited
(the large-scale experiment of Sinitsin et al. 2020 inserts 512 -> 4096 -> 512 with an ELU before the head of a
pretrained network, and edits nothing else).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

STAGE = "adapter"


class ResidualAdapter(nn.Module):
    """`h + out(elu(into(h)))` of features `[n, features]`; `hidden` units, `out` zero."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.into = nn.Linear(features, hidden)
        self.out = nn.Linear(hidden, features)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: Tensor) -> Tensor:
        changed: Tensor = self.out(F.elu(self.into(features)))
        return features + changed


def with_adapter(backbone: nn.Module, features: int, hidden: int) -> nn.Sequential:
    """The backbone with the stage `adapter` at its end; one that is no `nn.Sequential` becomes the stage `network`."""
    stages = backbone if isinstance(backbone, nn.Sequential) else nn.Sequential()
    if stages is not backbone:
        stages.add_module("network", backbone)
    stages.add_module(STAGE, ResidualAdapter(features, hidden))
    return stages
