"""What is kept comes back as it was put there, or not at all."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from errata.data.kept_blocks import KeptBlocks


def test_blocks_come_back_by_key_in_another_process_too(tmp_path: Path) -> None:
    path = tmp_path / "new" / "blocks"
    many = {f"{number:04}": bytes([number % 256]) * 3 for number in range(1200)}
    assert KeptBlocks(path).get(["0001"]) == {}
    KeptBlocks(path).put(many)
    assert KeptBlocks(path).get([*many, "none"]) == many
    KeptBlocks(path).put({"0001": b"another"})
    assert KeptBlocks(path).get(["0001"]) == {"0001": b"another"}


@pytest.mark.parametrize("damage", ["content = x'00'", "key = 'b' || key", "sha256 = x'00'"])
def test_a_damaged_block_is_not_there_and_can_be_put_again(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "blocks"
    kept = KeptBlocks(path)
    kept.put({"one": b"1", "two": b"2"})
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"UPDATE blocks SET {damage} WHERE key = 'one'")
    assert kept.get(["one", "bone", "two"]) == {"two": b"2"}
    kept.put({"one": b"1"})
    assert kept.get(["one", "two"]) == {"one": b"1", "two": b"2"}


def test_a_file_that_is_no_database_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "blocks"
    path.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    kept = KeptBlocks(path)
    assert kept.get(["one"]) == {}
    kept.put({"one": b"1"})
    assert kept.get(["one"]) == {"one": b"1"}


def test_what_cannot_be_written_is_not_kept_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    kept = KeptBlocks(tmp_path / "file" / "blocks")
    kept.put({"one": b"1"})
    assert kept.get(["one"]) == {}


def test_the_oldest_go_when_there_is_too_much(tmp_path: Path) -> None:
    kept = KeptBlocks(tmp_path / "blocks", most=200_000)
    for number in range(12):
        kept.put({f"{number}": bytes(20_000)})
    left = kept.get([f"{number}" for number in range(12)])
    assert "11" in left and "0" not in left
    assert (tmp_path / "blocks").stat().st_size <= 240_000
