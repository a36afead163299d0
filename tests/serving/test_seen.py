"""A client never goes back: an old live.json, signed as it once was, is not followed, also after a restart."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from errata.data import layout
from errata.data.releases.manifest import Live, read_live
from errata.data.releases.signing import PUBLIC_KEY, SIGNING_KEY
from errata.data.storage.base import Storage
from errata.data.storage.local import LocalStorage
from errata.editing.errors import Damaged
from errata.flows.releases.pointer import make_live
from errata.serving.follower import Follower
from errata.serving.seen import SEEN, Seen
from tests.conftest import NewStore
from tests.data.releases.test_signing import write_keys
from tests.serving.releases import bundle, release


@pytest.fixture
def storage(new_store: NewStore) -> Storage:
    """A folder and S3 in turn."""
    return new_store()


@pytest.fixture
def signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = write_keys(tmp_path, Ed25519PrivateKey.generate())
    monkeypatch.setenv(SIGNING_KEY, str(private))
    monkeypatch.setenv(PUBLIC_KEY, str(public))


def put_back(storage: Storage, content: bytes) -> None:
    """Write live.json as somebody may who can write to the store."""
    storage.swap(layout.LIVE, content, expected=storage.read(layout.LIVE).tag)


def follow(storage: Storage, keep: Path | None = None) -> Follower:
    follower = Follower(storage, keep=keep)
    follower.refresh()
    return follower


@pytest.mark.usefixtures("signed")
def test_a_signed_old_pointer_that_is_put_back_is_not_followed_also_after_a_restart(
    storage: Storage, tmp_path: Path
) -> None:
    for version in (1, 2):
        release(storage, version)
    follower = follow(storage, tmp_path / "kept")
    put_back(storage, storage.get(layout.log_entry(1)))  # an entry of the log is a pointer that once was live
    for each in (follower, follow(storage, tmp_path / "kept")):
        assert not each.refresh()
        assert each.state.version == 2
        assert "change 2 was seen before" in each.state.problem
    point_at_honestly(storage, 1)
    assert follower.refresh()
    assert (follower.state.version, follower.state.problem) == (1, "")


def point_at_honestly(storage: Storage, version: int) -> None:
    """What `errata rollback` swaps in: after the newest entry of the log, whatever live.json says."""
    newest = Live.from_json(storage.get(list(storage.keys(layout.LOG))[-1]))
    tag = storage.read(layout.LIVE).tag
    make_live(storage, bundle(version).manifest, (newest, tag), action="rolled back", by="me", why="honest")


@pytest.mark.usefixtures("signed")
@pytest.mark.parametrize("change", [{"action": "rolled back"}, {"serial": 7}, {"version": 3}, {"signature": ""}])
def test_a_forged_pointer_is_not_followed(storage: Storage, change: dict[str, object]) -> None:
    for version in (1, 2):
        release(storage, version)
    follower = follow(storage)
    old = json.loads(storage.get(layout.log_entry(1)))
    new = json.loads(storage.get(layout.log_entry(2)))
    for base in (old, new, {**old, "signature": new["signature"]}):
        put_back(storage, json.dumps({**base, **change}).encode())
        assert not follower.refresh()
        assert follower.state.version == 2
        assert "not signed" in follower.state.problem


def test_a_deleted_pointer_leaves_the_last_good_one(storage: Storage, tmp_path: Path) -> None:
    release(storage, 1)
    follower = follow(storage, tmp_path / "kept")
    storage.delete(layout.LIVE)
    assert not follower.refresh()
    assert follower.state.version == 1
    assert "nothing is released yet" in follower.state.problem


def test_without_keys_it_does_not_go_back_either(storage: Storage, tmp_path: Path) -> None:
    for version in (1, 2):
        release(storage, version)
    follower = follow(storage, tmp_path / "kept")
    newest = storage.read(layout.LIVE).content
    put_back(storage, storage.get(layout.log_entry(1)))
    assert not follower.refresh()
    assert follow(storage, tmp_path / "kept").state.version == 2
    put_back(storage, json.dumps({**json.loads(newest), "by": "mallory"}).encode())
    assert not follower.refresh()
    assert "says otherwise" in follower.state.problem
    put_back(storage, newest)
    follower.refresh()
    assert follower.state.problem == ""


def test_after_the_folder_is_deleted_a_restored_store_is_followed(tmp_path: Path, storage: Storage) -> None:
    release(storage, 1)
    copy = storage.read(layout.LIVE).content
    release(storage, 2)
    kept = tmp_path / "kept"
    follow(storage, kept)
    put_back(storage, copy)
    state = follow(storage, kept).state
    assert state.version == 2
    (folder,) = kept.iterdir()
    assert str(folder) in state.problem, "says what to delete"
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert follow(storage, kept).state.version == 1


FIRST, SECOND = Live(1, "a" * 64, None, 1, 1), Live(2, "b" * 64, 1, 2, 2)


@pytest.mark.parametrize(
    ("next_one", "refused"),
    [
        (FIRST, "seen before"),
        (Live(2, "c" * 64, 1, 2, 2), "otherwise"),
        (Live(1, "a" * 64, 2, 3, 2), "no rollback"),
        (Live(1, "a" * 64, 2, 3, 2, "rolled back"), ""),
        (Live(1, "a" * 64, 2, 4, 2, "retracted"), ""),
        (Live(3, "d" * 64, 2, 3, 3), ""),
        (SECOND, ""),
    ],
)
@pytest.mark.parametrize("restarted", [False, True])
def test_the_rule(tmp_path: Path, next_one: Live, refused: str, restarted: bool) -> None:
    seen = Seen(LocalStorage(tmp_path))
    for each in (FIRST, SECOND):
        seen.admit(each)
    seen = Seen(LocalStorage(tmp_path)) if restarted else seen
    if not refused:
        seen.admit(next_one)
        return
    for _ in range(2):
        with pytest.raises(Damaged, match=refused):
            seen.admit(next_one)


def test_processes_that_share_a_folder_share_what_they_saw(tmp_path: Path) -> None:
    one, other = Seen(LocalStorage(tmp_path)), Seen(LocalStorage(tmp_path))
    one.admit(FIRST)
    other.admit(SECOND)
    with pytest.raises(Damaged):
        one.admit(FIRST)


def test_a_memory_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    Seen(LocalStorage(tmp_path)).admit(SECOND)
    (tmp_path / SEEN).write_bytes(b"{}")
    with pytest.raises(Damaged):
        Seen(LocalStorage(tmp_path)).admit(FIRST)


def test_a_refused_release_is_remembered_as_well(storage: Storage, tmp_path: Path) -> None:
    """Who can damage the newest release cannot make a client take an older pointer for it."""
    release(storage, 1)
    release(storage, 2)
    key = layout.release_file(2, "edit.json")
    storage.delete(key)
    storage.put_once(key, b"{}")
    assert follow(storage, tmp_path / "kept").state.version is None
    put_back(storage, storage.get(layout.log_entry(1)))
    follower = follow(storage, tmp_path / "kept")
    assert (follower.state.version, read_live(storage) is None) == (None, False)
    assert "seen before" in follower.state.problem
    point_at_honestly(storage, 1)
    assert follower.refresh()
