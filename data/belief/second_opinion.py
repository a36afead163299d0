"""A second network's opinion of images: a head fitted to its features of control images, and how sure that is.

The network may have learned other classes: that it learned other pictures, and errs elsewhere than the root, is what
it is for. The head is one logistic regression for all classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

Floats = NDArray[np.float64]
Array = NDArray[np.floating[Any]]

_PARTS = 5
_SPREAD = 4.0  # variance of a class's score before anything is fitted, however many features; chosen on CIFAR-10


class SecondOpinion:
    """Fitted to `features` `[n, d]` and `labels` `[n]` of control images, of `classes` classes.

    `on_control` `[n, classes]` is what it says of those, each by a head fitted to four fifths of the others: so that
    whoever weighs it against other evidence does not take it for surer than it is.
    """

    def __init__(self, features: Array, labels: NDArray[np.integer[Any]], classes: int) -> None:
        self._classes = classes
        self._frequency = (np.bincount(labels, minlength=classes) + 1) / (len(labels) + classes)
        part = np.arange(len(labels)) % _PARTS
        self.on_control = np.tile(self._frequency, (len(labels), 1))
        for number in range(_PARTS):
            mine = part == number
            if mine.any():
                self.on_control[mine] = self._said(self._fit(features[~mine], labels[~mine]), features[mine])
        self._head = self._fit(features, labels)

    def chances(self, features: Array) -> Floats:
        """The chance of each class `[m, classes]`; where features are not finite, how frequent each class is."""
        return self._said(self._head, features)

    def _fit(self, features: Array, labels: NDArray[np.integer[Any]]) -> Pipeline | None:
        """None where there is nothing to tell apart."""
        if len(np.unique(labels)) < 2:
            return None
        head: Pipeline = make_pipeline(
            StandardScaler(), LogisticRegression(C=_SPREAD / features.shape[1], max_iter=300)
        )
        head.fit(features, labels)
        return head

    def _said(self, head: Pipeline | None, features: Array) -> Floats:
        chances = np.tile(self._frequency, (len(features), 1))
        finite = np.isfinite(features).all(axis=1)
        if head is not None and finite.any():
            rows = np.zeros((finite.sum(), self._classes))
            rows[:, head.classes_] = head.predict_proba(features[finite])
            floor = 1 / (len(self.on_control) + 1)  # as rare as so many control images can show
            chances[finite] = (1 - floor) * rows + floor * self._frequency
        return np.asarray(chances)
