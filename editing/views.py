"""Views of an image: small shifts, flips, light and noise that leave its class as it is.

A correction is fitted on the *fitting* views and its generalization is measured on the *unseen* ones. Both are drawn
from one distribution, by generators seeded with the image's own pixels: they depend neither on the order of the
corrections nor on which others there are, and no unseen view equals a fitted one.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from errata.editing.errors import DataError
from errata.editing.settings import ViewSettings

_ATTEMPTS = 20  # draws for a view that was not fitted, before concluding that the settings allow none


def fitting_views(image: Tensor, settings: ViewSettings, seed: int = 0) -> Tensor:
    """The views to fit on: uint8 `[settings.fitting, height, width, channels]`, the first is `image` itself."""
    generator = _generator(image, "fitting", seed)
    return torch.cat([image[None], _draw(image, settings, max(settings.fitting - 1, 0), generator)])


def unseen_views(image: Tensor, settings: ViewSettings, seed: int = 0) -> Tensor:
    """Views never fitted: uint8 `[settings.unseen, height, width, channels]`, none equal to a fitted one.

    Raises DataError if the settings vary nothing, so that there is no such view.
    """
    fitted = fitting_views(image, settings, seed)
    generator = _generator(image, "unseen", seed)
    found: list[Tensor] = []
    for _ in range(_ATTEMPTS):
        for view in _draw(image, settings, settings.unseen, generator):
            if len(found) < settings.unseen and not (fitted == view).flatten(1).all(1).any():
                found.append(view)
        if len(found) == settings.unseen:
            return torch.stack(found) if found else image[None][:0]
    raise DataError("these view settings vary nothing, so no view is unseen; raise max_shift, light or noise")


def _generator(image: Tensor, purpose: str, seed: int) -> torch.Generator:
    digest = hashlib.sha256(f"{purpose} {seed} {tuple(image.shape)} ".encode())
    digest.update(image.detach().cpu().contiguous().numpy().tobytes())
    return torch.Generator().manual_seed(int.from_bytes(digest.digest()[:7], "big"))


def _draw(image: Tensor, settings: ViewSettings, count: int, generator: torch.Generator) -> Tensor:
    """`count` random views of `image`, uint8 `[count, height, width, channels]`."""
    height, width, channels = image.shape
    rows = _shifted(height, settings.max_shift, count, generator)
    columns = _shifted(width, settings.max_shift, count, generator)
    flipped = (torch.rand(count, generator=generator) < 0.5) & settings.flip
    columns = torch.where(flipped[:, None], columns.flip(1), columns)
    # Indices first, pixels second: one gather makes all views, with edges repeated where a shift uncovers them.
    pixels = image.detach().cpu().float()[rows[:, :, None], columns[:, None, :]]
    contrast = 1 + settings.light * _signed(count, generator)
    brightness = 1 + settings.light * _signed(count, generator)
    middle = pixels.mean(dim=(1, 2, 3), keepdim=True)
    pixels = ((pixels - middle) * contrast + middle) * brightness
    strength = 255 * settings.noise * torch.rand(count, 1, 1, 1, generator=generator)
    pixels = pixels + strength * torch.randn(count, height, width, channels, generator=generator)
    return pixels.round().clamp(0, 255).to(torch.uint8).to(image.device)


def _shifted(side: int, share: float, count: int, generator: torch.Generator) -> Tensor:
    """Source indices `[count, side]` of a shift by up to `share * side` pixels."""
    most = round(side * share)
    shifts = torch.randint(-most, most + 1, (count, 1), generator=generator)
    return (torch.arange(side) + shifts).clamp(0, side - 1)


def _signed(count: int, generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(count, 1, 1, 1, generator=generator) - 1
