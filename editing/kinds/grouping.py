"""Corrections gathered into groups that look alike: k-means on what detectors see, seeded, on one thread.

How many groups there are is decided by what a detector is for: the number is the smallest at which about as many
corrections that no detector was fitted to fire the detector of their own group as at any number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from errata.editing.editors.detectors import Background, Detectors, calibrate, directions
from errata.editing.settings import KindSettings

NEARLY = 0.95  # of the most held-out corrections that are recognised at any number of groups


@dataclass(frozen=True)
class Regrouping:
    """A person's word on corrections, by their keys: `together` are one group; `others`, if there are any, are apart
    from them."""

    together: frozenset[str]
    others: frozenset[str] = frozenset()


def regrouped(
    groups: list[NDArray[np.int64]], keys: Sequence[str], fitted: Tensor, decisions: Sequence[Regrouping]
) -> list[NDArray[np.int64]]:
    """The groups of rows of `fitted` `[n, s]`, whose `keys` are given, as people want them; decisions count in order.

    Groups most of which was merged become one. Of a group that was split, each correction that came later goes to the
    part whose mean is nearer.
    """
    for decision in decisions:
        if not decision.others:
            hit = [group for group in groups if 2 * sum(keys[row] in decision.together for row in group) > len(group)]
            if len(hit) > 1:
                groups = [group for group in groups if not any(group is one for one in hit)]
                groups.append(np.sort(np.concatenate(hit)))
            continue
        named = decision.together | decision.others
        hit = [group for group in groups if any(keys[row] in named for row in group)]
        rows = np.sort(np.concatenate(hit)) if hit else np.empty(0, np.int64)
        parts = [[int(row) for row in rows if keys[row] in each] for each in (decision.together, decision.others)]
        if not all(parts):
            continue
        means = torch.stack([fitted[part].mean(0) for part in parts])
        for row in rows:
            if keys[row] not in named:
                parts[int((fitted[row] - means).norm(dim=1).argmin())].append(int(row))
        groups = [group for group in groups if not any(group is one for one in hit)]
        groups += [np.sort(np.array(part, np.int64)) for part in parts]
    return groups


def fit_detectors(groups: list[Tensor], controls: Background, settings: KindSettings) -> Detectors:
    """A detector for each group of directions `[m, s]`, its scores in deviations of those of calibration images."""
    weight = torch.cat([directions(each[None], controls, settings.gamma) for each in groups])
    deviation = calibrate(weight, controls, settings.alpha).deviation
    return calibrate(weight / deviation[:, None].clamp(min=1e-12), controls, settings.alpha)


def find_groups(
    fitted: Tensor, held_out: Tensor, controls: Background, settings: KindSettings
) -> list[NDArray[np.int64]]:
    """Rows of `fitted` `[n, s]` that belong together, groups of at least `settings.members`; `held_out` `[h, s]`."""
    best: list[tuple[int, list[NDArray[np.int64]]]] = []
    for count in range(1, min(settings.most, len(fitted) // settings.members) + 1):
        labels, nearest = _cluster(fitted, held_out, count)
        groups = [np.flatnonzero(labels == label) for label in range(count)]
        large = [label for label in range(count) if len(groups[label]) >= settings.members]
        if not large:
            continue
        detectors = fit_detectors([fitted[torch.from_numpy(groups[label])] for label in large], controls, settings)
        fires = held_out @ detectors.weight.T > detectors.threshold
        own = sum(int(fires[torch.from_numpy(nearest == label), row].sum()) for row, label in enumerate(large))
        best.append((own, [groups[label] for label in large]))
    most = max((own for own, _ in best), default=0)
    return next((groups for own, groups in best if most and own >= NEARLY * most), [])


def _cluster(fitted: Tensor, held_out: Tensor, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The group of each row, and the nearest one of each held-out row."""
    from sklearn.cluster import KMeans  # noqa: PLC0415 - slow to import
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    with threadpool_limits(1):  # several threads add up in any order
        found = KMeans(count, n_init=10, random_state=0).fit(fitted.double().cpu().numpy())
        nearest = found.predict(held_out.double().cpu().numpy()) if len(held_out) else np.empty(0, np.int64)
    return found.labels_.astype(np.int64), nearest.astype(np.int64)
