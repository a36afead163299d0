"""Splits: disjoint by pixels, stratified, repeatable to the byte, and verified on the way in."""

import hashlib
import time
from pathlib import Path

import numpy as np
import pytest

from errata.data.datasets import LabelledImages, load_dataset
from errata.data.splits import load_split, make_splits, save_splits, splits_digest
from errata.editing.errors import Damaged, DataError

SIZES = {"train": 700, "reference": 300, "calibration": 200, "gate": 300, "test": -1}


def small(n: int = 60, seed: int = 0) -> LabelledImages:
    rng = np.random.default_rng(seed)
    return LabelledImages(rng.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8), np.arange(n) % 3, ("a", "b", "c"))


def pixels(split: LabelledImages) -> set[bytes]:
    return {image.tobytes() for image in split.images}


def test_splits_of_the_digits_are_disjoint_and_stratified() -> None:
    digits = load_dataset("digits")
    splits = make_splits(digits, SIZES, seed=0)
    assert [len(split) for split in splits.values()] == [700, 300, 200, 300, 297]
    seen: set[bytes] = set()
    shares = np.bincount(digits.labels) / len(digits)
    for split in splits.values():
        assert not seen & pixels(split)
        seen |= pixels(split)
        assert np.abs(np.bincount(split.labels, minlength=10) - shares * len(split)).max() <= 1.0 + 1e-9
    assert len(seen) == len(digits)


def test_equal_images_never_straddle_and_contradictory_ones_go() -> None:
    dataset = small()
    images, labels = dataset.images.copy(), dataset.labels.copy()
    images[30:40] = images[0:10]  # 10 copies under the same label (30 is a multiple of 3)
    images[51] = images[50]  # one pair that contradicts itself
    splits = make_splits(LabelledImages(images, labels, dataset.classes), {"one": 20, "two": -1}, seed=1)
    assert len(splits["one"]) + len(splits["two"]) == 60 - 10 - 2
    assert not pixels(splits["one"]) & pixels(splits["two"])
    assert images[50].tobytes() not in pixels(splits["one"]) | pixels(splits["two"])


def test_the_seed_decides() -> None:
    first, again, other = (make_splits(small(), {"one": 20, "two": 20}, seed) for seed in (5, 5, 6))
    assert all(np.array_equal(first[name].images, again[name].images) for name in first)
    assert pixels(first["one"]) != pixels(other["one"])


@pytest.mark.parametrize("sizes", [{"one": 61}, {"one": -1, "two": -1}, {"one": -2}])
def test_sizes_that_cannot_be_had(sizes: dict[str, int]) -> None:
    with pytest.raises(DataError, match="cannot be had"):
        make_splits(small(), sizes, seed=0)


def test_saving_gives_the_same_bytes_at_another_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = make_splits(small(), {"one": 20, "two": 20}, seed=0)
    save_splits(splits, tmp_path / "now")
    monkeypatch.setattr(time, "time", lambda: 2e9)
    save_splits(splits, tmp_path / "later")
    for name in ("one.npz", "two.npz", "splits.json"):
        assert (tmp_path / "now" / name).read_bytes() == (tmp_path / "later" / name).read_bytes()
    assert splits_digest(tmp_path / "now") == hashlib.sha256((tmp_path / "now/splits.json").read_bytes()).hexdigest()


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    splits = make_splits(small(), {"one": 20, "two": 20}, seed=0)
    save_splits(splits, tmp_path)
    for name, split in splits.items():
        loaded = load_split(tmp_path, name)
        assert np.array_equal(loaded.images, split.images)
        assert np.array_equal(loaded.labels, split.labels)
        assert loaded.classes == split.classes


def test_one_changed_byte_is_damage(tmp_path: Path) -> None:
    save_splits(make_splits(small(), {"one": 20}, seed=0), tmp_path)
    content = bytearray((tmp_path / "one.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "one.npz").write_bytes(content)
    with pytest.raises(Damaged, match=r"one\.npz"):
        load_split(tmp_path, "one")
    (tmp_path / "one.npz").unlink()
    with pytest.raises(Damaged, match=r"one\.npz"):
        load_split(tmp_path, "one")


def test_what_was_never_saved(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="make the splits"):
        load_split(tmp_path, "one")
    save_splits(make_splits(small(), {"one": 20}, seed=0), tmp_path)
    with pytest.raises(DataError, match="has no split 'two'"):
        load_split(tmp_path, "two")
    (tmp_path / "splits.json").write_text("{")
    with pytest.raises(Damaged, match="cannot be read"):
        splits_digest(tmp_path)
