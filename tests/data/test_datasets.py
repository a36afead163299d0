"""Digits against scikit-learn's own numbers; folders and tables against the files that they name."""

import errno
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from errata.data.datasets import LabelledImages, load_dataset
from errata.data.images import Pixels, encode_png
from errata.data.splits import load_split, save_splits
from errata.data.spool import spooled
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
    with pytest.raises(DataError, match="only csv, webdataset, parquet have columns"):
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


def tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_webdataset_is_read_in_the_order_of_its_samples(tmp_path: Path) -> None:
    pixels = [np.full((6, 6, 3), value, np.uint8) for value in (10, 20, 30)]
    png = [encode_png(each) for each in pixels]
    told = json.dumps({"label": "dog", "camera": "south"}).encode()
    both = json.dumps({"camera": "north"}).encode()
    tar(tmp_path / "1.tar", {"b/7.1.png": png[0], "b/8.json": told, "b/8.PNG": png[1]})
    with pytest.raises(DataError, match=r"1\.tar: b/7 has 1\.png; give each sample one image"):
        load_dataset("webdataset", tmp_path, image_shape=(6, 6, 3))
    tar(
        tmp_path / "1.tar",
        {"b/7.png": png[0], "b/7.cls": b"cat\n", "b/7.json": both, "b/8.json": told, "b/8.PNG": png[1]},
    )
    tar(tmp_path / "0.tar", {"z.cls": b"cat", "z.json": both, "z.png": png[2]})
    found = load_dataset("webdataset", tmp_path, image_shape=(6, 6, 3), columns=["camera"])
    assert found.classes == ("cat", "dog")
    assert found.labels.tolist() == [0, 0, 1]
    assert found.columns["camera"].tolist() == ["north", "north", "south"]
    assert np.array_equal(found.images, np.stack([pixels[2], pixels[0], pixels[1]]))
    (tmp_path / "2.tar").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"2\.tar: .*as WebDataset writes them"):
        load_dataset("webdataset", tmp_path, image_shape=(6, 6, 3))
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"none has no \.tar file"):
        load_dataset("webdataset", tmp_path / "none", image_shape=(6, 6, 3))


def test_parquet_as_pandas_and_as_hugging_face_write_it(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pixels = [np.full((6, 6, 3), value, np.uint8) for value in (10, 20)]
    plain = {"label": ["dog", "cat"], "image": [encode_png(each) for each in pixels], "camera": ["north", "south"]}
    (tmp_path / "plain").mkdir()
    parquet.write_table(arrow.table(plain), tmp_path / "plain" / "a.parquet")
    found = load_dataset("parquet", tmp_path / "plain", image_shape=(6, 6, 3), columns=["camera"])
    assert (found.classes, found.labels.tolist()) == (("cat", "dog"), [1, 0])
    assert found.columns["camera"].tolist() == ["north", "south"]
    assert np.array_equal(found.images, np.stack(pixels))

    def hugging(labels: list[int]) -> Path:
        note = {"info": {"features": {"label": {"names": ["worm", "ant"]}}}}
        images = [{"bytes": encode_png(each), "path": None} for each in pixels]
        table = arrow.table({"image": images, "label": labels})
        parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(note)}), tmp_path / "b.parquet")
        return tmp_path / "b.parquet"

    other = load_dataset("parquet", hugging([0, 1]), image_shape=(6, 6, 3))
    assert [other.classes[label] for label in other.labels] == ["worm", "ant"]
    with pytest.raises(DataError, match=r"row 1 has label 2, the file names 2"):
        load_dataset("parquet", hugging([0, 2]), image_shape=(6, 6, 3))
    wrong: dict[str, Any] = {"image": ["text"], "label": ["dog"]}
    parquet.write_table(arrow.table(wrong), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="row 0 lacks the bytes of its image"):
        load_dataset("parquet", tmp_path / "b.parquet", image_shape=(6, 6, 3))
    with pytest.raises(DataError, match="with the columns image, label, site"):
        load_dataset("parquet", tmp_path / "plain", image_shape=(6, 6, 3), columns=["site"])


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="check the disk"):
        spooled(full(), (6, 6, 3), tmp_path)


def full() -> Iterator[Pixels]:
    yield np.zeros((6, 6, 3), np.uint8)
    raise OSError(errno.ENOSPC, "No space left on device")
