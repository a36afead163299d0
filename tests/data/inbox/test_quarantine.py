"""Out of the inbox: quarantine, requeue, settle. Every move may be cut short at every write and repeated."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from errata.data import layout
from errata.data.inbox.quarantine import one_quarantined, quarantine, quarantined, requeue, settle
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.reports import Report
from errata.data.storage import Storage
from errata.editing.errors import Damaged, DataError, NotStored, StoreError, StoreUnusable
from tests.data.conftest import NOON

FileOne = Callable[..., Report]


def refuse(report_id: str) -> Refusal:
    return Refusal(report_id, Reason.CONFLICT, "two say cat, two say dog")


def test_a_report_moves_with_its_reason(storage: Storage, file_one: FileOne) -> None:
    report = file_one(1)
    quarantine(storage, refuse(report.id), NOON)
    assert list(storage.keys(layout.INBOX)) == []
    [record] = quarantined(storage)
    assert (record.id, record.reason, record.when) == (report.id, Reason.CONFLICT, NOON)
    assert record.content == report.to_json()
    plain = json.loads(storage.get(layout.quarantined_report(report.id)))
    assert plain["reason"] == "conflict"
    assert json.loads(plain["text"])["expected"] == "cat"


def test_again_changes_nothing(storage: Storage, file_one: FileOne) -> None:
    report = file_one(1)
    quarantine(storage, refuse(report.id), NOON)
    before = list(quarantined(storage))
    quarantine(storage, refuse(report.id), NOON + timedelta(days=1))
    assert list(quarantined(storage)) == before


def test_back_to_the_inbox_as_it_was(storage: Storage, file_one: FileOne) -> None:
    report = file_one(1)
    filed = storage.get(layout.inbox_report(report.id))
    quarantine(storage, refuse(report.id), NOON)
    requeue(storage, report.id)
    assert storage.get(layout.inbox_report(report.id)) == filed
    assert list(quarantined(storage)) == []
    with pytest.raises(NotStored):
        requeue(storage, report.id)


def test_a_report_is_found_by_how_its_name_begins(storage: Storage) -> None:
    for name in ("ab" * 32, "ac" * 32):
        storage.put_once(layout.inbox_report(name), b"{}")
        quarantine(storage, refuse(name), NOON)
    assert one_quarantined(storage, "ab") == "ab" * 32
    for prefix, said in (("a", "several"), ("b", "no report"), ("", "no report")):
        with pytest.raises(DataError, match=said):
            one_quarantined(storage, prefix)


def test_refused_again_for_another_reason(storage: Storage, file_one: FileOne) -> None:
    report = file_one(1)
    quarantine(storage, refuse(report.id), NOON)
    file_one(1)
    quarantine(storage, Refusal(report.id, Reason.ALREADY_RIGHT, "now it is right"), NOON)
    [record] = quarantined(storage)
    assert record.reason == Reason.ALREADY_RIGHT
    assert list(storage.keys(layout.INBOX)) == []


def test_bytes_that_are_no_text_come_back_too(storage: Storage) -> None:
    storage.put_once(layout.inbox_report("a" * 64), b"\xff\xfe\x00{")
    quarantine(storage, Refusal("a" * 64, Reason.MALFORMED, "no JSON"), NOON)
    requeue(storage, "a" * 64)
    assert storage.get(layout.inbox_report("a" * 64)) == b"\xff\xfe\x00{"


def test_what_is_too_large_stays_in_the_inbox(storage: Storage) -> None:
    storage.put_once(layout.inbox_report("a" * 64), b"x" * (2**20 + 1))
    quarantine(storage, Refusal("a" * 64, Reason.TOO_LARGE, "more than a megabyte"), NOON)
    assert len(list(storage.keys(layout.INBOX))) == 1
    [record] = quarantined(storage)
    assert record.content is None
    with pytest.raises(StoreError, match="never kept"):
        requeue(storage, "a" * 64)


def test_a_batch_that_was_never_read_is_recorded(storage: Storage) -> None:
    quarantine(storage, Refusal("b" * 64, Reason.TOO_LARGE, "reports/inbox/huge.csv"), NOON)
    [record] = quarantined(storage)
    assert record.detail == "reports/inbox/huge.csv"


def test_a_broken_record_is_named(storage: Storage) -> None:
    storage.put_once(layout.quarantined_report("a" * 64), b"{}")
    with pytest.raises(Damaged, match=r"reports/quarantine/a+\.json"):
        list(quarantined(storage))


def test_settled_reports_lie_with_their_release(storage: Storage, file_one: FileOne) -> None:
    reports = [file_one(seed) for seed in range(3)]
    settle(storage, [report.id for report in reports[:2]], version=7)
    assert list(storage.keys(layout.INBOX)) == [layout.inbox_report(reports[2].id)]
    assert set(storage.keys(layout.SETTLED)) == {layout.settled_report(7, report.id) for report in reports[:2]}
    settle(storage, [report.id for report in reports[:2]], version=7)
    assert len(list(storage.keys(layout.SETTLED))) == 2


class Dies:
    """A store that is away from its n-th write on."""

    def __init__(self, storage: Storage, writes: int) -> None:
        self._store, self._left = storage, writes

    def __getattr__(self, name: str) -> object:
        method = getattr(self._store, name)
        if name not in ("put_once", "delete"):
            return method

        def write(*arguments: object) -> None:
            if self._left == 0:
                raise StoreUnusable("away")
            self._left -= 1
            method(*arguments)

        return write


@pytest.mark.parametrize("writes", range(8))
@pytest.mark.parametrize("refused_before", [False, True])
def test_a_crash_at_any_write_loses_nothing(
    storage: Storage, file_one: FileOne, writes: int, refused_before: bool
) -> None:
    """Two reports settled, one quarantined; each is somewhere at all times, and a second go ends the same way."""
    reports = [file_one(seed) for seed in range(3)]
    if refused_before:
        quarantine(storage, Refusal(reports[2].id, Reason.DUPLICATE, "an earlier night"), NOON)
        file_one(2)

    def night(storage: Storage) -> None:
        settle(storage, [report.id for report in reports[:2]], version=1)
        quarantine(storage, refuse(reports[2].id), NOON)

    try:
        night(Dies(storage, writes))  # type: ignore[arg-type]
    except StoreUnusable:
        assert {layout.stem(key) for key in storage.keys("reports/")} == {report.id for report in reports}
    night(storage)
    assert list(storage.keys(layout.INBOX)) == []
    assert {layout.stem(key) for key in storage.keys(layout.SETTLED)} == {report.id for report in reports[:2]}
    assert [record.reason for record in quarantined(storage)] == [Reason.CONFLICT]
