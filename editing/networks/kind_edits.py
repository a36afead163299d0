"""What a model carries of its kinds: when each fires, and the parameters and buffers that it replaces where it does.

Detectors of a kind of image look at `z = M (s - m) / |M (s - m)|`, the direction of whitened statistics `s` of early
stages: mean and deviation of each channel over all places. Those of a kind of concept look at the direction of the
features, as slots do, and such a kind replaces the head alone. A kind fires where `w^T z > b`; where several do, the
one that exceeds its threshold most acts alone. `w` is scaled to a standard deviation of 1 on calibration images, so
that they compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class KindsSpec:
    """Everything about a model's kinds but numbers.

    `replaced` has for each kind the names of the parameters and buffers that it replaces; the last `concepts` of them
    are kinds of concept. Of the others, `seen` are the stages whose outputs detectors look at, `width` is the length of
    their statistics, `cut` the first stage that holds a replaced tensor.
    """

    seen: tuple[str, ...]
    width: int
    cut: int
    replaced: tuple[tuple[str, ...], ...]
    concepts: int = 0

    @property
    def images(self) -> int:
        """How many are kinds of image: those come first."""
        return len(self.replaced) - self.concepts

    def cuts(self, stages: int) -> tuple[int, ...]:
        """For each kind the stage of a backbone of so many from which on it goes its own way."""
        return (self.cut,) * self.images + (stages,) * self.concepts


def channel_statistics(hidden: Sequence[Tensor]) -> Tensor:
    """Statistics `[n, s]` of stages' outputs: mean and deviation of each channel; of vectors `[n, d]` the vector.

    An output is `[n, channels, height, width]`, or `[n, places, channels]` of a transformer.
    """
    parts = []
    for each in hidden:
        if each.ndim == 2:
            parts.append(each)
            continue
        places = (2, 3) if each.ndim == 4 else (1,)
        mean = each.mean(dim=places)
        spread = (each - each.mean(dim=places, keepdim=True)).square().mean(dim=places)
        parts += [mean, (spread + 1e-8).sqrt()]
    return torch.cat(parts, dim=1)


class KindEdits(nn.Module):
    """The detectors and replaced tensors of a model's kinds; all are buffers, which no editor changes."""

    centre: Tensor
    whitening: Tensor
    weight: Tensor
    threshold: Tensor
    concept_weight: Tensor
    concept_threshold: Tensor

    def __init__(self, spec: KindsSpec, tensors: Mapping[str, Tensor]) -> None:
        """All zeros; the model's own `tensors`, parameters and buffers by name, give the replaced ones their shapes."""
        super().__init__()
        self.spec = spec
        self.register_buffer("centre", torch.zeros(spec.width))
        self.register_buffer("whitening", torch.eye(spec.width))
        self.register_buffer("weight", torch.zeros(spec.images, spec.width))
        self.register_buffer("threshold", torch.zeros(spec.images))
        if spec.concepts:
            directions = tensors["patch.whitening"].shape[1]
            self.register_buffer("concept_weight", torch.zeros(spec.concepts, directions))
            self.register_buffer("concept_threshold", torch.zeros(spec.concepts))
        for kind, names in enumerate(spec.replaced):
            for name in names:
                self.register_buffer(_buffer(kind, name), torch.zeros_like(tensors[name].detach()))

    def __len__(self) -> int:
        return len(self.spec.replaced)

    def replaced_by(self, kind: int) -> dict[str, Tensor]:
        """What kind number `kind` puts in place of the model's own tensors, by their names."""
        return {name: self.get_buffer(_buffer(kind, name)) for name in self.spec.replaced[kind]}

    def directions(self, statistics: Tensor) -> Tensor:
        """What detectors look at: unit vectors `[n, s]` of `statistics` `[n, s]`."""
        return functional.normalize((statistics - self.centre) @ self.whitening, dim=1)

    def which(self, directions: Tensor | None, concepts: Tensor | None = None) -> Tensor:
        """The number of the kind that fires on each image, -1 where none does: int64 `[n]`.

        `directions` `[n, s]` is what detectors of kinds of image look at, `concepts` `[n, r]` of features what those of
        concepts do; either may be left out of a model that has no such kind.
        """
        scores = []
        if directions is not None:
            scores.append(functional.linear(directions, self.weight, -self.threshold))
        if concepts is not None:
            scores.append(functional.linear(concepts, self.concept_weight, -self.concept_threshold))
        beyond = torch.cat(scores, dim=1)
        return torch.where(beyond.amax(dim=1) > 0, beyond.argmax(dim=1), -1)


def _buffer(kind: int, name: str) -> str:
    """The buffer of a replaced tensor; a buffer's name may hold no dot."""
    return f"{kind}/{name.replace('.', '/')}"
