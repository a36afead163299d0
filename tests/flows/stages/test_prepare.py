"""The splits as tables: what is told of them, and what refuses them before they are written."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from errata.data.datasets import LabelledImages
from errata.data.images import encode_png
from errata.editing.errors import DataError
from errata.flows.stages.prepare import check_source, check_splits, prepare
from errata.flows.workspace import Workspace
from tests.flows.conftest import REPOSITORY

CLASSES = ("cat", "dog")
SIZES = {"train": 40, "reference": 20, "calibration": 20, "gate": 20, "test": 20}


def make(seed: int = 0) -> dict[str, LabelledImages]:
    """Distinct images, both classes alike."""
    rng = np.random.default_rng(seed)
    return {
        name: LabelledImages(rng.integers(0, 256, (size, 8, 8, 1), dtype=np.uint8), np.arange(size) % 2, CLASSES)
        for name, size in SIZES.items()
    }


def broken(folder: Path, splits: dict[str, LabelledImages]) -> set[tuple[str, str, str]]:
    outcomes = check_splits(Workspace(folder), splits)
    return {(name, each.column, each.severity) for name, found in outcomes.items() for each in found if not each.holds}


@pytest.mark.slow
def test_splits_alike_are_told_of_nothing_and_shown(tmp_path: Path) -> None:
    assert broken(tmp_path, make()) == set()
    pages = {path.stem for path in (tmp_path / "data_docs" / "validations").rglob("*.html")}
    assert pages == {f"errata-{name}" for name in SIZES}


@pytest.mark.slow
def test_a_class_that_is_not_there_shares_and_light_that_differ_are_told(tmp_path: Path) -> None:
    splits = make()
    splits["gate"] = replace(splits["gate"], labels=np.zeros(20, np.int64))
    splits["test"] = replace(splits["test"], images=splits["test"].images // 2)
    outcomes = check_splits(Workspace(tmp_path), splits)
    found = {(name, each.column): each for name, some in outcomes.items() for each in some if not each.holds}
    assert {key for key in found if key[0] in {"gate", "test"}} == {("gate", "label"), ("test", "brightness")}
    seen = [each.observed for each in outcomes["gate"] if each.column == "label" and not each.holds]
    dogs = 20 + 3 * 10  # half of all splits but gate
    expected = np.log(1 / ((120 - dogs + 1) / 122))  # all cats, against the share of cats with one added to each class
    assert "without dog" in seen
    assert [each for each in seen if each != "without dog"] == [pytest.approx(expected)]
    assert found["test", "brightness"].observed == pytest.approx(float(splits["test"].images.mean()))


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("gate", r'table of gate breaks the rule "No image lies in another split as well" \(other_splits: observed 1'),
        ("test", 'image 0 of split test breaks the rule "No image is there twice'),
    ],
)
def test_an_image_in_two_splits_or_twice_in_one_is_refused(tmp_path: Path, where: str, told: str) -> None:
    splits = make()
    images = splits[where].images.copy()
    images[0] = splits["test"].images[3]
    splits[where] = replace(splits[where], images=images)
    with pytest.raises(DataError, match=told):
        check_splits(Workspace(tmp_path), splits)


@pytest.mark.parametrize("name", sorted(SIZES))
def test_an_empty_split_that_is_needed_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    splits = make()
    splits[name] = splits[name].take(np.arange(0))
    with pytest.raises(DataError, match=f"the split {name} holds no images"):
        check_splits(Workspace(tmp_path), splits)
    del splits[name]
    with pytest.raises(DataError, match=f"the split {name} holds no images"):
        check_splits(Workspace(tmp_path), splits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_stage_tells_what_it_warns_of_and_writes_nothing_that_it_refuses(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    params = Workspace(REPOSITORY).params
    folder = tmp_path / "expectations"
    folder.mkdir()
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 200}, "severity": "warning"}
    workspace = Workspace(tmp_path)
    for severity in ("warning", "critical"):
        content = {"name": "split", "expectations": [{**rule, "severity": severity}]}
        (folder / "split.json").write_text(json.dumps(content))
        if severity == "warning":
            prepare(workspace, params)
            told = capfd.readouterr().out.splitlines()
            assert told == [
                "warning: split test breaks the rule table row count to be between (min_value 200): observed 147"
            ]
            assert (workspace.splits / "splits.json").exists()
            (workspace.splits / "splits.json").unlink()
        else:
            with pytest.raises(DataError, match="the table of test breaks the rule table row count"):
                prepare(workspace, params)
            assert not (workspace.splits / "splits.json").exists()


def test_a_data_set_that_was_changed_is_noticed_and_one_that_is_not_here_is_not_missed(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    for name in CLASSES:
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(60):
            image = chance.integers(0, 256, (8, 8, 1), np.uint8)
            (tmp_path / "images" / name / f"{number}.png").write_bytes(encode_png(image))
    sizes = ", ".join(f"{name}: {size}" for name, size in {**SIZES, "traffic": 0}.items())
    data = f"{{dataset: folder, root: {tmp_path}/images, image_shape: [8, 8, 1], splits: {{{sizes}}}}}"
    (tmp_path / "params.yaml").write_text(f"data: {data}\n")
    workspace = Workspace(tmp_path)
    check_source(workspace)  # nothing was split yet
    prepare(workspace, workspace.params)
    check_source(workspace)
    file = tmp_path / "images" / "cat" / "0.png"
    before = file.read_bytes()
    file.write_bytes(encode_png(np.zeros((8, 8, 1), np.uint8)))
    with pytest.raises(DataError, match="dvc repro --force prepare"):
        check_source(workspace)
    file.write_bytes(before)
    check_source(workspace)
    (tmp_path / "images" / "cat" / "new.png").write_bytes(before)
    with pytest.raises(DataError, match="some are new"):
        check_source(workspace)
    shutil.rmtree(tmp_path / "images")
    check_source(workspace)
