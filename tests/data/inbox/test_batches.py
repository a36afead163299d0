"""Batches are filed in windows, a night's share at a time, in flat memory; nothing of them is lost or filed anew."""

import json
import tracemalloc
from pathlib import Path

import pytest

from errata.data import layout
from errata.data.inbox.batch_rows import BatchLimits
from errata.data.inbox.batches import file_singly
from errata.data.inbox.refusals import Reason
from errata.data.reports import make_report
from errata.data.storage import LocalStorage, Storage
from errata.editing.errors import StoreUnusable
from tests.data.conftest import NOON

MONDAY = "reports/inbox/monday.jsonl"


def reports(count: int) -> list[bytes]:
    """Reports as lines of JSON."""
    made = [make_report(b"%d" % number, "cat", filed_at=NOON) for number in range(count)]
    return [json.dumps(json.loads(each.to_json())).encode() for each in made]


def singles(storage: Storage) -> set[str]:
    return {key for key in storage.keys(layout.INBOX) if key.endswith(".json")}


def expected(lines: list[bytes]) -> set[str]:
    return {layout.inbox_report(json.loads(line)["id"]) for line in lines}


def test_what_is_over_the_nights_share_waits_for_the_next(storage: Storage) -> None:
    lines = reports(10)
    storage.put_once(MONDAY, b"\n".join(lines))
    for night in (4, 8):
        assert list(file_singly(storage, BatchLimits(lines_a_night=4))) == []
        assert singles(storage) == expected(lines[:night])
        assert MONDAY in storage.keys(layout.INBOX)
    assert list(file_singly(storage, BatchLimits(lines_a_night=4))) == []
    assert set(storage.keys("reports/")) == expected(lines)


def test_the_batches_of_a_night_share_it(storage: Storage) -> None:
    lines = reports(12)
    for number, part in enumerate((lines[:6], lines[6:7], lines[7:])):
        storage.put_once(f"reports/inbox/{number}.jsonl", b"\n".join(part))
    assert list(file_singly(storage, BatchLimits(lines_a_night=6))) == []
    assert singles(storage) == expected([*lines[:2], lines[6], *lines[7:10]])


def test_what_was_filed_is_not_filed_again(storage: Storage) -> None:
    """Not even when it has left the inbox since; another file under the same name is filed from its beginning."""
    lines = reports(6)
    storage.put_once(MONDAY, b"\n".join(lines))
    list(file_singly(storage, BatchLimits(lines_a_night=3)))
    for key in singles(storage):
        storage.delete(key)
    list(file_singly(storage, BatchLimits(lines_a_night=2)))
    assert singles(storage) == expected(lines[3:5])
    storage.delete(MONDAY)
    storage.put_once(MONDAY, b"\n".join(reversed(lines)))
    list(file_singly(storage))
    assert set(storage.keys("reports/")) == expected(lines)


def test_after_a_crash_only_the_last_window_is_filed_again(tmp_path: Path) -> None:
    class Counted(LocalStorage):
        puts, most = 0, 600

        def put_once(self, key: str, content: bytes) -> None:
            if self.puts == self.most:
                raise StoreUnusable("away")
            self.puts += 1
            super().put_once(key, content)

    storage, lines = Counted(tmp_path / "store"), reports(700)
    (tmp_path / "store/reports/inbox").mkdir(parents=True)
    (tmp_path / "store" / MONDAY).write_bytes(b"\n".join(lines))
    with pytest.raises(StoreUnusable):
        list(file_singly(storage))
    storage.puts, storage.most = 0, 1000
    assert list(file_singly(storage)) == []
    assert set(storage.keys("reports/")) == expected(lines)
    assert storage.puts == 700 - 2 * 256


def test_junk_becomes_few_objects(storage: Storage) -> None:
    """40 kB in lines of a few bytes were nearly 9,000 objects."""
    junk = b"\n".join(b"%x" % number for number in range(8000))
    storage.put_once(MONDAY, junk)
    assert list(file_singly(storage)) == []
    kept = [storage.get(key) for key in storage.keys(layout.INBOX)]
    assert len(kept) <= 8000 / 256 + 1
    assert sorted(line for each in kept for line in each.split(b"\n")) == sorted(junk.split(b"\n"))


def test_a_line_too_long_is_named_the_others_are_filed_and_the_batch_stays(storage: Storage) -> None:
    lines = reports(4)
    storage.put_once(MONDAY, b"\n".join([*lines[:2], b"x" * 200_000, *lines[2:], b"y" * 100_000]))
    for _ in range(2):
        [refusal] = file_singly(storage)
        assert refusal.reason == Reason.TOO_LARGE
        assert f"{MONDAY}: line 3 has 200,000 bytes" in refusal.detail
        assert singles(storage) == expected(lines)
        assert MONDAY in storage.keys(layout.INBOX)


def test_too_many_lines(storage: Storage) -> None:
    lines = reports(5)
    storage.put_once(MONDAY, b"\n".join(lines))
    [refusal] = file_singly(storage, BatchLimits(max_lines=4))
    assert (refusal.reason, "more than 4 lines" in refusal.detail) == (Reason.TOO_LARGE, True)
    assert singles(storage) == expected(lines[:4])


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (b'"open', "unexpected end"),
        (b'"' + b"x\n" * 20_000, "limit is 16,384"),
        (b"x" * 20_000, "limit is 16,384"),
        (b"\xff", "utf-8"),
    ],
)
def test_a_table_is_filed_up_to_where_it_breaks(storage: Storage, end: bytes, said: str) -> None:
    rows = [b"%064x,cat,2026-01-02T00:00:00Z" % number for number in range(3)]
    storage.put_once("reports/inbox/t.csv", b"\n".join([b"image,expected,filed_at", *rows, end]))
    [refusal] = file_singly(storage)
    assert (refusal.reason, said in refusal.detail) == (Reason.MALFORMED, True), refusal
    assert len(singles(storage)) == 3
    assert "reports/inbox/t.csv" in storage.keys(layout.INBOX)


def test_a_column_of_another_schema(storage: Storage) -> None:
    storage.put_once("reports/inbox/t.csv", b"image,colour\n1,2\n")
    [refusal] = file_singly(storage)
    assert "'colour' is none of a report's fields" in refusal.detail


MEBIBYTE = 2**20


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        b"{}\n" * (20 * MEBIBYTE // 3),
        b"\n" * (20 * MEBIBYTE),
        b"x" * 20 * MEBIBYTE,
        b"x" * 20_000 + b"\n" + b"y" * 20 * MEBIBYTE,
        b"\n".join([b"z" * 16_000] * 1300),
    ],
    ids=["many lines", "blank lines", "one line", "two lines", "long lines"],
)
@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_memory_and_writes_are_bounded_by_the_limits(tmp_path: Path, content: bytes, ending: str) -> None:
    """A window of lines, each of the allowed length, some pieces of the stream, and pydantic's own; not the batch."""
    limits = BatchLimits(lines_a_night=2000)
    header = b"image,expected,filed_at\n" if ending == "csv" else b""
    folder = tmp_path / "store/reports/inbox"
    folder.mkdir(parents=True)
    (folder / f"b.{ending}").write_bytes(header + content)
    storage = LocalStorage(tmp_path / "store")
    list(file_singly(LocalStorage(tmp_path / "other"), limits))
    tracemalloc.start()
    list(file_singly(storage, limits))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 256 * limits.max_line_bytes + 6 * MEBIBYTE < 20 * MEBIBYTE
    written = sum(path.stat().st_size for path in folder.iterdir() if path.suffix == ".json")
    assert written <= 2 * limits.lines_a_night * limits.max_line_bytes
    assert len(list(folder.iterdir())) <= limits.lines_a_night + 1
