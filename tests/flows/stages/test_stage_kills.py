"""SIGKILL of a whole run, process group and all, inside each stage that DVC runs for it; DVC and the store are real.

One place is killed at one moment after the other, so that each run finds what all the dead ones left behind. The
moments are those at which a stage starts or writes and DVC pushes; and others, drawn at random.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from errata.data import layout
from errata.data.releases.manifest import read_file, read_live, read_manifest, verify_bundle
from errata.flows.releases.pointer import log_entries, require_live
from tests.conftest import NewStore
from tests.flows.conftest import REPOSITORY, Place, Undisturbed, duplicate, make_workspace
from tests.flows.night.faults import live_version, settled, waiting

pytestmark = pytest.mark.slow
KILLS = 6  # in one place, one after the other
Moment = Callable[[], bool]


def errata(place: Place, *words: str, says: Path | None = None) -> subprocess.Popen[bytes]:
    """The command line in a process group of its own; its output goes to `says`."""
    environment = {
        **os.environ,
        "ERRATA_STORE": place.storage.url,
        "ERRATA_WORKSPACE": str(place.workspace.folder),
        "PYTHONPATH": str(REPOSITORY),
    }
    with (says or place.folder / "said").open("wb") as out:
        command = [sys.executable, "-m", "errata.flows.cli.app", *words]
        return subprocess.Popen(
            command, cwd=place.folder, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )


def finished(place: Place, *words: str) -> dict[str, Any]:
    """A command that succeeds, and the JSON document that it prints."""
    says = place.folder / "said"
    code = errata(place, *words, "--json", says=says).wait()
    said = says.read_text()
    assert code == 0, said
    document: dict[str, Any] = json.loads(said[said.index("\n{") if not said.startswith("{") else 0 :])
    return document


def working_in(folder: Path) -> Iterable[tuple[int, str]]:
    """The processes whose working directory is `folder`, and their command lines."""
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and (process / "cwd").readlink() == folder:
                yield int(process.name), (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has ended
            continue


def killed_when(place: Place, moment: Moment, *words: str) -> None:
    """A run whose whole process group is killed as soon as `moment` has come."""
    run = errata(place, *words)
    while not moment():
        assert run.poll() is None, f"ended before its moment: {(place.folder / 'said').read_text()[-2000:]}"
        time.sleep(0.005)
    kill(place, run)


def kill(place: Place, run: subprocess.Popen[bytes]) -> None:
    """SIGKILL the run's whole process group, and wait until nobody works in its folder any more."""
    os.killpg(run.pid, signal.SIGKILL)
    assert run.wait() in (-signal.SIGKILL, 0)  # 0: it ended between the last look and the kill
    end = time.monotonic() + 20
    while survivors := list(working_in(place.workspace.folder)):
        assert time.monotonic() < end, survivors
        time.sleep(0.05)


def starts(place: Place, stage: str, seconds: float = 0.0) -> Moment:
    """The moment at which a stage's process is there, and has been for some time."""
    seen: list[float] = []

    def there() -> bool:
        if not seen and any(f"flows.stages {stage}" in command for _, command in working_in(place.workspace.folder)):
            seen.append(time.monotonic())
        return bool(seen) and time.monotonic() >= seen[0] + seconds

    return there


def writes(place: Place, stage: str, output: Path) -> Moment:
    """The moment at which a stage that runs has begun to write `output`."""
    at_work = starts(place, stage)
    gone: list[bool] = []  # DVC removes a stage's old outputs before it runs it

    def there() -> bool:
        if at_work() and not output.exists():
            gone.append(True)
        return bool(gone) and output.exists()

    return there


def pushes(place: Place, known: frozenset[str]) -> Moment:
    """The moment at which DVC has begun to push."""
    return lambda: any(key not in known for key in place.storage.keys("dvc/"))


@pytest.fixture(scope="session")
def _timed_for_real(undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, float]:
    """The digest of the release that a night comes to where DVC is not played and nobody is killed; its seconds."""
    place = Place(tmp_path_factory.mktemp("for-real"))
    shutil.copytree(undisturbed.before.folder, place.folder, symlinks=True, dirs_exist_ok=True)
    started = time.monotonic()
    assert finished(place, "correct")["outcome"] == "released"
    return place.digest, time.monotonic() - started


@pytest.fixture(scope="session")
def _undisturbed_for_real(_timed_for_real: tuple[str, float]) -> str:
    """That digest."""
    return _timed_for_real[0]


def test_killed_inside_each_stage_of_a_night(
    undisturbed: Undisturbed, _undisturbed_for_real: str, new_store: NewStore, tmp_path: Path
) -> None:
    """And the release that comes out in the end can be made again from the store alone."""
    before = undisturbed.before
    place = Place(tmp_path / "place", before.passed_over, duplicate(before.storage, new_store()))
    shutil.copytree(before.workspace.folder, place.workspace.folder, symlinks=True)  # with DVC's cache
    workspace = place.workspace
    moments: dict[str, Moment] = {
        "edit starts": starts(place, "edit"),
        "edit writes": writes(place, "edit", workspace.candidate / "model.safetensors"),
        "export starts": starts(place, "export"),
        "export writes": writes(place, "export", workspace.onnx / "model.onnx"),
        "evaluate starts": starts(place, "evaluate"),
        "evaluate writes": writes(place, "evaluate", workspace.gate),
        "dvc pushes": pushes(place, frozenset(place.storage.keys("dvc/"))),
    }
    for name, moment in moments.items():
        killed_when(place, moment, "correct")
        assert live_version(place) == 1, name
        assert waiting(place) == list(undisturbed.reports), name
        assert list(place.storage.keys(f"{layout.RELEASES}2/")) == [], name
    assert finished(place, "correct")["outcome"] == "released"
    assert finished(place, "correct")["outcome"] == "nothing to correct"
    assert (live_version(place), place.digest) == (2, _undisturbed_for_real)
    assert (waiting(place), settled(place)) == ([], list(undisturbed.reports))
    assert [(each.serial, each.version) for each in log_entries(place.storage)] == [(1, 1), (2, 2)]

    shutil.rmtree(workspace.folder)
    assert everything_pushed(place)
    made = finished(place, "reproduce", "2", "--into", str(tmp_path / "again"))
    assert (made["outcome"], made["changed"], made["not_rebuilt"]) == ("equal", [], [])


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_moments_of_a_night(
    undisturbed: Undisturbed, _timed_for_real: tuple[str, float], tmp_path: Path, seed: int
) -> None:
    """Each moment is drawn from the whole length of a night: in a stage, between two, in a push, at the swap, after."""
    digest, seconds = _timed_for_real
    draw = random.Random(seed)
    place = Place(tmp_path / "place")
    shutil.copytree(undisturbed.before.folder, place.folder, symlinks=True)
    for _ in range(KILLS):
        run = errata(place, "correct")
        end = time.monotonic() + draw.uniform(0, seconds)
        while time.monotonic() < end and run.poll() is None:
            time.sleep(0.005)
        if run.poll() is None:
            kill(place, run)
        else:
            assert run.returncode == 0, (place.folder / "said").read_text()[-2000:]
        live, _ = require_live(place.storage)
        assert verify_bundle(place.storage, live.version, live.manifest_sha256) == ()
        if live.version == 1:
            assert waiting(place) == list(undisturbed.reports)
        else:
            assert (live.version, place.digest) == (2, digest)
    assert finished(place, "correct")["outcome"] in ("released", "nothing to correct")
    assert finished(place, "correct")["outcome"] == "nothing to correct"
    assert (live_version(place), place.digest) == (2, digest)
    assert (waiting(place), settled(place)) == ([], list(undisturbed.reports))
    assert [(each.serial, each.version) for each in log_entries(place.storage)] == [(1, 1), (2, 2)]
    assert everything_pushed(place)


def everything_pushed(place: Place) -> bool:
    """Whether DVC's remote holds every folder that the live release's dvc.lock names."""
    found = read_live(place.storage)
    assert found is not None
    manifest = read_manifest(place.storage, found[0].version)
    lock = yaml.safe_load(read_file(place.storage, manifest, "dvc.lock"))
    outputs = [each for stage in lock["stages"].values() for each in stage["outs"] if each["path"].startswith("art")]
    keys = set(place.storage.keys("dvc/files/md5/"))
    return {f"dvc/files/md5/{each['md5'][:2]}/{each['md5'][2:]}" for each in outputs} <= keys


def test_killed_inside_each_stage_of_a_root(_released: Place, tmp_path: Path) -> None:
    place = Place(tmp_path)
    make_workspace(place.workspace.folder)
    workspace = place.workspace
    moments: dict[str, Moment] = {
        "prepare starts": starts(place, "prepare"),
        "prepare writes": writes(place, "prepare", workspace.splits / "train.npz"),
        "train is at work": starts(place, "train", 4.0),
        "train writes": writes(place, "train", workspace.root / "model.safetensors"),
        "evaluate starts": starts(place, "evaluate"),
    }
    for name, moment in moments.items():
        killed_when(place, moment, "train")
        assert read_live(place.storage) is None, name
        assert list(place.storage.keys(layout.RELEASES)) == [], name
    assert finished(place, "train")["outcome"] == "released"
    assert (live_version(place), place.digest) == (1, _released.digest)


def test_a_run_that_dies_alone_leaves_dvc_running_and_the_next_one_gets_past_it(
    undisturbed: Undisturbed, _undisturbed_for_real: str, tmp_path: Path
) -> None:
    place = Place(tmp_path / "place")
    shutil.copytree(undisturbed.before.folder, place.folder, symlinks=True)
    run = errata(place, "correct")
    moment = starts(place, "edit")
    while not moment():
        time.sleep(0.005)
    run.kill()  # it alone
    run.wait()
    codes = []
    for _ in range(5):
        codes.append(errata(place, "correct").wait())
        if codes[-1] == 0:
            break
        said = (place.folder / "said").read_text()
        assert codes[-1] == 1, said
        assert "Error: " in said
        time.sleep(5)
    assert codes[-1] == 0
    assert (live_version(place), place.digest) == (2, _undisturbed_for_real)
    assert (waiting(place), settled(place)) == ([], list(undisturbed.reports))
