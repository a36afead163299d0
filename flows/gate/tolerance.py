"""How many flips each limit lets pass with so many gate images, at the first look and at later ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from errata.flows.gate.counts import Counts, Sample
from errata.flows.gate.criterion import Name, limit_of
from errata.flows.gate.slices import MOST_CLUSTERS
from errata.flows.gate.spending import confidence_at
from errata.flows.params import GateParams

LATER = (1, 10, 35, 150)  # looks that are told of
HEADING = "Flips that each limit lets pass at a look (-: not even none); after the last look nothing passes"
_NEVER, _MOST = 0, 10**5


@dataclass(frozen=True)
class Tolerance:
    """A criterion whose smallest group has `n` images: `flips[i]` of them pass at look `looks[i]`, None: not even none.

    `last` is the last look at which no flip at all still passes, 0 if there is none.
    """

    name: Name
    n: int
    limit: float
    looks: tuple[int, ...]
    flips: tuple[int | None, ...]
    last: int

    @property
    def cells(self) -> tuple[str, ...]:
        """As columns."""
        told = ("-" if each is None else str(each) for each in self.flips)
        last = f"over {_MOST}" if self.last >= _MOST else str(self.last) if self.last else "none"
        return (self.name.replace("_", " "), str(self.n), f"{self.limit:.2%}", *told, last)


def tolerance_head(looks: Sequence[int]) -> tuple[str, ...]:
    """The names of the columns."""
    return ("criterion", "images", "limit", *(f"look {look}" for look in looks), "last look")


def tolerances_sentence(rows: Sequence[Tolerance]) -> str:
    """What the limits let pass at the first of the rows' looks, for a log."""
    told = (
        f"{row.name.replace('_', ' ')} {'nothing' if row.flips[0] is None else row.flips[0]} of {row.n}" for row in rows
    )
    return f"flips that the gate's limits let pass at look {rows[0].looks[0]}: {', '.join(told)}"


def tolerances(
    labels: NDArray[np.int64], classes: int, params: GateParams, looks: Sequence[int] = LATER
) -> list[Tolerance]:
    """What an edit's limits tolerate on a gate split with `labels` `[n]`, if nothing comes out better."""
    return [
        Tolerance(
            name,
            n,
            limit_of(name, params).value,
            tuple(looks),
            tuple(_most_flips(name, n, groups, confidence_at(look, params), params) for look in looks),
            _last_look(name, n, groups, params),
        )
        for name, n, groups in _groups(labels, classes, params)
    ]


def _groups(labels: NDArray[np.int64], classes: int, params: GateParams) -> Iterator[tuple[Name, int, int]]:
    """Each criterion with the images of its smallest group, and how many groups (at most) are bounded together."""
    yield Name.NEGATIVE_FLIPS, len(labels), 1
    yield Name.DRAWDOWN, len(labels), 1
    yield Name.BOUNDARY_FLIPS, math.ceil(params.boundary * len(labels)), 1
    yield Name.RECALL_DROP, int(np.bincount(labels, minlength=classes).min()), classes
    fewest = params.slice_images
    slices = min(len(labels) // fewest, classes * (classes - 1)) + min(MOST_CLUSTERS, len(labels) // (2 * fewest))
    yield Name.SLICE_FLIPS, fewest, max(slices, 1)


def _passes(name: Name, flips: int, n: int, groups: int, confidence: float, params: GateParams) -> bool:
    if n == 0:
        return False
    counts = (Counts(n, flips),)
    sample = Sample("difference", counts) if name in {Name.DRAWDOWN, Name.RECALL_DROP} else Sample("rate", counts)
    return sample.bound(1 - (1 - confidence) / groups) <= limit_of(name, params).value


def _most_flips(name: Name, n: int, groups: int, confidence: float, params: GateParams) -> int | None:
    most = math.floor(limit_of(name, params).value * n)
    return next((flips for flips in range(most, -1, -1) if _passes(name, flips, n, groups, confidence, params)), None)


def _last_look(name: Name, n: int, groups: int, params: GateParams) -> int:
    low, high = _NEVER, _MOST
    while low < high:
        middle = (low + high + 1) // 2
        if _passes(name, 0, n, groups, confidence_at(middle, params), params):
            low = middle
        else:
            high = middle - 1
    return low
