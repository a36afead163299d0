"""A signature is by the one key, of the one manifest; a client that wants it takes nothing without."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from errata.data.releases.signing import PUBLIC_KEY, SIGNING_KEY, check_signature, signature_of, signatures_wanted
from errata.editing.errors import Damaged, DataError


def write_keys(folder: Path, key: Ed25519PrivateKey) -> tuple[Path, Path]:
    private, public = folder / "errata.key", folder / "errata.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    private, public = write_keys(tmp_path, key)
    monkeypatch.setenv(SIGNING_KEY, str(private))
    monkeypatch.setenv(PUBLIC_KEY, str(public))
    return key


def test_without_keys_nothing_is_signed_or_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SIGNING_KEY, raising=False)
    monkeypatch.delenv(PUBLIC_KEY, raising=False)
    assert signature_of(b"manifest") is None
    assert not signatures_wanted()


def test_a_signature_repeats_and_is_of_this_content_only(key: Ed25519PrivateKey) -> None:
    signature = signature_of(b"manifest")
    assert signature == key.sign(b"manifest").hex().encode() + b"\n" == signature_of(b"manifest")
    check_signature(b"manifest", signature, "here")
    for wrong in (b"", b"00", b"not hex", "\u00e9".encode(), signature.replace(signature[:2], b"zz"), signature[:-3]):
        with pytest.raises(Damaged, match="not signed"):
            check_signature(b"manifest", wrong, "here")
    with pytest.raises(Damaged, match="here"):
        check_signature(b"manifes7", signature, "here")


def test_another_key_is_not_the_key(key: Ed25519PrivateKey) -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    with pytest.raises(Damaged):
        check_signature(b"manifest", other.sign(b"manifest").hex().encode(), "here")


def test_a_key_that_is_none_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curve = generate_private_key(SECP256R1())
    private, public = tmp_path / "ec.key", tmp_path / "ec.pub"
    private.write_bytes(curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(curve.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    for path in (private, tmp_path / "nowhere", public):
        monkeypatch.setenv(SIGNING_KEY, str(path))
        with pytest.raises(DataError, match=SIGNING_KEY):
            signature_of(b"manifest")
    for path in (private, tmp_path / "nowhere", public):
        monkeypatch.setenv(PUBLIC_KEY, str(path))
        with pytest.raises(DataError, match=PUBLIC_KEY):
            check_signature(b"manifest", b"00", "here")
