"""What strangers may send or put into a store: each ends as one typed refusal, and the night goes on."""

import contextlib
import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from errata.data import layout
from errata.data.belief.trust import TrustSettings, aggregate
from errata.data.images import ImageLimits, Pixels, decode_image, encode_png
from errata.data.inbox.control_guard import ControlGuard
from errata.data.inbox.intake import Accepted, as_claims, evidence, read_inbox
from errata.data.inbox.quarantine import quarantine, quarantined
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.releases.ledger import Ledger
from errata.data.reports import Report
from errata.data.storage import Storage
from errata.editing.errors import DataError, TooLarge
from tests.data.conftest import NOON, picture
from tests.servers.faulty_s3 import BUCKET

CLASSES = ("cat", "dog")
SHAPE = (8, 8, 3)
FileOne = Callable[..., Report]


@contextmanager
def little_memory(storage: Storage, mebibytes: float = 40) -> Iterator[None]:
    """What is done inside takes no more, but on the mock S3 server, whose own memory is in this process."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < mebibytes * 2**20 or storage.url.startswith(f"s3://{BUCKET}/")


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of these dimensions with these chunks, whatever they hold."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), *chunks, (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + body


def saved(kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture(0, 16)).save(out, kind, **options)
    return out.getvalue()


def frames(kind: str, count: int) -> bytes:
    out = io.BytesIO()
    more = [Image.fromarray(picture(seed, 4)) for seed in range(1, count)]
    Image.fromarray(picture(0, 4)).save(out, kind, save_all=True, append_images=more)
    return out.getvalue()


def repeated_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan, which is valid again and again, comes so many times more."""
    whole = saved("JPEG", progressive=True)
    start = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[start:-2] * count + whole[-2:]


def long_exif(entries: int) -> bytes:
    """A block of EXIF with so many entries."""
    entry = struct.pack(">HHII", 0x112, 3, 1, 0)
    return b"MM\0*\0\0\0\x08" + struct.pack(">H", entries) + entry * entries + bytes(4)


JPEG = saved("JPEG")
IDAT = (b"IDAT", zlib.compress(bytes(100)))
IMAGES: dict[str, tuple[bytes, Reason]] = {
    "zero bytes": (b"", Reason.UNDECODABLE_IMAGE),
    "truncated JPEG": (JPEG[: len(JPEG) // 2], Reason.UNDECODABLE_IMAGE),
    "JPEG that is all header": (JPEG[:200], Reason.UNDECODABLE_IMAGE),
    "pixel bomb": (png(60_000, 60_000, IDAT), Reason.TOO_LARGE),
    "pixel bomb just under Pillow's own limit": (png(9_000, 9_000, IDAT), Reason.TOO_LARGE),
    "pixels promised but not there": (png(900, 900, IDAT), Reason.UNDECODABLE_IMAGE),
    "text bomb": (png(8, 8, (b"zTXt", b"k\0\0" + zlib.compress(bytes(10**8))), IDAT), Reason.UNDECODABLE_IMAGE),
    "profile bomb": (png(8, 8, (b"iCCP", b"k\0\0" + zlib.compress(bytes(10**8))), IDAT), Reason.UNDECODABLE_IMAGE),
    "no width": (png(0, 8, IDAT), Reason.UNDECODABLE_IMAGE),
    "animated PNG": (frames("PNG", 200), Reason.UNDECODABLE_IMAGE),
    "animated WebP": (frames("WEBP", 200), Reason.UNDECODABLE_IMAGE),
    "GIF as PNG": (saved("GIF"), Reason.UNDECODABLE_IMAGE),
    "TIFF as PNG": (saved("TIFF"), Reason.UNDECODABLE_IMAGE),
    "PostScript": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        Reason.UNDECODABLE_IMAGE,
    ),
    "SVG with an entity bomb": (b'<!DOCTYPE x [<!ENTITY a "ha">]><svg>&a;</svg>', Reason.UNDECODABLE_IMAGE),
    "PNG signature, then none": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), Reason.UNDECODABLE_IMAGE),
    "a pass over all pixels for every ten bytes": (repeated_scans(64), Reason.UNDECODABLE_IMAGE),
    "many chunks": (png(8, 8, *[(b"teSt", b"")] * 16_384, IDAT), Reason.UNDECODABLE_IMAGE),
    "many pieces of no pixels": (png(8, 8, *[(b"IDAT", b"")] * 16_384, IDAT), Reason.UNDECODABLE_IMAGE),
    "much EXIF": (png(8, 8, (b"eXIf", long_exif(11_000)), IDAT), Reason.UNDECODABLE_IMAGE),
    "too many bytes": (png(8, 8, (b"tEXt", b"k\0" + bytes(17 * 2**20)), IDAT), Reason.TOO_LARGE),
}


@pytest.mark.parametrize("name", IMAGES)
def test_hostile_images(storage: Storage, file_one: FileOne, name: str) -> None:
    content, reason = IMAGES[name]
    bad, good = file_one(0, content=content), file_one(1)
    with little_memory(storage, 100):  # of Python's; Pillow's buffer is bounded by the limit on pixels
        items = list(read_inbox(storage, CLASSES, SHAPE))
    assert {item.report_id: item.reason for item in items if isinstance(item, Refusal)} == {bad.id: reason}
    assert [item.report.id for item in items if isinstance(item, Accepted)] == [good.id]


def flat(kind: str, mode: str) -> bytes:
    """16 million pixels in as few bytes as the format can."""
    out = io.BytesIO()
    Image.new(mode, (4000, 4000)).save(out, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return out.getvalue()


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "1"), ("PNG", "L"), ("JPEG", "L"), ("WEBP", "RGB"), ("BMP", "1")])
@pytest.mark.parametrize("limits", [ImageLimits(), ImageLimits(max_pixels=16 * 10**6, pixels_per_byte=7)])
def test_sixteen_million_pixels_are_refused_by_the_header(kind: str, mode: str, limits: ImageLimits) -> None:
    """By the limit on pixels, and by that on pixels for a byte where more are allowed; decoded it is 16 MB or more."""
    content = flat(kind, mode)
    program = (
        "import resource, sys; from errata.data.images import *; content = sys.stdin.buffer.read()\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024; Image.init(); before = peak()\n"
        f"try: decode_image(content, {limits})\n"
        "except TooLarge: print(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], input=content, capture_output=True, check=True)
    assert int(done.stdout) < 4000 * 4000


def test_parts_as_writers_make_them_are_no_attack() -> None:
    assert decode_image(repeated_scans(8)).shape == (16, 16, 3)
    pixels = zlib.compress(bytes(8 * 25))
    pieces = [(b"IDAT", bytes([byte])) for byte in pixels]
    assert decode_image(png(8, 8, *pieces, (b"eXIf", long_exif(100)))).shape == (8, 8, 3)


def test_a_photo_of_a_phone_and_a_small_flat_picture_are_no_bombs() -> None:
    limits = ImageLimits()
    assert limits.most_pixels(1_500_000) >= 4032 * 3024
    assert decode_image(encode_png(np.zeros((1000, 1000, 3), np.uint8))).shape == (1000, 1000, 3)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_many_compressed_chunks_are_no_way_around_the_limit_on_one(kind: bytes) -> None:
    """60 chunks of 1 MiB less a little, 1 kB each in the file."""
    packed = zlib.compress(bytes(2**20 - 100), 9)
    start = b"k\0\1\0\0\0" if kind == b"iTXt" else b"k\0\0"
    content = png(8, 8, *[(kind, start + packed)] * 60, IDAT)
    assert len(content) < 80_000
    with contextlib.suppress(DataError):
        decode_image(content)  # once, so that no import counts
    tracemalloc.start()
    with contextlib.suppress(DataError):
        decode_image(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 2**20


@pytest.mark.parametrize("seed", range(3))
def test_a_changed_byte_never_does_more_than_be_refused(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for content in (JPEG, saved("PNG"), saved("WEBP"), saved("BMP")):
        for _ in range(60):
            changed = bytearray(content)
            for place in rng.integers(0, len(content), rng.integers(1, 4)):
                changed[place] = rng.integers(256)
            try:
                assert decode_image(bytes(changed)).ndim == 3
            except (DataError, TooLarge):
                continue


def fields(**changes: object) -> bytes:
    claim = {"image": "a" * 64, "expected": "cat", "filed_at": "2026-01-02T00:00:00Z"}
    return json.dumps({**claim, **changes}).encode()


DOCUMENTS: dict[str, tuple[bytes, Reason]] = {
    "zero bytes": (b"", Reason.MALFORMED),
    "not UTF-8": (fields().replace(b"cat", b"c\xe4t"), Reason.MALFORMED),
    "UTF-16": (fields().decode().encode("utf-16"), Reason.MALFORMED),
    "NaN label": (fields(expected=float("nan")), Reason.MALFORMED),
    "infinite version": (fields(model_version=float("inf")), Reason.MALFORMED),
    "a number too long for any type": (fields(model_version=10**400), Reason.MALFORMED),
    "nested ten thousand deep": (b'{"image":' + b"[" * 10_000, Reason.MALFORMED),
    "a list of reports": (b"[" + fields() + b"]", Reason.MALFORMED),
    "a path as image": (fields(image="../../../../etc/passwd"), Reason.MALFORMED),
    "a path as class": (fields(expected="../../live"), Reason.UNKNOWN_CLASS),
    "a class with an end of string": (fields(expected="cat\0"), Reason.MALFORMED),
    "a terminal's escape codes": (fields(reporter="\x1b]0;owned\x07"), Reason.MALFORMED),
    "a pickle": (b"\x80\x04\x95cposix\nsystem\n", Reason.MALFORMED),
    "10 MB of JSON": (fields(note="x" * 10 * 2**20), Reason.TOO_LARGE),
    "an image nobody stored": (fields(), Reason.MISSING_IMAGE),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_hostile_documents(storage: Storage, file_one: FileOne, name: str) -> None:
    content, reason = DOCUMENTS[name]
    good = file_one(1)
    storage.put_once("reports/inbox/some-name.json", content)
    with little_memory(storage):
        items = list(read_inbox(storage, CLASSES, SHAPE))
    [refusal] = [item for item in items if isinstance(item, Refusal)]
    assert refusal.reason == reason
    assert [item.report.id for item in items if isinstance(item, Accepted)] == [good.id]
    quarantine(storage, refusal, NOON)
    [record] = quarantined(storage)
    assert record.reason == reason
    if refusal.reason == Reason.MALFORMED:
        assert record.content == content
    stays = ["reports/inbox/some-name.json"] if reason == Reason.TOO_LARGE else []  # it is named, and nobody reads it
    assert list(storage.keys(layout.INBOX)) == [layout.inbox_report(good.id), *stays]


@pytest.mark.parametrize(
    "line",
    [
        b"../../../etc/passwd,cat,2026-01-02T00:00:00Z",
        b'=HYPERLINK("x"),cat,2026-01-02T00:00:00Z',
        b",,",
        b"\xff,cat,x",
    ],
)
def test_hostile_tables(storage: Storage, line: bytes) -> None:
    storage.put_once("reports/inbox/t.csv", b"image,expected,filed_at\n" + line + b"\n")
    items = list(read_inbox(storage, CLASSES, SHAPE))
    assert all(isinstance(item, Refusal) and item.reason == Reason.MALFORMED for item in items)


@pytest.mark.parametrize("new_store", ["local"], indirect=True)
def test_what_lies_about_in_a_folder_store(storage: Storage, file_one: FileOne, tmp_path: Path) -> None:
    """Links, pipes, hidden and unprintable names, folders with a report's name: none is followed or stops the night."""
    linked, good = file_one(0), file_one(1)
    (tmp_path / "secret").write_bytes(encode_png(picture(0)))
    inbox, images = Path(storage.url) / "reports/inbox", Path(storage.url) / "images"
    (images / linked.image).unlink()
    (images / linked.image).symlink_to(tmp_path / "secret")
    (inbox / f"{'e' * 64}.json").symlink_to("/etc/passwd")
    (inbox / "folder").symlink_to("/etc")
    (inbox / ".hidden.json").write_text("{}")
    (inbox / "bell\x07.json").write_text("{}")
    (inbox / "back\\slash.json").write_text("{}")
    (inbox / f"{'f' * 64}.json").mkdir()
    os.mkfifo(inbox / f"{'d' * 64}.json")
    items = list(read_inbox(storage, CLASSES, SHAPE))
    refused = {item.report_id: item.reason for item in items if isinstance(item, Refusal)}
    assert refused == {linked.id: Reason.MISSING_IMAGE, "d" * 64: Reason.UNREADABLE}
    assert [item.report.id for item in items if isinstance(item, Accepted)] == [good.id]


def night(storage: Storage, control: Pixels, settings: TrustSettings) -> tuple[dict[str, Pixels], list[Refusal]]:
    """From the inbox to corrections with their pixels; the live model says dog to everything."""
    guard = ControlGuard(control)
    items = list(read_inbox(storage, CLASSES, SHAPE))
    accepted = [item for item in items if isinstance(item, Accepted)]
    claims = list(
        as_claims(accepted, CLASSES, lambda pixels: np.ones(len(pixels), int), lambda pixels: guard.match(pixels) >= 0)
    )
    doubts = {(claim.correction, claim.expected): 0.0 for claim in claims}
    decision = aggregate(claims, Ledger(1), doubts, settings, NOON)
    by_report = {claim.report_id: claim for claim in claims}
    pixels = {each.id: evidence(storage, by_report[each.reports[0]], SHAPE) for each in decision.agreed}
    refusals = [item for item in items if isinstance(item, Refusal)]
    return pixels, [*refusals, *decision.refusals]


def test_nobody_tunes_the_judge(storage: Storage, file_one: FileOne) -> None:
    control = np.stack([picture(seed) for seed in range(40)])
    larger = Image.fromarray(control[3]).resize((64, 64), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    larger.save(out, "JPEG", quality=90)
    copies = {file_one(2).id, file_one(3, content=out.getvalue()).id}
    file_one(100)
    pixels, refusals = night(storage, control, TrustSettings())
    assert {refusal.report_id for refusal in refusals if refusal.reason == Reason.CONTROL_IMAGE} == copies
    assert [image.tobytes() for image in pixels.values()] == [picture(100).tobytes()]


def test_one_flooding_reporter_does_not_drown_the_others(storage: Storage, file_one: FileOne) -> None:
    for seed in range(40):
        file_one(seed, reporter="mallory")
    honest = [file_one(seed, reporter=f"person {seed}") for seed in range(100, 105)]
    pixels, refusals = night(storage, np.zeros((0, *SHAPE), np.uint8), TrustSettings(per_reporter=5))
    assert [refusal.reason for refusal in refusals] == [Reason.REPORTER_CAP] * 35
    assert len(pixels) == 5 + len(honest)


def test_evidence_that_was_exchanged_meanwhile_is_not_used(storage: Storage, file_one: FileOne) -> None:
    report = file_one(1)
    items = [item for item in read_inbox(storage, CLASSES, SHAPE) if isinstance(item, Accepted)]
    [claim] = as_claims(
        items, CLASSES, lambda pixels: np.ones(len(pixels), int), lambda pixels: np.zeros(len(pixels), bool)
    )
    storage.delete(layout.image(report.image))
    storage.put_once(layout.image(report.image), encode_png(picture(2)))
    assert hashlib.sha256(encode_png(picture(2))).hexdigest() != report.image
    with pytest.raises(Exception, match="not the recorded"):
        evidence(storage, claim, SHAPE)
