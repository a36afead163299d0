"""Splits: disjoint by pixels, stratified, repeatable to the byte, and verified on the way in."""

import hashlib
import io
import time
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from errata.data.datasets import LabelledImages, load_dataset
from errata.data.splits import (
    load_split,
    make_splits,
    pack_split,
    read_split,
    record_splits,
    refreshed,
    save_splits,
    split_rows,
    splits_digest,
    unpack_split,
    write_split,
)
from errata.data.spool import spooled
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


def test_what_is_packed_is_unpacked_in_memory(tmp_path: Path) -> None:
    split = replace(small(), columns={"camera": np.array(["x", "y"] * 30)})
    content = pack_split(split)
    found = unpack_split(content)
    assert (found.images == split.images).all()
    assert (found.labels == split.labels).all()
    assert (found.classes, list(found.columns)) == (split.classes, ["camera"])
    assert hashlib.sha256(content).hexdigest() == write_split(split, tmp_path / "same.npz").sha256


def test_a_file_that_is_no_split_is_damage_and_is_never_inflated() -> None:
    content = pack_split(small())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.npy", bytes(10**7))  # a thousandth of that on the disk
    for other in (b"", b"no split", content[:-30], content.replace(b"images.npy", b"pixels.npy"), packed.getvalue()):
        with pytest.raises(Damaged, match=r"a split .*restore it from a copy"):
            unpack_split(other)


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


def test_the_file_is_as_it_ever_was(tmp_path: Path) -> None:
    """Made by numpy's own writer before images were written block by block: other bytes would train new roots."""
    columns = {"camera": np.array(["north", "south"] * 30)}
    save_splits(make_splits(replace(small(), columns=columns), {"one": 20, "two": 20}, seed=0), tmp_path)
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    assert found == {
        "one.npz": "758504dfbb50d860fd60124ef3025a9262b177aa06626e8483c35422d538ba38",
        "two.npz": "92806774fc71b7a84476acbfd6ace5b4bc0af89799576e87a8882afa5ccd0ca7",
        "splits.json": "b550a084eceadbe7e634f00db54ea745bda6c555a4619d73ca7ad0969cdc2a87",
    }


def test_numpy_reads_what_was_chosen_in_its_order(tmp_path: Path) -> None:
    dataset, rows = small(200), np.arange(200)[::-3]
    entry = write_split(dataset, tmp_path / "some.npz", rows)
    with np.load(tmp_path / "some.npz") as arrays:
        assert np.array_equal(arrays["images"], dataset.images[rows])
        assert np.array_equal(arrays["labels"], dataset.labels[rows])
    assert entry.images == len(rows)
    nothing = write_split(dataset, tmp_path / "none.npz", rows[:0])
    assert read_split(tmp_path / "none.npz", nothing.sha256).images.shape == (0, 4, 4, 3)


def test_who_holds_a_split_keeps_it_when_another_is_written_and_cannot_change_it(tmp_path: Path) -> None:
    splits = make_splits(small(), {"one": 20, "two": 20}, seed=0)
    save_splits(splits, tmp_path)
    held = load_split(tmp_path, "one")
    save_splits({"one": splits["two"]}, tmp_path)
    assert np.array_equal(held.images, splits["one"].images)
    assert np.array_equal(load_split(tmp_path, "one").images, splits["two"].images)
    with pytest.raises(ValueError, match="read-only"):
        held.images[0] = 0


def test_splits_are_made_and_read_a_few_images_at_a_time(tmp_path: Path) -> None:
    rng, shape, count = np.random.default_rng(0), (64, 64, 3), 3000
    whole = count * 64 * 64 * 3  # 37 MB
    tracemalloc.start()
    try:
        images = spooled((rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(count)), shape, tmp_path)
        dataset = LabelledImages(images, np.arange(count) % 3, ("a", "b", "c"))
        rows = split_rows(dataset, {"one": 2000, "gate": -1}, seed=0)
        record_splits({name: write_split(dataset, tmp_path / f"{name}.npz", rows[name]) for name in rows}, tmp_path)
        one, gate = (load_split(tmp_path, name) for name in rows)
        again = refreshed({"gate": gate}, [one], tmp_path)
        brightness = [float(image.mean()) for each in again.values() for image in each.images]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < whole / 4
    assert len(brightness) == count
    assert np.array_equal(one.images[1000:1100], images[rows["one"][1000:1100]])
    assert list(tmp_path.glob("tmp*")) == []  # what is spooled has no name
