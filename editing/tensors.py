"""Tensors over images that lie in files, and numbers about rows of features, some rows at a time."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ROWS = 8192  # of features in double precision at a time


def tensor_of(images: NDArray[np.uint8]) -> Tensor:
    """Images uint8 `[n, h, w, c]` as a tensor, in the same place: nothing is read before it is looked at.

    Those of a split are read-only: to write into the tensor is an error of the operating system.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(images)


def mean_and_covariance(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Float64 `[d]` and `[d, d]` (by n - 1) of `rows` `[n, d]`, of which few are held in double precision at once."""
    parts = rows.split(ROWS)
    mean = torch.stack([part.double().sum(0) for part in parts]).sum(0) / len(rows)
    scatter = torch.zeros(len(mean), len(mean), dtype=mean.dtype, device=mean.device)
    for part in parts:
        centred = part.double() - mean
        scatter += centred.T @ centred
    return mean, scatter / max(len(rows) - 1, 1)


def joined(parts: Iterable[Tensor], count: int) -> Tensor:
    """`torch.cat(parts)` of `count` rows in all, where only one part is there beside the result."""
    rest = iter(parts)
    first = next(rest)
    found = first.new_empty(count, *first.shape[1:])
    start = 0
    for part in itertools.chain([first], rest):
        found[start : start + len(part)] = part
        start += len(part)
    return found
