"""What slots look at: features around the root's mean, whitened, as a direction."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from errata.editing.tensors import mean_and_covariance


class WhitenedDirections(nn.Module):
    """`z = M (h - m) / |M (h - m)|` of features `h` `[n, d]`, with `m` their mean and `M` their whitening.

    On a sphere every point can be cut off from all others by a plane, which is what a slot has to do; and whitening
    lets a feature count by how much it varies over control inputs. `m` and `M` are the root's, no correction changes
    them.

    `M` has a row for each feature, or fewer: then it keeps the `r` directions in which control inputs vary most, and
    slots look at vectors of length `r`. Fewer numbers are then read for each image.
    """

    centre: Tensor
    whitening: Tensor

    def __init__(self, features: int, directions: int = 0) -> None:
        """As they were never fitted; with `directions` 0, or as many as there are `features`, all are kept."""
        super().__init__()
        self.register_buffer("centre", torch.zeros(features))  # m
        self.register_buffer("whitening", torch.eye(features, directions or features))  # M transposed, [d, r]

    @property
    def fitted(self) -> bool:
        """Whether `m` and `M` are those of a root already."""
        return not torch.equal(self.whitening, torch.eye(*self.whitening.shape).to(self.whitening))

    @torch.no_grad()
    def fit(self, features: Tensor, ridge: float = 0.01) -> None:
        """Set `m` and `M` from features `[n, d]` of control inputs; `ridge` is a share of the mean variance."""
        mean, covariance = mean_and_covariance(features)
        values, vectors = torch.linalg.eigh(covariance)
        values = values.clamp(min=0)
        scales = (values + ridge * values.mean().clamp(min=1e-12)).rsqrt()
        self.centre.copy_(mean)
        kept = self.whitening.shape[1]
        if kept == len(values):
            # The symmetric root: eigenvectors have no sign of their own, and another machine may choose the other one.
            self.whitening.copy_(vectors * scales @ vectors.T)
        else:
            # There is no such root of fewer directions. A sign, or another basis where variances are equal, turns `z`
            # and the slots' weights alike: scores stay what they are.
            self.whitening.copy_((vectors * scales)[:, -kept:])

    def whitened(self, features: Tensor) -> Tensor:
        """`M (h - m)` `[n, r]` of `features` `[n, d]`."""
        return (features - self.centre) @ self.whitening

    def directions(self, features: Tensor) -> Tensor:
        """What the slots look at: unit vectors `[n, r]`, zero at the mean itself."""
        return F.normalize(self.whitened(features), dim=1)
