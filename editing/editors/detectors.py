"""When a patch slot fires: the direction `w` that tells a correction's views from everything else, and its threshold.

Features here are what the slots look at: unit vectors of whitened features (`PatchSlots.directions`).

*Direction.* The Fisher discriminant, `w = (C + gamma S + eps I)^-1 (mean of views - mean of controls)`: `C` is the
covariance of the reference split's features, `S` that of the views. `C` is factorised once per root; the views, of low
rank, come in through Woodbury's identity, so that the cost is linear in the number of corrections.

*Threshold.* The slot fires iff its score exceeds a high order statistic of its scores on the calibration split, which
`w` never saw. If a fresh image is exchangeable with those, it fires with probability at most `alpha`, or `1/(n+1)`
where `alpha` is smaller (the rank argument of conformal prediction: Vovk et al. 2005, section 2.2).

Most views score far above that. A share `tau` of this room goes to everybody else: the threshold is raised from `b` to
`b + tau max(0, q - b)`, with `q` a low quantile of the views' scores, and never above the image's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from errata.editing.errors import DataError
from errata.editing.tensors import mean_and_covariance

TWIN = 0.9  # cosine of directions from which on two pictures are nearly the same one
_CHUNK = 64  # slots scored at a time: bounds memory at 64 x (calibration images) scores


@dataclass(frozen=True)
class Background:
    """What control images look like to the patch, once per root.

    `mean` `[d]` and `cholesky` `[d, d]` of `C + eps I` of the reference split's features, float64; `calibration`
    `[n, d]`: the calibration split's features in the model's own type.
    """

    mean: Tensor
    cholesky: Tensor
    calibration: Tensor


@dataclass(frozen=True)
class Detectors:
    """`weight` `[k, d]` and `threshold` `[k]` in the model's type; `firing` `[k]`: share of calibration images that
    fire; `deviation` `[k]`: standard deviation of the scores on them."""

    weight: Tensor
    threshold: Tensor
    firing: Tensor
    deviation: Tensor


def background(reference: Tensor, calibration: Tensor, eps: float) -> Background:
    """From features `[n, d]` of both splits; `eps` is the ridge as a share of the mean variance.

    Raises DataError if either has fewer than two rows: there is no covariance, and no threshold.
    """
    for name, features in (("reference", reference), ("calibration", calibration)):
        if len(features) < 2:
            raise DataError(f"the {name} split has {len(features)} images; the patch needs thousands")
    mean, covariance = mean_and_covariance(reference)
    covariance.diagonal().add_(eps * covariance.diagonal().mean().clamp(min=1e-12))
    return Background(mean, torch.linalg.cholesky(covariance), calibration)


def with_traffic(control: Background, traffic: Tensor, corrected: Tensor) -> Background:
    """The background with unlabelled images as well, directions `[m, d]`, to calibrate on.

    Those that nearly are one of the `corrected` images `[k, d]` are left out: there its slot is to fire.
    """
    kept = [part[(part @ corrected.T).amax(1) <= TWIN] for part in traffic.split(4096)]
    return replace(control, calibration=torch.cat([control.calibration, *kept]))


def directions(views: Tensor, control: Background, gamma: float) -> Tensor:
    """Fisher discriminants float64 `[k, d]` of the features `views` `[k, v, d]`, scaled to `w^T (C + eps I) w = 1`."""
    views = views.double()
    means = views.mean(1)
    spread = (views - means[:, None]) * (gamma / views.shape[1]) ** 0.5  # gamma S = spread^T spread
    # Whitened by the Cholesky factor, the matrix to invert is I + spread^T spread, of rank v beyond the identity.
    white = torch.linalg.solve_triangular(control.cholesky, (means - control.mean).T, upper=False).T
    low = torch.linalg.solve_triangular(control.cholesky, spread.flatten(0, 1).T, upper=False).T.reshape(spread.shape)
    inner = torch.eye(low.shape[1], dtype=low.dtype, device=low.device) + low @ low.mT
    white = white - (low.mT @ torch.linalg.solve(inner, low @ white[:, :, None]))[:, :, 0]
    white = white / white.norm(dim=1, keepdim=True).clamp(min=1e-12)
    weight: Tensor = torch.linalg.solve_triangular(control.cholesky.T, white.T, upper=True).T
    return weight


def calibrate(
    weight: Tensor,
    control: Background,
    alpha: float,
    views: Tensor | None = None,
    tau: float = 0.0,
    quantile: float = 0.25,
) -> Detectors:
    """Thresholds for the directions `weight` `[k, d]`, with scores computed in the model's own type, as it will.

    `views` `[k, v, d]`: features of each correction's views, the image itself first, towards whose scores the
    thresholds are raised.
    """
    features = control.calibration
    weight = weight.to(features.dtype)
    n = len(features)
    # Fresh scores rank uniformly among n + 1: at most alpha above the ceil((1 - alpha)(n + 1))-th smallest.
    above = max(int(alpha * (n + 1)) - 1, 0)
    parts = []
    for start in range(0, len(weight), _CHUNK):
        chunk = weight[start : start + _CHUNK]
        scores = features @ chunk.T
        high = scores.topk(above + 1, dim=0).values[above]
        deviation = scores.double().std(0)
        # Another batch size or runtime rounds differently: stay clear of that.
        high = high + 4 * torch.finfo(scores.dtype).eps * scores.abs().amax(0) + 1e-3 * deviation.to(scores.dtype)
        if views is not None:
            own = (views[start : start + _CHUNK] @ chunk[:, :, None])[:, :, 0].double()
            low = torch.minimum(own.quantile(quantile, dim=1), own[:, 0])
            high = high + (tau * (low - high).clamp(min=0)).to(high.dtype)
        parts.append((high, (scores > high).double().mean(0), deviation))
    threshold, firing, deviation = (torch.cat(column) for column in zip(*parts, strict=True))
    return Detectors(weight, threshold, firing, deviation)
