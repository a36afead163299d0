"""CIFAR-10's test images in disjoint parts, and kinds of them: corruptions (Hendrycks and Dietterich 2019).

The package `imagecorruptions` (or its fork `imagecorruptions-imaug`, which runs on today's numpy and scipy) makes them;
it is needed only where they are not in the cache yet. There are two kinds of each of its families (noise, blur,
weather, digital). Its five severities were made for 224 pixels and are hard on 32: each kind has the mildest one at
which a ResNet-20 errs on a fifth or more of 300 images, which leaves out those on which it then errs on 70%
(defocus_blur, elastic_transform). DEVELOPMENT kinds are for choosing settings and are in no table.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.cifar10.data import Images

SEVERITIES = {
    "gaussian_noise": 1,
    "impulse_noise": 1,
    "motion_blur": 1,
    "zoom_blur": 2,
    "snow": 2,
    "fog": 1,
    "contrast": 2,
    "jpeg_compression": 1,
}
DEVELOPMENT = {"speckle_noise": 1, "gaussian_blur": 1, "saturate": 5, "spatter": 4}
UNSEEN = 1_000  # images of a kind that its edit is measured on


@dataclass(frozen=True)
class Parts:
    """Disjoint test images. Mistakes are drawn from `pool` seen through a kind; editors may fit to `reference` and set
    thresholds on `calibration`, both as they are; `control` is only measured on, as it is and, its first UNSEEN images,
    seen through a kind."""

    pool: Images
    reference: Images
    calibration: Images
    control: Images

    @staticmethod
    def of(test: Images) -> Parts:
        """Split CIFAR-10's 10,000 test images, always the same way."""
        order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
        return Parts(*(Images(test.images[part], test.labels[part]) for part in order.split((1200, 1500, 2300, 5000))))


@dataclass(frozen=True)
class KindImages:
    """One kind: `pool`, from which mistakes are drawn, and `unseen`, which no editor sees."""

    name: str
    pool: Images
    unseen: Images


def kind_images(name: str, parts: Parts, cache: Path) -> KindImages:
    """The images of the kind `name`, kept in `cache`."""
    path = cache / f"{name}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        severity = {**SEVERITIES, **DEVELOPMENT}[name]
        np.save(path, corrupted(torch.cat([parts.pool.images, parts.control.images[:UNSEEN]]), name, severity))
    found = torch.from_numpy(np.load(path))
    pool, unseen = found.split((len(parts.pool), UNSEEN))
    return KindImages(name, Images(pool, parts.pool.labels), Images(unseen, parts.control.labels[:UNSEEN]))


def corrupted(images: Tensor, name: str, severity: int) -> np.ndarray:
    """uint8 images `[n, h, w, c]` seen through a corruption, each drawn anew from one seed."""
    from imagecorruptions import corrupt  # noqa: PLC0415 - needed only to fill the cache

    np.random.seed(1)  # the package draws from numpy's global generator
    return np.stack([np.uint8(corrupt(each.numpy(), severity, name)) for each in images])
