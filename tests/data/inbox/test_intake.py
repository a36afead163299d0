"""The inbox read: what is accepted, what is refused and why, and batches."""

import csv
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from errata.data import layout
from errata.data.images import ImageLimits, encode_png, pixel_digest
from errata.data.inbox.batch_rows import BatchLimits
from errata.data.inbox.intake import Accepted, IntakeSettings, read_inbox
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.reports import Report, make_report
from errata.data.storage import Storage
from errata.editing.errors import StoreUnusable
from tests.data.conftest import NOON, picture

FileOne = Callable[..., Report]
CLASSES = ("cat", "dog")
SHAPE = (8, 8, 3)


def read(storage: Storage, settings: IntakeSettings | None = None) -> tuple[list[Accepted], list[Refusal]]:
    items = list(read_inbox(storage, CLASSES, SHAPE, settings))
    return [item for item in items if isinstance(item, Accepted)], [item for item in items if isinstance(item, Refusal)]


def put_raw(storage: Storage, content: bytes) -> str:
    name = hashlib.sha256(content).hexdigest()
    storage.put_once(layout.inbox_report(name), content)
    return name


def test_an_empty_inbox(storage: Storage) -> None:
    assert list(read_inbox(storage, CLASSES, SHAPE)) == []


def test_good_reports_come_with_fitted_pixels_in_order(storage: Storage, file_one: FileOne) -> None:
    reports = {report.id: seed for seed in range(40) for report in [file_one(seed, predicted="dog")]}
    accepted, refused = read(storage, IntakeSettings(fetch_ahead=7))
    assert refused == []
    assert [item.report.id for item in accepted] == sorted(reports)
    for item in accepted:
        assert np.array_equal(item.pixels, picture(reports[item.report.id]))
        assert item.correction == pixel_digest(item.pixels)


def test_another_encoding_is_the_same_correction(storage: Storage, file_one: FileOne) -> None:
    out = io.BytesIO()
    from PIL import Image  # noqa: PLC0415

    Image.fromarray(picture(1)).save(out, "BMP")
    file_one(1)
    file_one(1, content=out.getvalue())
    accepted, _ = read(storage)
    assert len({item.report.id for item in accepted}) == 2
    assert len({item.correction for item in accepted}) == 1


@pytest.mark.parametrize("claim", [{"expected": "horse"}, {"expected": "cat", "predicted": "horse"}])
def test_unknown_classes(storage: Storage, file_one: FileOne, claim: dict[str, str]) -> None:
    report = file_one(1, **claim)
    [refusal] = read(storage)[1]
    assert (refusal.report_id, refusal.reason) == (report.id, Reason.UNKNOWN_CLASS)
    assert "'horse'" in refusal.detail


def test_a_missing_image(storage: Storage, file_one: FileOne) -> None:
    report = file_one(1)
    storage.delete(layout.image(report.image))
    assert [refusal.reason for refusal in read(storage)[1]] == [Reason.MISSING_IMAGE]


def test_an_image_that_is_not_the_one_reported(storage: Storage, file_one: FileOne) -> None:
    report = file_one(1)
    storage.delete(layout.image(report.image))
    storage.put_once(layout.image(report.image), encode_png(picture(2)))
    assert [refusal.reason for refusal in read(storage)[1]] == [Reason.DIGEST_MISMATCH]


def test_images_that_cannot_be_decoded(storage: Storage, file_one: FileOne) -> None:
    for content in (encode_png(picture(1))[:-30], b"no image", b""):
        file_one(0, content=content)
    assert [refusal.reason for refusal in read(storage)[1]] == [Reason.UNDECODABLE_IMAGE] * 3


def test_too_many_bytes_or_pixels(storage: Storage, file_one: FileOne) -> None:
    file_one(1)
    size = len(encode_png(picture(1)))
    for limits in (ImageLimits(max_bytes=size - 1), ImageLimits(max_pixels=63)):
        assert [refusal.reason for refusal in read(storage, IntakeSettings(image=limits))[1]] == [Reason.TOO_LARGE]
    put_raw(storage, b"x" * 20_000)
    assert sorted(refusal.reason for refusal in read(storage)[1]) == [Reason.TOO_LARGE]
    assert len(read(storage)[0]) == 1


def test_documents_that_are_no_report(storage: Storage) -> None:
    names = {put_raw(storage, content) for content in (b"", b"{", b"[]", b"\xff\xfe", b'{"expected": NaN}')}
    refused = read(storage)[1]
    assert {refusal.report_id for refusal in refused} == names
    assert {refusal.reason for refusal in refused} == {Reason.MALFORMED}


def test_a_report_under_another_ones_name(storage: Storage) -> None:
    report = make_report(encode_png(picture(1)), "cat", filed_at=NOON)
    storage.put_once(layout.inbox_report("0" * 64), report.to_json())
    [refusal] = read(storage)[1]
    assert (refusal.report_id, refusal.reason) == ("0" * 64, Reason.MALFORMED)
    assert report.id in refusal.detail


def test_one_bad_report_does_not_hold_up_the_others(storage: Storage, file_one: FileOne) -> None:
    for seed in range(20):
        file_one(seed, content=b"no image %d" % seed if seed % 4 == 0 else None)
    accepted, refused = read(storage)
    assert (len(accepted), len(refused)) == (15, 5)


def test_a_store_that_is_away_is_an_error_and_no_refusal(
    storage: Storage, file_one: FileOne, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_one(1)

    def away(*_: object, **__: object) -> bytes:
        raise StoreUnusable("away")

    monkeypatch.setattr(storage, "get", away)
    with pytest.raises(StoreUnusable):
        read(storage)


def documents(storage: Storage, count: int) -> list[dict[str, object]]:
    """The fields of `count` reports, whose images are stored and which are themselves not."""
    fields = []
    for seed in range(count):
        content = encode_png(picture(seed))
        storage.put_once(layout.image(hashlib.sha256(content).hexdigest()), content)
        report = make_report(content, "cat", predicted="dog", model_version=2, filed_at=NOON)
        fields.append(json.loads(report.to_json()))
    return fields


def test_json_lines(storage: Storage) -> None:
    lines = [json.dumps(fields) for fields in documents(storage, 3)]
    storage.put_once("reports/inbox/monday.jsonl", "\n".join([*lines, "", "{broken", ""]).encode())
    accepted, refused = read(storage)
    assert len(accepted) == 3
    assert [(refusal.reason, refusal.report_id) for refusal in refused] == [
        (Reason.MALFORMED, hashlib.sha256(b"{broken").hexdigest())
    ]
    assert "reports/inbox/monday.jsonl" not in storage.keys(layout.INBOX)
    assert [item.report for item in read(storage)[0]] == [item.report for item in accepted]


def test_a_table(storage: Storage) -> None:
    columns = ["image", "expected", "predicted", "model_version", "filed_at", "note"]
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore")
    writer.writeheader()
    rows = documents(storage, 3)
    rows[1] |= {"predicted": "", "model_version": "", "note": 'she said "cat",\nthen left'}
    writer.writerows(rows)
    writer.writerow({**rows[0], "model_version": "two"})
    storage.put_once("reports/inbox/monday.csv", b"\xef\xbb\xbf" + out.getvalue().encode())
    accepted, refused = read(storage)
    by_image = {item.report.image: item.report for item in accepted}
    assert len(by_image) == 3
    assert by_image[str(rows[0]["image"])].model_version == 2
    assert by_image[str(rows[1]["image"])].predicted is None
    assert by_image[str(rows[1]["image"])].note.endswith("then left")
    [refusal] = refused
    assert refusal.reason == Reason.MALFORMED
    assert "model_version" in refusal.detail


def test_a_report_under_any_name_is_filed_under_its_own(storage: Storage) -> None:
    [fields] = documents(storage, 1)
    storage.put_once("reports/inbox/2026/from the field.json".replace(" ", "-"), json.dumps(fields).encode())
    [item] = read(storage)[0]
    assert list(storage.keys(layout.INBOX)) == [layout.inbox_report(item.report.id)]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'image,expected\n"unclosed', b"a,b\n" + b"x" * 200_000])
def test_a_broken_table_is_one_malformed_report(storage: Storage, content: bytes) -> None:
    storage.put_once("reports/inbox/x.csv", content)
    reasons = {refusal.reason for refusal in read(storage)[1]}
    assert reasons <= {Reason.MALFORMED, Reason.TOO_LARGE}
    assert len(reasons) == 1


def test_a_batch_too_large_to_read_stays_and_is_named(storage: Storage) -> None:
    storage.put_once("reports/inbox/huge.jsonl", b"{}\n" * 100)
    [refusal] = read(storage, IntakeSettings(batch=BatchLimits(max_bytes=299)))[1]
    assert refusal.reason == Reason.TOO_LARGE
    assert "reports/inbox/huge.jsonl" in refusal.detail
    assert list(storage.keys(layout.INBOX)) == ["reports/inbox/huge.jsonl"]


def test_a_crash_while_a_batch_is_filed_loses_and_doubles_nothing(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [json.dumps(fields) for fields in documents(storage, 6)]
    storage.put_once("reports/inbox/monday.jsonl", "\n".join(lines).encode())
    put_once = storage.put_once
    done: list[str] = []

    def dies(key: str, content: bytes) -> None:
        if len(done) == 3:
            raise StoreUnusable("away")
        done.append(key)
        put_once(key, content)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "put_once", dies)
        with pytest.raises(StoreUnusable):
            read(storage)
    assert "reports/inbox/monday.jsonl" in storage.keys(layout.INBOX)
    assert len(read(storage)[0]) == 6
    assert len(list(storage.keys(layout.INBOX))) == 6
