"""The records of a release are strict; a pointer is signed whole, and the log finds out what was put back."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from errata.data import layout
from errata.data.releases.manifest import Live, Manifest, check_log, read_entry, read_live, verify_bundle
from errata.data.releases.signing import PUBLIC_KEY, SIGNING_KEY
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged, DataError, Expired, NightError
from errata.flows.releases.contents.sign import sign_store
from errata.flows.releases.pointer import log_entries, make_live, renew, require_live
from errata.flows.releases.rollback import current
from tests.data.releases.test_signing import write_keys
from tests.serving.releases import bundle, point_at, release

POINTER: dict[str, Any] = json.loads(Live(2, "a" * 64, 1, 3, 2).to_json())
MANIFEST: dict[str, Any] = json.loads(bundle(2).manifest.to_json())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", "2"),
        ("version", 2.0),
        ("version", True),
        ("version", 0),
        ("serial", 0),
        ("previous", -1),
        ("newest", None),
        ("manifest_sha256", "A" * 64),
        ("manifest_sha256", "a" * 63),
        ("action", "promoted"),
        ("by", None),
        ("colour", "red"),
        ("expires", "tomorrow"),
        ("expires", "2026-05-03T12:00:00"),  # whose midday?
        ("valid_hours", -1.0),
        ("valid_hours", 1e300),  # no calendar has a day so far off
    ],
)
def test_a_pointer_with_a_wrong_field_is_refused_by_name(field: str, value: object) -> None:
    assert Live.from_json(json.dumps(POINTER).encode()) == Live(2, "a" * 64, 1, 3, 2)
    with pytest.raises(Damaged, match=field):
        Live.from_json(json.dumps({**POINTER, field: value}).encode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", "2"),
        ("corrections", -1),
        ("kind", "patch"),
        ("root", "r" * 64),
        ("files", []),
        ("libraries", {"torch": 2}),
        ("format", "errata-release/2"),
        ("colour", "red"),
    ],
)
def test_a_manifest_with_a_wrong_field_is_refused_by_name(field: str, value: object) -> None:
    assert Manifest.from_json(json.dumps(MANIFEST).encode()) == bundle(2).manifest
    with pytest.raises(Damaged, match=field):
        Manifest.from_json(json.dumps({**MANIFEST, field: value}).encode())


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b'"live"', b"\xff"])
def test_what_is_no_record_is_refused(content: bytes) -> None:
    for parse in (Live.from_json, Manifest.from_json):
        with pytest.raises(Damaged, match="cannot be read"):
            parse(content)


def test_a_file_entry_is_as_strict() -> None:
    for wrong in ({"sha256": "a" * 64, "size": "1"}, {"sha256": "a", "size": 1}, {"sha256": "a" * 64}):
        with pytest.raises(Damaged, match=r"files\.model"):
            Manifest.from_json(json.dumps({**MANIFEST, "files": {"model": wrong}}).encode())


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ed25519PrivateKey:
    """Both keys set, as where releases are made."""
    key = Ed25519PrivateKey.generate()
    private, public = write_keys(tmp_path, key)
    monkeypatch.setenv(SIGNING_KEY, str(private))
    monkeypatch.setenv(PUBLIC_KEY, str(public))
    return key


def put_back(storage: Storage, content: bytes) -> None:
    """Write live.json as somebody may who can write to the store."""
    storage.swap(layout.LIVE, content, expected=storage.read(layout.LIVE).tag)


def overwrite(storage: Storage, key: str, content: bytes) -> None:
    """Change an object that is never changed."""
    storage.delete(key)
    storage.put_once(key, content)


def test_the_signature_is_of_every_field_by_the_key(storage: Storage, keys: Ed25519PrivateKey) -> None:
    release(storage, 1)
    document = json.loads(storage.read(layout.LIVE).content)
    signature = bytes.fromhex(document.pop("signature"))
    keys.public_key().verify(signature, b"errata live.json\n" + json.dumps(document, sort_keys=True).encode() + b"\n")
    (entry,) = storage.keys(layout.LOG)
    assert json.loads(storage.get(entry)) == {**document, "signature": signature.hex()}


CHANGED: dict[str, object] = {
    "version": 1,
    "manifest_sha256": "0" * 64,
    "previous": None,
    "serial": 9,
    "newest": 9,
    "action": "rolled back",
    "by": "mallory",
    "why": "",
    "at": "",
    "about": "x",
    "run": "",
    "signature": "",
}


@pytest.mark.usefixtures("keys")
def test_a_change_of_any_field_breaks_the_signature(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    release(storage, 1)
    release(storage, 2)
    honest = json.loads(storage.read(layout.LIVE).content)
    assert set(CHANGED) == set(honest)
    for name, value in CHANGED.items():
        assert honest[name] != value
        put_back(storage, json.dumps({**honest, name: value}).encode())
        with pytest.raises(Damaged, match="not signed"):
            read_live(storage)
    monkeypatch.delenv(PUBLIC_KEY)  # the public key follows from the private one
    with pytest.raises(Damaged, match="not signed"):
        read_live(storage)


@pytest.mark.usefixtures("keys")
def test_one_pointers_signature_is_not_anothers(storage: Storage) -> None:
    release(storage, 1)
    first = json.loads(storage.read(layout.LIVE).content)
    release(storage, 2)
    second = json.loads(storage.read(layout.LIVE).content)
    for mixed in ({**first, "signature": second["signature"]}, {**second, "signature": first["signature"]}):
        put_back(storage, json.dumps(mixed).encode())
        with pytest.raises(Damaged, match="not signed"):
            read_live(storage)


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "without keys"])
def test_the_night_refuses_a_pointer_that_was_put_back_and_a_rollback_heals_it(
    storage: Storage, signed: bool, request: pytest.FixtureRequest
) -> None:
    if signed:
        request.getfixturevalue("keys")
    for version in (1, 2, 3):
        release(storage, version)
    before, old = storage.read(layout.LIVE).content, storage.get(layout.log_entry(2))
    put_back(storage, old)
    with pytest.raises(Damaged, match="was put back to change 2"):
        require_live(storage)
    with pytest.raises(Damaged, match="was put back"):
        point_at(storage, bundle(1).manifest)
    put_back(storage, before)
    assert require_live(storage)[0].version == 3
    put_back(storage, old)
    newest, tag, believed = current(storage)  # what `errata rollback` starts from
    assert (newest.version, believed) == (3, False)
    make_live(storage, bundle(3).manifest, (newest, tag), action="rolled back", by="me", why="it was put back")
    assert [(each.serial, each.version) for each in log_entries(storage)] == [(1, 1), (2, 2), (3, 3), (4, 3)]
    assert require_live(storage)[0] == log_entries(storage)[-1]


def test_a_pointer_that_vanished_is_no_empty_store_and_a_rollback_heals_it(storage: Storage) -> None:
    with pytest.raises(NightError, match="nothing is released yet"):
        require_live(storage)
    release(storage, 1)
    storage.delete(layout.LIVE)
    with pytest.raises(Damaged, match=r"a log of releases but no live\.json"):
        require_live(storage)
    with pytest.raises(Damaged, match="but no live"):
        release(storage, 1)  # as if it were the first
    newest, tag, _ = current(storage)
    make_live(storage, bundle(1).manifest, (newest, tag), action="rolled back", by="me", why="it was gone")
    assert require_live(storage)[0].serial == 2


@pytest.mark.usefixtures("keys")
def test_entries_of_the_log_are_signed_and_stay_in_their_places(storage: Storage) -> None:
    for version in (1, 2):
        release(storage, version)
    first, second = layout.log_entry(1), layout.log_entry(2)
    kept = storage.get(first)
    for forged in (storage.get(second), kept.replace(b'"test"', b'"tess"')):
        overwrite(storage, first, forged)
        with pytest.raises(Damaged, match=r"not signed|is entry 2 of the log"):
            log_entries(storage)
    overwrite(storage, first, kept)
    assert read_entry(storage, first).version == 1


def test_a_pointer_that_differs_from_its_entry_is_refused(storage: Storage) -> None:
    release(storage, 1)
    found = read_live(storage)
    assert found is not None
    check_log(storage, found[0])
    with pytest.raises(Damaged, match="entry 1 of the log differ"):
        check_log(storage, replace(found[0], by="mallory"))
    storage.delete(layout.log_entry(1))  # as after a crash between the swap and the log
    check_log(storage, found[0])


def test_a_store_from_before_there_was_a_key_is_signed_once(storage: Storage, request: pytest.FixtureRequest) -> None:
    for version in (1, 2):
        release(storage, version)
    unsigned = require_live(storage)[0]
    with pytest.raises(DataError, match=SIGNING_KEY):
        sign_store(storage)
    request.getfixturevalue("keys")
    with pytest.raises(Damaged, match="not signed"):
        require_live(storage)
    for _ in range(2):  # again is harmless
        sign_store(storage)
    live, _ = require_live(storage)
    assert live.unsigned == unsigned
    assert [each.unsigned.signed() for each in log_entries(storage)] == log_entries(storage)
    assert [verify_bundle(storage, version) for version in (1, 2)] == [(), ()]
    release(storage, 3)


def test_who_wants_signatures_and_cannot_sign_changes_nothing(
    storage: Storage, keys: Ed25519PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(storage, 1)
    before = storage.read(layout.LIVE)
    monkeypatch.delenv(SIGNING_KEY)
    with pytest.raises(DataError, match=SIGNING_KEY):
        point_at(storage, bundle(1).manifest)
    assert storage.read(layout.LIVE) == before


NOON = datetime(2026, 5, 3, 12, tzinfo=UTC)


def test_a_pointer_without_an_end_is_what_it_was_before_there_were_ends() -> None:
    assert {"expires", "valid_hours"}.isdisjoint(POINTER)
    ends = Live(2, "a" * 64, 1, 3, 2).valid_for(36, NOON)
    assert ends.expires == "2026-05-05T00:00:00+00:00"
    assert Live.from_json(ends.to_json()) == ends
    assert ends.valid_for(0, NOON) == Live(2, "a" * 64, 1, 3, 2)
    ends.check_fresh(NOON + timedelta(hours=35.9), "here")
    with pytest.raises(Expired, match=r"here \(release 2\) expired at 2026-05-05"):
        ends.check_fresh(NOON + timedelta(hours=36), "here")


@pytest.mark.usefixtures("keys")
def test_the_end_of_a_pointer_is_under_its_signature(storage: Storage) -> None:
    release(storage, 1)
    renew(storage, 24)
    content = json.loads(storage.read(layout.LIVE).content)
    later = {**content, "expires": "2999-01-01T00:00:00+00:00"}
    for forged in (later, {**content, "valid_hours": 99.0}, {k: v for k, v in content.items() if k != "expires"}):
        put_back(storage, json.dumps(forged).encode())
        with pytest.raises(Damaged, match="not signed"):
            read_live(storage)


@pytest.mark.usefixtures("keys")
def test_a_renewal_is_no_change_and_what_changes_renews_as_well(storage: Storage) -> None:
    release(storage, 1)
    logged = storage.get(layout.log_entry(1))
    before, _ = require_live(storage)
    renew(storage, 0)
    assert require_live(storage)[0] == before  # nothing was to be done
    for hours in (1.0, 48.0):
        started = datetime.now(UTC)
        renew(storage, hours)
        live, _ = require_live(storage)  # it agrees with the log
        end = datetime.fromisoformat(live.expires)
        assert abs(end - started - timedelta(hours=hours)) < timedelta(minutes=1)
        assert (live.change, live.valid_hours) == (before.change, hours)
    assert storage.get(layout.log_entry(1)) == logged
    release(storage, 2)
    point_at(storage, bundle(1).manifest)  # a rollback has no parameters: as long as it was
    live, _ = require_live(storage)
    assert (live.serial, live.valid_hours) == (3, 48.0)
    assert datetime.fromisoformat(live.expires) - datetime.fromisoformat(live.at) > timedelta(hours=47)
    renew(storage, 0)  # switched off
    assert require_live(storage)[0].expires == ""
