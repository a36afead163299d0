"""The count of nights: kept beside the inbox, one more each time, gone when the report is."""

import pytest

from errata.data import layout
from errata.data.inbox.deferred import defer, deferred, forget
from errata.data.storage import Storage
from errata.editing.errors import Damaged

ONE, TWO = "1" * 64, "2" * 64


def test_nights_are_counted_for_each_report(storage: Storage) -> None:
    assert [defer(storage, ONE, why, run=why).nights for why in ("a", "b", "c")] == [1, 2, 3]
    assert defer(storage, ONE, "c", run="c").nights == 3  # a step that is tried again
    assert defer(storage, TWO, "d", run="c").nights == 1
    assert [(each.id, each.nights, each.why) for each in deferred(storage)] == [(ONE, 3, "c"), (TWO, 1, "d")]
    forget(storage, [ONE, "3" * 64])
    assert [each.id for each in deferred(storage)] == [TWO]
    assert defer(storage, ONE, "again", run="c").nights == 1


def test_a_record_that_cannot_be_read_is_named(storage: Storage) -> None:
    storage.swap(layout.deferred_report(ONE), b"{}", expected=None)
    with pytest.raises(Damaged, match=ONE):
        list(deferred(storage))
