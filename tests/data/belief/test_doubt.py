"""Doubt on worlds whose truth is known: it orders, it is calibrated, and neither names nor friends get around it."""

import random
from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from errata.data.belief.doubt import Opinion, Record, estimate_doubts

Floats = NDArray[np.float64]


class World:
    """Images whose classes are drawn from what they show, and people who err now and then and contradict a model."""

    def __init__(self, seed: int, images: int = 3000, classes: int = 6) -> None:
        self.rng = np.random.default_rng(seed)
        self.classes = classes
        sharp = self.rng.choice([0.02, 0.2], size=(images, 1))
        draws = self.rng.gamma(np.repeat(sharp, classes, axis=1)) + 1e-4
        self.posterior: Floats = draws / draws.sum(axis=1, keepdims=True)
        self.truth = np.array([self.rng.choice(classes, p=row) for row in self.posterior])
        self.predicted = self.posterior.argmax(axis=1)

    @property
    def accuracy(self) -> float:
        return float((self.predicted == self.truth).mean())

    def say(self, name: str, error: float, images: Iterable[int]) -> list[Opinion]:
        """What one person claims: the classes that person sees, where the model says another."""
        found = []
        for image in images:
            said = self.truth[image]
            if self.rng.random() < error:
                weights = np.ones(self.classes) if self.rng.random() < 0.5 else self.posterior[image].copy()
                weights[said] = 0
                said = self.rng.choice(self.classes, p=weights / weights.sum())
            if said != self.predicted[image]:
                found.append(Opinion(image, int(said), name))
        return found

    def doubts(self, opinions: Iterable[Opinion], **rest: object) -> tuple[Floats, NDArray[np.bool_]]:
        """Each claim's doubt, and whether it is wrong."""
        found = estimate_doubts(self.posterior, opinions, 0.17, self.accuracy, **rest)  # type: ignore[arg-type]
        return np.array(list(found.values())), np.array([self.truth[image] != said for image, said in found])


@pytest.mark.parametrize("seed", range(3))
def test_doubt_orders_right_claims_before_wrong_ones_and_is_calibrated(seed: int) -> None:
    world = World(seed)
    opinions = [each for image in range(3000) for each in world.say(f"p{image}", 0.17, [image])]
    doubts, wrong = world.doubts(opinions)
    assert len(doubts) > 500
    assert roc_auc_score(wrong, doubts) > 0.75
    bins = np.digitize(doubts, [0.1, 0.3, 0.5, 0.7, 0.9])
    for number in range(6):
        mine = bins == number
        deviation = np.sqrt((doubts[mine] * (1 - doubts[mine])).sum())
        assert abs(doubts[mine].sum() - wrong[mine].sum()) <= 3 * deviation + 1


def test_a_second_person_lowers_doubt_and_one_who_says_otherwise_raises_it() -> None:
    posterior = np.array([[0.6, 0.3, 0.1]])
    alone, both = ([Opinion(0, 1, name) for name in names] for names in (["a"], ["a", "b"]))
    doubt = {n: estimate_doubts(posterior, said, 0.17, 0.8)[0, 1] for n, said in enumerate((alone, both))}
    against = estimate_doubts(posterior, [*alone, Opinion(0, 2, "c")], 0.17, 0.8)
    assert doubt[1] < doubt[0] / 2
    assert against[0, 1] > doubt[0]


def test_one_claim_is_bayes_rule_by_hand() -> None:
    """Of an ordinary person, on two classes: a mistake is the other class, whatever it looks like."""
    found = estimate_doubts(np.array([[0.7, 0.3]]), [Opinion(0, 1, "a")], 0.2, 0.9)
    assert found[0, 1] == pytest.approx(0.7 * 0.2 / (0.7 * 0.2 + 0.3 * 0.8))


def test_a_lazy_person_is_believed_less_than_a_careful_one() -> None:
    world = World(7)
    opinions = [each for name in range(20) for each in world.say(f"careful {name}", 0.05, range(name, 3000, 20))]
    opinions += world.say("lazy", 0.8, range(0, 3000, 10))
    found = estimate_doubts(world.posterior, opinions, 0.17, world.accuracy)
    of = {
        name: [found[each.image, each.claimed] for each in opinions if each.reporter.startswith(name)]
        for name in ("lazy", "careful")
    }
    same = np.array([[0.5, 0.3, 0.2]])
    earlier = {"lazy": Record(2, 20), "careful": Record(20, 2)}
    alone = {name: estimate_doubts(same, [Opinion(0, 1, name)], 0.17, 0.8, records=earlier)[0, 1] for name in earlier}
    assert np.mean(of["lazy"]) > np.mean(of["careful"]) + 0.2
    assert alone["careful"] < estimate_doubts(same, [Opinion(0, 1, "new")], 0.17, 0.8)[0, 1] < alone["lazy"]


def test_nobody_vouches_for_himself() -> None:
    """A claim's own doubt is no part of the record by which it is judged: alone, one round is as good as three."""
    posterior = np.array([[0.9, 0.1]])
    first = estimate_doubts(posterior, [Opinion(0, 1, "a")], 0.2, 0.8)
    assert first[0, 1] == pytest.approx(0.9 * 0.2 / (0.9 * 0.2 + 0.1 * 0.8))


def test_a_pair_that_agrees_on_an_implausible_class_is_still_doubted() -> None:
    world = World(1)
    clear = [int(image) for image in np.flatnonzero(world.posterior.max(axis=1) > 0.98)[:40]]
    pair = [Opinion(image, int(world.posterior[image].argmin()), name) for image in clear for name in ("a", "b")]
    honest = [each for image in range(3000) for each in world.say(f"p{image}", 0.17, [image])]
    found = estimate_doubts(world.posterior, [*pair, *honest], 0.17, world.accuracy)
    assert min(found[each.image, each.claimed] for each in pair) > 0.5


def test_people_who_say_the_same_of_a_near_image_count_but_once() -> None:
    posterior = np.array([[0.6, 0.4], [0.6, 0.4]])
    one = [Opinion(0, 1, "a"), Opinion(1, 1, "a")]
    two = [Opinion(0, 1, "a"), Opinion(1, 1, "b")]
    apart, near, oneself = (
        estimate_doubts(posterior, said, 0.2, 0.8, near=pairs)[0, 1]
        for said, pairs in ((two, []), (two, [(0, 1)]), (one, [(0, 1)]))
    )
    assert near < apart / 2
    assert oneself > near


def test_the_order_of_the_opinions_does_not_matter() -> None:
    world = World(3, images=300)
    opinions = [each for name in range(12) for each in world.say(f"p{name}", 0.3, range(name % 3, 300, 3))]
    found = estimate_doubts(world.posterior, opinions, 0.17, 0.8)
    random.Random(0).shuffle(opinions)
    assert estimate_doubts(world.posterior, [*opinions, opinions[0]], 0.17, 0.8) == found


@pytest.mark.parametrize("posterior", [[[np.nan, 0.5]], [[1.0]], [[np.inf, 0.0]]])
def test_what_cannot_be_estimated_is_fully_doubted(posterior: list[list[float]]) -> None:
    claimed = len(posterior[0]) - 1
    assert estimate_doubts(np.array(posterior), [Opinion(0, claimed, "a")], 0.17, 0.8) == {(0, claimed): 1.0}


def test_ties_and_certainties_are_numbers() -> None:
    posterior = np.array([[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    found = estimate_doubts(posterior, [Opinion(image, 1, name) for image in range(3) for name in "ab"], 0.17, 1.0)
    assert all(0 <= doubt <= 1 for doubt in found.values())
    assert found[1, 1] > 0.99 and found[2, 1] < 0.01
    assert estimate_doubts(posterior, [], 0.17, 0.9) == {}
