"""What sources make of images: the root on views, heads on features, and their pool."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.doubt.people import Classes, Floats
from errata.editing.model import EditableModel, batched_features


def softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Opinions:
    """What one source makes of the control images and of those that people see: chances of classes."""

    control: Floats
    seen: Floats


def pooled(sources: list[Opinions], labels: Classes) -> Floats:
    """The log-linear pool of sources for the images that people see; its weights are of most likelihood on control."""
    control, seen = (
        np.stack([np.log(np.clip(getattr(each, part), 1e-7, 1)) for each in sources], axis=2)
        for part in ("control", "seen")
    )
    rows = np.arange(len(labels))

    def loss(weights: Floats) -> float:
        return float(-np.log(np.maximum(softmax(control @ weights)[rows, labels], 1e-300)).mean())

    found = minimize(loss, np.ones(len(sources)) / len(sources), method="L-BFGS-B", bounds=[(0, 10)] * len(sources))
    floor = 1 / (len(labels) + 1)
    return np.asarray((1 - floor) * softmax(seen @ found.x) + floor / seen.shape[1])


def head_on(control: Floats, labels: Classes, seen: Floats) -> Opinions:
    """A logistic regression on features of control images; of these, each is judged by four fifths of the others."""
    head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    return Opinions(
        cross_val_predict(head, control, labels, cv=5, method="predict_proba"),
        head.fit(control, labels).predict_proba(seen),
    )


def network_opinions(model: EditableModel, images: torch.Tensor) -> tuple[Floats, Floats, Floats]:
    """Chances, features, and chances on average over four views: mirrored, shifted by two pixels."""

    def chances(features: torch.Tensor) -> Floats:
        return np.asarray(torch.softmax(model.classify(features), 1).double().numpy())

    views = (images.flip(2), images.roll(2, 1), images.roll(2, 2).flip(2), images.roll((-2, -2), (1, 2)))
    with torch.no_grad():
        features = batched_features(model, images)
        seen = sum(chances(batched_features(model, view)) for view in views) / len(views)
        return chances(features), features.numpy(), np.asarray(seen)
