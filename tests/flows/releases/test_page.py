"""What is told of older releases is what the log vouches for: `errata page`'s history, and one release verified."""

import pytest

from errata.data import layout
from errata.data.releases.manifest import read_live
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged, NightError
from errata.flows.releases.contents.bundle import publish
from errata.flows.releases.contents.cards import Known
from errata.flows.releases.contents.history import HistoryPoint
from errata.flows.releases.contents.report import render_report
from errata.flows.releases.page import history_points, release_page
from tests.flows.conftest import Place
from tests.flows.releases.small import make_bundle, release, rewrite
from tests.flows.releases.test_report import LINEAGE, a_release


def history(storage: Storage, upto: int) -> list[HistoryPoint]:
    """The points of the chart."""
    found = read_live(storage)
    assert found is not None
    return history_points(storage, found[0], upto)


def test_history_is_of_what_was_live_and_no_more(storage: Storage) -> None:
    release(storage, make_bundle(1))
    publish(storage, make_bundle(2, "a", error=0.01))  # a night that died before its swap
    release(storage, make_bundle(3, "ab", error=0.03))
    assert history(storage, 3) == [HistoryPoint(1, 0, 0.04, 0.04), HistoryPoint(3, 2, 0.04, 0.03, live=True)]
    assert history(storage, 2) == [HistoryPoint(1, 0, 0.04, 0.04)]


def test_a_rewritten_or_lost_bundle_is_in_the_history_without_numbers(storage: Storage) -> None:
    for version in (1, 2, 3):
        release(storage, make_bundle(version))
    rewrite(storage, make_bundle(1, error=0.001))  # whole by itself
    storage.delete(layout.release_file(2, "gate.json"))
    assert history(storage, 3) == [HistoryPoint(1), HistoryPoint(2), HistoryPoint(3, 0, 0.04, 0.04, live=True)]


def test_the_page_says_which_releases_are_damaged() -> None:
    files, pictures = a_release()
    points = [HistoryPoint(1, 0, 0.04, 0.04), HistoryPoint(2), HistoryPoint(3, 2, 0.04, 0.03, live=True)]
    page = render_report(files, pictures, LINEAGE, Known(points), longest_side=8).decode()
    assert page.count("damaged: its bundle is not the one that was live") == 1
    assert "release 3: -1.00%" in page
    assert "release 2:" not in page


def test_no_page_of_a_release_that_never_was_live_or_is_not_what_it_was(anywhere: Place) -> None:
    storage = anywhere.storage
    publish(storage, make_bundle(2, "a"))
    with pytest.raises(NightError, match="release 2 never was live"):
        release_page(storage, 2)
    release(storage, make_bundle(3, "a"))
    rewrite(storage, make_bundle(1))
    with pytest.raises(Damaged, match="release 1 does not verify"):
        release_page(storage, 1)
