"""The count of nights: kept beside the inbox, one more each time, gone when the report is."""

from pathlib import Path

import pytest

from data import layout
from data.deferred import defer, deferred, forget
from data.storage.local import LocalStorage
from editing.errors import Damaged

ONE, TWO = "1" * 64, "2" * 64


def test_nights_are_counted_for_each_report(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    assert [defer(storage, ONE, why).nights for why in ("a", "b", "c")] == [1, 2, 3]
    assert defer(storage, TWO, "d").nights == 1
    assert [(each.id, each.nights, each.why) for each in deferred(storage)] == [(ONE, 3, "c"), (TWO, 1, "d")]
    forget(storage, [ONE, "3" * 64])
    assert [each.id for each in deferred(storage)] == [TWO]
    assert defer(storage, ONE, "again").nights == 1


def test_a_record_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.swap(layout.deferred_report(ONE), b"{}", expected=None)
    with pytest.raises(Damaged, match=ONE):
        list(deferred(storage))
