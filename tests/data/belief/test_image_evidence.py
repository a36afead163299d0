"""What images show: calibrated on control images, also where the model is too sure of itself or has learned wrong."""

import numpy as np
import pytest
from numpy.typing import NDArray

from errata.data.belief.image_evidence import ImageEvidence
from errata.data.belief.second_opinion import SecondOpinion

Floats = NDArray[np.float64]
CENTRES = 2.0 * np.eye(4)


def blobs(seed: int, count: int) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Four Gaussian classes with their exact chances, which a model states cubed: far too surely."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    features = CENTRES[labels] + rng.normal(size=(count, 4))
    powers = np.exp(3 * features @ CENTRES.T)  # the centres are equally long, so only the product counts
    return powers / powers.sum(axis=1, keepdims=True), features, labels


def test_the_chances_are_those_of_the_world_where_the_model_is_too_sure() -> None:
    evidence = ImageEvidence(*blobs(0, 4000))
    probabilities, features, labels = blobs(1, 4000)
    chances = evidence.posterior(probabilities, features)
    assert chances.sum(axis=1) == pytest.approx(np.ones(4000))
    exact = np.exp(features @ CENTRES.T)
    exact /= exact.sum(axis=1, keepdims=True)
    assert np.abs(chances - exact).mean() < 0.02
    stated = chances.max(axis=1)
    for low, high in ((0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.0)):
        mine = (stated >= low) & (stated < high)
        right = chances[mine].argmax(axis=1) == labels[mine]
        deviation = np.sqrt((stated[mine] * (1 - stated[mine])).sum())
        assert abs(right.sum() - stated[mine].sum()) <= 3 * deviation


def test_neighbours_speak_where_the_model_is_blind() -> None:
    _, features, labels = blobs(0, 2000)
    evidence = ImageEvidence(np.full((2000, 4), 0.25), features, labels)
    _, unseen, truth = blobs(1, 500)
    chances = evidence.posterior(np.full((500, 4), 0.25), unseen)
    assert (chances.argmax(axis=1) == truth).mean() > 0.7


def test_near_are_copies_and_not_strangers() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 500)
    features = rng.normal(size=(500, 64)) + labels[:, None]
    evidence = ImageEvidence(np.full((500, 4), 0.25), features, labels)
    images = rng.normal(size=(3, 64)) * 2
    seen = np.concatenate([images, images[:1] + 0.01 * rng.normal(size=(1, 64)), np.full((1, 64), np.nan)])
    assert list(evidence.near(seen)) == [(0, 3)]


@pytest.mark.parametrize("count", [0, 1, 2, 50])
@pytest.mark.parametrize("columns", [0, 3])
def test_few_images_no_features_and_sure_models_give_chances(count: int, columns: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    evidence = ImageEvidence(np.eye(3)[labels], rng.normal(size=(count, columns)), labels)
    chances = evidence.posterior(np.eye(3), np.zeros((3, columns)))
    assert chances.sum(axis=1) == pytest.approx(np.ones(3))
    assert chances.min() >= 1 / (count + 1) / 3 - 1e-12  # what so few images cannot rule out


def test_what_is_no_number_stays_none_and_spoils_nothing_else() -> None:
    probabilities, features, labels = blobs(0, 300)
    probabilities[0], features[1] = np.nan, np.inf
    evidence = ImageEvidence(probabilities, features, labels)
    chances = evidence.posterior(probabilities, features)
    assert np.isnan(chances[:2]).all()
    assert np.isfinite(chances[2:]).all()


def test_one_class() -> None:
    evidence = ImageEvidence(np.ones((5, 1)), np.ones((5, 2)), np.zeros(5, int))
    assert evidence.posterior(np.ones((1, 1)), np.ones((1, 2))).tolist() == [[1.0]]


def test_a_second_network_speaks_as_loud_as_control_images_let_it() -> None:
    """The model knows classes 0 and 1 from 2 and 3, the second network even from odd: together they know all."""
    rng = np.random.default_rng(0)

    def world(count: int) -> tuple[Floats, Floats, Floats, NDArray[np.int64]]:
        labels = rng.integers(0, 4, count)
        half, parity = (labels // 2 * 2 - 1) + rng.normal(size=count), (labels % 2 * 2 - 1) + rng.normal(size=count)
        upper = 1 / (1 + np.exp(-2 * half))  # exact, by Bayes' rule
        probabilities = np.stack([1 - upper, 1 - upper, upper, upper], axis=1) / 2
        noise = rng.normal(size=(count, 5))
        return probabilities, np.zeros((count, 0)), np.column_stack([5 * parity, noise]), labels

    probabilities, features, second, labels = world(4000)
    evidence = ImageEvidence(probabilities, features, labels, second)
    unseen, none, other, truth = world(4000)
    chances = evidence.posterior(unseen, none, other)
    alone = ImageEvidence(probabilities, features, labels).posterior(unseen, none)
    parity_odds = 1 / (1 + np.exp(-2 * other[:, 0] / 5))
    exact = np.stack(
        [
            unseen[:, 0] * 2 * (1 - parity_odds),
            unseen[:, 0] * 2 * parity_odds,
            unseen[:, 2] * 2 * (1 - parity_odds),
            unseen[:, 2] * 2 * parity_odds,
        ],
        axis=1,
    )
    assert np.abs(chances - exact).mean() < 0.02
    rows = np.arange(4000)
    assert np.log(chances[rows, truth]).mean() > np.log(alone[rows, truth]).mean() + 0.3
    # one that knows nothing is not heard
    deaf = ImageEvidence(probabilities, features, labels, noise := rng.normal(size=(4000, 20)))
    assert np.abs(deaf.posterior(unseen, none, noise) - alone).mean() < 0.02


def test_four_numbers_that_tell_the_classes_apart_are_heard_as_well_as_many() -> None:
    """Logits, of a network that learned the classes: exact here, and a few hundred control images show it."""
    _, logits, labels = blobs(0, 300)
    _, unseen, _ = blobs(1, 2000)
    powers = np.exp(unseen @ CENTRES.T)
    exact = powers / powers.sum(axis=1, keepdims=True)
    assert np.abs(SecondOpinion(logits, labels, 4).chances(unseen) - exact).mean() < 0.05
