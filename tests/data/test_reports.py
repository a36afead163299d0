"""The report's schema, its identity, and filing."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from errata.data import layout
from errata.data.images import ImageLimits, encode_png
from errata.data.reports import Report, file_report, make_report, parse_report, put_report, report_schema
from errata.data.storage import open_storage
from errata.editing.errors import DataError, TooLarge

IMAGE = encode_png(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def document(**changes: object) -> bytes:
    fields = {"format": "errata-report/1", "image": "a" * 64, "expected": "cat", "filed_at": "2026-01-02T03:04:05Z"}
    return json.dumps({name: value for name, value in {**fields, **changes}.items() if value != "leave out"}).encode()


def test_json_comes_back_equal() -> None:
    report = make_report(
        IMAGE, "cat", predicted="dog", reporter="ann", model_version=3, note="a ginger one", filed_at=WHEN
    )
    assert parse_report(report.to_json()) == report
    assert report.image == hashlib.sha256(IMAGE).hexdigest()
    assert json.loads(report.to_json())["id"] == report.id


def test_identity_is_the_claim_and_not_its_time() -> None:
    first = make_report(IMAGE, "cat", predicted="dog", reporter="ann", model_version=3, filed_at=WHEN)
    later = make_report(IMAGE, "cat", predicted="dog", reporter="ann", model_version=3, note="again")
    assert first.id == later.id
    claim = {"image": first.image, "expected": "cat", "predicted": "dog", "reporter": "ann", "model_version": 3}
    canonical = json.dumps(claim, sort_keys=True, separators=(",", ":")).encode()
    assert first.id == hashlib.sha256(canonical).hexdigest()
    others = [
        make_report(IMAGE + b"x", "cat", predicted="dog", reporter="ann", model_version=3),
        make_report(IMAGE, "fox", predicted="dog", reporter="ann", model_version=3),
        make_report(IMAGE, "cat", reporter="ann", model_version=3),
        make_report(IMAGE, "cat", predicted="dog", reporter="bob", model_version=3),
        make_report(IMAGE, "cat", predicted="dog", reporter="ann", model_version=4),
    ]
    assert len({first.id, *(other.id for other in others)}) == 6


def test_a_minimal_document_is_a_report() -> None:
    report = parse_report(document())
    assert (report.predicted, report.reporter, report.model_version, report.note) == (None, "anonymous", None, "")


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "errata-report/2"},
        {"image": "A" * 64},
        {"image": "../" * 20 + "abcd"},
        {"expected": ""},
        {"expected": "x" * 201},
        {"expected": "a\nb"},
        {"expected": 3},
        {"expected": float("nan")},
        {"expected": None},
        {"expected": "leave out"},
        {"predicted": ["cat"]},
        {"reporter": "\x1b[31m"},
        {"model_version": "3"},
        {"model_version": 3.0},
        {"model_version": True},
        {"model_version": -1},
        {"filed_at": "2026-01-02T03:04:05"},
        {"filed_at": 1e9},
        {"filed_at": "leave out"},
        {"note": "x" * 2001},
        {"predicted": "cat"},
        {"id": "b" * 64},
        {"unknown": 1},
    ],
    ids=str,
)
def test_what_the_schema_forbids(changes: dict[str, object]) -> None:
    with pytest.raises(DataError, match="not a report of errata-report/1"):
        parse_report(document(**changes))


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"\xff\xfe{", b'{"expected": "\\ud800"}'])
def test_what_is_no_document(content: bytes) -> None:
    with pytest.raises(DataError):
        parse_report(content)


def test_what_is_wrong_is_said_in_printable_words() -> None:
    with pytest.raises(DataError) as caught:
        parse_report(document(**{"\x1b]0;owned\x07": 1}))
    assert str(caught.value).isprintable()


def test_the_json_schema_comes_from_the_type() -> None:
    schema = report_schema()
    assert set(schema["properties"]) == set(Report.model_fields)
    assert set(schema["required"]) == {"image", "expected", "filed_at"}
    assert schema["additionalProperties"] is False


def test_filing_stores_the_evidence_and_the_report(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    report = file_report(storage, IMAGE, "cat", reporter="ann")
    assert storage.get(layout.image(report.image)) == IMAGE
    assert parse_report(storage.get(layout.inbox_report(report.id))) == report


def test_filing_twice_is_one_report(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    first = file_report(storage, IMAGE, "cat", filed_at=WHEN)
    assert file_report(storage, IMAGE, "cat") == first
    assert list(storage.keys(layout.INBOX)) == [layout.inbox_report(first.id)]


def test_filing_refuses_what_no_night_could_use(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    with pytest.raises(DataError, match="cannot be decoded"):
        file_report(storage, IMAGE[:-20], "cat")
    with pytest.raises(DataError, match="expected"):
        file_report(storage, IMAGE, "")
    with pytest.raises(TooLarge):
        file_report(storage, IMAGE, "cat", limits=ImageLimits(max_bytes=8))
    assert list(storage.keys("")) == []


def test_unlooked_at_filing_is_for_those_who_check_elsewhere(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    put_report(storage, make_report(b"no image", "cat"), b"no image")
    assert len(list(storage.keys(layout.INBOX))) == 1


@pytest.mark.parametrize("filed_at", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
def test_a_time_that_utc_cannot_tell_is_no_time(filed_at: str) -> None:
    """Whoever shows it later, in UTC, would fail."""
    document = {"format": "errata-report/1", "image": "0" * 64, "expected": "cat", "filed_at": filed_at}
    with pytest.raises(DataError, match=r"filed_at.*in UTC"):
        parse_report(json.dumps(document).encode())
    parse_report(json.dumps(document | {"filed_at": f"{filed_at[:-6]}Z"}).encode())
