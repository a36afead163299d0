"""What the night's own claims teach: which mistakes people make, and what the claimed images show."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize

from benchmarks.doubt.people import ERROR, Classes, Floats, People
from benchmarks.doubt.sources import softmax


def after_votes(said: Classes, posterior: Floats, confusion: Floats) -> Floats:
    """The chance of each class `[n, classes]` once three people have `said` what they see `[n, 3]`: the formula of
    `data.belief.doubt` where everybody errs alike; `confusion` `[classes, classes]`: which class a mistake is."""
    scores = np.log(posterior)
    for row, votes in enumerate(said):
        for claimed in set(votes):
            count = (votes == claimed).sum()
            looks = np.minimum(posterior[row, claimed] / np.maximum(1 - posterior[row], 1e-12), 1)
            mistaken = np.log(0.5 * looks + 0.5 * confusion[:, claimed]) + count * np.log(ERROR)
            mistaken[claimed] = count * np.log1p(-ERROR)
            scores[row] += mistaken
    return softmax(scores)


def with_confusion(people: People, posterior: Floats, rounds: int = 5) -> Floats:
    """Doubt where the chance that a mistake about one class is another is learned from the night's claims alone (Dawid
    and Skene 1979, one confusion matrix for everybody, for no person says enough)."""
    classes = posterior.shape[1]
    confusion = np.full((classes, classes), 1 / (classes - 1))
    images = np.unique(people.sides()[:, 0])
    for _ in range(rounds):
        chances = after_votes(people.said[images], posterior[images], confusion)
        heard = np.stack([(people.said[images] == each).sum(1) for each in range(classes)], axis=1)
        mistakes = chances.T @ heard * (1 - np.eye(classes)) + 1
        np.fill_diagonal(mistakes, 0)
        confusion = mistakes / mistakes.sum(axis=1, keepdims=True)
    place = {image: row for row, image in enumerate(images)}
    return np.array([1 - chances[place[image], claimed] for image, claimed in people.sides()])


def learned_from_claims(
    people: People, posterior: Floats, control: tuple[Floats, Classes], features: Floats, folds: int = 5
) -> Floats:
    """What images show, where a head on their features learns from the night's own claims beside the control images
    (learning from crowds: Raykar et al. 2010, one round): a claimed image counts as each class by its chance after the
    votes, and is judged by a head that did not see it. Pooled with `posterior`, by weights of most likelihood."""
    classes = posterior.shape[1]
    images = np.unique(people.sides()[:, 0])
    mean, deviation = control[0].mean(0), control[0].std(0) + 1e-6
    known, claimed = ((each - mean) / deviation for each in (control[0], features[images]))
    confusion = np.full((classes, classes), 1 / (classes - 1))
    soft = after_votes(people.said[images], posterior[images], confusion)
    fold = np.random.default_rng(0).integers(0, folds, len(images))
    told = np.zeros_like(soft)
    for number in range(folds):
        rest = fold != number
        targets = np.concatenate([np.eye(classes)[control[1]], soft[rest]])
        told[~rest] = soft_head(np.concatenate([known, claimed[rest]]), targets, claimed[~rest])
    terms = np.log(np.clip(np.stack([posterior[images], told], axis=2), 1e-7, 1))

    def loss(weights: Floats) -> float:
        return float(-(np.log(np.maximum(softmax(terms @ weights), 1e-300)) * soft).sum(1).mean())

    found = minimize(loss, np.full(2, 0.5), method="L-BFGS-B", bounds=[(0, 10)] * 2)
    floor = 1 / (len(control[1]) + 1)
    shown = posterior.copy()
    shown[images] = (1 - floor) * softmax(terms @ found.x) + floor / classes
    return shown


def soft_head(features: Floats, targets: Floats, seen: Floats, penalty: float = 3e-3) -> Floats:
    """The chances that a logistic regression gives `seen`; `targets`: of what it is fitted to, each class's chance."""
    inputs, chances = (torch.from_numpy(each).float() for each in (features, targets))
    weight = torch.zeros(features.shape[1] + 1, targets.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weight], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        loss = -(torch.log_softmax(inputs @ weight[1:] + weight[0], 1) * chances).sum(1).mean()
        loss = loss + penalty * weight[1:].square().sum()
        loss.backward()
        return float(loss.detach())

    optimiser.step(closure)
    with torch.no_grad():
        return np.asarray(torch.softmax(torch.from_numpy(seen).float() @ weight[1:] + weight[0], 1).double().numpy())
