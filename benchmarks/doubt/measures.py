"""What is measured of claims: how well doubt tells wrong from right ones, and what limits on it release."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta
from sklearn.metrics import roc_auc_score

from benchmarks.doubt.people import Floats

EDGES = (0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0001)


@dataclass(frozen=True)
class Claims:
    """Each claim's doubt, whether it is wrong, whether the default limits release it, whether liars made it."""

    doubts: Floats
    wrong: NDArray[np.bool_]
    released: NDArray[np.bool_]
    liars: NDArray[np.bool_]


def interval(count: int, n: int) -> str:
    """A share with its exact 95% interval (Clopper and Pearson)."""
    if not n:
        return "-"
    low = beta.ppf(0.025, count, n - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, n - count) if count < n else 1.0
    return f"{count / n:.1%} [{low:.1%}, {high:.1%}]"


def auc(claims: Claims) -> str:
    """The AUC of doubt with a 95% interval, by resampling claims."""
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(claims.wrong), len(claims.wrong)) for _ in range(200)]
    found = [roc_auc_score(claims.wrong[draw], claims.doubts[draw]) for draw in draws]
    low, high = np.quantile(found, [0.025, 0.975])
    return f"{roc_auc_score(claims.wrong, claims.doubts):.3f} [{low:.3f}, {high:.3f}]"


def at_three_per_cent(claims: Claims) -> str:
    """The most right claims that any limit on doubt releases with at most 3% wrong among all released."""
    order = np.argsort(claims.doubts, kind="stable")
    share = np.cumsum(claims.wrong[order]) / np.arange(1, len(order) + 1)
    last = np.flatnonzero(share <= 0.03)
    kept = order[: last[-1] + 1] if len(last) else order[:0]
    return f"{(~claims.wrong[kept]).sum() / (~claims.wrong).sum():.0%}"


def bins(claims: Claims) -> Iterator[tuple[float, int, int]]:
    """Mean doubt, claims that are wrong, and claims, in each bin that has any."""
    place = np.digitize(claims.doubts, EDGES) - 1
    for number in range(len(EDGES) - 1):
        mine = place == number
        if mine.any():
            yield float(claims.doubts[mine].mean()), int(claims.wrong[mine].sum()), int(mine.sum())
