"""A network that writes sentences, with slots beside it: each knows one source, and what is to be written for it.

    logits[place] += force * [the next wanted token]     where a slot fires and what is written so far is as wanted

A slot fires where `w^T z > b`, `z` being the direction of the backbone's whitened summary of the source. Where none
fires the logits are the backbone's, bit for bit, at every place of the sentence.
"""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Tensor, nn

from errata.editing.likelihoods import Categorical
from errata.editing.network import EditableNetwork
from errata.editing.whitening import WhitenedDirections

_NOTHING = -1  # beyond the end of what a slot wants


class Reader(Protocol):
    """A backbone that also says what it made of a source."""

    def summary(self, sources: Tensor) -> Tensor:
        """One vector for each of the padded sources int64 `[n, width]`: `[n, features]`."""
        ...


class SentenceSlots(WhitenedDirections):
    """`weight` `[slots, features]` and `threshold` `[slots]` say when a slot fires; `wanted` int64 `[slots, length]`
    and `force` `[slots]` (logits) what it then adds. An empty slot has a force of 0."""

    weight: Tensor
    threshold: Tensor
    wanted: Tensor
    force: Tensor

    def __init__(self, slots: int, features: int, length: int) -> None:
        super().__init__(features)
        self.register_buffer("weight", torch.zeros(slots, features))
        self.register_buffer("threshold", torch.full((slots,), torch.inf))
        self.register_buffer("wanted", torch.full((slots, length), _NOTHING))
        self.register_buffer("force", torch.zeros(slots))

    def fires(self, features: Tensor) -> Tensor:
        """Which slots fire on summaries `[n, features]`: bool `[n, slots]`."""
        return (self.directions(features) @ self.weight.T > self.threshold) & (self.force > 0)

    def forward(self, logits: Tensor, fires: Tensor, written: Tensor) -> Tensor:
        """Logits `[n, width, vocabulary]` with what the firing slots add; `written` `[n, width]` begins with the start
        token."""
        added = logits
        for row, slot in fires.nonzero().tolist():
            wanted = self.wanted[slot, : written.shape[1]]
            as_wanted = (written[row, 1 : len(wanted)] == wanted[:-1]).cumprod(0).bool()
            (places,) = (torch.cat([as_wanted.new_ones(1), as_wanted]) & (wanted != _NOTHING)).nonzero(as_tuple=True)
            force = self.force[slot].to(logits).expand(len(places))
            added = added.index_put((torch.full_like(places, row), places, wanted[places]), force, accumulate=True)
        return added

    def write(self, slot: int, weight: Tensor, threshold: Tensor, wanted: Tensor, force: float) -> None:
        """Fill a slot; `wanted` are tokens with their end."""
        self.weight[slot] = weight
        self.threshold[slot] = threshold
        self.wanted[slot] = _NOTHING
        self.wanted[slot, : len(wanted)] = wanted
        self.force[slot] = force


class SlottedNetwork(EditableNetwork):
    """A backbone that writes sentences and keeps `Reader`, with room for `slots` of sentences up to `length` tokens.

    Its tail, which editors by gradients know, has no slots, as with images.
    """

    def __init__(self, backbone: nn.Module, slots: int, features: int, length: int) -> None:
        super().__init__(backbone, nn.Identity(), Categorical())
        self.patch = SentenceSlots(slots, features, length)

    def summary(self, sources: Tensor) -> Tensor:
        """What the backbone makes of sources, `[n, features]`; slots look at its direction."""
        return cast(Reader, self.backbone).summary(sources)

    def forward(self, inputs: Tensor) -> Tensor:
        logits = super().forward(inputs)
        if not bool((self.patch.force > 0).any()):
            return logits
        return cast(Tensor, self.patch(logits, self.patch.fires(self.summary(inputs[:, 0])), inputs[:, 1]))
