"""What reporters got right before, read from where nights leave their reports."""

from collections.abc import Callable

from errata.data import layout
from errata.data.belief.doubt import Record
from errata.data.belief.track_record import track_records
from errata.data.inbox.quarantine import quarantine, settle
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.reports import Report
from errata.data.storage import Storage
from tests.data.conftest import NOON

FileOne = Callable[..., Report]


def test_right_is_what_was_released_and_wrong_what_was_withdrawn_or_contradicted(
    storage: Storage, file_one: FileOne
) -> None:
    kept, withdrawn = file_one(1, reporter="Ann"), file_one(2, reporter=" ann")
    settle(storage, [kept.id, withdrawn.id], 2)
    for seed, reason in ((3, Reason.CONFLICT), (4, Reason.NO_QUORUM), (5, Reason.ALREADY_RIGHT), (6, Reason.TOO_LARGE)):
        report = file_one(seed, reporter="bob")
        quarantine(storage, Refusal(report.id, reason, "a test"), NOON)
    assert track_records(storage, {withdrawn.id}) == {"ann": Record(1, 1), "bob": Record(0, 2)}


def test_what_cannot_be_read_says_nothing_about_anybody(storage: Storage, file_one: FileOne) -> None:
    settle(storage, [file_one(1, reporter="ann").id], 2)
    for key in (layout.settled_report(3, "a" * 64), f"{layout.SETTLED}odd", layout.quarantined_report("b" * 64)):
        storage.put_once(key, b"{}")
    assert track_records(storage, ()) == {"ann": Record(1, 0)}


def test_of_many_the_last_released_are_read(storage: Storage, file_one: FileOne) -> None:
    for version in (9, 10, 2):
        settle(storage, [file_one(version, reporter=f"v{version}").id], version)
    assert set(track_records(storage, (), most=1)) == {"v10"}
