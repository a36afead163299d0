"""A live.json that has expired: what is served goes on and says so, and nobody starts on it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from errata.data.releases.manifest import read_live
from errata.data.storage.base import Storage
from errata.editing.errors import NothingServed
from errata.flows.releases.pointer import renew
from errata.serving.follower import Follower
from tests.conftest import NewStore
from tests.serving.releases import IMAGES, release


@pytest.fixture
def storage(new_store: NewStore) -> Storage:
    """A folder and S3 in turn."""
    return new_store()


@dataclass
class Clock:
    """The true time, and so many hours more."""

    ahead: float = 0.0

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(hours=self.ahead)


def expiring(storage: Storage, version: int) -> None:
    release(storage, version)
    renew(storage, 24)


def test_who_serves_goes_on_and_says_so_and_takes_nothing_new(storage: Storage) -> None:
    clock = Clock()
    expiring(storage, 1)
    follower = Follower(storage, now=clock)
    assert follower.refresh()
    clock.ahead = 25
    assert not follower.refresh()
    assert "expired at" in follower.state.problem
    release(storage, 2)  # an expired pointer to another release, for it is made for 24 hours too
    assert not follower.refresh()
    assert "expired at" in follower.state.problem
    assert (follower.state.version, follower.state.wanted) == (1, 2)
    assert follower.predict(IMAGES)[0].version == 1
    renew(storage, 48)
    assert follower.refresh()
    assert (follower.state.version, follower.state.problem) == (2, "")


def test_nobody_starts_on_it_but_on_the_copy_that_was_kept(storage: Storage, tmp_path: Path) -> None:
    clock = Clock()
    expiring(storage, 1)
    assert Follower(storage, keep=tmp_path, now=clock).refresh()
    clock.ahead = 25
    fresh = Follower(storage, now=clock)
    assert not fresh.refresh()
    with pytest.raises(NothingServed, match="expired at"):
        fresh.predict(IMAGES)
    again = Follower(storage, keep=tmp_path, now=clock)
    again.refresh()
    assert again.predict(IMAGES)[0].version == 1
    assert "expired at" in again.state.problem
    renew(storage, 48)
    assert fresh.refresh()
    assert not again.refresh(), "it serves it already"
    assert fresh.state.problem == again.state.problem == ""


def test_an_old_pointer_that_was_kept_back_is_told_by_its_age(storage: Storage) -> None:
    """A client that never saw a newer one takes it for the newest, until it expires."""
    expiring(storage, 1)
    kept_back = read_live(storage)
    assert kept_back is not None
    release(storage, 2)
    storage.swap("live.json", kept_back[0].to_json(), expected=storage.read("live.json").tag)
    assert Follower(storage).refresh()
    assert not Follower(storage, now=Clock(25)).refresh()
