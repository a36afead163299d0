"""A workspace with a trained root, released as version 1: made once, copied for each test that changes it."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import yaml
from filelock import FileLock

from errata.data import layout
from errata.data.images import Pixels, encode_png
from errata.data.inbox.control_guard import ControlGuard
from errata.data.inbox.deferred import defer
from errata.data.kept_blocks import KeptBlocks
from errata.data.releases.manifest import read_live, sha256
from errata.data.reports import Report, file_report
from errata.data.splits import load_split
from errata.data.storage.base import Storage
from errata.data.storage.local import LocalStorage
from errata.editing.model import load_model
from errata.editing.tensors import tensor_of
from errata.editing.types import Constraint
from errata.flows.cli.demo import live_classifier
from errata.flows.night.new_root import train_new_root
from errata.flows.night.run import run_night
from errata.flows.night.state import Night
from errata.flows.stages.edit import edit
from errata.flows.stages.editors import build_editor, calibrating_traffic
from errata.flows.stages.evaluate import evaluate
from errata.flows.stages.export import export
from errata.flows.stages.handover import warm_stages
from errata.flows.stages.prepare import prepare
from errata.flows.workspace import Workspace
from tests.conftest import NewStore, make_stores

REPOSITORY = Path(__file__).parents[2]
COUNT = 2  # reports that wait for a disturbed night


@cache
def _guard(content: bytes, shape: tuple[int, ...]) -> ControlGuard:
    return ControlGuard(np.frombuffer(content, np.uint8).reshape(shape))


def guard_of(control: Pixels, _kept: KeptBlocks) -> ControlGuard:
    """The guard of a control set, made once for all tests that have the same."""
    return _guard(control.tobytes(), control.shape)


@dataclass(frozen=True)
class Place:
    """A workspace and a store in one folder; mistakes on the traffic images `passed_over` are not reported.

    `elsewhere`: the store, where it is not the folder's.
    """

    folder: Path
    passed_over: frozenset[int] = frozenset()
    elsewhere: Storage | None = None

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.folder / "workspace")

    @property
    def storage(self) -> Storage:
        return self.elsewhere or LocalStorage(self.folder / "store")

    @property
    def digest(self) -> str:
        """The digest of what is live."""
        found = read_live(self.storage)
        assert found is not None
        return found[0].manifest_sha256

    def beside(self, folder: Path, storage: Storage | None = None) -> "Place":
        """A copy of the workspace, without DVC's cache, on `storage`; by default on the same store."""
        ignore = shutil.ignore_patterns("cache")
        shutil.copytree(self.workspace.folder, folder / "workspace", symlinks=True, ignore=ignore)
        return replace(self, folder=folder, elsewhere=storage or self.storage)

    def night(self, log: Callable[[str], None] = lambda _line: None) -> Night:
        return Night(self.storage, self.workspace, "test", log, make_guard=guard_of)

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
    """dvc.yaml and params.yaml as they are committed, in a folder without git. Here anybody is believed at once."""
    (folder / ".dvc").mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml", ".dvc/config", ".dvcignore"):
        shutil.copy(REPOSITORY / name, folder / name)
    (folder / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    set_trust(folder, doubt_one=1.0)


def set_trust(folder: Path, **settings: object) -> None:
    """Change the section `trust` of the folder's params.yaml."""
    set_params(folder, "trust", **settings)


def set_params(folder: Path, section: str, **settings: object) -> None:
    """Change a section of the folder's params.yaml."""
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params[section].update(settings)
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run, the same in each of its parallel processes."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """The folder, filled by the first process that asks while the others wait; one left half made is made again."""
    whole = folder.with_name(f"{folder.name}.whole")
    with FileLock(f"{folder}.lock"):
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            whole.touch()
    return folder


@pytest.fixture(scope="session")
def _released(shared: Path) -> Place:
    def make(folder: Path) -> None:
        place = Place(folder)
        make_workspace(place.workspace.folder)
        with warm_stages():
            summary = train_new_root(place.night())
        assert summary.outcome == "released", summary.sentence

    return Place(made_once(shared / "released", make))


@pytest.fixture
def place(_released: Place, tmp_path: Path) -> Place:
    """A fresh copy of the place in which version 1 is live."""
    shutil.copytree(_released.folder, tmp_path / "place", symlinks=True)
    return Place(tmp_path / "place")


@pytest.fixture
def warm() -> Iterator[None]:
    """Stages that start at once, as `errata correct` has them."""
    with warm_stages():
        yield


@pytest.fixture(scope="session")
def _solved(shared: Path) -> Path:
    folder = shared / "solved"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def _unsolvable(_released: Place, shared: Path) -> frozenset[int]:
    """Traffic images that the root gets wrong and the editor cannot bring right."""

    def make(folder: Path) -> None:
        (folder / "images.json").write_text(json.dumps(find_unsolvable(_released)))

    return frozenset(json.loads((made_once(shared / "unsolvable", make) / "images.json").read_text()))


def find_unsolvable(place: Place) -> list[int]:
    """Solve for everything that the root gets wrong in the traffic split, together and alone; what does not hold."""
    traffic = load_split(place.workspace.splits, "traffic")
    _, classifier = live_classifier(place.storage)
    wrong = np.flatnonzero(classifier.predict(traffic.images).logits.argmax(1) != traffic.labels)
    control = (load_split(place.workspace.splits, name).images for name in ("reference", "calibration"))
    params = place.workspace.params
    judging = calibrating_traffic(place.workspace.splits)
    editor = build_editor(params.edit, params.views, params.seed, traffic=judging)
    root = load_model(place.workspace.root)
    state = editor.prepare(root, *map(tensor_of, control))
    constraints = [
        Constraint(tensor_of(traffic.images[index]), int(traffic.labels[index]), str(index)) for index in wrong
    ]
    together = editor.edit(root, constraints, state).holds
    alone = [editor.edit(root, [each], state).success for each in constraints]  # where the others calibrate
    return [int(index) for index, *held in zip(wrong, together, alone, strict=True) if not all(held)]


def play(patch: pytest.MonkeyPatch, memory: Path) -> None:
    """DVC's commands become the stages themselves, and what was computed once in this session is not computed again.

    For tests of neither DVC nor the editor.
    """

    def dvc(workspace: Workspace, *words: str, log: Callable[[str], None], env: object = None) -> None:
        if words == ("repro", "prepare"):
            prepare(workspace, workspace.params)
        elif words[0] == "repro":
            solve(workspace, memory)

    patch.setattr(Workspace, "dvc", dvc)


def expect_little(workspace: Workspace) -> None:
    """An operator's file that expects something of a million reports only: fewer are not held against anything."""
    rule = {
        "type": "expect_column_max_to_be_between",
        "kwargs": {"column": "reporter_share", "max_value": 1.0},
        "severity": "warning",
        "meta": {"fewest_rows": 10**6},
    }
    workspace.expectations.mkdir()
    (workspace.expectations / "reports.json").write_text(json.dumps({"name": "reports", "expectations": [rule]}))


@pytest.fixture
def played(_solved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is slow is played."""
    play(monkeypatch, _solved)


@pytest.fixture
def quick(place: Place, _unsolvable: frozenset[int], played: None) -> Place:
    """The place with what is slow played, and with mistakes that can be corrected."""
    expect_little(place.workspace)
    return replace(place, passed_over=_unsolvable)


@pytest.fixture(params=["local", pytest.param("mock_s3", marks=pytest.mark.slow), "real_s3"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> NewStore:
    """Makes empty stores, in every backend in turn. Whole nights on the mock server wait for `make test-slow`."""
    return make_stores(request, tmp_path)


@pytest.fixture
def anywhere(quick: Place, new_store: NewStore) -> Place:
    """The quick place with its store in every backend in turn."""
    return replace(quick, elsewhere=duplicate(quick.storage, new_store()))


@dataclass(frozen=True)
class Undisturbed:
    """A place before a night, the reports that wait in it, and the digest of the release that they come to."""

    before: Place
    reports: tuple[str, ...]
    digest: str


@pytest.fixture(scope="session")
def undisturbed(
    _released: Place, _unsolvable: frozenset[int], _solved: Path, tmp_path_factory: pytest.TempPathFactory
) -> Undisturbed:
    """A night without faults, on a folder. One of its reports was left out of a release before."""
    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(_released.folder, folder, symlinks=True, dirs_exist_ok=True)
    place = Place(folder, _unsolvable)
    expect_little(place.workspace)
    reports = tuple(sorted(each.id for each in place.report_mistakes(COUNT)))
    assert len(reports) == COUNT
    defer(place.storage, reports[0], "a test", "an earlier run")
    sibling = place.beside(folder / "sibling", duplicate(place.storage, LocalStorage(folder / "sibling" / "store")))
    with pytest.MonkeyPatch.context() as patch:
        play(patch, _solved)
        assert run_night(sibling.night()).version == 2
    return Undisturbed(place, reports, sibling.digest)


@pytest.fixture
def make_disturbed(undisturbed: Undisturbed, played: None, new_store: NewStore, tmp_path: Path) -> Callable[[], Place]:
    """Makes places for nights that meet with faults, alike but for their stores, which are in every backend in turn."""
    numbers = count()

    def make() -> Place:
        before = undisturbed.before
        return before.beside(tmp_path / f"disturbed-{next(numbers)}", duplicate(before.storage, new_store()))

    return make


@pytest.fixture
def disturbed(make_disturbed: Callable[[], Place]) -> Place:
    """One such place."""
    return make_disturbed()


def duplicate(storage: Storage, empty: Storage) -> Storage:
    """The store `empty`, now with all that the other one holds but DVC's files."""
    if isinstance(storage, LocalStorage) and isinstance(empty, LocalStorage):
        shutil.copytree(storage.url, empty.url, ignore=shutil.ignore_patterns("dvc"), dirs_exist_ok=True)
        return empty
    for key in storage.keys(""):
        if key == layout.LIVE or key.startswith(layout.DEFERRED):
            empty.swap(key, storage.read(key).content, expected=None)
        elif not key.startswith("dvc/"):
            empty.put_once(key, storage.get(key))
    return empty


def copy_dvc_objects(place: Place, storage: Storage) -> None:
    """Put what DVC pushed to a place's own folder into `storage` as well."""
    source = LocalStorage(place.folder / "store")
    for key in source.keys("dvc/"):
        storage.put_once(key, source.get(key))


def solve(workspace: Workspace, memory: Path) -> None:
    """What `dvc repro evaluate` does where the root is there, by a memory of what was solved before."""
    of_kinds = sorted((*workspace.ledger.glob("kinds.json"), *workspace.ledger.glob("labelled/ledger.jsonl")))
    inputs = (
        workspace.ledger / "ledger.jsonl", *of_kinds, workspace.folder / "params.yaml", workspace.root / "root.onnx"
    )  # fmt: skip
    key = sha256(b"".join(path.read_bytes() for path in inputs))
    outputs = {"candidate": workspace.candidate, "onnx": workspace.onnx, "metrics": workspace.gate.parent}
    for folder in outputs.values():
        shutil.rmtree(folder, ignore_errors=True)

    def make(solved: Path) -> None:
        edit(workspace, workspace.params)
        export(workspace)
        evaluate(workspace, workspace.params)
        for name, folder in outputs.items():
            folder.rename(solved / name)

    made_once(memory / key, make)
    for name, folder in outputs.items():
        shutil.copytree(memory / key / name, folder)
    lock = yaml.safe_load((workspace.folder / "dvc.lock").read_text())
    kept = {name: stage for name, stage in lock["stages"].items() if name in ("prepare", "train")}
    stands_for = f"# stands for DVC's lock of {key}\n"
    (workspace.folder / "dvc.lock").write_text(stands_for + yaml.safe_dump({"stages": kept}))
