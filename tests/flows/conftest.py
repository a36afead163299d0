"""A workspace with a trained root, released as version 1: made once, copied for each test that changes it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from data.images import encode_png
from data.reports import Report, file_report
from data.splits import load_split
from data.storage.local import LocalStorage
from flows import train_model
from flows.demo import live_classifier
from flows.night import Night
from flows.workspace import Workspace

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Place:
    """A workspace and a store in one folder."""

    folder: Path

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
        return [
            file_report(
                self.storage,
                encode_png(traffic.images[index]),
                traffic.classes[traffic.labels[index]],
                predicted=traffic.classes[predicted[index]],
                model_version=version,
            )
            for index in np.flatnonzero(predicted != traffic.labels)[:count]
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
