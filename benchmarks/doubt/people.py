"""Three people who say what images show: CIFAR-10N's labels, the claims that come of them, and their doubt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from errata.data.belief.doubt import Opinion, estimate_doubts
from errata.data.belief.trust import TrustSettings

Floats = NDArray[np.float64]
Classes = NDArray[np.int64]
ERROR = TrustSettings().prior_error


@dataclass(frozen=True)
class People:
    """What three people say of each image `[n, 3]`, under which names, what is true and what the network says `[n]`."""

    said: Classes
    names: np.ndarray
    truth: Classes
    predicted: Classes
    accuracy: float

    def part(self, rows: slice | Classes) -> People:
        """Some of the images."""
        return People(self.said[rows], self.names[rows], self.truth[rows], self.predicted[rows], self.accuracy)

    def sides(self) -> Classes:
        """Image and class of each claim `[claims, 2]`."""
        against = self.said != self.predicted[:, None]
        rows = np.flatnonzero(against.any(axis=1))
        return np.array(
            [(row, each) for row in rows for each in sorted(set(self.said[row])) if each != self.predicted[row]]
        )

    def wrong(self) -> np.ndarray:
        """Whether each claim is wrong."""
        image, claimed = self.sides().T
        return np.asarray(self.truth[image] != claimed)

    def votes(self) -> tuple[Classes, Classes]:
        """How many say what each claim says, and how many agree with the network."""
        image, claimed = self.sides().T
        return (self.said[image] == claimed[:, None]).sum(1), (self.said[image] == self.predicted[image][:, None]).sum(
            1
        )


def estimated(people: People, posterior: Floats, error: float = ERROR) -> Floats:
    """The doubt of each claim, as a night estimates it."""
    opinions = {
        Opinion(int(image), int(each), str(name))
        for image in np.unique(people.sides()[:, 0])
        for each, name in zip(people.said[image], people.names[image], strict=True)
    }
    found = estimate_doubts(posterior, opinions, error, people.accuracy)
    return np.array([found[int(image), int(claimed)] for image, claimed in people.sides()])


def apart(said: Classes) -> NDArray[np.str_]:
    """A name of its own for everybody who said something of an image `[n, people]`."""
    return np.array([[f"{image} {person}" for person in range(said.shape[1])] for image in range(len(said))])


def human_labels(path: Path, last: int = 5000) -> tuple[Classes, Classes]:
    """CIFAR-10N: true classes and three people's `[n]`, `[n, 3]`, of the last training images, 50,000 in all."""
    rebuild = np._core.multiarray._reconstruct  # type: ignore[attr-defined]
    allowed: list[Any] = [np.ndarray, np.dtype, np.dtypes.Int64DType, (rebuild, "numpy.core.multiarray._reconstruct")]
    with torch.serialization.safe_globals(allowed):
        found = torch.load(path, weights_only=True)
    said = np.stack([found[f"random_label{number}"] for number in (1, 2, 3)], axis=1)
    return found["clean_label"][-last:], said[-last:]
