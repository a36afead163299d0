"""A workspace with a trained root, released as version 1: made once, copied for each test that changes it."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.images import encode_png
from data.manifest import sha256
from data.reports import Report, file_report
from data.splits import load_split
from data.storage.local import LocalStorage
from editing.model import load_model
from editing.types import Constraint
from flows import stages, train_model
from flows.demo import live_classifier
from flows.editor import build_editor
from flows.night import Night
from flows.workspace import Workspace

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Place:
    """A workspace and a store in one folder; mistakes on the traffic images `passed_over` are not reported."""

    folder: Path
    passed_over: frozenset[int] = frozenset()

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.folder / "workspace")

    @property
    def storage(self) -> LocalStorage:
        return LocalStorage(self.folder / "store")

    def night(self, log: Callable[[str], None] = lambda _line: None) -> Night:
        return Night(self.storage, self.workspace, "test", log)

    def report_mistakes(self, count: int | None = None) -> list[Report]:
        """Report what the live file really gets wrong in the traffic split."""
        traffic = load_split(self.workspace.splits, "traffic")
        version, classifier = live_classifier(self.storage)
        predicted = classifier.predict(traffic.images).logits.argmax(1)
        wrong = [index for index in np.flatnonzero(predicted != traffic.labels) if index not in self.passed_over]
        return [
            file_report(
                self.storage,
                encode_png(traffic.images[index]),
                traffic.classes[traffic.labels[index]],
                predicted=traffic.classes[predicted[index]],
                model_version=version,
            )
            for index in wrong[:count]
        ]


def make_workspace(folder: Path) -> None:
    """dvc.yaml and params.yaml as they are committed, in a folder without git."""
    (folder / ".dvc").mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml", ".dvc/config", ".dvcignore"):
        shutil.copy(REPOSITORY / name, folder / name)
    (folder / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")


@pytest.fixture(scope="session")
def _released(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("released"))
    make_workspace(place.workspace.folder)
    summary = train_model.run(place.night())
    assert summary.outcome == "released", summary.sentence
    return place


@pytest.fixture
def place(_released: Place, tmp_path: Path) -> Place:
    """A fresh copy of the place in which version 1 is live."""
    shutil.copytree(_released.folder, tmp_path / "place", symlinks=True)
    return Place(tmp_path / "place")


@pytest.fixture(scope="session")
def _solved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("solved")


@pytest.fixture(scope="session")
def _unsolvable(_released: Place) -> frozenset[int]:
    """Traffic images that the root gets wrong and the editor cannot bring right."""
    traffic = load_split(_released.workspace.splits, "traffic")
    _, classifier = live_classifier(_released.storage)
    wrong = np.flatnonzero(classifier.predict(traffic.images).logits.argmax(1) != traffic.labels)
    control = (load_split(_released.workspace.splits, name).images for name in ("reference", "calibration"))
    params = _released.workspace.params
    editor = build_editor(params.edit, stages.view_settings(params), params.seed)
    root = load_model(_released.workspace.root)
    result = editor.edit(
        root,
        [
            Constraint(torch.from_numpy(traffic.images[index]), int(traffic.labels[index]), str(index))
            for index in wrong
        ],
        editor.prepare(root, *map(torch.from_numpy, control)),
    )
    return frozenset(int(index) for index, held in zip(wrong, result.holds, strict=True) if not held)


@pytest.fixture
def quick(place: Place, _unsolvable: frozenset[int], _solved: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The place, with DVC's commands replaced by the stages themselves, and with mistakes that can be corrected.

    What is tested is neither DVC nor the editor. The same ledger on the same root is solved once in a session; later
    nights copy the outputs.
    """

    def dvc(workspace: Workspace, *words: str, log: Callable[[str], None], env: object = None) -> None:
        if words[0] == "repro":
            solve(workspace, _solved)

    monkeypatch.setattr(Workspace, "dvc", dvc)
    return replace(place, passed_over=_unsolvable)


def solve(workspace: Workspace, memory: Path) -> None:
    """What `dvc repro evaluate` does where the root is there, by a memory of what was solved before."""
    inputs = (workspace.ledger / "ledger.jsonl", workspace.folder / "params.yaml", workspace.root / "root.onnx")
    key = sha256(b"".join(path.read_bytes() for path in inputs))
    outputs = {"candidate": workspace.candidate, "onnx": workspace.onnx, "metrics": workspace.gate.parent}
    for name, folder in outputs.items():
        shutil.rmtree(folder, ignore_errors=True)
        if (memory / key).is_dir():
            shutil.copytree(memory / key / name, folder)
    if not (memory / key).is_dir():
        for stage in (stages.edit, stages.export, stages.evaluate):
            stage(workspace, workspace.params)
        for name, folder in outputs.items():
            shutil.copytree(folder, memory / f"{key}.{os.getpid()}" / name)
        with suppress(OSError):  # another process has solved it meanwhile
            (memory / f"{key}.{os.getpid()}").rename(memory / key)
    (workspace.folder / "dvc.lock").write_text(f"# stands for DVC's lock of {key}\n")
