"""What a second network makes of images: `trust.second_opinion` names a function `module:function` of the workspace's.

Its features are kept in the workspace, with what it makes of one image of noise: a network that changed makes something
else of that, and is asked about every image anew.
"""

from __future__ import annotations

from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from errata.data.images import Pixels, pixel_digest
from errata.data.kept_blocks import KeptBlocks
from errata.data.releases.manifest import sha256
from errata.editing.batches import BLOCK
from errata.editing.errors import DataError
from errata.flows.stages.common import find_modules_of
from errata.flows.workspace import Workspace

Floats = NDArray[np.float32]


class SecondNetwork:
    """The network that params.yaml names; without one, no image has any features."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.name = workspace.params.trust.second_opinion
        self._versions: dict[tuple[int, ...], str] = {}

    def features(self, pixels: Pixels) -> Floats:
        """The features `[n, d]` of uint8 `[n, h, w, c]`; `d` is 0 without a network. Raises DataError if the function
        cannot be had, fails, or makes something else of images than a row of numbers each."""
        if not self.name or not len(pixels):
            return np.zeros((len(pixels), 0), np.float32)
        kept = KeptBlocks(self._workspace.features / "second-opinion.db")
        which = self._version(pixels.shape[1:])
        keys = [sha256(f"{which}\0{pixel_digest(image)}".encode()) for image in pixels]
        found = kept.get(keys)
        missing = [index for index, key in enumerate(keys) if key not in found]
        for start in range(0, len(missing), BLOCK):
            block = missing[start : start + BLOCK]
            features = self._asked(pixels[block])
            new = {keys[index]: row.tobytes() for index, row in zip(block, features, strict=True)}
            kept.put(new)
            found |= new
        return np.stack([np.frombuffer(found[key], np.float32) for key in keys])

    def _version(self, shape: tuple[int, ...]) -> str:
        if shape not in self._versions:
            noise = np.random.default_rng(0).integers(0, 256, (1, *shape), np.uint8)
            self._versions[shape] = sha256(self.name.encode() + self._asked(noise).tobytes())
        return self._versions[shape]

    def _asked(self, pixels: Pixels) -> Floats:
        whose = f"params.yaml: trust.second_opinion: {self.name}"
        module, _, function = self.name.partition(":")
        find_modules_of(self._workspace)
        try:
            features = np.asarray(getattr(import_module(module), function)(pixels), np.float32)
        except Exception as fault:  # whatever somebody's own code raises
            raise DataError(f"{whose} cannot be asked: {type(fault).__name__}: {fault}") from fault
        if features.ndim != 2 or len(features) != len(pixels) or not features.shape[1]:
            raise DataError(f"{whose} made {features.shape} of {len(pixels)} images, and should make a row of each")
        return features
