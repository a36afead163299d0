"""SIGKILL at drawn moments of what deletes or decides: what is live is whole, and the same command again ends it.

Each kill has a copy of the place for itself; DVC and the store are real. ERRATA_KILLS: how many moments are drawn.
"""

import os
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from errata.data import layout
from errata.data.releases.edit_record import EditRecord
from errata.data.releases.erasure import erasures, outcome_of
from errata.data.releases.kind_inputs import stored_inputs
from errata.data.releases.manifest import FileEntry, read_live, sha256, verify_bundle
from errata.data.splits import load_split, read_record
from errata.flows.releases.contents.bundle import Bundle
from tests.flows.cli.test_kinds_commands import kind
from tests.flows.conftest import Place, Undisturbed, make_workspace
from tests.flows.night.test_control import noisy, write
from tests.flows.night.test_erase import traces
from tests.flows.releases.small import release
from tests.flows.releases.test_prune import weighty
from tests.flows.stages.test_stage_kills import errata, finished, kill

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("ERRATA_KILLS", "2"))


def copy_of(place: Place, folder: Path) -> Place:
    shutil.copytree(place.folder, folder, symlinks=True)
    return replace(place, folder=folder)


def victims(place: Place, folder: Path, words: Sequence[str], seconds: float) -> Iterator[Place]:
    """Copies of a place in each of which the command was killed, at a moment drawn from all of its length."""
    draw = random.Random(0)
    for number in range(KILLS):
        victim = copy_of(place, folder / str(number))
        run = errata(victim, *words)
        end = time.monotonic() + draw.uniform(0, seconds)
        while time.monotonic() < end and run.poll() is None:
            time.sleep(0.005)
        if run.poll() is None:
            kill(victim, run)
        found = read_live(victim.storage)
        assert found is not None
        assert verify_bundle(victim.storage, found[0].version, found[0].manifest_sha256) == ()
        yield victim
        shutil.rmtree(victim.folder)


def undisturbed_run(place: Place, folder: Path, words: Sequence[str]) -> tuple[Place, float]:
    """A copy in which nobody killed it, and its seconds."""
    whole, started = copy_of(place, folder), time.monotonic()
    assert errata(whole, *words).wait() == 0, (whole.folder / "said").read_text()[-2000:]
    return whole, time.monotonic() - started


def kept(place: Place) -> set[str]:
    """Every object in the store, but DVC's (a run that died leaves some) and what each night calls after itself."""
    return {key for key in place.storage.keys("") if not key.startswith(("dvc/", layout.OBSERVATIONS))}


def test_an_erasure(undisturbed: Undisturbed, tmp_path: Path) -> None:
    before = copy_of(undisturbed.before, tmp_path / "before")
    assert finished(before, "correct")["version"] == 2
    report = undisturbed.reports[0]
    [image] = [each for each in photos(before) if report in each[1]]
    words = ("erase", report, "--why", "they asked", "--yes")
    whole, seconds = undisturbed_run(before, tmp_path / "whole", words)
    assert traces(whole, image[0]) == []
    for victim in victims(before, tmp_path, words, seconds):
        asked = list(erasures(victim.storage))
        if not asked or outcome_of(victim.storage, asked[0]) is None:
            assert errata(victim, *words).wait() == 0, (victim.folder / "said").read_text()[-2000:]
        assert kept(victim) == kept(whole)
        assert traces(victim, image[0]) == []


def photos(place: Place) -> list[tuple[bytes, str]]:
    """Each file that was sent, and the keys of the reports that speak of it."""
    reports = {key: place.storage.get(key).decode() for key in place.storage.keys("reports/")}
    return [
        (place.storage.get(key), " ".join(each for each, text in reports.items() if layout.stem(key) in text))
        for key in place.storage.keys(layout.IMAGES)
    ]


def test_a_new_gate_split(undisturbed: Undisturbed, tmp_path: Path) -> None:
    before = undisturbed.before
    source = write(tmp_path / "new", [noisy(load_split(before.workspace.splits, "traffic"))])
    words = ("control", "add", str(source))
    whole, seconds = undisturbed_run(before, tmp_path / "whole", words)
    for victim in victims(before, tmp_path, words, seconds):
        said = victim.folder / "said"
        code = errata(victim, *words).wait()
        assert code == 0 or "left to judge by" in " ".join(said.read_text().split())  # it was done
        assert kept(victim) == kept(whole)
        assert victim.workspace.params.data.gates == whole.workspace.params.data.gates
        assert read_record(victim.workspace.splits) == read_record(whole.workspace.splits)


def test_a_prune(tmp_path: Path) -> None:
    before = Place(tmp_path / "before")
    make_workspace(before.workspace.folder)
    for version in range(1, 12):
        release(before.storage, weighty(version))
    words = ("prune", "--keep", "2", "--older-than", "0", "--yes")
    whole, seconds = undisturbed_run(before, tmp_path / "whole", words)
    for victim in victims(before, tmp_path, words, seconds):
        assert errata(victim, *words).wait() == 0
        # The log has no line of one that was killed before its swap: the records of what went say who and why.
        logs = {key for place in (victim, whole) for key in kept(place) if key.startswith(layout.LOG)}
        assert kept(victim) - logs == kept(whole) - logs
        assert set(victim.storage.keys(layout.REMOVED)) == set(whole.storage.keys(layout.REMOVED)) != set()


@pytest.mark.parametrize(
    "words",
    [
        ("name", "snow", "winter"),
        ("merge", "snow", "ice", "--name", "winter"),
        ("split", "snow", "a"),
    ],
    ids=lambda words: words[0],
)
def test_a_decision_about_a_kind(tmp_path: Path, words: tuple[str, ...]) -> None:
    """It is there or it is not; said twice it is two records that say the same."""
    before = Place(tmp_path / "before")
    make_workspace(before.workspace.folder)
    record = EditRecord(True, 1, "", {}, kinds=(kind("snow", "abc"), kind("ice", "def"))).to_json()
    made = weighty(1)
    files = {**made.files, "edit.json": record}
    entries = {name: FileEntry(sha256(content), len(content)) for name, content in files.items()}
    release(before.storage, Bundle(replace(made.manifest, files=entries), files))
    command = ("kinds", *words, "--why", "another camera")
    whole, seconds = undisturbed_run(before, tmp_path / "whole", command)
    [decision] = stored_inputs(whole.storage).decisions
    for victim in victims(before, tmp_path, command, seconds):
        assert stored_inputs(victim.storage).decisions in ((), (decision,))
        assert errata(victim, *command).wait() == 0
        assert set(stored_inputs(victim.storage).decisions) == {decision}
