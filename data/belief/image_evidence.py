"""What images show, before anybody is heard: the chance of each class, and which images are near each other.

The live model's probabilities alone are too sure of themselves, most of all about images that were reported. So they
are weighed together with the classes of the nearest control images (in the feature space of the root), and both weights
are fitted to the labels of the control set, which no report may touch:

    log P(class | image) = a log p(class) + b log(share of the class among the nearest control images) + constant

`a` is temperature scaling (Guo et al. 2017, section 4.2); `b` says how much neighbours add to it. A second network's
opinion, where there is one (`data.belief.second_opinion`), is a third such term with its weight. A control set of `n`
images cannot show that something happens less often than once in `n + 1`, so no chance is taken to be smaller.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from errata.data.belief.second_opinion import SecondOpinion

Floats = NDArray[np.float64]
Array = NDArray[np.floating[Any]]

_NEIGHBOURS = 20
_LEAST = 1e-7  # of a model's probability: softmax in float32 gives zeros
_MOST_WEIGHT = 10.0
_BLOCK = 512
_STRANGERS = 0.001  # share of control images that count as near one of another class


class ImageEvidence:
    """Calibrated on control images: the live model's `probabilities` `[n, classes]`, `features` `[n, d]`, which may
    have no columns, and `labels` `[n]`; `second` `[n, e]` are a second network's features, if there is one. An image
    whose numbers are not finite is left out."""

    def __init__(
        self, probabilities: Array, features: Array, labels: NDArray[np.integer[Any]], second: Array | None = None
    ) -> None:
        finite = np.isfinite(probabilities).all(axis=1) & np.isfinite(features).all(axis=1)
        if second is not None:
            finite &= np.isfinite(second).all(axis=1)
            second = second[finite]
        probabilities, features, self._labels = probabilities[finite], features[finite], labels[finite]
        count, self._classes = probabilities.shape
        self._centre = features.astype(np.float64).mean(axis=0) if count else np.zeros(features.shape[1])
        self._directions = self._to_directions(features)
        self._floor = 1 / (count + 1)
        self._second = None if second is None else SecondOpinion(second, self._labels, self._classes)
        self._weights = np.array([1.0, 0.0, *([0.0] if self._second else [])])
        self.accuracy = float((probabilities.argmax(axis=1) == self._labels).mean()) if count else 0.5
        self._near = 1.0
        if count > 1:
            shares, strangers = self._neighbours(self._directions, itself=True)
            opinion = self._second.on_control if self._second else None
            self._weights = _fitted(_terms(probabilities, shares, opinion), self._labels)
            self._near = float(np.quantile(strangers, 1 - _STRANGERS))

    def posterior(self, probabilities: Array, features: Array, second: Array | None = None) -> Floats:
        """The chance of each class `[m, classes]` for images with these probabilities and features; NaN in, NaN out.

        `second`: the second network's features of them, which must be given where they were of control images.
        """
        shares, _ = self._neighbours(self._to_directions(features), itself=False)
        opinion = self._second.chances(second) if self._second and second is not None else None
        chances = _softmax(_terms(probabilities, shares, opinion) @ self._weights)
        chances[~np.isfinite(features).all(axis=1)] = np.nan
        return np.asarray((1 - self._floor) * chances + self._floor / max(self._classes, 1))

    def near(self, features: Array) -> Iterator[tuple[int, int]]:
        """Pairs of images, each smaller index first, that are nearer than images of different classes are.

        They are nearer than all but one in a thousand control images are to any of another class.
        """
        directions = self._to_directions(features)
        for start in range(0, len(directions), _BLOCK):
            similar = directions[start : start + _BLOCK] @ directions.T > self._near
            for row, column in zip(*np.nonzero(similar), strict=True):
                if start + row < column:
                    yield int(start + row), int(column)

    def _to_directions(self, features: Array) -> Floats:
        centred = features.astype(np.float64) - self._centre
        centred[~np.isfinite(centred).all(axis=1)] = np.nan
        length = np.linalg.norm(centred, axis=1, keepdims=True)
        return np.asarray(centred / np.where(length > 0, length, 1))

    def _neighbours(self, directions: Floats, *, itself: bool) -> tuple[Floats, Floats]:
        """The share of each class among the nearest control images `[m, classes]`, none of which is ever zero, and how
        similar the nearest of another class than the image's own is `[m]`. `itself`: they are the control images."""
        of_class = np.eye(self._classes)[self._labels]
        frequency = (of_class.sum(axis=0) + 1) / (len(of_class) + self._classes)
        count = min(_NEIGHBOURS, len(of_class) - itself)
        shares, strangers = np.tile(frequency, (len(directions), 1)), np.ones(len(directions))
        if count < 1 or not directions.shape[1]:
            return shares, strangers
        for start in range(0, len(directions), _BLOCK):
            similar = directions[start : start + _BLOCK] @ self._directions.T
            rows = np.arange(len(similar))
            if itself:
                similar[rows, start + rows] = -np.inf
                other = self._labels[start + rows, None] != self._labels
                strangers[start + rows] = np.where(other, similar, -1).max(axis=1)
            nearest = np.argpartition(-similar, count - 1, axis=1)[:, :count]
            shares[start + rows] = (of_class[nearest].sum(axis=1) + frequency) / (count + 1)
        return shares, strangers


def _terms(probabilities: Array, shares: Floats, opinion: Floats | None) -> Floats:
    """The terms of the model `[m, classes, 2]`, or 3 with a second network's `opinion` `[m, classes]`."""
    terms = [np.log(np.maximum(probabilities.astype(np.float64), _LEAST)), np.log(shares)]
    return np.stack([*terms, *([] if opinion is None else [np.log(opinion)])], axis=2)


def _softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _fitted(terms: Floats, labels: NDArray[np.integer[Any]]) -> Floats:
    """The weights of most likelihood; never negative."""
    rows = np.arange(len(labels))

    def loss(weights: Floats) -> tuple[float, Floats]:
        chances = _softmax(terms @ weights)
        slope = np.einsum("nk,nkt->nt", chances, terms) - terms[rows, labels]
        return float(-np.log(np.maximum(chances[rows, labels], 1e-300)).mean()), slope.mean(axis=0)

    count = terms.shape[2]
    found = minimize(loss, np.eye(count)[0], jac=True, method="L-BFGS-B", bounds=[(0, _MOST_WEIGHT)] * count)
    return np.asarray(found.x)
