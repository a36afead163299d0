"""One object that cannot be read is one refusal, and stays; a store that does not answer ends the night."""

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from errata.data import layout
from errata.data.images import encode_png
from errata.data.inbox.batches import batch_id
from errata.data.inbox.claim import Claim
from errata.data.inbox.deferred import defer, deferred
from errata.data.inbox.intake import Accepted, evidence, read_inbox
from errata.data.inbox.quarantine import quarantine, quarantined, requeue, settle
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.reports import Report, file_report, make_report
from errata.data.storage import LocalStorage, Storage
from errata.editing.errors import StoreError, Unreadable
from tests.data.conftest import NOON

SHAPE = (8, 8, 3)
BATCH = "reports/inbox/monday.jsonl"


class Refusing:
    """A store that cannot give these objects, whoever asks."""

    def __init__(self, storage: Storage, *keys: str) -> None:
        self._storage, self._keys = storage, keys

    def __getattr__(self, name: str) -> object:
        method = getattr(self._storage, name)
        if name not in ("get", "read", "stream"):
            return method

        def read(key: str, **options: object) -> object:
            if key in self._keys:
                raise Unreadable(f"{key}: Permission denied")
            return method(key, **options)

        return read


FileOne = Callable[..., Report]


@pytest.fixture
def odd(storage: Storage, file_one: FileOne) -> Iterator[tuple[Storage, Report, Report, Report]]:
    """The store, a good report, one that cannot be read, and one whose image cannot be; and such a batch."""
    good, silent, blind = (file_one(seed) for seed in range(3))
    storage.put_once(BATCH, b"{}")
    keys = (layout.inbox_report(silent.id), layout.image(blind.image), BATCH)
    yield Refusing(storage, *keys), good, silent, blind  # type: ignore[misc]


def test_each_is_refused_alone_and_stays(storage: Storage, odd: tuple[Storage, Report, Report, Report]) -> None:
    store, good, silent, blind = odd
    for night in range(2):
        items = list(read_inbox(store, ("cat", "dog"), SHAPE))
        refused = [item for item in items if isinstance(item, Refusal)]
        assert [item.report.id for item in items if isinstance(item, Accepted)] == [good.id]
        assert {item.report_id for item in refused} == {silent.id, batch_id(BATCH), *([] if night else [blind.id])}
        assert {item.reason for item in refused} == {Reason.UNREADABLE}
        for item in refused:
            quarantine(store, item, NOON + timedelta(days=night))
        assert set(storage.keys(layout.INBOX)) == {BATCH, *map(layout.inbox_report, (good.id, silent.id))}
    records = {record.id: record for record in quarantined(store)}
    assert {record.when for record in records.values()} == {NOON}
    assert records[blind.id].content is not None
    assert records[silent.id].content is None
    with pytest.raises(StoreError, match="never kept"):
        requeue(store, silent.id)
    assert len(list(read_inbox(storage, ("cat", "dog"), SHAPE))) == 3  # readable again: two reports, one line of junk


def test_settling_leaves_what_it_cannot_read(storage: Storage, odd: tuple[Storage, Report, Report, Report]) -> None:
    store, good, silent, _ = odd
    settle(store, [silent.id, good.id], version=2)
    assert list(storage.keys(layout.SETTLED)) == [layout.settled_report(2, good.id)]
    assert layout.inbox_report(silent.id) in storage.keys(layout.INBOX)


def test_a_counter_that_cannot_be_read_counts_anew(storage: Storage) -> None:
    for run in ("a", "b"):
        defer(storage, "1" * 64, "harm", run)
    store: Storage = Refusing(storage, layout.deferred_report("1" * 64))  # type: ignore[assignment]
    assert list(deferred(store)) == []
    assert defer(store, "1" * 64, "harm", "c").nights == 1


def test_evidence_that_cannot_be_read_any_more_says_so(odd: tuple[Storage, Report, Report, Report]) -> None:
    store, _, _, blind = odd
    claim = Claim(blind.id, blind.image, "0" * 64, "cat", None, "ann", NOON, "dog")
    with pytest.raises(Unreadable):
        evidence(store, claim, SHAPE)


def test_odd_things_in_a_folder_hold_up_nobody(tmp_path: Path) -> None:
    """Loops of links, folders named as reports are, pipes, names that are no text or too long, a second name."""
    store = LocalStorage(tmp_path / "store")
    picture = encode_png(np.zeros(SHAPE, np.uint8))
    good = file_report(store, picture, "cat", filed_at=NOON)
    below = make_report(picture, "dog", filed_at=NOON)
    inbox = tmp_path / "store" / layout.INBOX
    (inbox / "loop").symlink_to(inbox / "loop")
    (inbox / "up").symlink_to(inbox, target_is_directory=True)
    (inbox / f"{'e' * 64}.json").mkdir()
    (inbox / f"{'f' * 64}.json").mkdir()
    (inbox / f"{'f' * 64}.json" / f"{below.id}.json").write_bytes(below.to_json())
    (inbox / "batch.jsonl").mkdir()
    os.mkfifo(inbox / f"{'a' * 64}.json")
    Path(os.fsdecode(bytes(inbox) + b"/\xff\xfe.json")).write_bytes(b"{}")
    (inbox / f"{'n' * 220}.json").write_bytes(b"{}")
    (inbox / "again").hardlink_to(tmp_path / "store" / layout.inbox_report(good.id))
    for _ in range(2):
        items = list(read_inbox(store, ("cat", "dog"), SHAPE))
        assert {item.report.id for item in items if isinstance(item, Accepted)} == {good.id, below.id}
        assert [item.report_id for item in items if isinstance(item, Refusal)] == ["a" * 64]
