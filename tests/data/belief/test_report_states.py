"""Every report has one state, wherever it lies: derived here from what each test did to it."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from errata.data import layout
from errata.data.belief.report_states import State, one_report, report_state, report_states
from errata.data.belief.waiting import Waiting, WaitingClaims, keep_waiting
from errata.data.inbox.deferred import defer
from errata.data.inbox.quarantine import quarantine, requeue, settle
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.releases.edit_record import EditRecord
from errata.data.releases.erasure import Erasure, ask
from errata.data.releases.ledger import Correction, Ledger
from errata.data.releases.manifest import FileEntry, Live, Manifest, sha256
from errata.data.reports import Report
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged, DataError, NotStored

NOW = datetime(2026, 1, 3, tzinfo=UTC)
FileOne = Callable[..., Report]


def make_live(storage: Storage, version: int, *held: str, no_slot: str = "") -> None:
    """A release whose ledger rests on the reports `held`, as far as this is read; no slot holds what `no_slot` says."""
    ledger = Ledger(version, tuple(Correction(each, "cat", (each,)) for each in held)).to_jsonl().encode()
    holds = {each: each != no_slot for each in held}
    edited = EditRecord(not no_slot, 1, "", holds, deferred={no_slot: "not apart"} if no_slot else {}).to_json()
    files = {"ledger.jsonl": ledger, "edit.json": edited}
    entries = {name: FileEntry(sha256(content), len(content)) for name, content in files.items()}
    manifest = Manifest(version, "edit", "a" * 64, "b" * 64, "c" * 64, "d" * 64, len(held), entries)
    for name, content in files.items():
        storage.put_once(layout.release_file(version, name), content)
    storage.put_once(layout.release_file(version, layout.MANIFEST), manifest.to_json())
    live = Live(version, manifest.digest, None, version, version).to_json()
    try:
        tag = storage.read(layout.LIVE).tag
    except NotStored:
        tag = None
    storage.swap(layout.LIVE, live, expected=tag)


def refuse(storage: Storage, report: Report) -> None:
    quarantine(storage, Refusal(report.id, Reason.CONFLICT, "others say dog"), NOW)


def test_each_place_is_a_state(storage: Storage, file_one: FileOne) -> None:
    new, waits, left_out, refused, held, gone, erased = (file_one(seed) for seed in range(7))
    side = Waiting("c" * 64, "cat", 0.25, (waits.id,), "3 reporters", 2)
    keep_waiting(storage, WaitingClaims("2026-01-02T02:00:00+00:00", "a run", (side,)))
    defer(storage, left_out.id, "it flips 3 images", "a run")
    refuse(storage, refused)
    settle(storage, [gone.id], 1)
    settle(storage, [held.id], 2)
    make_live(storage, 2, held.id)
    ask(storage, Erasure(1, (erased.image,), (), (), (erased.id,), "ada", "they asked", NOW.isoformat()))
    storage.delete(layout.inbox_report(erased.id))
    expected = {
        new.id: State.NEW,
        waits.id: State.WAITING,
        left_out.id: State.DEFERRED,
        refused.id: State.REFUSED,
        held.id: State.IN_RELEASE,
        gone.id: State.NOT_HELD,
        erased.id: State.ERASED,
    }
    found = {each.id: each for each in report_states(storage)}
    assert {name: each.state for name, each in found.items()} == expected
    assert all(report_state(storage, name) == each for name, each in found.items())
    assert (found[waits.id].doubt, found[waits.id].more) == (0.25, 2)
    assert (found[refused.id].reason, found[refused.id].at) == (Reason.CONFLICT, "2026-01-03T00:00:00+00:00")
    assert (found[held.id].version, found[gone.id].version) == (2, 1)
    assert found[gone.id].report == gone
    assert found[erased.id].report is None
    for name, words in {left_out.id: "it flips 3 images", gone.id: "release 2, which is live, does not hold"}.items():
        assert words in found[name].sentence


def test_what_is_filed_again_is_looked_at_again(storage: Storage, file_one: FileOne) -> None:
    report = file_one(1)
    refuse(storage, report)
    file_one(1)
    assert report_state(storage, report.id).state == State.NEW
    refuse(storage, report)
    assert report_state(storage, report.id).state == State.REFUSED
    requeue(storage, report.id)
    assert report_state(storage, report.id).state == State.NEW


def test_a_crash_between_release_and_settling_does_not_hide_the_release(storage: Storage, file_one: FileOne) -> None:
    report = file_one(1)
    make_live(storage, 2, report.id)
    found = report_state(storage, report.id)
    assert (found.state, found.report) == (State.IN_RELEASE, report)


def test_what_is_too_large_to_be_kept_is_refused_where_it_lies(storage: Storage) -> None:
    name = "a" * 64
    storage.put_once(layout.inbox_report(name), b" " * (2**20 + 1))
    quarantine(storage, Refusal(name, Reason.TOO_LARGE, "more than 16 KiB"), NOW)
    assert layout.inbox_report(name) in set(storage.keys(layout.INBOX))
    assert [(each.state, each.report) for each in report_states(storage)] == [(State.REFUSED, None)]


def test_nobody_filed_it(storage: Storage, file_one: FileOne) -> None:
    first, second = file_one(1), file_one(2)
    with pytest.raises(NotStored, match="no report"):
        report_state(storage, "b" * 64)
    assert one_report(storage, first.id[:12]) == first.id
    for prefix, said in {"": "no reports begin", "zz": "no reports begin"}.items():
        with pytest.raises(DataError, match=said):
            one_report(storage, prefix)
    assert first.id[0] != second.id[0], "else the next line means both"
    assert one_report(storage, second.id[0]) == second.id


def test_a_live_release_that_is_gone_is_no_missing_report(storage: Storage, file_one: FileOne) -> None:
    report = file_one(1)
    make_live(storage, 2)
    storage.delete(layout.release_file(2, "ledger.jsonl"))
    with pytest.raises(Damaged, match="it is live"):
        report_state(storage, report.id)


def test_it_is_linear_in_requests(storage: Storage, file_one: FileOne) -> None:
    class Counted:
        """The store, with its reads counted."""

        reads = 0

        def __getattr__(self, name: str) -> object:
            Counted.reads += name in {"get", "read", "size"}
            return getattr(storage, name)

    def reads() -> int:
        Counted.reads = 0
        list(report_states(Counted()))  # type: ignore[arg-type]
        return Counted.reads

    for seed in range(10):
        file_one(seed)
    ten = reads()
    for seed in range(10, 30):
        file_one(seed)
    assert reads() - ten == 20


def test_what_no_slot_can_hold_is_in_the_ledger_and_not_held(storage: Storage, file_one: FileOne) -> None:
    held, unheld = file_one(0), file_one(1)
    settle(storage, [held.id, unheld.id], 1)
    make_live(storage, 1, held.id, unheld.id, no_slot=unheld.id)
    found = {each.id: each for each in report_states(storage)}
    assert {name: each.state for name, each in found.items()} == {
        held.id: State.IN_RELEASE,
        unheld.id: State.NOT_HELD,
    }
    assert "no slot can tell its image" in found[unheld.id].sentence
    assert "tries again" in found[unheld.id].sentence
