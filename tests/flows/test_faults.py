"""Whatever happens to a run: the old model or the new one is live, whole; no report is lost; a rerun converges.

Kills are real: the night runs in a forked child that sends itself SIGKILL.
"""

import json
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from data import layout
from data.images import encode_png
from data.manifest import read_live, verify_bundle
from data.reports import file_report
from data.splits import load_split
from data.storage.base import Storage, Versioned
from data.storage.local import LocalStorage
from editing.errors import ErrataError, StoreUnusable, Superseded
from flows import night
from flows.night import Night, Step
from flows.release import history
from flows.rollback import rollback
from flows.workspace import Workspace
from tests.flows.conftest import Place

STEPS = ("sync", "collect", "quarantine", "lay out", "reproduce", "gate", "release", "settle")
COUNT = 2  # reports that wait


def plain(_name: str, step: Step) -> Step:
    """Steps as they are."""
    return step


def die(*_: object, **__: object) -> None:
    """End this process at once: no handler, no cleaning up."""
    os.kill(os.getpid(), signal.SIGKILL)


def forked(work: Callable[[], object]) -> int:
    """Run in a child process; 0, 1 if it raised an ErrataError, 2 on another fault, or minus the signal's number."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            work()
            code = 0
        except ErrataError:
            code = 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed(place: Place, as_step: Callable[[str, Step], Step] = plain, storage: Storage | None = None) -> None:
    """A night that must end by SIGKILL."""
    run = replace(place.night(), storage=storage or place.storage)
    assert forked(lambda: night.run(run, as_step)) == -signal.SIGKILL


def after(name: str) -> Callable[[str, Step], Step]:
    """Steps of which the one called `name` is the last to finish."""

    def as_step(this: str, step: Step) -> Step:
        def then_die(*arguments: Any, **named: Any) -> None:
            step(*arguments, **named)
            die()

        return then_die if this == name else step

    return as_step


class Watched(LocalStorage):
    """A store that calls `before(operation, key)` ahead of each change."""

    def __init__(self, root: Path, before: Callable[[str, str], None]) -> None:
        super().__init__(root)
        self._before = before

    def put_once(self, key: str, content: bytes) -> None:
        self._before("put", key)
        super().put_once(key, content)

    def swap(self, key: str, content: bytes, *, expected: str | None) -> Versioned:
        self._before("swap", key)
        return super().swap(key, content, expected=expected)

    def delete(self, key: str) -> None:
        self._before("delete", key)
        super().delete(key)


def watched(place: Place, before: Callable[[str, str], None]) -> Watched:
    """The place's store, watched."""
    return Watched(place.folder / "store", before)


def waiting(place: Place) -> list[str]:
    """What is in the inbox."""
    return [layout.stem(key) for key in place.storage.keys(layout.INBOX)]


def settled(place: Place) -> list[str]:
    """Every report that a release consumed, in each place where it lies."""
    return sorted(layout.stem(key) for key in place.storage.keys(layout.SETTLED))


def live_version(place: Place) -> int:
    """What is live, after a look at each of its files."""
    found = read_live(place.storage)
    assert found is not None
    assert verify_bundle(place.storage, found[0].version, found[0].manifest_sha256) == ()
    return found[0].version


@dataclass(frozen=True)
class Undisturbed:
    """The reports, and the digest of the release that an undisturbed night makes of them."""

    reports: tuple[str, ...]
    digest: str


@pytest.fixture
def undisturbed(quick: Place, tmp_path: Path) -> Undisturbed:
    """What should come out, from a night without faults in a copy; the place itself waits for the faults."""
    reports = tuple(sorted(each.id for each in quick.report_mistakes(COUNT)))
    assert len(reports) == COUNT
    sibling = copied(quick, tmp_path / "undisturbed")
    assert night.run(sibling.night()).version == 2
    return Undisturbed(reports, digest(sibling))


def copied(place: Place, folder: Path) -> Place:
    """The same place elsewhere."""
    shutil.copytree(place.folder, folder, symlinks=True)
    return replace(place, folder=folder)


def digest(place: Place) -> str:
    """The digest of what is live."""
    found = read_live(place.storage)
    assert found is not None
    return found[0].manifest_sha256


def converges(place: Place, expected: Undisturbed, version: int = 2) -> None:
    """Rerun twice: one release, each report consumed once, one line of the log for each change."""
    assert live_version(place) in (1, version)
    assert set(waiting(place)) | set(settled(place)) == set(expected.reports)  # none was lost
    night.run(place.night())
    again = night.run(place.night())
    assert (again.outcome, again.version, again.reports) == ("nothing to correct", version, 0)
    assert live_version(place) == version
    assert waiting(place) == []
    assert settled(place) == list(expected.reports)
    assert [(each.serial, each.version) for each in history(place.storage)] == [(1, 1), (2, version)]
    if version == 2:
        assert digest(place) == expected.digest


@pytest.mark.parametrize("step", STEPS)
def test_killed_after_a_step(quick: Place, undisturbed: Undisturbed, step: str) -> None:
    killed(quick, after(step))
    assert live_version(quick) == (2 if step in ("release", "settle") else 1)
    if step != "settle":
        assert waiting(quick) == list(undisturbed.reports)
    converges(quick, undisturbed)


def test_killed_before_each_change_of_the_store(quick: Place, undisturbed: Undisturbed, tmp_path: Path) -> None:
    changes: list[tuple[str, str]] = []
    counted = copied(quick, tmp_path / "counted")
    night.run(replace(counted.night(), storage=watched(counted, lambda *change: changes.append(change))))
    assert ("swap", layout.LIVE) in changes
    # the probe's keys are random, and files of one bundle are as good as each other: one of each kind is killed
    kinds: dict[tuple[str, str], int] = {}
    for index, (operation, key) in enumerate(changes):
        if not key.startswith("probe"):
            kinds.setdefault((operation, key.split("/")[0] + key.rpartition(".")[2]), index)
    for index in kinds.values():
        victim = copied(quick, tmp_path / f"killed {index}")
        left = iter(range(index))

        def count_down(_operation: str, _key: str, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                die()

        killed(victim, storage=watched(victim, count_down))
        converges(victim, undisturbed)
        shutil.rmtree(victim.folder)


def test_a_dead_runs_bundle_does_not_block_the_next_night(quick: Place, undisturbed: Undisturbed) -> None:
    def before_swap(operation: str, key: str) -> None:
        if (operation, key) == ("swap", layout.LIVE):
            die()

    killed(quick, storage=watched(quick, before_swap))
    assert verify_bundle(quick.storage, 2) == ()  # whole, never live
    assert live_version(quick) == 1
    more = quick.report_mistakes(COUNT + 1)
    converges(quick, Undisturbed(tuple(sorted(each.id for each in more)), ""), version=3)


class LostAnswer(LocalStorage):
    """A store that swaps live.json, and then does not answer."""

    lost = 0

    def swap(self, key: str, content: bytes, *, expected: str | None) -> Versioned:
        done = super().swap(key, content, expected=expected)
        if key == layout.LIVE and self.lost == 0:
            self.lost += 1
            raise StoreUnusable("no answer")
        return done


def retried(_name: str, step: Step) -> Step:
    """Steps as Prefect runs them, without the waiting: again while the store is away."""

    def patient(*arguments: Any, **named: Any) -> Any:
        for _ in range(4):
            try:
                return step(*arguments, **named)
            except StoreUnusable:
                continue
        return step(*arguments, **named)

    return patient


@pytest.mark.parametrize("as_step", [plain, retried])
def test_a_swap_whose_answer_was_lost(
    quick: Place, undisturbed: Undisturbed, as_step: Callable[[str, Step], Step]
) -> None:
    run = replace(quick.night(), storage=LostAnswer(quick.folder / "store"))
    if as_step is plain:
        with pytest.raises(StoreUnusable):
            night.run(run)
        assert (live_version(quick), waiting(quick)) == (2, list(undisturbed.reports))
    else:
        summary = night.run(run, as_step)
        assert (summary.outcome, summary.version, waiting(quick)) == ("released", 2, [])
    converges(quick, undisturbed)


def test_a_store_that_is_away_for_a_while_is_waited_for(quick: Place, undisturbed: Undisturbed) -> None:
    outage = 0

    def flaky(_operation: str, _key: str) -> None:
        nonlocal outage
        if outage:
            outage -= 1
            raise StoreUnusable("connection refused")

    def away_at_first(name: str, step: Step) -> Step:
        def late(*arguments: Any, **named: Any) -> Any:
            nonlocal outage
            outage = 3
            return retried(name, step)(*arguments, **named)

        return late

    summary = night.run(replace(quick.night(), storage=watched(quick, flaky)), away_at_first)
    assert (summary.outcome, summary.version) == ("released", 2)
    assert digest(quick) == undisturbed.digest
    converges(quick, undisturbed)


def test_a_store_that_stays_away_ends_the_night_and_the_next_one_makes_up_for_it(
    quick: Place, undisturbed: Undisturbed
) -> None:
    def gone(_operation: str, key: str) -> None:
        if key.startswith(layout.RELEASES):
            raise StoreUnusable("connection refused")

    with pytest.raises(StoreUnusable):
        night.run(replace(quick.night(), storage=watched(quick, gone)), retried)
    assert (live_version(quick), waiting(quick)) == (1, list(undisturbed.reports))
    converges(quick, undisturbed)


@pytest.mark.parametrize("step", ["lay out", "release", "settle"])
def test_a_full_disk(quick: Place, undisturbed: Undisturbed, step: str) -> None:
    """The kernel refuses to let a file grow beyond a few bytes, as it does when nothing is left."""

    def full(this: str, work: Step) -> Step:
        def on_full_disk(*arguments: Any, **named: Any) -> Any:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
            return work(*arguments, **named)

        return on_full_disk if this == step else work

    assert forked(lambda: night.run(quick.night(), full)) == 1  # a readable refusal, no traceback
    assert live_version(quick) == (2 if step == "settle" else 1)
    assert waiting(quick) == list(undisturbed.reports)
    temporary = quick.folder / "store" / ".tmp"
    assert list(temporary.iterdir()) == []
    converges(quick, undisturbed)


def meanwhile(step: str, event: Callable[[], object]) -> Callable[[str, Step], Step]:
    """Steps of which the one called `step` waits until something else has happened."""

    def as_step(this: str, work: Step) -> Step:
        def late(*arguments: Any, **named: Any) -> Any:
            event()
            return work(*arguments, **named)

        return late if this == step else work

    return as_step


def beside(place: Place, tmp_path: Path) -> Night:
    """Another run on the same store, in a workspace of its own."""
    other = copied(place, tmp_path / "beside")
    return replace(other.night(), storage=place.storage, by="the other")


@pytest.mark.parametrize("step", ["reproduce", "release"])
def test_of_two_runs_from_one_parent_one_wins_and_the_other_consumes_nothing(
    quick: Place, undisturbed: Undisturbed, tmp_path: Path, step: str
) -> None:
    other = beside(quick, tmp_path)
    with pytest.raises(Superseded, match="superseded"):
        night.run(quick.night(), meanwhile(step, lambda: night.run(other)))
    converges(quick, undisturbed)


def test_a_run_that_slept_through_a_release_with_more_reports(
    quick: Place, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    def another_night() -> None:
        quick.report_mistakes(COUNT + 1)
        night.run(other)

    other = beside(quick, tmp_path)
    with pytest.raises(Superseded, match="another release went live meanwhile"):
        night.run(quick.night(), meanwhile("reproduce", another_night))
    found = history(quick.storage)[-1]
    assert (found.version, found.by) == (2, "the other")
    assert waiting(quick) == []
    assert len(settled(quick)) == COUNT + 1
    assert night.run(quick.night()).outcome == "nothing to correct"


def test_a_run_that_slept_through_a_rollback(quick: Place) -> None:
    quick.report_mistakes(1)
    night.run(quick.night())
    quick.report_mistakes(COUNT)
    before = waiting(quick)
    with pytest.raises(Superseded, match="release 1 was rolled back meanwhile"):
        night.run(
            quick.night(),
            meanwhile("release", lambda: rollback(quick.storage, by="somebody", why="complaints")),
        )
    assert live_version(quick) == 1
    assert waiting(quick) == before


def test_many_processes_on_one_local_store(quick: Place, undisturbed: Undisturbed, tmp_path: Path) -> None:
    runs = [replace(copied(quick, tmp_path / str(n)).night(), storage=quick.storage, by=str(n)) for n in range(4)]
    children = []
    for run in runs:
        child = os.fork()
        if child == 0:
            try:
                night.run(run)
                os._exit(0)
            except Superseded:
                os._exit(1)
            finally:
                os._exit(2)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert set(codes) <= {0, 1}
    assert 0 in codes
    converges(quick, undisturbed)


def test_bytes_are_in_dvcs_remote_before_anything_points_at_them(
    quick: Place, undisturbed: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    dvc = Workspace.dvc

    def told_dvc(workspace: Workspace, *words: str, **named: Any) -> None:
        order.append(f"dvc {words[0]}")
        dvc(workspace, *words, **named)

    monkeypatch.setattr(Workspace, "dvc", told_dvc)
    store = watched(quick, lambda operation, key: order.append(f"{operation} {key}"))
    night.run(replace(quick.night(), storage=store))
    told = [
        each
        for each in order
        if each.startswith(("dvc", f"put {layout.RELEASES}", f"swap {layout.LIVE}", f"put {layout.log_entry(2)}"))
    ]
    assert told[:2] == ["dvc repro", "dvc push"]
    assert told[-3:] == [f"put {layout.RELEASES}2/manifest.json", f"swap {layout.LIVE}", "put log/00000002.json"]
    assert order.index(told[-1]) < order.index(f"delete {layout.inbox_report(undisturbed.reports[0])}")


def test_a_crash_between_swap_and_log_leaves_no_gap_in_the_log(quick: Place, undisturbed: Undisturbed) -> None:
    killed(quick, storage=watched(quick, lambda _operation, key: die() if key == layout.log_entry(2) else None))
    assert [each.serial for each in history(quick.storage)] == [1]
    traffic = load_split(quick.workspace.splits, "traffic")
    file_report(quick.storage, encode_png(traffic.images[0]), traffic.classes[traffic.labels[0]])
    night.run(quick.night())
    entries = [json.loads(quick.storage.get(key)) for key in quick.storage.keys(layout.LOG)]
    assert [(each["serial"], each["action"], each["by"], each["why"]) for each in entries][1] == (
        2, "released", "test", "2 new corrections, 0 retracted",
    )  # fmt: skip
