"""New labelled images become the gate split: what is left out of them, and what the next night judges by."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from errata.data import layout
from errata.data.datasets import LabelledImages
from errata.data.images import encode_png, pixel_digest
from errata.data.releases.looks import Looks
from errata.data.splits import load_split, read_record, splits_digest
from errata.editing.errors import DataError
from errata.flows.cli.demo import live_classifier
from errata.flows.gate.criterion import Name
from errata.flows.night.collect import Control
from errata.flows.night.control import add_gate
from errata.flows.night.run import run_night
from errata.flows.releases.gate_images import keep_gate, name_gates
from errata.flows.workspace import Workspace
from tests.flows.conftest import Place
from tests.flows.night.faults import Watched


def noisy(split: LabelledImages, seed: int = 0) -> LabelledImages:
    """Images that nobody has seen, of the same classes."""
    noise = np.random.default_rng(seed).integers(-12, 13, split.images.shape)
    images = np.clip(split.images.astype(int) + noise, 0, 255).astype(np.uint8)
    return LabelledImages(images, split.labels, split.classes)


def write(folder: Path, splits: Sequence[LabelledImages]) -> Path:
    """A folder of images for each class."""
    for number, split in enumerate(splits):
        for index, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            path = folder / split.classes[label] / f"{number}-{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(image))
    return folder


def gate_entry(place: Place) -> str:
    return read_record(place.workspace.splits).splits["gate"].sha256


@pytest.mark.slow
def test_a_new_gate_split_starts_anew_and_nothing_is_forgotten(quick: Place, tmp_path: Path) -> None:
    params = quick.workspace.folder / "params.yaml"
    params.write_text(f"# what the operator noted\n{params.read_text()}")
    sent = {evidence(quick, each.image) for each in quick.report_mistakes(2)}
    assert run_night(quick.night()).version == 2
    old = {name: load_split(quick.workspace.splits, name) for name in ("train", "gate", "traffic")}
    before, old_gate = set(quick.storage.keys(layout.LOOKS)), gate_entry(quick)
    reported = [index for index, image in enumerate(old["traffic"].images) if encode_png(image) in sent]
    seen = old["train"].take(np.arange(3))
    saved_anew = noisy(old["gate"].take(np.arange(4)))  # pictures that judged, of which no pixel is the same
    predicted = live_classifier(quick.storage)[1].predict(old["traffic"].images).logits.argmax(1)
    right = np.flatnonzero(predicted == old["traffic"].labels)  # copies of the others could not be reported any more
    fresh = noisy(old["traffic"].take(np.setdiff1d(right, reported)))
    source = write(tmp_path / "new", [fresh, seen, noisy(old["traffic"].take(np.array(reported)), 1), saved_anew])

    added = add_gate(quick.night(), source)
    expected = {"in the data set already": 3, "reported before": 2, "a copy of an image that judged": 4}
    assert added.left_out == expected
    assert added.images == len(fresh)
    workspace = quick.workspace
    gate, retired = (load_split(workspace.splits, name) for name in ("gate", "retired"))
    assert {pixel_digest(each) for each in gate.images} == {pixel_digest(each) for each in fresh.images}
    assert np.array_equal(retired.images, old["gate"].images)
    assert (workspace.params.data.gates, gate_entry(quick)) == ((added.digest,), added.digest)
    assert workspace.params_file.startswith(b"# what the operator noted\n")
    assert Control(quick.night())(old["gate"].images).all()  # nobody may report what judged before

    quick.report_mistakes(1)
    summary = run_night(quick.night())
    assert summary.gate_result is not None
    rows = {each.name: each for each in summary.gate_result.criteria}
    assert (summary.gate_result.look, rows[Name.DRAWDOWN_LIVE].n) == (1, len(fresh))
    assert before < set(quick.storage.keys(layout.LOOKS))
    looks = Looks(quick.storage)
    assert looks.so_far(old_gate, [pixel_digest(each) for each in old["gate"].images]) == 2  # the root's, and a night's

    # the same images again are no new ones, and a workspace that lost the file gets it back
    with pytest.raises(DataError, match="is left to judge by"):
        add_gate(quick.night(), write(tmp_path / "again", [fresh]))
    (workspace.gates / f"{added.digest}.npz").unlink()
    run_night(quick.night())
    assert (workspace.gates / f"{added.digest}.npz").is_file()


def evidence(place: Place, image: str) -> bytes:
    return place.storage.get(layout.image(image))


@pytest.mark.parametrize("lack", ["class", "all"])
def test_what_cannot_judge_changes_nothing(quick: Place, tmp_path: Path, lack: str) -> None:
    gate = noisy(load_split(quick.workspace.splits, "test"))
    some = gate.take(np.flatnonzero(gate.labels != 3))
    three = LabelledImages(load_split(quick.workspace.splits, "train").images[:1], np.array([3]), gate.classes)
    parts = [some, three] if lack == "class" else [three]
    source = write(tmp_path / "new", parts)
    params, splits = quick.workspace.params_file, splits_digest(quick.workspace.splits)
    with pytest.raises(DataError, match="no image of 3" if lack == "class" else "classes"):
        add_gate(quick.night(), source)
    assert (quick.workspace.params_file, splits_digest(quick.workspace.splits)) == (params, splits)
    assert list(quick.storage.keys(layout.GATES)) == []


def test_params_and_gate_images_are_on_the_disk_before_they_get_their_names(
    quick: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss of power must not leave an operator's params.yaml empty."""
    synced: set[int] = set()
    really = os.fsync

    def noting(handle: int) -> None:
        really(handle)
        synced.add(os.fstat(handle).st_ino)

    monkeypatch.setattr(os, "fsync", noting)
    keep_gate(quick.storage, quick.workspace, "0" * 64, b"images")
    name_gates(quick.workspace, ["0" * 64])
    for path in (quick.workspace.folder / "params.yaml", quick.workspace.gates / f"{'0' * 64}.npz"):
        assert path.stat().st_ino in synced, path


@pytest.mark.slow
def test_killed_in_between_the_same_command_ends_it(
    quick: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the store has the images, before params.yaml names them, before the splits are made again."""
    source = write(tmp_path / "new", [noisy(load_split(quick.workspace.splits, "traffic"))])

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = Watched(quick.storage, before=lambda operation, _key: die() if operation == "put" else None)
    after = Watched(quick.storage, after=lambda operation, _key: die() if operation == "put" else None)
    for store in (before, after):
        with pytest.raises(KeyboardInterrupt):
            add_gate(replace(quick.night(), storage=store), source)
        assert quick.workspace.params.data.gates == ()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Workspace, "dvc", die)
        add_gate(quick.night(), source)
    added = add_gate(quick.night(), source)
    assert list(quick.storage.keys(layout.GATES)) == [layout.gate_images(added.digest)]
    assert (quick.workspace.params.data.gates, gate_entry(quick)) == ((added.digest,), added.digest)
    shutil.rmtree(quick.workspace.splits)  # DVC removes them before it makes them
    with pytest.raises(DataError, match="in the data set already"):  # it was all but done, and now is
        add_gate(quick.night(), source)
    assert gate_entry(quick) == added.digest
