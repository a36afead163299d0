"""Attacks on releases: whoever may write to the store, or hands over a model, cannot put a changed one live."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from errata.data import layout
from errata.data.releases.manifest import FileEntry, Live, Manifest, read_live, read_manifest, sha256, verify_bundle
from errata.data.releases.signing import PUBLIC_KEY, SIGNING_KEY
from errata.data.storage import Storage
from errata.editing.errors import Damaged, ErrataError, ExportError, ModelError, NotStored, StoreUnusable
from errata.editing.model import load_model
from errata.editing.onnx.classifier import OnnxClassifier
from errata.editing.onnx.file import parse_onnx
from errata.flows.night.run import run_night
from errata.flows.releases.contents.sign import sign_store
from errata.flows.releases.pointer import log_entries
from errata.flows.releases.rollback import rollback
from errata.serving.release import load_release
from tests.data.releases.test_signing import write_keys
from tests.flows.conftest import Place


def bundle_file(name: str, version: int = 1) -> str:
    """The key of a file of a bundle."""
    return layout.release_file(version, name)


def live(place: Place) -> Live:
    """What is live."""
    found = read_live(place.storage)
    assert found is not None
    return found[0]


def overwrite(storage: Storage, key: str, content: bytes) -> None:
    """Change an object that is never changed, as somebody can who may write to the store."""
    storage.delete(key)
    storage.put_once(key, content)


def test_one_byte_flipped_in_every_file_of_a_bundle(anywhere: Place) -> None:
    storage, pointer = anywhere.storage, live(anywhere)
    keys = set(storage.keys(bundle_file(""))) - {
        bundle_file(layout.SBOM)
    }  # of the machine: `model.sig` alone covers it
    assert keys == {bundle_file(name) for name in (layout.MANIFEST, *read_manifest(storage, 1).files)}
    for key in sorted(keys):
        content, name = storage.get(key), key.removeprefix(bundle_file(""))
        for at in {0, len(content) // 2, len(content) - 1}:
            overwrite(storage, key, content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            problems = verify_bundle(storage, 1, pointer.manifest_sha256)
            assert len(problems) == 1, (name, at)
            assert name in problems[0]
        with pytest.raises(Damaged, match="release 1 does not verify"):
            run_night(anywhere.night())  # a night does not build on it
        if name in (layout.MANIFEST, layout.model_file(1)):
            with pytest.raises(Damaged):
                load_release(storage, pointer)  # nor is it served
        overwrite(storage, key, content)
    assert verify_bundle(storage, 1, pointer.manifest_sha256) == ()
    assert live(anywhere) == pointer


def tamper(storage: Storage, version: int, name: str) -> None:
    """Change a file of a bundle and make the manifest agree, as somebody would who may write to the store."""
    manifest = read_manifest(storage, version)
    content = storage.get(bundle_file(name, version)) + b" "
    overwrite(storage, bundle_file(name, version), content)
    changed = {**manifest.__dict__, "files": {**manifest.files, name: FileEntry(sha256(content), len(content))}}
    overwrite(storage, bundle_file(layout.MANIFEST, version), Manifest(**changed).to_json())
    assert verify_bundle(storage, version) == ()  # by itself it looks whole


@pytest.mark.parametrize("consistent", [False, True])
def test_a_rollback_to_a_tampered_bundle_is_refused_and_changes_nothing(anywhere: Place, consistent: bool) -> None:
    anywhere.report_mistakes(1)
    assert run_night(anywhere.night()).version == 2
    before, entries = live(anywhere), len(log_entries(anywhere.storage))
    if consistent:
        tamper(anywhere.storage, 1, "params.yaml")
    else:
        overwrite(anywhere.storage, bundle_file("params.yaml"), b"edit: {}\n")
    with pytest.raises(Damaged, match=r"release 1 does not verify|releases/1/manifest\.json: its SHA-256 is not"):
        rollback(anywhere.storage, by="mallory", why="")
    assert live(anywhere) == before
    assert len(log_entries(anywhere.storage)) == entries
    assert list(anywhere.storage.keys(layout.RETRACTED)) == []


def test_a_pointer_to_a_forged_release_is_refused_where_signatures_are_wanted(
    anywhere: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may write everything, live.json too, still lacks the key."""
    storage, key = anywhere.storage, Ed25519PrivateKey.generate()
    private, public = write_keys(tmp_path, key)
    pointer = live(anywhere)

    monkeypatch.setenv(PUBLIC_KEY, str(public))
    with pytest.raises(Damaged, match="not signed"):
        load_release(storage, pointer)  # released before there was a key
    monkeypatch.setenv(SIGNING_KEY, str(private))
    sign_store(storage)
    monkeypatch.delenv(SIGNING_KEY)
    assert load_release(storage, live(anywhere)).version == 1
    assert verify_bundle(storage, 1, pointer.manifest_sha256) == ()

    tamper_with_pointer(storage)
    with pytest.raises(Damaged, match="not signed"):
        live(anywhere)
    with pytest.raises(Damaged, match="not signed"):
        load_release(storage, Live.from_json(storage.read(layout.LIVE).content))
    with pytest.raises(Damaged, match="not signed"):
        run_night(anywhere.night())
    monkeypatch.delenv(PUBLIC_KEY)
    assert load_release(storage, live(anywhere)).version == 1  # what a client without the key cannot see


def tamper_with_pointer(storage: Storage) -> None:
    """Change a bundle, its manifest and the pointer, consistently."""
    manifest = read_manifest(storage, 1)
    forged = Manifest(**{**manifest.__dict__, "corrections": 7})
    overwrite(storage, bundle_file(layout.MANIFEST), forged.to_json())
    pointer = storage.read(layout.LIVE)
    changed = {**json.loads(pointer.content), "manifest_sha256": forged.digest}
    storage.swap(layout.LIVE, json.dumps(changed).encode(), expected=pointer.tag)


def test_a_night_signs_what_it_releases(anywhere: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = write_keys(tmp_path, Ed25519PrivateKey.generate())
    anywhere.report_mistakes(1)
    monkeypatch.setenv(SIGNING_KEY, str(private))
    with pytest.raises(Damaged, match="not signed"):
        run_night(anywhere.night())  # released before there was a key
    assert [each.version for each in sign_store(anywhere.storage)] == [1]
    assert run_night(anywhere.night()).version == 2
    monkeypatch.setenv(PUBLIC_KEY, str(public))
    assert load_release(anywhere.storage, live(anywhere)).version == 2
    assert run_night(anywhere.night()).outcome == "nothing to correct"


def test_an_onnx_file_that_reaches_for_other_files_is_refused(place: Place, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"\0" * 2**16)
    proto = onnx.load_from_string(place.storage.get(bundle_file(layout.model_file(1))))
    for location in ("../secret", str(secret), "secret"):
        reaching = onnx.ModelProto()
        reaching.CopyFrom(proto)
        tensor = reaching.graph.initializer[-1]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        path = tmp_path / "model.onnx"
        path.write_bytes(reaching.SerializeToString())
        for source in (path, path.read_bytes()):
            with pytest.raises(ExportError, match="outside itself"):
                OnnxClassifier(source)
            with pytest.raises(ExportError, match="outside itself"):
                parse_onnx(source)


class Canary:
    """Unpickled, it touches a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_as_checkpoint_is_never_unpickled(place: Place, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    root = tmp_path / "root"
    shutil.copytree(place.workspace.root, root)
    (root / "model.safetensors").chmod(0o644)
    (root / "model.safetensors").write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(ModelError):
        load_model(root)
    assert not canary.exists()
    pickle.loads((root / "model.safetensors").read_bytes())  # noqa: S301 - it would have sung
    assert canary.exists()


def test_a_symbolic_link_in_a_bundle_is_not_followed(place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    path = place.folder / "store" / bundle_file("params.yaml")
    outside.write_bytes(path.read_bytes())  # the same bytes, but somebody else's file
    path.unlink()
    path.symlink_to(outside)
    with pytest.raises((StoreUnusable, NotStored)):
        place.storage.get(bundle_file("params.yaml"))
    with pytest.raises(ErrataError, match=r"params\.yaml"):
        run_night(place.night())
