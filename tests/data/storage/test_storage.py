"""One contract, every backend."""

import hashlib
import json
import pickle
import threading
from collections.abc import Callable

import pytest

from errata.data.storage import Storage, open_storage
from errata.data.storage.base import PIECE, RECORD_BYTES
from errata.editing.errors import AlreadyStored, Damaged, NotStored, StoreError, StoreUnusable, Superseded, TooLarge


def test_what_is_put_is_got(storage: Storage) -> None:
    content = bytes(range(256)) * 100
    storage.put_once("a/b/c.bin", content)
    assert storage.get("a/b/c.bin") == content
    assert storage.get("a/b/c.bin", sha256=hashlib.sha256(content).hexdigest()) == content
    storage.put_once("empty", b"")
    assert storage.get("empty") == b""


def test_an_object_is_written_once(storage: Storage) -> None:
    storage.put_once("k", b"one")
    storage.put_once("k", b"one")
    with pytest.raises(AlreadyStored, match="never changed"):
        storage.put_once("k", b"two")
    assert storage.get("k") == b"one"


def test_a_size_is_that_of_the_bytes(storage: Storage) -> None:
    storage.put_once("k", b"x" * 100)
    assert storage.size("k") == 100


def test_what_is_not_there_is_said_so(storage: Storage) -> None:
    asks: tuple[Callable[[str], object], ...] = (storage.get, storage.read, storage.size)
    for ask in asks:
        with pytest.raises(NotStored, match="a/b is not stored"):
            ask("a/b")


def test_another_digest_is_damage(storage: Storage) -> None:
    storage.put_once("k", b"one")
    with pytest.raises(Damaged, match="restore it"):
        storage.get("k", sha256=hashlib.sha256(b"two").hexdigest())


def test_more_bytes_than_asked_for(storage: Storage) -> None:
    storage.put_once("k", b"x" * 100)
    assert len(storage.get("k", at_most=100)) == 100
    with pytest.raises(TooLarge, match="100 bytes, the limit is 99"):
        storage.get("k", at_most=99)


def test_of_what_no_record_can_be_nothing_is_read_where_no_limit_is_named(storage: Storage) -> None:
    content = bytes(RECORD_BYTES + 1)
    storage.put_once("k", content)
    reads: tuple[Callable[[str], object], ...] = (storage.get, storage.read, lambda key: next(storage.stream(key)))
    for read in reads:
        with pytest.raises(Damaged, match="no record has so many; restore it from a copy, or remove it"):
            read("k")
    assert len(storage.get("k", at_most=len(content))) == storage.size("k") == len(content)


def test_a_pointer_moves_by_compare_and_swap_only(storage: Storage) -> None:
    with pytest.raises(Superseded):
        storage.swap("live.json", b"x", expected="never seen")
    first = storage.swap("live.json", b"1", expected=None)
    assert first == storage.read("live.json")
    assert first.content == b"1"
    with pytest.raises(Superseded, match="somebody else"):
        storage.swap("live.json", b"2", expected=None)
    second = storage.swap("live.json", b"2", expected=first.tag)
    with pytest.raises(Superseded):
        storage.swap("live.json", b"3", expected=first.tag)
    assert storage.read("live.json") == second
    assert second.content == b"2"


def test_a_tag_never_comes_back_with_the_content(storage: Storage) -> None:
    """Else a writer that slept while the pointer went from 1 to 2 and back to 1 would win."""
    slept = storage.swap("live.json", b"1", expected=None)
    other = storage.swap("live.json", b"2", expected=slept.tag)
    storage.swap("live.json", b"1", expected=other.tag)
    assert storage.read("live.json").content == b"1"
    with pytest.raises(Superseded):
        storage.swap("live.json", b"3", expected=slept.tag)


def test_a_pointer_may_hold_any_bytes(storage: Storage) -> None:
    tag = storage.swap("p", b"before", expected=None).tag
    for content in (b"", b"\n", b'{"a": 1}\n', b"x\n" + b" " * 64, b"\xff\x00\n\t "):
        tag = storage.swap("p", content, expected=tag).tag
        assert storage.read("p").content == content


def test_a_json_pointer_is_plain_json_to_other_readers(storage: Storage) -> None:
    storage.swap("live.json", b'{"version": 1}\n', expected=None)
    assert json.loads(storage.get("live.json")) == {"version": 1}


def test_listing_is_complete_in_byte_order_and_by_prefix(storage: Storage) -> None:
    keys = ["a-b/x", "a/1", "a/10", "a/2/y", "a/B", "a0", "b/1"]
    for key in reversed(keys):
        storage.put_once(key, b"")
    assert list(storage.keys("")) == sorted(keys, key=str.encode)
    assert list(storage.keys("a/")) == ["a/1", "a/10", "a/2/y", "a/B"]
    assert list(storage.keys("a/1")) == ["a/1", "a/10"]
    assert list(storage.keys("a")) == sorted((key for key in keys if key.startswith("a")), key=str.encode)
    assert list(storage.keys("none/")) == []
    assert list(storage.keys("b/1/")) == []


def test_deleting_is_done_once_and_may_be_repeated(storage: Storage) -> None:
    storage.put_once("a/b", b"x")
    storage.delete("a/b")
    storage.delete("a/b")
    with pytest.raises(NotStored):
        storage.get("a/b")
    storage.put_once("a/b", b"y")
    assert storage.get("a/b") == b"y"


NO_KEYS = [
    "",
    "/etc/passwd",
    "../x",
    "a/../b",
    "a//b",
    "a/",
    "./a",
    ".lock",
    "a/.tmp/b",
    "a\\b",
    "a\0b",
    "-rf",
    "x" * 201,
    "a\n",
    "a\u2028b",
    "a\udcff",
    "ü" * 101,
    "/".join(["x" * 100] * 6),
]


def test_keys_cannot_leave_the_store(storage: Storage) -> None:
    for key in NO_KEYS:
        acts: list[Callable[[str], object]] = [
            storage.get,
            storage.read,
            storage.delete,
            lambda key: storage.put_once(key, b""),
            lambda key: storage.swap(key, b"", expected=None),
        ]
        for act in acts:
            with pytest.raises(StoreError, match="not a key"):
                act(key)


def test_prefixes_cannot_leave_the_store(storage: Storage) -> None:
    for prefix in ("../", "/", "a/../", ".tmp/"):
        with pytest.raises(StoreError):
            list(storage.keys(prefix))


def test_of_many_writers_one_wins(storage: Storage) -> None:
    for turn in range(5):
        before = None if turn == 0 else storage.read("live.json").tag
        won: list[bytes] = []
        gate = threading.Barrier(6)

        def write(name: bytes, gate: threading.Barrier, before: str | None, won: list[bytes]) -> None:
            gate.wait()
            try:
                storage.swap("live.json", name, expected=before)
            except Superseded:
                return
            won.append(name)

        writers = [threading.Thread(target=write, args=(b"%d" % n, gate, before, won)) for n in range(6)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert won == [storage.read("live.json").content]


def test_of_many_put_once_one_wins(storage: Storage) -> None:
    gate, won = threading.Barrier(6), []

    def put(content: bytes) -> None:
        gate.wait()
        try:
            storage.put_once("once", content)
        except AlreadyStored:
            return
        won.append(content)

    writers = [threading.Thread(target=put, args=(b"%d" % n * 1000,)) for n in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert won == [storage.get("once")]


def test_a_sound_store_passes_the_probe_and_keeps_no_trace(storage: Storage) -> None:
    storage.put_once("a", b"x")
    storage.probe()
    assert list(storage.keys("")) == ["a"]


def test_only_known_schemes_are_opened() -> None:
    with pytest.raises(StoreUnusable, match="ftp"):
        open_storage("ftp://host/path")


def test_a_stream_is_the_same_bytes_in_small_pieces(storage: Storage) -> None:
    content = bytes(range(256)) * 1000
    storage.put_once("k", content)
    pieces = list(storage.stream("k", at_most=len(content)))
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= PIECE < len(content)
    storage.put_once("empty", b"")
    assert list(storage.stream("empty")) == []
    with pytest.raises(TooLarge, match="the limit is 100"):
        next(storage.stream("k", at_most=100))
    with pytest.raises(NotStored):
        next(storage.stream("none"))


def test_a_store_goes_to_other_processes(storage: Storage) -> None:
    """Workers of an engine get the store that was meant, with credentials of their own."""
    storage.put_once("reports/inbox/a", b"a")
    there: Storage = pickle.loads(pickle.dumps(storage))  # noqa: S301 - one's own bytes
    assert (there.url, there.get("reports/inbox/a")) == (storage.url, b"a")
