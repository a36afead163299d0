"""Slices: parts of the gate split in which an edit may do all of its harm, unseen in the whole split's rate.

A hundred flips among ten thousand images are 1%, within most limits; all in one kind of image they destroy that kind.
So the gate split is cut in two ways, and negative flips are bounded in every slice:

- by class pair: an image's class and the other class that the root thinks of most, which is where edits do harm first;
- by cluster of the root's features, found on the reference split (k-means), which need no names.

A slice counts if it has enough images for its bound to say something; which do not is told with the criterion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from editing.metrics import compare_predictions

Classes = NDArray[np.int64]
Floats = NDArray[np.floating]

MOST_CLUSTERS = 50


@dataclass(frozen=True, eq=False)
class Slice:
    """Images of the gate split that have something in common: `members` are their indices."""

    name: str
    members: NDArray[np.int64]


def class_pairs(labels: Classes, logits: Floats, names: Sequence[str], least: int) -> list[Slice]:
    """A slice for each class and rival of at least `least` images: the rival is the root's best other class.

    `labels` `[n]`; `logits` `[n, classes]` of the root.
    """
    others = logits.astype(np.float64).copy()
    others[np.arange(len(labels)), labels] = -np.inf
    rivals = others.argmax(axis=1)
    pairs = labels * logits.shape[1] + rivals
    found = []
    for pair in np.unique(pairs):
        members = np.flatnonzero(pairs == pair)
        if len(members) >= least:
            own, rival = divmod(int(pair), logits.shape[1])
            found.append(Slice(f"{names[own]} near {names[rival]}", members))
    return found


def clusters(reference: Floats, features: Floats, least: int, seed: int) -> list[Slice]:
    """A slice for each cluster of at least `least` images.

    Clusters are found among features `[m, d]` of the reference split, so that gate images have no part in it, and those
    of the gate split `[n, d]` belong to the nearest centre. Both are scaled to the reference split's deviations.
    """
    from sklearn.cluster import KMeans  # noqa: PLC0415 - slow to import

    count = min(MOST_CLUSTERS, len(features) // (2 * least), len(reference) // 5)
    if count < 2:
        return []
    centre, scale = reference.mean(axis=0), reference.std(axis=0) + 1e-6
    found = KMeans(count, n_init=4, random_state=seed).fit((reference - centre) / scale)
    nearest = found.predict(((features - centre) / scale).astype(found.cluster_centers_.dtype))
    slices = (Slice(f"cluster {index}", np.flatnonzero(nearest == index)) for index in range(count))
    return [each for each in slices if len(each.members) >= least]


@dataclass(frozen=True)
class SliceFlips:
    """The slice that loses most: its share of negative flips, the largest bound of any of `count`, its `images`."""

    name: str
    value: float
    bound: float
    images: int
    count: int


def worst_slice(
    labels: Classes, before: Classes, after: Classes, slices: Sequence[Slice], confidence: float
) -> SliceFlips:
    """Negative flips slice by slice, from predicted classes `[n]`; bounds hold for all slices at once (Bonferroni)."""
    each_confidence = 1 - (1 - confidence) / len(slices)
    paired = [compare_predictions(before[one.members], after[one.members], labels[one.members]) for one in slices]
    bounds = [one.negative_flip_bound(each_confidence) for one in paired]
    worst = max(range(len(slices)), key=lambda index: (paired[index].negative_flip_rate, bounds[index]))
    return SliceFlips(
        slices[worst].name, paired[worst].negative_flip_rate, max(bounds), len(slices[worst].members), len(slices)
    )
