"""Doubt: the estimated chance that the class of a claim is wrong. Arrays and names in, numbers out: a pure function.

Everybody errs now and then: with probability `e` a person says another class than the true one. Then what people say of
an image is evidence for each class by Bayes' rule, as in Dawid and Skene (1979), from what the image itself shows
(`data.belief.image_evidence`):

    P(y | image, said)  ~  P(y | image) * product over the classes c that somebody says of
                           product of (1 - e_r) over the people r who say c       if c = y
                           q(c | y, image) * product of e_r over them             if not

`q` is how likely a mistake is c: half of the mistakes follow what the image looks like, half are any class. It counts
once for a class, not for each person: whoever errs after the first repeats the first one's error. People do take the
same picture for the same wrong thing, and two who lie together say one thing.

A person's `e` comes from what else that person said, compared with what is to be expected. A model with accuracy A is
contradicted by somebody with error e wrongly with odds A e : (1 - A)(1 - e), so the share of a person's claims that are
wrong gives e. It is estimated from the doubts of the person's claims on other images and from those of earlier nights,
beside `_PRIOR_CLAIMS` claims of an ordinary person, and in a few rounds, as in Dawid and Skene.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_ANY_CLASS = 0.5  # the share of mistakes that may be any class
_PRIOR_CLAIMS = 10.0
_ROUNDS = 3
_LEAST_ERROR, _MOST_ERROR = 0.05, 0.95  # nobody is taken to be surer than this, nor more surely wrong


@dataclass(frozen=True, order=True)
class Opinion:
    """Somebody says that the image in row `image` is of class `claimed`; `reporter` is one name for one person."""

    image: int
    claimed: int
    reporter: str


@dataclass(frozen=True)
class Record:
    """How many of a person's earlier claims turned out right, and how many wrong."""

    right: float = 0.0
    wrong: float = 0.0


def estimate_doubts(
    posterior: Floats,
    opinions: Iterable[Opinion],
    error: float,
    accuracy: float,
    near: Iterable[tuple[int, int]] = (),
    records: Mapping[str, Record] | None = None,
) -> dict[tuple[int, int], float]:
    """The doubt of every claim, by image and class: 0 to 1.

    `posterior` `[images, classes]`: the chance of each class before anybody is heard; `error`: how often an ordinary
    person says a wrong class; `accuracy`: of the model that the claims contradict; `near`: pairs of images that show
    the same, so that who says a class of one says it of the other; `records`: what people said in earlier nights.
    The order of the opinions does not matter. What cannot be estimated has the doubt 1.
    """
    people = _people_by_side(sorted(set(opinions)), near)
    accuracy = float(np.clip(accuracy, 0.01, 0.99))
    base = _odds(accuracy) * _odds(error)
    expected = Record(right=_PRIOR_CLAIMS / (1 + base), wrong=_PRIOR_CLAIMS * base / (1 + base))
    by_image: defaultdict[int, dict[int, tuple[str, ...]]] = defaultdict(dict)
    for (image, claimed), names in people.items():
        by_image[image][claimed] = names
    doubts = dict.fromkeys(people, 0.0)
    sums: dict[str, Record] = {}
    for number in range(_ROUNDS):
        before = doubts
        doubts = {}
        for image, sides in by_image.items():
            own = {(image, claimed): before[image, claimed] for claimed in sides}
            errors = {
                name: _error(_others(name, sides, own, sums, records or {}, first=not number), expected, accuracy)
                for names in sides.values()
                for name in names
            }
            doubts |= {(image, claimed): doubt for claimed, doubt in _judge(posterior[image], sides, errors).items()}
        sums = _sums(people, doubts)
    return doubts


def _people_by_side(
    opinions: Sequence[Opinion], near: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], tuple[str, ...]]:
    """Who says a class of an image, or of one near it."""
    said: defaultdict[tuple[int, int], set[str]] = defaultdict(set)
    of_image: defaultdict[int, set[int]] = defaultdict(set)
    for each in opinions:
        said[each.image, each.claimed].add(each.reporter)
        of_image[each.image].add(each.claimed)
    shared = {side: set(names) for side, names in said.items()}
    for one, other in near:
        for claimed in of_image[one] & of_image[other]:
            shared[one, claimed] |= said[other, claimed]
            shared[other, claimed] |= said[one, claimed]
    return {side: tuple(sorted(names)) for side, names in sorted(shared.items())}


def _sums(
    people: Mapping[tuple[int, int], tuple[str, ...]], doubts: Mapping[tuple[int, int], float]
) -> dict[str, Record]:
    """How many of each person's claims of tonight are right and wrong, as far as it is known."""
    right: defaultdict[str, float] = defaultdict(float)
    wrong: defaultdict[str, float] = defaultdict(float)
    for side, names in people.items():
        for name in names:
            right[name] += 1 - doubts[side]
            wrong[name] += doubts[side]
    return {name: Record(right[name], wrong[name]) for name in right}


def _others(
    name: str,
    sides: Mapping[int, tuple[str, ...]],
    own: Mapping[tuple[int, int], float],
    sums: Mapping[str, Record],
    records: Mapping[str, Record],
    *,
    first: bool,
) -> Record:
    """The person's claims of earlier nights, and those of tonight on other images: nobody vouches for himself."""
    earlier = records.get(name, Record())
    if first:
        return earlier
    here = [own[side] for side in own if name in sides[side[1]]]
    tonight = sums[name]
    return Record(earlier.right + tonight.right - len(here) + sum(here), earlier.wrong + tonight.wrong - sum(here))


def _error(record: Record, expected: Record, accuracy: float) -> float:
    odds = (expected.wrong + max(record.wrong, 0)) / (expected.right + max(record.right, 0)) / _odds(accuracy)
    return float(np.clip(odds / (1 + odds), _LEAST_ERROR, _MOST_ERROR))


def _judge(posterior: Floats, sides: Mapping[int, tuple[str, ...]], errors: Mapping[str, float]) -> dict[int, float]:
    """The doubt of each class that is said of one image."""
    classes = len(posterior)
    if classes < 2 or not np.isfinite(posterior).all():
        return dict.fromkeys(sides, 1.0)
    scores = np.log(np.maximum(posterior, 1e-300))
    for claimed, names in sides.items():
        looks = posterior[claimed] / np.maximum(1 - posterior, 1e-12)  # of the other classes than the true one
        mistaken = np.log((1 - _ANY_CLASS) * np.minimum(looks, 1) + _ANY_CLASS / (classes - 1))
        mistaken += sum(np.log(errors[name]) for name in names)
        mistaken[claimed] = sum(np.log1p(-errors[name]) for name in names)
        scores += mistaken
    chances = np.exp(scores - scores.max())
    chances /= chances.sum()
    return {claimed: float(1 - chances[claimed]) for claimed in sides}


def _odds(probability: float) -> float:
    return probability / (1 - probability)
