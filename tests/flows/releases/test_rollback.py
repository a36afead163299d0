"""A rollback is one swap; what it means for corrections follows from the log, whatever happens before and after."""

import json
from collections import Counter
from collections.abc import Callable
from itertools import count

import pytest

from errata.data import layout
from errata.data.releases.manifest import Live, read_live
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged, NightError, Superseded
from errata.flows.night.run import run_night
from errata.flows.releases.pointer import log_entries, make_live
from errata.flows.releases.retraction import reinstate, retract
from errata.flows.releases.rollback import Rollback, rollback
from errata.flows.releases.standing import decisions
from tests.conftest import NewStore
from tests.flows.conftest import Place
from tests.flows.night.faults import Watched
from tests.flows.releases.small import correction, identities, make_bundle, release, rewrite


def live(storage: Storage) -> Live:
    """What is live."""
    found = read_live(storage)
    assert found is not None
    return found[0]


def out(storage: Storage) -> set[str]:
    """The corrections that no night may release."""
    return {each.correction for each in decisions(storage, live(storage)).values() if each.action == "retracted"}


def back(storage: Storage) -> set[str]:
    """The corrections that were out and are wanted again."""
    return {each.correction for each in decisions(storage, live(storage)).values() if each.action == "reinstated"}


def to(storage: Storage, version: int) -> Rollback:
    """Roll back, or forward, to a release."""
    return rollback(storage, version, by="me", why="complaints")


@pytest.fixture
def three(storage: Storage) -> Storage:
    """Three releases: a root, then one correction, then two more."""
    for version, names in enumerate(("", "a", "abc"), 1):
        release(storage, make_bundle(version, names))
    return storage


def test_a_rollback_costs_the_same_requests_whatever_the_release_held(new_store: NewStore) -> None:
    def requests(corrections: int) -> dict[str, int]:
        storage, asked = new_store(), Counter[str]()
        release(storage, make_bundle(1))
        release(storage, make_bundle(2, (f"{number:04x}" for number in range(corrections))))
        watched = Watched(storage, before=lambda operation, _key: asked.update([operation]))
        done = to(watched, 1)
        assert done.dropped is not None
        assert len(done.dropped) == corrections
        assert len(out(watched)) == corrections  # what the next night asks
        return asked

    assert requests(10) == requests(40)


def test_it_is_one_swap_and_an_entry_of_the_log(three: Storage) -> None:
    changes: list[tuple[str, str]] = []
    to(Watched(three, after=lambda operation, key: changes.append((operation, key))), 1)
    assert [each for each in changes if each != ("put", layout.log_entry(3))] == [
        ("swap", layout.LIVE),
        ("put", layout.log_entry(4)),
    ]
    assert out(three) == identities("abc")
    assert log_entries(three)[-1].about == layout.release_file(3, "ledger.jsonl")


def dying(fatal: int) -> Callable[[str, str], None]:
    """What ends a command at change number `fatal` of the store, counted from 0."""
    changes = count()

    def die(operation: str, _key: str) -> None:
        if operation in {"put", "swap", "delete"} and next(changes) == fatal:
            raise KeyboardInterrupt

    return die


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_change_it_has_happened_or_it_has_not(new_store: NewStore, when: str) -> None:
    seen = set()
    for fatal in range(3):
        storage = new_store()
        for version, names in enumerate(("", "a", "abc"), 1):
            release(storage, make_bundle(version, names))
        die = dying(fatal)
        watched = Watched(storage, before=die) if when == "before" else Watched(storage, after=die)
        with pytest.raises(KeyboardInterrupt):
            to(watched, 1)
        version = live(storage).version
        assert (version, out(storage)) in [(3, set()), (1, identities("abc"))]
        seen.add(version)
    assert seen == {1, 3}


def test_killed_between_swap_and_log_the_next_night_releases_none_of_it(anywhere: Place) -> None:
    anywhere.report_mistakes(2)
    assert run_night(anywhere.night()).version == 2

    def die(operation: str, key: str) -> None:
        if (operation, key) == ("put", layout.log_entry(3)):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        to(Watched(anywhere.storage, before=die), 1)
    assert live(anywhere.storage).version == 1
    anywhere.report_mistakes(2)  # the same again
    summary = run_night(anywhere.night())
    assert (summary.outcome, summary.version, len(summary.refused)) == ("nothing to correct", 1, 2)
    assert [each.action for each in log_entries(anywhere.storage)] == ["released", "released", "rolled back"]


def test_one_that_loses_its_swap_leaves_nothing_behind(three: Storage) -> None:
    def first(operation: str, _key: str) -> None:
        if operation == "swap":
            retract(three, correction("a").id, by="you", why="doubt")

    with pytest.raises(Superseded, match="retracted meanwhile"):
        to(Watched(three, before=first), 1)
    assert live(three).version == 3
    assert out(three) == identities("a")


def test_two_in_a_row_and_forward_by_one_and_by_two(three: Storage) -> None:
    to(three, 2)
    assert out(three) == identities("bc")
    to(three, 1)
    assert out(three) == identities("abc")
    done = to(three, 2)
    assert {each.id for each in done.regained} == identities("a")
    assert out(three) == identities("bc")
    done = to(three, 3)
    assert {each.id for each in done.regained} == identities("bc")
    assert (out(three), back(three)) == (set(), identities("abc"))


def test_a_person_overrides_it_and_it_overrides_no_person(three: Storage) -> None:
    retract(three, correction("b").id, by="me", why="a wrong label")  # before
    to(three, 1)
    retract(three, correction("c").id, by="me", why="a wrong label as well")  # what the rollback took already
    reinstate(three, correction("a").id, by="me", why="it was right")
    assert out(three) == identities("bc")
    done = to(three, 3)
    assert done.regained == ()
    assert out(three) == identities("bc")
    to(three, 1)  # a is left once more, after it was reinstated
    assert out(three) == identities("abc")


def test_a_night_in_between_and_then_back_to_what_was_left(three: Storage) -> None:
    to(three, 2)
    release(three, make_bundle(4, "ad"))
    to(three, 3)  # an earlier release: what the first rollback took stays out
    assert out(three) == identities("bcd")
    done = to(three, 4)
    assert {each.id for each in done.regained} == identities("d")
    assert out(three) == identities("bc")


def test_what_a_new_root_learned_stays_out_as_well(three: Storage) -> None:
    release(three, make_bundle(4, "c", learned="abc"))  # the root gets a and b right by itself
    done = to(three, 1)
    assert done.dropped is not None
    assert {each.id for each in done.dropped} == out(three) == identities("abc")
    done = to(three, 4)
    assert {each.id for each in done.regained} == identities("abc")
    assert to(three, 3).dropped == ()


def test_a_release_that_was_damaged_when_it_was_left_says_nothing(three: Storage) -> None:
    three.delete(layout.release_file(3, "ledger.jsonl"))
    assert to(three, 2).dropped is None
    assert out(three) == set()
    to(three, 1)
    assert out(three) == identities("a")


@pytest.mark.parametrize("damage", ["gone", "rewritten"])
def test_one_that_was_damaged_afterwards_stops_the_night_and_never_lets_go(three: Storage, damage: str) -> None:
    to(three, 1)
    if damage == "gone":
        three.delete(layout.release_file(3, "ledger.jsonl"))
    else:
        rewrite(three, make_bundle(3))  # whole by itself, and it never held anything
    with pytest.raises(Damaged, match="rollback 4 rests on its ledger, which says what must not come back; restore it"):
        out(three)
    rollback(three, 1, by="me", why="it is live, which is said without a look at it")


def test_a_log_without_what_was_left_stops_the_night(three: Storage) -> None:
    to(three, 1)
    three.delete(layout.log_entry(3))
    with pytest.raises(Damaged, match="lacks change 3"):
        out(three)


# What version 0.1 wrote: a record for each correction, before a swap that names nothing.
def old_record(storage: Storage, name: str, number: int, action: str) -> None:
    document = {
        "format": "errata-decision/1", "correction": correction(name).id, "expected": "cat", "reports": ["r"],
        "number": number, "action": action, "cause": "rollback", "by": "me", "why": "complaints",
        "at": "2026-01-02T03:04:05+00:00",
    }  # fmt: skip
    storage.put_once(f"retracted/{correction(name).id}/{number:08d}.json", json.dumps(document).encode())


def test_the_records_of_earlier_versions_mean_what_they_meant(three: Storage) -> None:
    for name in "bc":
        old_record(three, name, 1, "retracted")
    assert out(three) == identities("bc")  # killed before its swap, it meant the same
    make_live(three, make_bundle(2, "a").manifest, read_live(three), action="rolled back", by="me", why="complaints")
    assert out(three) == identities("bc")
    reinstate(three, correction("b").id, by="me", why="it was right")
    assert (out(three), back(three)) == (identities("c"), identities("b"))
    done = to(three, 3)
    assert {each.id for each in done.regained} == identities("c")
    assert out(three) == set()


def test_what_an_earlier_version_took_back_is_back(three: Storage) -> None:
    old_record(three, "b", 1, "retracted")
    old_record(three, "b", 2, "reinstated")  # the rollback came too late
    assert (out(three), back(three)) == (set(), identities("b"))


@pytest.mark.parametrize("version", [None, 7])
def test_only_what_was_live_can_be_live_again(storage: Storage, version: int | None) -> None:
    release(storage, make_bundle(1))
    with pytest.raises(NightError, match="is the first" if version is None else "never was live"):
        rollback(storage, version, by="me", why="complaints")


def test_a_decision_that_was_never_logged_counts_by_its_time(three: Storage) -> None:
    def die(operation: str, _key: str) -> None:
        if operation == "swap":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retract(Watched(three, before=die), correction("b").id, by="me", why="doubt")
    to(three, 1)
    to(three, 3)
    assert out(three) == identities("b")
