"""A release's Sigstore bundle: OpenSSF's own command line takes it and names what was changed."""

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from errata.data import layout
from errata.data.releases.manifest import sha256, verify_bundle
from errata.data.releases.signing import SIGNING_KEY
from errata.data.storage.local import LocalStorage
from errata.editing.errors import AlreadyStored, DataError
from errata.flows.releases.contents.bundle import publish
from errata.flows.releases.contents.model_signature import MODEL_KEY, MODEL_PUBLIC_KEY, release_problems
from errata.flows.releases.contents.sign import sign_store
from tests.flows.releases.small import make_bundle, release

COMMAND = Path(sys.executable).with_name("model_signing")
SBOM = b'{"bomFormat": "CycloneDX"}\n'


def write_key(path: Path, key: EllipticCurvePrivateKey | Ed25519PrivateKey) -> Path:
    """The private key at `path`, the public one beside it."""
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)
    return path


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = write_key(tmp_path / "model.key", generate_private_key(SECP256R1()))
    monkeypatch.setenv(MODEL_KEY, str(path))
    return path


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "store")


def command_line(storage: LocalStorage, key: Path, version: int = 1) -> tuple[int, str]:
    """What docs/operating.md tells whoever downloaded a release: the exit code, and what it said."""
    folder = Path(storage.url) / "releases" / str(version)
    command: list[str | Path] = [COMMAND, "verify", "key", folder, "--signature", folder / "model.sig"]
    done = subprocess.run(
        [*command, "--public_key", key.with_suffix(".pub")], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_the_documented_command_takes_a_release_and_names_a_changed_file(
    storage: LocalStorage, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SIGNING_KEY, str(write_key(tmp_path / "errata.key", Ed25519PrivateKey.generate())))
    bundle = make_bundle(1, "a")
    publish(storage, bundle, SBOM)
    assert verify_bundle(storage, 1) == () == release_problems(storage, 1, bundle.manifest.digest)
    assert command_line(storage, key) == (0, "Verification succeeded\n")
    path = Path(storage.url) / "releases" / "1" / "gate.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b" ")
    code, said = command_line(storage, key)
    assert code == 1
    assert "Hash mismatch" in said
    assert "gate.json" in said


@pytest.mark.parametrize("name", [layout.MANIFEST, layout.SBOM])
def test_what_lies_beside_the_files_is_signed_too(storage: LocalStorage, key: Path, name: str) -> None:
    bundle = make_bundle(1, "a")
    publish(storage, bundle, SBOM)
    stored = layout.release_file(1, name)
    content = storage.get(stored)
    storage.delete(stored)
    storage.put_once(stored, content + b" ")
    (problem,) = release_problems(storage, 1, sha256(storage.get(layout.release_file(1, layout.MANIFEST))))
    assert layout.MODEL_SIGNATURE in problem
    assert name in problem


def test_it_is_no_part_of_the_release(storage: LocalStorage, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without: the same manifest, so the same digest."""
    publish(storage, make_bundle(1, "a"), SBOM)
    manifest = storage.get(layout.release_file(1, layout.MANIFEST))
    assert sha256(manifest) == make_bundle(1, "a").manifest.digest
    monkeypatch.delenv(MODEL_KEY)
    publish(storage, make_bundle(2))
    assert release_problems(storage, 2, make_bundle(2).manifest.digest) == ()
    monkeypatch.setenv(MODEL_PUBLIC_KEY, str(key.with_suffix(".pub")))
    assert release_problems(storage, 1, make_bundle(1, "a").manifest.digest) == ()
    assert release_problems(storage, 2, make_bundle(2).manifest.digest) == (f"missing: {layout.MODEL_SIGNATURE}",)
    with pytest.raises(DataError, match=f"set {MODEL_KEY} as well"):
        publish(storage, make_bundle(3))


class Dying(LocalStorage):
    """A store whose user is killed before the `left`-th write from now."""

    left = 0

    def put_once(self, key: str, content: bytes) -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        super().put_once(key, content)


def test_killed_before_each_write_the_next_run_makes_up_for_it(key: Path, tmp_path: Path) -> None:
    bundle = make_bundle(1, "a")
    for left in range(len(bundle.files) + 3):
        storage = LocalStorage(tmp_path / f"store-{left}")
        dying = Dying(tmp_path / f"store-{left}")
        dying.left = left
        with pytest.raises(KeyboardInterrupt):
            publish(dying, bundle, SBOM)
        assert layout.release_file(1, layout.MANIFEST) not in set(storage.keys(""))  # so it cannot be live
        publish(storage, bundle, b"what another machine has installed")
        assert release_problems(storage, 1, bundle.manifest.digest) == ()


def test_a_signature_of_other_files_takes_the_version(storage: LocalStorage, key: Path) -> None:
    """A run died before its manifest; the files are the same, but the code that made them is not."""
    bundle = make_bundle(1, "a")
    publish(storage, bundle)
    signature = storage.get(layout.release_file(1, layout.MODEL_SIGNATURE))
    storage.delete(layout.release_file(1, layout.MODEL_SIGNATURE))
    storage.put_once(layout.release_file(2, layout.MODEL_SIGNATURE), signature)
    with pytest.raises(AlreadyStored, match=r"model\.sig"):
        publish(storage, make_bundle(2, "a"))
    assert layout.release_file(2, layout.MANIFEST) not in set(storage.keys(""))


def test_releases_of_before_are_signed_once(
    storage: LocalStorage, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(MODEL_KEY)
    bundle = make_bundle(1)
    release(storage, bundle)
    with pytest.raises(DataError, match=MODEL_KEY):
        sign_store(storage)
    for each in (key, write_key(tmp_path / "next.key", generate_private_key(SECP256R1()))):
        monkeypatch.setenv(MODEL_KEY, str(each))
        assert release_problems(storage, 1, bundle.manifest.digest) != ()
        assert [entry.version for entry in sign_store(storage)] == [1]
        assert release_problems(storage, 1, bundle.manifest.digest) == ()


def test_another_key_than_p256_is_refused_before_anything_is_signed(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (write_key(tmp_path / "errata.key", Ed25519PrivateKey.generate()), tmp_path / "nowhere"):
        monkeypatch.setenv(MODEL_KEY, str(path))
        with pytest.raises(DataError, match=MODEL_KEY):
            publish(storage, make_bundle(1))
    assert layout.release_file(1, layout.MODEL_SIGNATURE) not in set(storage.keys(""))
