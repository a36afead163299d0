"""What somebody withdrew stays out, whatever is reported, until somebody says otherwise."""

import json

import pytest

from errata.data import layout
from errata.data.inbox.quarantine import quarantined
from errata.data.inbox.refusals import Reason
from errata.data.releases.ledger import Ledger
from errata.data.releases.manifest import read_file, read_live, read_manifest
from errata.editing.errors import NightError, NotStored, Superseded
from errata.flows.night.run import run_night
from errata.flows.releases.pointer import log_entries
from errata.flows.releases.retraction import reinstate, retract
from errata.flows.releases.rollback import rollback
from tests.flows.conftest import Place
from tests.flows.night.faults import Watched, before


def in_force(place: Place) -> dict[str, str]:
    """The live ledger: class by correction."""
    found = read_live(place.storage)
    assert found is not None
    manifest = read_manifest(place.storage, found[0].version, found[0].manifest_sha256)
    ledger = Ledger.from_jsonl(read_file(place.storage, manifest, "ledger.jsonl").decode())
    return {each.id: each.expected for each in ledger.corrections}


def corrected(place: Place, count: int = 3) -> dict[str, str]:
    """A first night over real mistakes; the ledger that it leaves."""
    place.report_mistakes(count)
    summary = run_night(place.night())
    assert summary.outcome == "released", summary.sentence
    return in_force(place)


def alone(ledger: dict[str, str]) -> str:
    """A correction whose class no other has, so that no other brings its image right as well."""
    classes = list(ledger.values())
    return next(name for name, value in ledger.items() if classes.count(value) == 1)


def test_a_retracted_correction_leaves_by_the_next_night_and_does_not_come_back(quick: Place) -> None:
    before = corrected(quick)
    gone = alone(before)
    _, live = retract(quick.storage, gone[:10], by="me", why="a wrong label")
    assert (live.version, live.serial, live.previous) == (2, 3, 1)
    assert in_force(quick) == before  # the model does not change before a gate has seen it

    summary = run_night(quick.night())
    assert (summary.outcome, summary.version, summary.reports) == ("released", 3, 0)
    assert in_force(quick) == {name: value for name, value in before.items() if name != gone}

    quick.report_mistakes()  # the image is wrong again, and somebody reports it again
    summary = run_night(quick.night())
    assert gone not in in_force(quick)
    refused = [each for each in quarantined(quick.storage) if each.reason == Reason.RETRACTED]
    assert len(refused) == 1
    assert "a wrong label" in refused[0].detail
    assert run_night(quick.night()).outcome == "nothing to correct"


@pytest.mark.slow
def test_what_was_reinstated_is_solved_for_again_without_a_new_report(quick: Place) -> None:
    before = corrected(quick)
    gone = alone(before)
    retract(quick.storage, gone, by="me", why="doubt")
    run_night(quick.night())
    reinstate(quick.storage, gone, by="me", why="it was right")
    summary = run_night(quick.night())
    assert (summary.outcome, summary.version) == ("released", 4)
    assert in_force(quick) == before
    assert [each.action for each in log_entries(quick.storage)] == [
        "released", "released", "retracted", "released", "reinstated", "released",
    ]  # fmt: skip
    assert run_night(quick.night()).outcome == "nothing to correct"


def test_taking_a_retraction_back_before_the_night_leaves_nothing_to_do(quick: Place) -> None:
    before = corrected(quick)
    retract(quick.storage, min(before), by="me", why="doubt")
    reinstate(quick.storage, min(before), by="me", why="no doubt")
    assert run_night(quick.night()).outcome == "nothing to correct"
    assert in_force(quick) == before


def test_a_prefix_must_name_one(quick: Place) -> None:
    corrected(quick)
    with pytest.raises(NightError, match="no correction in force"):
        retract(quick.storage, "zz", by="me", why="")
    with pytest.raises(NightError, match="no correction in force"):
        retract(quick.storage, "", by="me", why="")
    with pytest.raises(NightError, match="no correction retracted"):
        reinstate(quick.storage, "zz", by="me", why="")


def test_a_retraction_that_died_before_its_swap_stands_and_is_logged_when_given_again(quick: Place) -> None:
    gone = min(corrected(quick))

    def die(operation: str, _key: str) -> None:
        if operation == "swap":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retract(Watched(quick.storage, before=die), gone, by="me", why="doubt")
    assert [each.action for each in log_entries(quick.storage)] == ["released", "released"]
    for _ in range(2):  # the second time changes nothing
        retract(quick.storage, gone, by="me", why="doubt")
        assert [each.action for each in log_entries(quick.storage)] == ["released", "released", "retracted"]
        assert len(list(quick.storage.keys(layout.RETRACTED))) == 1
    run_night(quick.night())
    assert gone not in in_force(quick)


@pytest.mark.slow
def test_a_night_that_ran_while_something_was_retracted_loses_its_swap(quick: Place) -> None:
    gone = min(corrected(quick, 2))
    quick.report_mistakes()
    waiting = sorted(quick.storage.keys(layout.INBOX))

    with pytest.raises(Superseded, match="retracted meanwhile"):
        run_night(quick.night(), before("release", lambda: retract(quick.storage, gone, by="me", why="doubt")))
    assert sorted(quick.storage.keys(layout.INBOX)) == waiting
    summary = run_night(quick.night())
    assert summary.outcome == "released"
    assert gone not in in_force(quick)
    assert list(quick.storage.keys(layout.INBOX)) == []


def test_a_rollback_brings_the_old_bytes_back_and_keeps_what_it_dropped_out(quick: Place) -> None:
    first = corrected(quick, 2)
    quick.report_mistakes()
    run_night(quick.night())
    both = in_force(quick)
    done = rollback(quick.storage, by="me", why="complaints")
    assert (done.live.version, done.left, done.live.newest) == (2, 3, 3)
    assert done.dropped is not None
    assert {each.id for each in done.dropped} == set(both) - set(first)
    assert in_force(quick) == first

    quick.report_mistakes()  # the same mistakes, reported again
    summary = run_night(quick.night())
    assert summary.outcome == "nothing to correct"
    assert {each.reason for each in summary.refused} == {Reason.RETRACTED}

    for each in done.dropped:
        reinstate(quick.storage, each.id, by="me", why="no complaints after all")
    assert run_night(quick.night()).version == 4  # a version number is never used twice
    assert in_force(quick) == both


@pytest.mark.slow
def test_forward_again_takes_back_what_the_rollback_took_and_no_more(quick: Place) -> None:
    corrected(quick, 2)
    quick.report_mistakes()
    run_night(quick.night())
    both = in_force(quick)
    own = min(both)
    retract(quick.storage, own, by="me", why="doubt")
    rollback(quick.storage, 2, by="me", why="complaints")
    done = rollback(quick.storage, 3, by="me", why="a false alarm")
    assert in_force(quick) == both
    assert own not in {each.id for each in done.regained}
    run_night(quick.night())
    assert in_force(quick) == {name: value for name, value in both.items() if name != own}


def test_what_is_live_already_stays_as_it_is(quick: Place) -> None:
    corrected(quick, 1)
    assert rollback(quick.storage, 2, by="me", why="to be sure").live.serial == 2


def test_a_pointer_that_cannot_be_read_is_restored_by_a_rollback(quick: Place) -> None:
    before = corrected(quick, 2)
    (quick.folder / "store" / layout.LIVE).write_bytes(b"{half")
    assert rollback(quick.storage, 2, by="me", why="live.json was damaged").live.serial == 3
    assert in_force(quick) == before


def test_the_log_says_who_and_why(quick: Place) -> None:
    gone = min(corrected(quick, 2))
    retract(quick.storage, gone, by="ada", why="a wrong label")
    rollback(quick.storage, 1, by="bob", why="complaints")
    entries = [json.loads(quick.storage.get(key)) for key in quick.storage.keys(layout.LOG)]
    assert [(each["action"], each["version"], each["by"], each["why"]) for each in entries][2:] == [
        ("retracted", 2, "ada", "a wrong label"),
        ("rolled back", 1, "bob", "complaints"),
    ]
    assert entries[2]["about"] == layout.retraction(gone, 1)
    with pytest.raises(NotStored):
        quick.storage.get(layout.log_entry(5))
