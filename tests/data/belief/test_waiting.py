"""What waits is there for whoever asks by day: the last night's list, less what has gone since."""

import numpy as np
import pytest

from errata.data import layout
from errata.data.belief.waiting import Waiting, WaitingClaims, keep_waiting, still_waiting
from errata.data.images import encode_png
from errata.data.reports import file_report
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged

IMAGE = encode_png(np.zeros((8, 8, 1), np.uint8))


def night(*claims: Waiting, at: str = "2026-01-01T02:00:00+00:00") -> WaitingClaims:
    return WaitingClaims(at, "a run", claims)


def test_the_last_nights_list_less_what_has_gone(storage: Storage) -> None:
    one, two, new = (file_report(storage, IMAGE, name) for name in ("7", "8", "9"))
    keep_waiting(storage, night())
    assert still_waiting(storage) == (None, 3)  # nothing ever waited: nothing is written
    sides = [Waiting("c" * 64, each.expected, 0.25, (each.id,), "2 reporters", 1) for each in (one, two)]
    keep_waiting(storage, night(*sides))
    assert still_waiting(storage) == (night(*sides), 1)
    storage.delete(layout.inbox_report(one.id))
    assert still_waiting(storage) == (night(sides[1]), 1)
    storage.delete(layout.inbox_report(new.id))
    keep_waiting(storage, night(at="2026-01-02T02:00:00+00:00"))
    assert still_waiting(storage) == (night(at="2026-01-02T02:00:00+00:00"), 1)


def test_a_list_that_is_none_is_refused_by_its_name(storage: Storage) -> None:
    storage.swap(layout.WAITING, b"{}", expected=None)
    with pytest.raises(Damaged, match=r"waiting\.json cannot be read"):
        still_waiting(storage)
