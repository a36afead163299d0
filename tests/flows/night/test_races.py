"""Several runs on one store, in a folder and on S3: one wins, the others say so and consume nothing."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from errata.data.releases.manifest import verify_bundle
from errata.editing.errors import Superseded
from errata.flows.night.run import run_night
from errata.flows.night.state import Night
from errata.flows.releases.pointer import log_entries
from errata.flows.releases.rollback import rollback
from tests.flows.conftest import COUNT, Place, Undisturbed
from tests.flows.night.faults import at_once, before, converges, live_version, settled, waiting


def other_night(place: Place, folder: Path) -> Night:
    """Another run on the same store, in a workspace of its own."""
    return replace(place.beside(folder).night(), by="the other")


@pytest.mark.parametrize("step", ["dvc repro", "release"])
def test_of_two_runs_from_one_parent_one_wins_and_the_other_consumes_nothing(
    disturbed: Place, undisturbed: Undisturbed, tmp_path: Path, step: str
) -> None:
    other = other_night(disturbed, tmp_path / "beside")
    with pytest.raises(Superseded, match="superseded"):
        run_night(disturbed.night(), before(step, lambda: run_night(other)))
    converges(disturbed, undisturbed)


@pytest.mark.parametrize("more", [0, 1])
def test_two_processes_that_release_at_the_same_moment(
    disturbed: Place, undisturbed: Undisturbed, tmp_path: Path, more: int
) -> None:
    """Both have their candidate, of the same reports or of one more, before either may release."""
    ready = multiprocessing.get_context("fork").Barrier(2)
    one, two = disturbed, disturbed.beside(tmp_path / "beside")

    def late_report() -> None:
        if more:
            two.report_mistakes(COUNT + more)

    def first() -> str:
        return run_night(one.night(), before("release", lambda: ready.wait(60))).outcome

    def second() -> str:
        late_report()
        return run_night(two.night(), before("release", lambda: ready.wait(60))).outcome

    said = sorted(at_once([first, second], tmp_path, disturbed.storage))
    assert said[0].startswith("Superseded: superseded: ")
    assert said[1] == "released"
    assert live_version(disturbed) in ({2, 3} if more else {2})  # where bytes differ, the second may take the next
    reports = {*waiting(disturbed), *settled(disturbed)}
    assert len(reports) == COUNT + more  # what the loser had, and the winner had not, waits still
    assert len(waiting(disturbed)) + len(settled(disturbed)) == COUNT + more
    if not more:
        converges(disturbed, undisturbed)
    else:
        run_night(disturbed.night())
        assert (waiting(disturbed), len(settled(disturbed))) == ([], COUNT + more)


def test_a_run_that_slept_through_a_release_with_more_reports(
    disturbed: Place, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    def another_night() -> None:
        disturbed.report_mistakes(COUNT + 1)
        run_night(other)

    other = other_night(disturbed, tmp_path / "beside")
    with pytest.raises(Superseded, match="another release went live meanwhile"):
        run_night(disturbed.night(), before("dvc repro", another_night))
    found = log_entries(disturbed.storage)[-1]
    assert (found.version, found.by) == (2, "the other")
    assert waiting(disturbed) == []
    assert len(settled(disturbed)) == COUNT + 1
    assert verify_bundle(disturbed.storage, 2, found.manifest_sha256) == ()
    assert run_night(disturbed.night()).outcome == "nothing to correct"


def test_a_run_that_slept_through_a_rollback(disturbed: Place, undisturbed: Undisturbed) -> None:
    run_night(disturbed.night())
    disturbed.report_mistakes(COUNT)
    waits = waiting(disturbed)
    assert len(waits) == COUNT
    with pytest.raises(Superseded, match="release 1 was rolled back meanwhile"):
        run_night(
            disturbed.night(),
            before("release", lambda: rollback(disturbed.storage, by="somebody", why="complaints")),
        )
    assert live_version(disturbed) == 1
    assert waiting(disturbed) == waits


def test_many_processes_on_one_store(disturbed: Place, undisturbed: Undisturbed, tmp_path: Path) -> None:
    runs = [disturbed.beside(tmp_path / str(number)).night() for number in range(4)]
    said = at_once([lambda run=run: run_night(run).outcome for run in runs], tmp_path, disturbed.storage)  # type: ignore[misc]
    assert "released" in said
    assert all(each in ("released", "nothing to correct") or each.startswith("Superseded") for each in said)
    assert said.count("released") == 1
    converges(disturbed, undisturbed)
