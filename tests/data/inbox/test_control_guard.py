"""Copies of control images are caught, distinct images are not; `benchmarks/control_guard.py` measures more of both."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from benchmarks.control_guard import COPIES, copies
from errata.data.datasets import load_dataset
from errata.data.images import Pixels, fit_image
from errata.data.inbox.control_guard import ControlGuard
from errata.data.kept_blocks import KeptBlocks
from errata.data.splits import make_splits
from errata.editing.errors import DataError


@pytest.fixture(scope="module")
def digits() -> tuple[Pixels, Pixels]:
    """Control images and others: distinct by construction."""
    splits = make_splits(load_dataset("digits"), {"control": 1047, "others": -1}, seed=0)
    return splits["control"].images, splits["others"].images


@pytest.fixture(scope="module")
def guard(digits: tuple[Pixels, Pixels]) -> ControlGuard:
    return ControlGuard(digits[0])


def test_distinct_digits_are_not_taken_for_copies(digits: tuple[Pixels, Pixels], guard: ControlGuard) -> None:
    assert (guard.match(digits[1]) == -1).all()


def test_the_threshold_of_the_same_images_is_kept(digits: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    class CalibratedError(Exception): ...

    class KnowsOnly(ControlGuard):
        def _calibrated(self) -> float:
            raise CalibratedError

    kept, images = KeptBlocks(tmp_path / "kept"), digits[0][:100]
    with pytest.raises(CalibratedError):
        KnowsOnly(images, kept)
    assert ControlGuard(images, kept).threshold == ControlGuard(images).threshold == KnowsOnly(images, kept).threshold
    with pytest.raises(CalibratedError):
        KnowsOnly(images[::-1], kept)
    again = ControlGuard(images, kept)  # what the coarse pass compares is kept too
    assert np.array_equal(again.match(images), ControlGuard(images).match(images))
    assert np.array_equal(again.match(digits[1]), ControlGuard(images).match(digits[1]))


def test_a_control_image_itself_is_found(digits: tuple[Pixels, Pixels], guard: ControlGuard) -> None:
    assert np.array_equal(guard.match(digits[0][:200]), np.arange(200))


@pytest.mark.parametrize(
    ("name", "at_least"),
    [
        ("JPEG, quality 90", 0.99),
        ("JPEG, quality 75", 0.97),
        ("enlarged 2 times", 0.97),
        ("enlarged 7.3 times", 0.99),
        ("cropped to 97% of each side", 0.99),
        ("cropped to 95% of each side", 0.85),
    ],
)
def test_copies_are_caught(digits: tuple[Pixels, Pixels], guard: ControlGuard, name: str, at_least: float) -> None:
    found = guard.match(copies(digits[0][:200], COPIES[name], np.random.default_rng(1)))
    assert np.mean(found == np.arange(200)) >= at_least


def test_light_and_contrast_do_not_hide_a_copy(digits: tuple[Pixels, Pixels], guard: ControlGuard) -> None:
    darker = np.rint(digits[0][:100] * 0.7 + 20).astype(np.uint8)
    assert np.array_equal(guard.match(darker), np.arange(100))


def test_a_negative_is_another_image(digits: tuple[Pixels, Pixels], guard: ControlGuard) -> None:
    assert (guard.match(255 - digits[0][:50]) == -1).all()


def photographs(count: int, seed: int = 0) -> Pixels:
    """Smooth random colour fields of 32 x 32."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=(count, 4, 4, 3)).cumsum(axis=1)
    smooth = waves.repeat(8, axis=1).repeat(8, axis=2)
    for _ in range(6):
        smooth = (smooth + np.roll(smooth, 1, 1) + np.roll(smooth, 1, 2) + np.roll(smooth, (1, 1), (1, 2))) / 4
    low, high = smooth.min(axis=(1, 2, 3), keepdims=True), smooth.max(axis=(1, 2, 3), keepdims=True)
    scaled: Pixels = ((smooth - low) / (high - low) * 255).astype(np.uint8)
    return scaled


@pytest.mark.slow
def test_colour_images_have_a_coarse_and_a_fine_pass() -> None:
    control = photographs(150)
    guard = ControlGuard(control)
    assert 0 < guard.threshold < 0.5
    for name in ("JPEG, quality 75", "cropped to 95% of each side"):
        found = guard.match(copies(control[:40], COPIES[name], np.random.default_rng(1)))
        assert np.mean(found == np.arange(40)) >= 0.95
    assert (guard.match(photographs(150, seed=1)) == -1).mean() >= 0.99


def test_the_distance_is_the_unexplained_variance_of_a_least_squares_fit() -> None:
    """By hand, for the uncut window: regress the query on the image, the image blurred, and a constant."""
    control = photographs(2)
    query = photographs(1, seed=5)
    guard = ControlGuard(control)
    windows = guard._fine.bases(control.astype(np.float32))
    by_hand = []
    for image in control.astype(float):
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
        blurred = np.mean([padded[y : y + 32, x : x + 32] for y in range(3) for x in range(3)], axis=0)
        columns = np.stack([image.ravel(), blurred.ravel(), np.ones(image.size)], axis=1)
        target = query[0].ravel().astype(float)
        left = target - columns @ np.linalg.lstsq(columns, target, rcond=None)[0]
        by_hand.append((left**2).sum() / ((target - target.mean()) ** 2).sum())
    unit = query[0].transpose(2, 0, 1).ravel().astype(float)
    unit = (unit - unit.mean()) / np.linalg.norm(unit - unit.mean())
    ours = [1 - (sharp[0] @ unit) ** 2 - (extra[0] @ unit) ** 2 for sharp, extra in zip(*windows, strict=True)]
    assert np.allclose(ours, by_hand, atol=1e-4)


def test_blank_images_match_only_themselves() -> None:
    control = np.concatenate([photographs(20), np.full((1, 32, 32, 3), 7, np.uint8)])
    guard = ControlGuard(control)
    assert guard.match(np.full((1, 32, 32, 3), 7, np.uint8)).tolist() == [20]
    assert guard.match(np.full((1, 32, 32, 3), 8, np.uint8)).tolist() == [-1]


def test_no_or_one_control_image_is_compared_exactly() -> None:
    one = photographs(1)
    assert ControlGuard(one).match(np.concatenate([one, photographs(1, seed=1)])).tolist() == [0, -1]
    assert ControlGuard(one[:0]).match(one).tolist() == [-1]
    assert ControlGuard(one).match(one[:0]).tolist() == []


def test_other_shapes_are_refused(guard: ControlGuard) -> None:
    with pytest.raises(DataError, match="fit them first"):
        guard.match(np.zeros((1, 9, 8, 1), np.uint8))
    with pytest.raises(DataError, match="no control images"):
        ControlGuard(np.zeros((8, 8, 1), np.uint8))


@pytest.mark.slow
def test_photos_of_224_pixels() -> None:
    """The fine pass shrinks them; copies are caught as well, and places beside them are none."""
    pictures = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    places = [(picture, y, x) for picture in pictures for y in (0, 140) for x in (0, 140, 280, 420)]

    def photos(shift: int) -> Pixels:
        """Squares of 140 pixels, enlarged, `shift` pixels away."""
        squares = (each[y + shift : y + shift + 140, x + shift : x + shift + 140] for each, y, x in places)
        return np.stack([fit_image(square, (224, 224, 3)) for square in squares])

    guard = ControlGuard(photos(0))
    for name in ("JPEG, quality 75", "enlarged 2 times", "cropped to 97% of each side"):
        found = guard.match(copies(photos(0)[::3], COPIES[name], np.random.default_rng(1)))
        assert np.array_equal(found, np.arange(len(places))[::3]), name
    assert (guard.match(photos(70)) == -1).all()
