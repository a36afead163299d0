"""Batches that bring their images along, or name those beside them: each row is filed or refused by itself, nothing is
lost, and memory does not know how long a batch is."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from errata.data import layout
from errata.data.images import encode_png
from errata.data.inbox.batch_rows import BatchLimits
from errata.data.inbox.batches import batch_id, file_singly
from errata.data.inbox.intake import Accepted, IntakeSettings, read_inbox
from errata.data.inbox.quarantine import read_quarantined
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.inbox.what_waits import waiting
from errata.data.reports import make_report, parse_report
from errata.data.storage import LocalStorage, Storage
from errata.editing.errors import StoreUnusable
from tests.conftest import NewStore, make_stores
from tests.data.conftest import NOON, picture

FOLDER = "reports/bulk/monday"
COUNT = 100
OTHER = "0" * 64  # a digest that no image has
SILENT, MISTAKEN, TORN, ABSENT = 7, 23, 42, 61  # a row without a class, with another digest, a torn image, and none
GONE = hashlib.sha256(b"of an image that was erased").hexdigest()


def file_of(number: int) -> bytes:
    content = encode_png(picture(number))
    return content[:60] if number == TORN else content


def fields_of(number: int) -> dict[str, Any]:
    """A report's fields without its image."""
    fields = {"expected": "cat", "reporter": f"person {number % 7}", "filed_at": NOON.isoformat()}
    if number == SILENT:
        del fields["expected"]
    return fields | ({"image": OTHER} if number == MISTAKEN else {})


Put = Callable[[Storage], str]


def beside(storage: Storage) -> None:
    for number in range(COUNT):
        if number != ABSENT:
            storage.put_once(f"{FOLDER}/photos/{number}.png", file_of(number))


def json_lines(storage: Storage) -> str:
    beside(storage)
    lines = [json.dumps(fields_of(number) | {"path": f"photos/{number}.png"}) for number in range(COUNT)]
    storage.put_once(f"{FOLDER}/reports.jsonl", "\n".join(lines).encode())
    return f"{FOLDER}/reports.jsonl"


def csv_table(storage: Storage) -> str:
    beside(storage)
    header = ["image", "expected", "reporter", "filed_at", "path"]
    rows = [fields_of(number) | {"path": f"photos/{number}.png"} for number in range(COUNT)]
    lines = [header, *([row.get(name, "") for name in header] for row in rows)]
    storage.put_once(f"{FOLDER}/reports.csv", "\n".join(",".join(line) for line in lines).encode())
    return f"{FOLDER}/reports.csv"


def parquet(key: str, columns: dict[str, Any], storage: Storage) -> str:
    arrow, tables = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    tables.write_table(arrow.table(columns), out)
    storage.put_once(key, out.getvalue())
    return key


def columns_of() -> dict[str, Any]:
    rows = [fields_of(number) for number in range(COUNT)]
    versions = [None if number % 2 else 3 for number in range(COUNT)]
    return {"expected": [row.get("expected") for row in rows], "reporter": [row["reporter"] for row in rows]} | {
        "filed_at": [NOON] * COUNT,
        "model_version": [None if each is None else float(each) for each in versions],  # as pandas writes it
    }


def parquet_of_bytes(storage: Storage) -> str:
    contents = [None if number == ABSENT else file_of(number) for number in range(COUNT)]
    return parquet("reports/inbox/b.parquet", columns_of() | {"image": contents}, storage)


def parquet_of_structs(storage: Storage) -> str:
    """As Hugging Face's data sets have it."""
    contents = [{"bytes": None if number == ABSENT else file_of(number), "path": None} for number in range(COUNT)]
    return parquet("reports/inbox/s.parquet", columns_of() | {"image": contents}, storage)


def parquet_of_paths(storage: Storage) -> str:
    beside(storage)
    claimed = [OTHER if number == MISTAKEN else None for number in range(COUNT)]
    paths = [f"photos/{number}.png" for number in range(COUNT)]
    return parquet(f"{FOLDER}/p.parquet", columns_of() | {"image": claimed, "path": paths}, storage)


def shard(storage: Storage) -> str:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for number in range(COUNT):
            add(archive, f"x/{number:03}.png", file_of(number) if number != ABSENT else None)
            add(archive, f"x/{number:03}.json", json.dumps(fields_of(number)).encode())
    storage.put_once("reports/inbox/x.tar", out.getvalue())
    return "reports/inbox/x.tar"


def add(archive: tarfile.TarFile, name: str, content: bytes | None) -> None:
    if content is not None:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


FORMS = [json_lines, csv_table, parquet_of_bytes, parquet_of_structs, parquet_of_paths, shard]


def expected_reasons(form: Put) -> list[Reason]:
    """What the four bad rows are refused for."""
    embedded = form in (parquet_of_bytes, parquet_of_structs)  # where a digest has no column, none can be wrong
    lost = Reason.MALFORMED if embedded or form is shard else Reason.MISSING_IMAGE
    return sorted([Reason.MALFORMED, Reason.UNDECODABLE_IMAGE, lost, *([] if embedded else [Reason.DIGEST_MISMATCH])])


@pytest.fixture(params=["local", pytest.param("mock_s3", marks=pytest.mark.slow), "real_s3"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> NewStore:
    """Hundreds of objects: on the mock server they wait for `make test-slow`."""
    return make_stores(request, tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_each_row_is_filed_or_refused_by_itself_over_several_nights(storage: Storage, form: Put) -> None:
    key, found = form(storage), []
    for _ in range(3):
        found += list(file_singly(storage, BatchLimits(lines_a_night=37)))
    assert key not in storage.keys("reports/")
    read = list(read_inbox(storage, ["cat"], (8, 8, 3)))
    accepted = {each.report.id for each in read if isinstance(each, Accepted)}
    refused = [*found, *(each for each in read if isinstance(each, Refusal))]
    bad = {SILENT, TORN, ABSENT} | ({MISTAKEN} if Reason.DIGEST_MISMATCH in expected_reasons(form) else set())
    assert sorted(each.reason for each in refused) == expected_reasons(form)
    versions: dict[int, Any] = {
        number: {"model_version": 3} if "parquet" in form.__name__ and number % 2 == 0 else {}
        for number in range(COUNT)
    }
    truth = [
        make_report(file_of(number), "cat", reporter=f"person {number % 7}", filed_at=NOON, **versions[number])
        for number in range(COUNT)
        if number not in bad
    ]
    assert accepted == {each.id for each in truth}
    for each in refused:  # each is kept, in the inbox or in quarantine
        if each in found:
            assert read_quarantined(storage, layout.quarantined_report(each.report_id)).content
        else:
            assert storage.get(layout.inbox_report(each.report_id))
    kept = {layout.stem(name) for name in storage.keys(layout.IMAGES)}
    assert kept == {hashlib.sha256(file_of(number)).hexdigest() for number in range(COUNT) if number != ABSENT}
    left = [f"{FOLDER}/photos/{MISTAKEN}.png"] if key.startswith(FOLDER) else []
    assert list(storage.keys(layout.BULK)) == left


@pytest.mark.parametrize("before", [50, COUNT - 1], ids=["among the images", "at the batch itself"])
def test_images_beside_go_last_and_a_crash_among_them_costs_nothing(tmp_path: Path, before: int) -> None:
    class Failing(LocalStorage):
        deletions = before

        def delete(self, key: str) -> None:
            if key.startswith(layout.BULK):
                self.deletions -= 1
                if not self.deletions:
                    raise StoreUnusable("away")
            super().delete(key)

    storage = Failing(tmp_path)
    json_lines(storage)
    with pytest.raises(StoreUnusable):
        list(file_singly(storage))
    assert list(file_singly(storage)) == []
    assert list(storage.keys(layout.BULK)) == [f"{FOLDER}/photos/{MISTAKEN}.png"]
    assert list(storage.keys(layout.BATCHES)) == []
    assert len([each for each in read_inbox(storage, ["cat"], (8, 8, 3)) if isinstance(each, Accepted)]) == COUNT - 4


def test_two_reports_of_one_image_beside_them(storage: Storage) -> None:
    storage.put_once(f"{FOLDER}/1.png", file_of(1))
    rows = [fields_of(1) | {"path": "1.png", "reporter": name} for name in ("Ann", "Ben")]
    storage.put_once(f"{FOLDER}/r.jsonl", "\n".join(map(json.dumps, rows)).encode())
    read = list(read_inbox(storage, ["cat"], (8, 8, 3)))
    assert sorted(each.report.reporter for each in read if isinstance(each, Accepted)) == ["Ann", "Ben"]
    assert list(storage.keys(layout.BULK)) == []


@pytest.mark.parametrize("path", ["../../../live.json", "/etc/passwd", ".hidden", "a//b", "", 7, None, "not there.png"])
def test_a_path_leads_nowhere_else(storage: Storage, path: object) -> None:
    storage.put_once("live.json", b"{}")
    storage.put_once(f"{FOLDER}/r.jsonl", json.dumps(fields_of(1) | {"path": path}).encode())
    [refusal] = file_singly(storage)
    assert refusal.reason == Reason.MISSING_IMAGE
    assert list(storage.keys(layout.IMAGES)) == []
    assert read_quarantined(storage, layout.quarantined_report(refusal.report_id)).reason == Reason.MISSING_IMAGE


def test_images_beside_lie_in_the_folder_for_them(storage: Storage) -> None:
    storage.put_once("reports/inbox/r.jsonl", json.dumps(fields_of(1) | {"path": "1.png"}).encode())
    [refusal] = file_singly(storage)
    assert refusal.reason == Reason.MISSING_IMAGE
    assert "lie under reports/bulk/" in refusal.detail


def test_an_erased_photo_is_not_stored_again(storage: Storage) -> None:
    key = shard(storage)
    erased = frozenset({hashlib.sha256(file_of(1)).hexdigest()})
    read = list(read_inbox(storage, ["cat"], (8, 8, 3), IntakeSettings(erased=erased)))
    assert [each.reason for each in read if isinstance(each, Refusal)].count(Reason.ERASED) == 1
    assert not erased & {layout.stem(name) for name in storage.keys(layout.IMAGES)}
    assert key not in storage.keys(layout.INBOX)


def pax(size: int) -> bytes:
    """A header that says that the attributes behind it have so many bytes."""
    member = tarfile.TarInfo("long")
    member.type, member.size = tarfile.XHDTYPE, size
    return member.tobuf(tarfile.GNU_FORMAT)


def sample(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        add(archive, name, content)
    return out.getvalue()


GOOD = json.dumps({**fields_of(1), "image": hashlib.sha256(file_of(1)).hexdigest()}).encode()


@pytest.mark.parametrize(
    ("end", "reason", "said"),
    [
        (pax(2**40) + bytes(4096), Reason.MALFORMED, "header of more than 65,536 bytes"),
        (b"\1" * 4096, Reason.MALFORMED, "breaks off"),
        (b"", Reason.MALFORMED, "breaks off"),
        (sample("2.json", b"[" * 40_000), Reason.TOO_LARGE, "2.json has 40,000 bytes, the limit is 16,384"),
        (sample("2.txt", b"[" * 600), Reason.TOO_LARGE, "sample 2 has a txt file"),
    ],
)
def test_a_shard_is_filed_up_to_where_it_breaks(storage: Storage, end: bytes, reason: Reason, said: str) -> None:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        add(archive, "0.json", GOOD)
        add(archive, "1.json", GOOD.replace(b"cat", b"dog"))
    storage.put_once("reports/inbox/t.tar", whole.getvalue()[:2048] + end)
    [refusal] = file_singly(storage)
    assert (refusal.report_id, refusal.reason) == (batch_id("reports/inbox/t.tar"), reason), refusal
    assert said in refusal.detail
    assert layout.inbox_report(parse_report(GOOD).id) in storage.keys(layout.INBOX)


def test_what_is_no_parquet_or_has_another_column_stays(storage: Storage) -> None:
    storage.put_once("reports/inbox/n.parquet", b"no table")
    parquet("reports/inbox/o.parquet", {"colour": ["red"]}, storage)
    found = list(file_singly(storage))
    assert [each.reason for each in found] == [Reason.MALFORMED] * 2
    assert "'colour' is none of a report's fields" in found[1].detail
    assert len(list(waiting(storage))) == 2


def test_a_table_that_unpacks_to_more_than_the_limit_stays(storage: Storage) -> None:
    """64 kB of images that are all alike: a file of a few kilobytes."""
    rows = {"expected": ["cat"] * 64, "filed_at": [NOON] * 64, "image": [bytes([n]) * 8192 for n in range(64)]}
    key = parquet("reports/inbox/z.parquet", rows, storage)
    assert storage.size(key) < 100_000
    [refusal] = file_singly(storage, BatchLimits(max_packed_bytes=200_000))
    assert "when unpacked, the limit is 200,000" in refusal.detail


MEMORY = """
    import resource, sys
    from errata.data.inbox.batch_rows import BatchLimits
    from errata.data.inbox.packed_rows import parquet_rows, shard_rows
    for path in sys.argv[1:]:
        with open(path, "rb") as file:
            rows = (parquet_rows if path.endswith("parquet") else shard_rows)(file, BatchLimits())
            print(sum(1 for _ in rows), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["parquet", "tar"])
def test_memory_does_not_know_how_long_a_batch_is(tmp_path: Path, form: str) -> None:
    """A table of 8 MB and one of 160 MB, each one group of rows: the second adds less than a tenth of itself."""
    paths = []
    for count in (400, 8000):
        path = tmp_path / f"{count}.{form}"
        contents = [os.urandom(20_000) for _ in range(count)]
        if form == "parquet":
            arrow, tables = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
            columns = {"expected": ["cat"] * count, "filed_at": [NOON] * count, "image": contents}
            tables.write_table(arrow.table(columns), path, row_group_size=count)
        else:
            with tarfile.open(path, "w") as archive:
                for number, content in enumerate(contents):
                    add(archive, f"{number}.png", content)
                    add(archive, f"{number}.json", b"{}")
        paths.append(str(path))
    command = [sys.executable, "-c", textwrap.dedent(MEMORY), *paths]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    (few, before), (many, after) = (map(int, line.split()) for line in lines)
    assert (few, many) == (400, 8000)
    assert after - before < 16 * 1024  # kilobytes
