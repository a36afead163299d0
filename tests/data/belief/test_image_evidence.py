"""What images show: calibrated on control images, also where the model is too sure of itself or has learned wrong."""

import numpy as np
import pytest
from numpy.typing import NDArray

from errata.data.belief.image_evidence import ImageEvidence

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
