"""Whatever happens to a run: the old model or the new one is live, whole; no report is lost; a rerun converges.

On a folder and on S3. Kills are real: the night runs in a forked child that sends itself SIGKILL.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zc.lockfile

from errata.data import layout
from errata.data.images import encode_png
from errata.data.releases.manifest import verify_bundle
from errata.data.reports import file_report
from errata.data.splits import load_split
from errata.data.storage.local import LocalStorage
from errata.editing.errors import NightError, StoreUnusable
from errata.flows.night.ask import ask_people
from errata.flows.night.candidate import count_this_look, evaluate, judge, reproduce, write_candidate_ledger
from errata.flows.night.collect import collect
from errata.flows.night.new_root import inherit, judge_root, still_wrong, tell_tolerances, write_root_inputs
from errata.flows.night.parent import sync
from errata.flows.night.release import defer, quarantine, release, settle
from errata.flows.night.run import run_night, summarise
from errata.flows.night.step import Arguments, Result, RunStep, Step, run_here
from errata.flows.releases.pointer import log_entries
from errata.flows.workspace import Workspace
from tests.flows.conftest import COUNT, Place, Undisturbed, make_workspace
from tests.flows.night.faults import (
    CHANGES,
    STEPS,
    Watched,
    after,
    before,
    converges,
    die,
    exit_code,
    fill_disk,
    hang_up,
    killed,
    live_version,
    retried,
    started,
    waiting,
)
from tests.servers.faulty_s3 import Fault, FaultyS3


@pytest.mark.parametrize("step", STEPS)
def test_killed_after_a_step(disturbed: Place, undisturbed: Undisturbed, step: str) -> None:
    killed(disturbed, after(step, die))
    assert live_version(disturbed) == (2 if step in ("release", "settle") else 1)
    if step != "settle":
        assert waiting(disturbed) == list(undisturbed.reports)
    converges(disturbed, undisturbed)


def kind(key: str) -> str:
    """What sort of object: files of one bundle are as good as each other, but for the manifest."""
    return key if key.endswith(layout.MANIFEST) else "/".join(key.split("/")[: key.startswith("reports/") + 1])


@pytest.mark.slow
def test_killed_before_each_change_of_the_store(make_disturbed: Callable[[], Place], undisturbed: Undisturbed) -> None:
    changes: list[tuple[str, str]] = []
    flushed: list[str] = []

    def note(operation: str, key: str) -> None:
        changes.append((operation, key))
        if operation == "flush":
            flushed.extend(counted.storage.keys("dvc/"))

    counted = make_disturbed()
    run_night(replace(counted.night(), storage=Watched(counted.storage, note)))
    assert changes.index(("flush", "")) < changes.index(("swap", layout.LIVE))
    assert flushed == list(counted.storage.keys("dvc/"))  # no power cut takes away what the new live release needs
    kinds = {(operation, kind(key)) for operation, key in changes if operation in CHANGES}
    assert {name for _, name in kinds} == {
        "observations", "corrections", "releases", f"releases/2/{layout.MANIFEST}", layout.LIVE, "log",
        "reports/settled", "reports/inbox", "reports/deferred", "looks",
    }  # fmt: skip
    for fatal in sorted(kinds):

        def strike(operation: str, key: str, fatal: tuple[str, str] = fatal) -> None:
            if (operation, kind(key)) == fatal:
                die()

        victim = make_disturbed()
        killed(victim, storage=Watched(victim.storage, strike))
        converges(victim, undisturbed)
        shutil.rmtree(victim.folder)


def test_a_dead_runs_bundle_does_not_block_the_next_night(disturbed: Place, undisturbed: Undisturbed) -> None:
    def before_swap(operation: str, key: str) -> None:
        if (operation, key) == ("swap", layout.LIVE):
            die()

    killed(disturbed, storage=Watched(disturbed.storage, before_swap))
    assert verify_bundle(disturbed.storage, 2) == ()  # whole, never live
    assert live_version(disturbed) == 1
    more = disturbed.report_mistakes(COUNT + 1)
    converges(disturbed, undisturbed, version=3, reports=tuple(each.id for each in more))


def test_a_crash_between_swap_and_log_leaves_no_gap_in_the_log(disturbed: Place) -> None:
    def before_log(_operation: str, key: str) -> None:
        if key == layout.log_entry(2):
            die()

    killed(disturbed, storage=Watched(disturbed.storage, before_log))
    assert [each.serial for each in log_entries(disturbed.storage)] == [1]
    traffic = load_split(disturbed.workspace.splits, "traffic")
    file_report(disturbed.storage, encode_png(traffic.images[0]), traffic.classes[traffic.labels[0]])
    run_night(disturbed.night())
    entries = [json.loads(disturbed.storage.get(key)) for key in disturbed.storage.keys(layout.LOG)]
    assert [(each["serial"], each["action"], each["by"], each["why"].partition(";")[0]) for each in entries][1] == (
        2, "released", "test", "2 new corrections, 0 retracted",
    )  # fmt: skip


@pytest.mark.parametrize("run_step", [run_here, retried])
def test_a_swap_whose_answer_was_lost(disturbed: Place, undisturbed: Undisturbed, run_step: RunStep) -> None:
    lost = iter([True])

    def no_answer(operation: str, key: str) -> None:
        if (operation, key) == ("swap", layout.LIVE) and next(lost, False):
            raise StoreUnusable("no answer")

    run = replace(disturbed.night(), storage=Watched(disturbed.storage, after=no_answer))
    if run_step is run_here:
        with pytest.raises(StoreUnusable):
            run_night(run)
        assert (live_version(disturbed), waiting(disturbed)) == (2, list(undisturbed.reports))
    else:
        summary = run_night(run, run_step)
        assert (summary.outcome, summary.version, waiting(disturbed)) == ("released", 2, [])
    converges(disturbed, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("attempts", [1, 5])  # of five: all of them
@pytest.mark.parametrize("new_store", ["mock_s3"], indirect=True)
def test_a_swap_that_s3_made_but_did_not_answer(
    disturbed: Place, undisturbed: Undisturbed, mock_s3: FaultyS3, attempts: int
) -> None:
    mock_s3.spoil(Fault.LOST_ANSWER, "PUT", attempts, layout.LIVE)
    summary = run_night(disturbed.night())
    assert (summary.outcome, summary.version, waiting(disturbed)) == ("released", 2, [])
    converges(disturbed, undisturbed)


def test_a_store_that_is_away_for_a_while_is_waited_for(disturbed: Place, undisturbed: Undisturbed) -> None:
    outage = 0

    def flaky(_operation: str, _key: str) -> None:
        nonlocal outage
        if outage:
            outage -= 1
            raise StoreUnusable("connection refused")

    def away_at_first(step: Step[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        nonlocal outage
        outage = (
            3 if step.name not in ("dvc repro", "evaluate", "gate") else 0
        )  # the first two do not speak to the store
        return retried(step, *args, **kwargs)

    summary = run_night(replace(disturbed.night(), storage=Watched(disturbed.storage, flaky)), away_at_first)
    assert (summary.outcome, summary.version) == ("released", 2)
    assert disturbed.digest == undisturbed.digest
    converges(disturbed, undisturbed)


def test_prefect_waits_for_a_store_that_is_away_for_a_minute() -> None:
    """Every step that reads or writes the store waits, also those of a new root; the others do not."""
    speaking: tuple[Step[Any, Any], ...] = (
        sync, collect, quarantine, write_candidate_ledger, count_this_look, judge, ask_people, release, settle, defer,
        summarise, inherit, write_root_inputs, still_wrong, judge_root, tell_tolerances,
    )  # fmt: skip
    for each in speaking:
        assert sum(each.waits) > 60, each.name
    assert (reproduce.waits, evaluate.waits) == ((), ())


def test_a_store_that_stays_away_ends_the_night_and_the_next_one_makes_up_for_it(
    disturbed: Place, undisturbed: Undisturbed
) -> None:
    def gone(operation: str, key: str) -> None:
        if operation == "put" and key.startswith(layout.RELEASES):
            raise StoreUnusable("connection refused")

    with pytest.raises(StoreUnusable):
        run_night(replace(disturbed.night(), storage=Watched(disturbed.storage, gone)), retried)
    assert (live_version(disturbed), waiting(disturbed)) == (1, list(undisturbed.reports))
    converges(disturbed, undisturbed)


@pytest.mark.parametrize("step", ["write ledger", "dvc repro", "release", "settle"])
def test_a_full_disk(disturbed: Place, undisturbed: Undisturbed, step: str) -> None:
    local = isinstance(disturbed.storage, LocalStorage)
    if step in ("release", "settle") and not local:
        pytest.skip("writes nothing on this machine: the server's disk has a test of its own")
    hang_up(disturbed.storage)
    child = started(lambda: run_night(disturbed.night(), before(step, fill_disk)))
    assert exit_code(child) == 1  # a readable refusal, no traceback
    assert live_version(disturbed) == (2 if step == "settle" else 1)
    assert waiting(disturbed) == list(undisturbed.reports)
    if isinstance(disturbed.storage, LocalStorage):
        assert list((Path(disturbed.storage.url) / ".tmp").iterdir()) == []
    converges(disturbed, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["write ledger", "release", "settle"])
@pytest.mark.parametrize("new_store", ["mock_s3"], indirect=True)
def test_a_server_whose_disk_is_full(disturbed: Place, undisturbed: Undisturbed, mock_s3: FaultyS3, step: str) -> None:
    with pytest.raises(StoreUnusable, match="InsufficientStorage"):
        run_night(disturbed.night(), before(step, lambda: mock_s3.spoil(Fault.DISK_FULL, "PUT", 100)))
    mock_s3.heal()
    assert live_version(disturbed) == (2 if step == "settle" else 1)
    assert waiting(disturbed) == list(undisturbed.reports)
    converges(disturbed, undisturbed)


def test_bytes_are_in_dvcs_remote_before_anything_points_at_them(
    disturbed: Place, undisturbed: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    dvc = Workspace.dvc

    def told_dvc(workspace: Workspace, *words: str, **named: Any) -> None:
        order.append(f"dvc {words[0]}")
        dvc(workspace, *words, **named)

    monkeypatch.setattr(Workspace, "dvc", told_dvc)
    store = Watched(disturbed.storage, lambda operation, key: order.append(f"{operation} {key}"))
    run_night(replace(disturbed.night(), storage=store))
    told = [
        each
        for each in order
        if each.startswith(("dvc", f"put {layout.RELEASES}", f"swap {layout.LIVE}", f"put {layout.log_entry(2)}"))
    ]
    assert told[:3] == ["dvc repro", "dvc repro", "dvc push"]
    assert told[-3:] == [f"put {layout.RELEASES}2/manifest.json", f"swap {layout.LIVE}", "put log/00000002.json"]
    assert order.index(told[-1]) < order.index(f"delete {layout.inbox_report(undisturbed.reports[0])}")


@pytest.mark.parametrize("left", ["stages:\n  train:\n    cmd: 'python", "", None])
@pytest.mark.parametrize("new_store", ["local"], indirect=True)
def test_a_lock_file_that_was_half_written_or_lost_is_the_live_releases_again(
    disturbed: Place, undisturbed: Undisturbed, left: str | None
) -> None:
    lock = disturbed.workspace.folder / "dvc.lock"
    whole = lock.read_text()
    if left is None:
        lock.unlink()
    else:
        lock.write_text(left)
    sync(disturbed.night())
    assert lock.read_text() == whole
    converges(disturbed, undisturbed)


def test_where_nothing_is_released_a_damaged_lock_file_is_put_away(tmp_path: Path) -> None:
    make_workspace(tmp_path)
    workspace, said = Workspace(tmp_path), list[str]()
    (tmp_path / "dvc.lock").write_text("stages:\n  train:\n    cmd: 'python")
    workspace.dvc("status", log=said.append)
    assert "dvc.lock was damaged" in said[0]
    assert (tmp_path / "dvc.lock.damaged").exists()
    assert not (tmp_path / "dvc.lock").exists()


@pytest.mark.slow
@pytest.mark.parametrize("left", ["", '{"read": {', "[]"])
def test_a_damaged_rwlock_is_put_away_unless_dvc_is_writing_it(tmp_path: Path, left: str) -> None:
    make_workspace(tmp_path)
    workspace, said = Workspace(tmp_path), list[str]()
    rwlock = tmp_path / ".dvc" / "tmp" / "rwlock"
    rwlock.parent.mkdir()
    rwlock.write_text(left)
    (tmp_path / "dvc.yaml").write_text("stages: {one: {cmd: echo 1 > one, outs: [one]}}")
    guard = zc.lockfile.LockFile(str(rwlock.with_name("rwlock.lock")))
    with pytest.raises(NightError, match="failed"):
        workspace.dvc("repro", log=said.append)
    guard.close()
    assert rwlock.read_text() == left  # another DVC's, while that one holds the guard
    workspace.dvc("repro", log=said.append)
    assert any("rwlock was damaged" in each for each in said)
    assert rwlock.with_name("rwlock.damaged").read_text() == left
    assert (tmp_path / "one").read_text() == "1\n"


def test_a_setting_of_ones_own_outlasts_a_full_disk_while_the_remote_is_set(tmp_path: Path) -> None:
    make_workspace(tmp_path)
    settings = tmp_path / ".dvc" / "config.local"
    mine = settings.read_text()

    def set_remote() -> None:
        fill_disk(at_most=10)
        Workspace(tmp_path).use_remote("s3://bucket/store")

    assert exit_code(started(set_remote)) == 1
    assert settings.read_text() == mine
    Workspace(tmp_path).use_remote("s3://bucket/store")
    assert "no_scm = true" in settings.read_text()
    assert "url = s3://bucket/store/dvc" in settings.read_text()
