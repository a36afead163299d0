"""CIFAR-10 for the benchmark: train 40,000, validation 10,000 (the last training batch, held out), test 10,000.

Checkpoints are selected, rules tuned and thresholds set on `validation`; `test` is only reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from errata.editing.settings import ViewSettings
from errata.editing.vision import torchvision

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)
TRAIN = 40_000
VIEWS = ViewSettings(max_shift=0.08, flip=True)


@dataclass(frozen=True)
class Images:
    """uint8 images `[n, 32, 32, 3]` and int64 labels `[n]`."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Cifar10:
    """The three disjoint parts."""

    train: Images
    validation: Images
    test: Images


def load_cifar10(root: Path) -> Cifar10:
    """The data set under `root`, downloaded if it is not there; the same split every time."""
    kept, test = (_read(root, train) for train in (True, False))
    train, validation = (Images(kept.images[part], kept.labels[part]) for part in (slice(TRAIN), slice(TRAIN, None)))
    return Cifar10(train, validation, test)


def _read(root: Path, train: bool) -> Images:
    dataset = torchvision.datasets.CIFAR10(str(root), train=train, download=True)
    return Images(torch.from_numpy(dataset.data), torch.tensor(dataset.targets))
