"""Bundles and the live pointer: verified byte by byte, swapped once, logged."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from errata.data import layout
from errata.data.releases.manifest import FileEntry, Live, Manifest, read_live, sha256, verify_bundle
from errata.data.storage.base import Storage, Versioned
from errata.data.storage.local import LocalStorage
from errata.editing.errors import AlreadyStored, Damaged, Superseded
from errata.flows.releases.contents.bundle import Bundle, publish
from errata.flows.releases.pointer import make_live, verified


def a_bundle(version: int, content: bytes = b"model", **more: bytes) -> Bundle:
    files = {"model.onnx": content, "ledger.jsonl": b"ledger\n", "deep/labels.txt": b"0\n1\n", **more}
    entries = {name: FileEntry(sha256(each), len(each)) for name, each in files.items()}
    return Bundle(Manifest(version, "edit", "a" * 64, "b" * 64, "c" * 64, "d" * 64, 1, entries), files)


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "store")


def release(storage: Storage, version: int) -> Live:
    bundle = a_bundle(version, f"model {version}".encode())
    publish(storage, bundle)
    return make_live(storage, bundle.manifest, read_live(storage), action="released", by="me", why="test")


def test_manifest_round_trips_and_names_every_file() -> None:
    manifest = a_bundle(3).manifest
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.digest == sha256(manifest.to_json())
    with pytest.raises(Damaged):
        Manifest.from_json(b"{}")


def test_releases_follow_each_other_and_are_logged(storage: LocalStorage) -> None:
    first, second = release(storage, 1), release(storage, 2)
    assert (first.serial, first.previous, second.serial, second.previous, second.newest) == (1, None, 2, 1, 2)
    found = read_live(storage)
    assert found is not None
    assert found[0] == second
    log = [json.loads(storage.get(key)) for key in storage.keys(layout.LOG)]
    assert [(each["serial"], each["version"], each["action"], each["by"]) for each in log] == [
        (1, 1, "released", "me"),
        (2, 2, "released", "me"),
    ]


def test_publishing_again_is_harmless_and_other_bytes_are_refused(storage: LocalStorage) -> None:
    publish(storage, a_bundle(1))
    publish(storage, a_bundle(1))
    with pytest.raises(AlreadyStored):
        publish(storage, a_bundle(1, b"other"))
    assert verify_bundle(storage, 1) == ()


def test_every_changed_byte_is_named(storage: LocalStorage, tmp_path: Path) -> None:
    bundle = a_bundle(1)
    publish(storage, bundle)
    folder = tmp_path / "store" / "releases" / "1"
    for name in bundle.files:
        path = folder / name
        content = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        assert verify_bundle(storage, 1, bundle.manifest.digest) == (f"changed: {name}",)
        with pytest.raises(Damaged, match=name):
            verified(storage, 1, bundle.manifest.digest)
        path.write_bytes(content)
    (folder / "extra.bin").write_bytes(b"?")
    (folder / "ledger.jsonl").unlink()
    assert verify_bundle(storage, 1, bundle.manifest.digest) == ("extra: extra.bin", "missing: ledger.jsonl")


def test_a_changed_manifest_is_refused_by_the_pointer(storage: LocalStorage, tmp_path: Path) -> None:
    bundle = a_bundle(1)
    publish(storage, bundle)
    path = tmp_path / "store" / "releases" / "1" / "manifest.json"
    path.chmod(0o644)
    path.write_bytes(a_bundle(1, b"another").manifest.to_json())
    assert verify_bundle(storage, 1, bundle.manifest.digest) != ()


def test_of_two_runs_from_one_parent_exactly_one_wins(storage: LocalStorage) -> None:
    release(storage, 1)
    parent = read_live(storage)
    for version in (2, 3):
        publish(storage, a_bundle(version))
    make_live(storage, a_bundle(2).manifest, parent, action="released", by="one", why="")
    with pytest.raises(Superseded, match="release 2 was released meanwhile"):
        make_live(storage, a_bundle(3).manifest, parent, action="released", by="two", why="")
    found = read_live(storage)
    assert found is not None
    assert found[0].version == 2


class LostAnswer(LocalStorage):
    """A store whose swap happens, but whose answer is lost on the way; the retry then finds another tag."""

    def swap(self, key: str, content: bytes, *, expected: str | None) -> Versioned:
        super().swap(key, content, expected=expected)
        return super().swap(key, content, expected=expected)

    def keys(self, prefix: str) -> Iterator[str]:
        return super().keys(prefix)


def test_a_swap_whose_answer_was_lost_is_success(tmp_path: Path) -> None:
    storage = LostAnswer(tmp_path / "store")
    live = release(storage, 1)
    found = read_live(storage)
    assert found is not None
    assert found[0] == live
