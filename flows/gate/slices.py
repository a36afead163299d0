"""Slices: parts of the gate split in which an edit may do all of its harm, unseen in the whole split's rate.

A hundred flips among ten thousand images are 1%, within most limits; all in one kind of image they destroy that kind.
So the gate split is cut in three ways, and negative flips are bounded in every slice:

- by class pair: an image's class and the other class that the root thinks of most, which is where edits do harm first;
- by the values of each column that params.yaml declares (`data.columns`): a camera, a site;
- by cluster of the root's features, found on the reference split (k-means), which need no names.

A slice counts if it has enough images for its bound to say something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from errata.data.releases.evaluation import SliceOutcome
from errata.editing.metrics import compare_predictions
from errata.flows.gate.counts import Counts, Sample
from errata.flows.gate.criterion import Criterion, Name, not_applicable, sampled
from errata.flows.gate.paired import Classes, Floats, PairedAnswers
from errata.flows.params import GateParams

if TYPE_CHECKING:
    from sklearn.cluster import KMeans

MOST_CLUSTERS = 50
MOST_REFERENCE = 10_000  # images of the reference split among which clusters are found


@dataclass(frozen=True, eq=False)
class Slice:
    """Images of the gate split that have something in common: `members` are their indices."""

    name: str
    members: NDArray[np.int64]


def class_pairs(labels: Classes, answers: PairedAnswers, names: Sequence[str], least: int) -> list[Slice]:
    """A slice for each class and rival of at least `least` images: the rival is the root's best other class.

    `labels` `[n]`; `answers` are the root's, and the candidate's, which have no part in it.
    """
    rivals = np.where(answers.before == labels, answers.second, answers.before)
    pairs = labels * len(names) + rivals
    found = []
    for pair in np.unique(pairs):
        members = np.flatnonzero(pairs == pair)
        if len(members) >= least:
            own, rival = divmod(int(pair), len(names))
            found.append(Slice(f"{names[own]} near {names[rival]}", members))
    return found


def declared(columns: Mapping[str, NDArray[np.str_]], least: int) -> list[Slice]:
    """A slice for each value of each column (text `[n]`, by name) that at least `least` images have."""
    return [
        Slice(f"{name} {value}", members)
        for name, values in sorted(columns.items())
        for value in np.unique(values)
        if len(members := np.flatnonzero(values == value)) >= least
    ]


@dataclass(frozen=True, eq=False)
class Clusters:
    """Groups of images by features: `count` of them, found in features less `centre`, by `scale` (`[d]` each)."""

    count: int
    centre: Floats
    scale: Floats
    _means: KMeans

    def nearest(self, features: Floats) -> Classes:
        """The cluster of each image `[n]`, from features `[n, d]`."""
        with threadpool_limits(1):
            scaled = ((features - self.centre) / self.scale).astype(self._means.cluster_centers_.dtype)
            return np.asarray(self._means.predict(scaled), np.int64)


def find_clusters(reference: Floats, images: int, least: int, seed: int) -> Clusters | None:
    """Clusters for so many gate `images` of which slices shall hold `least`; None if these are too few for two.

    They are found among features `[m, d]` of the reference split, so that gate images have no part in it; all are
    scaled to the reference split's deviations.
    """
    from sklearn.cluster import KMeans  # noqa: PLC0415 - slow to import

    count = min(MOST_CLUSTERS, images // (2 * least), len(reference) // 5)
    if count < 2:
        return None
    centre, scale = reference.mean(axis=0), reference.std(axis=0) + 1e-6
    with threadpool_limits(1):  # several threads add up in any order, and a release is made again to the byte
        found = KMeans(count, n_init=4, random_state=seed).fit((reference - centre) / scale)
    return Clusters(count, centre, scale, found)


def cluster_slices(nearest: Classes, least: int) -> list[Slice]:
    """A slice for each cluster of at least `least` images; `nearest` `[n]` is the cluster of each, -1 for none."""
    slices = (
        Slice(f"cluster {index}", np.flatnonzero(nearest == index)) for index in range(nearest.max(initial=-1) + 1)
    )
    return [each for each in slices if len(each.members) >= least]


def slice_outcomes(
    labels: Classes, before: Classes, after: Classes, slices: Sequence[Slice]
) -> tuple[SliceOutcome, ...]:
    """What became of each slice, from predicted classes `[n]` of the root and of the release."""
    found = []
    for each in slices:
        paired = compare_predictions(before[each.members], after[each.members], labels[each.members])
        found.append(SliceOutcome(each.name, paired.n, paired.negative_flips))
    return tuple(found)


def slice_criterion(outcomes: Sequence[SliceOutcome], params: GateParams) -> Criterion:
    """The slice that loses most, and the largest bound of any: all slices' bounds hold at once (Bonferroni)."""
    if not outcomes:
        return not_applicable(Name.SLICE_FLIPS, f"no slice has {params.slice_images} images", params)
    _, n = max((each.negative_flips / each.n, each.n) for each in outcomes)
    return sampled(
        Name.SLICE_FLIPS, Sample("rate", tuple(Counts(each.n, each.negative_flips) for each in outcomes)), n, params
    )
