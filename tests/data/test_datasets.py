"""Digits against scikit-learn's own numbers; folders and tables against the files that they name."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from errata.data.datasets import LabelledImages, load_dataset
from errata.data.images import encode_png
from errata.data.splits import load_split, save_splits
from errata.editing.errors import DataError


def test_digits_are_scaled_to_bytes() -> None:
    digits, source = load_dataset("digits"), load_digits()
    assert digits.images.shape == (1797, 8, 8, 1)
    assert digits.classes == tuple("0123456789")
    assert np.array_equal(digits.labels, source.target)
    assert digits.images.min() == 0
    assert digits.images.max() == 255
    assert np.abs(digits.images[..., 0] / 255 - source.images / 16).max() <= 0.5 / 255 + 1e-12


def write(folder: Path) -> list[np.ndarray]:
    pixels = [np.full((6, 6, 3), value, np.uint8) for value in (10, 20, 30)]
    for name, image in zip(("cat/1.png", "cat/2.png", "dog/x.png"), pixels, strict=True):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(encode_png(image))
    return pixels


def test_a_folder_of_folders(tmp_path: Path) -> None:
    pixels = write(tmp_path)
    (tmp_path / "cat" / ".hidden").write_text("not an image")
    found = load_dataset("folder", tmp_path, image_shape=(6, 6, 3))
    assert found.classes == ("cat", "dog")
    assert found.labels.tolist() == [0, 0, 1]
    assert np.array_equal(found.images, np.stack(pixels))


def test_a_table_of_paths(tmp_path: Path) -> None:
    pixels = write(tmp_path)
    table = tmp_path / "table.csv"
    table.write_text("label,path\ndog,dog/x.png\ncat,cat/2.png\n")
    found = load_dataset("csv", table, image_shape=(6, 6, 1))
    assert found.classes == ("cat", "dog")
    assert found.labels.tolist() == [1, 0]
    assert np.array_equal(found.images[..., 0], np.stack([pixels[2], pixels[1]])[..., 0])


def test_declared_columns_follow_their_images_into_a_split_and_back(tmp_path: Path) -> None:
    write(tmp_path)
    table = tmp_path / "table.csv"
    table.write_text("camera,label,path\nnorth,dog,dog/x.png\nsouth,cat,cat/2.png\n")
    found = load_dataset("csv", table, image_shape=(6, 6, 1), columns=["camera"])
    assert found.columns["camera"].tolist() == ["north", "south"]
    save_splits({"gate": found.ordered(["dog", "cat"]).take(np.array([1, 0]))}, tmp_path / "splits")
    back = load_split(tmp_path / "splits", "gate")
    assert (back.labels.tolist(), back.columns["camera"].tolist()) == ([1, 0], ["south", "north"])
    with pytest.raises(DataError, match="columns path, label and site"):
        load_dataset("csv", table, image_shape=(6, 6, 1), columns=["site"])
    with pytest.raises(DataError, match="only a CSV file has columns"):
        load_dataset("folder", tmp_path, image_shape=(6, 6, 1), columns=["camera"])


def test_each_fault_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="use one of digits, cifar10"):
        load_dataset("mnist")
    with pytest.raises(DataError, match="needs a root"):
        load_dataset("cifar10")
    with pytest.raises(DataError, match="set download"):
        load_dataset("cifar10", tmp_path)
    with pytest.raises(DataError, match="columns path and label"):
        load_dataset("csv", tmp_path / "none.csv", image_shape=(6, 6, 3))
    with pytest.raises(DataError, match="has no images"):
        load_dataset("folder", tmp_path, image_shape=(6, 6, 3))
    write(tmp_path)
    with pytest.raises(DataError, match="set image_shape"):
        load_dataset("folder", tmp_path)
    (tmp_path / "dog" / "x.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"x\.png: the image cannot be decoded"):
        load_dataset("folder", tmp_path, image_shape=(6, 6, 3))


def test_labels_must_fit_their_images_and_classes() -> None:
    images = np.zeros((2, 4, 4, 1), np.uint8)
    with pytest.raises(DataError, match="labels must be"):
        LabelledImages(images, np.array([0, 2]), ("a", "b"))
    with pytest.raises(DataError, match="no data set"):
        LabelledImages(images, np.array([0]), ("a",))
