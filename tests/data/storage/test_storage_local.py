"""What only a folder can suffer: links, full disks, no hard links, litter, many processes."""

import errno
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from errata.data.storage import LocalStorage, Storage
from errata.data.storage.base import Versioned
from errata.editing.errors import AlreadyStored, NotStored, StoreUnusable, Superseded, Unreadable


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "store")


def test_symbolic_links_are_refused(storage: LocalStorage, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("secret")
    storage.put_once("a/b", b"x")
    store = tmp_path / "store"
    (store / "a" / "link").symlink_to(secret / "file")
    (store / "folder").symlink_to(secret)
    for key in ("a/link", "folder/file"):
        with pytest.raises(NotStored, match="symbolic link"):
            storage.get(key)
    acts: list[Callable[[], object]] = [
        lambda: storage.put_once("folder/new", b""),
        lambda: storage.swap("a/link", b"", expected=None),
        lambda: list(storage.keys("folder/")),
        lambda: storage.delete("folder/file"),
    ]
    for act in acts:
        with pytest.raises(StoreUnusable, match="symbolic link"):
            act()
    assert list(storage.keys("")) == ["a/b"]
    assert (secret / "file").read_text() == "secret"
    assert sorted(path.name for path in secret.iterdir()) == ["file"]


def test_a_link_that_appears_after_the_check_is_not_followed(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("secret")
    storage.put_once("a/b", b"x")
    (tmp_path / "store/a/link").symlink_to(tmp_path / "secret")
    monkeypatch.setattr(Path, "is_symlink", lambda _self: False)
    with pytest.raises(Unreadable):
        storage.get("a/link")


def test_the_store_itself_may_be_linked_to(storage: LocalStorage, tmp_path: Path) -> None:
    storage.put_once("a", b"x")
    (tmp_path / "alias").symlink_to(tmp_path / "store")
    assert LocalStorage(tmp_path / "alias").get("a") == b"x"


def full_disk(_handle: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_all_as_it_was(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    tag = storage.swap("live.json", b"1", expected=None).tag
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(StoreUnusable, match="No space left"):
            storage.put_once("a", b"x" * 1000)
        with pytest.raises(StoreUnusable, match="No space left"):
            storage.swap("live.json", b"2", expected=tag)
    assert list(storage.keys("")) == ["live.json"]
    assert storage.read("live.json").content == b"1"
    assert list((Path(storage.url) / ".tmp").iterdir()) == []
    storage.put_once("a", b"x" * 1000)


def test_without_hard_links_the_contract_holds(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(_self: Path, _target: Path) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    storage.put_once("a", b"one")
    storage.put_once("a", b"one")
    with pytest.raises(AlreadyStored):
        storage.put_once("a", b"two")
    assert storage.get("a") == b"one"


class Careless(LocalStorage):
    """Lets everybody swap who has read the pointer once."""

    def swap(self, key: str, content: bytes, *, expected: str | None) -> Versioned:
        return super().swap(key, content, expected=None if expected is None else self.read(key).tag)


def test_the_probe_refuses_a_store_where_two_win(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match="ignores conditional writes"):
        Careless(tmp_path / "store").probe()


def test_old_litter_is_swept_and_young_is_not(storage: LocalStorage) -> None:
    storage.put_once("a", b"x")
    temporary = Path(storage.url) / ".tmp"
    for name, age in (("old", 2 * 86400), ("young", 60)):
        (temporary / name).write_bytes(b"")
        os.utime(temporary / name, (time.time() - age,) * 2)
    storage.probe()
    assert [path.name for path in temporary.iterdir()] == ["young"]


def count_up(storage: Storage, turns: int) -> None:
    """Add one to the number in the pointer, `turns` times, each time until it succeeds.

    What a swap finds is slow to arrive, so that writers meet between comparing and replacing.
    """
    found = LocalStorage._found

    def found_slowly(self: LocalStorage, key: str) -> bytes | None:
        content = found(self, key)
        time.sleep(0.005)
        return content

    LocalStorage._found = found_slowly  # type: ignore[method-assign]
    for _ in range(turns):
        while True:
            seen = storage.read("count")
            try:
                storage.swap("count", b"%d" % (int(seen.content) + 1), expected=seen.tag)
            except Superseded:
                continue
            break


def test_many_processes_lose_no_update(storage: LocalStorage) -> None:
    storage.swap("count", b"0", expected=None)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=count_up, args=(storage, 10)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert storage.read("count").content == b"30"


def test_flushing_syncs_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(os, "sync", lambda: synced.append(True))
    LocalStorage(tmp_path).flush()
    assert synced
