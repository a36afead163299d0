"""A Sigstore bundle for each release, `model.sig`, for who verifies models with OpenSSF's `model_signing`.

    openssl ecparam -genkey -name prime256v1 -noout -out model.key    where releases are made: ERRATA_MODEL_KEY
    openssl ec -in model.key -pubout -out model.pub                   for `errata verify`: ERRATA_MODEL_PUBLIC_KEY
    model_signing verify key releases/3 --signature releases/3/model.sig --public_key model.pub

It signs every file in the release's folder but signatures. An ECDSA signature differs each time, so it lies beside the
manifest, is no part of the digest, and one that is there and holds stays. Needs the extra `openssf`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from errata.data import layout
from errata.data.releases.keys import p256_private_key, p256_public_key
from errata.data.releases.manifest import Manifest, read_file, read_manifest, verify_bundle
from errata.data.releases.removal import removal_of
from errata.data.storage.base import Storage
from errata.editing.errors import AlreadyStored, DataError, NotStored

MODEL_KEY = "ERRATA_MODEL_KEY"  # path of the private key, PEM, on the curve P-256; unset: no Sigstore bundle is made
MODEL_PUBLIC_KEY = "ERRATA_MODEL_PUBLIC_KEY"  # path of the public key; unset: that of the private key, if that is set


def put_model_signature(storage: Storage, version: int, files: Mapping[str, bytes]) -> None:
    """Sign the release's `files` by name, if a key is set. Raises DataError if it cannot be signed with.

    A signature that is there and holds stays; raises AlreadyStored if it is of other files or by another key.
    """
    if p256_private_key(MODEL_KEY) is None:
        if os.environ.get(MODEL_PUBLIC_KEY):
            raise DataError(f"{MODEL_PUBLIC_KEY} is set: what is not signed would be refused; set {MODEL_KEY} as well")
        return
    key = layout.release_file(version, layout.MODEL_SIGNATURE)
    try:
        stored = storage.get(key)
    except NotStored:
        with suppress(AlreadyStored):  # another run of the same night was faster
            storage.put_once(key, _sign(files))
        stored = storage.get(key)
    if fault := _fault(files, stored):
        raise AlreadyStored(f"{storage.url}/{key} is there and does not hold ({fault})")


def sign_model_again(storage: Storage, manifest: Manifest) -> None:
    """Sign a release that is there whole, if a key is set; a signature that does not hold gives way."""
    if p256_private_key(MODEL_KEY) is None or removal_of(storage, manifest.version):
        return
    key, files = layout.release_file(manifest.version, layout.MODEL_SIGNATURE), _stored_files(storage, manifest)
    with suppress(NotStored):
        if _fault(files, storage.get(key)):
            storage.delete(key)
    put_model_signature(storage, manifest.version, files)


def release_problems(
    storage: Storage, version: int, digest: str, removed: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """What is wrong with a release, its Sigstore bundle included where a key is set that it should be by.

    `removed`: the digests of files that were removed on purpose. The Sigstore bundle is of them as well, so without
    them it says nothing any more.
    """
    problems = verify_bundle(storage, version, digest, removed)
    if problems or removed or _trusted_key() is None:
        return problems
    try:
        signature = storage.get(layout.release_file(version, layout.MODEL_SIGNATURE))
    except NotStored:
        return (f"missing: {layout.MODEL_SIGNATURE}",)
    fault = _fault(_stored_files(storage, read_manifest(storage, version, digest)), signature)
    return (f"{layout.MODEL_SIGNATURE}: {fault}",) if fault else ()


def _stored_files(storage: Storage, manifest: Manifest) -> dict[str, bytes]:
    """What is signed of a release in the store."""
    files = {name: read_file(storage, manifest, name) for name in manifest.files}
    for name in (layout.MANIFEST, layout.SBOM):
        with suppress(NotStored):  # older releases have no SBOM
            files[name] = storage.get(layout.release_file(manifest.version, name))
    return files


def _sign(files: Mapping[str, bytes]) -> bytes:
    _require_library()
    from model_signing import hashing, signing

    unsigned = hashing.Config().set_ignored_paths(paths=[layout.SIGNATURE, layout.MODEL_SIGNATURE])
    config = signing.Config().use_elliptic_key_signer(private_key=Path(os.environ[MODEL_KEY]))
    with _folder(files) as folder:
        signature = folder.with_name(layout.MODEL_SIGNATURE)
        config.set_hashing_config(unsigned).sign(folder, signature)
        return signature.read_bytes()


def _fault(files: Mapping[str, bytes], signature: bytes) -> str:
    """Why `signature` is not one of these files by the trusted key; empty if it is."""
    trusted = _trusted_key()
    if trusted is None:
        return "no key is set"
    _require_library()
    from model_signing import verifying

    with _folder(files) as folder:
        stored, key = folder.with_name(layout.MODEL_SIGNATURE), folder.with_name("public.pem")
        stored.write_bytes(signature)
        key.write_bytes(trusted.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        try:
            verifying.Config().use_elliptic_key_verifier(public_key=key).verify(folder, stored)
        except Exception as fault:  # whatever the library makes of a file that is no signature
            return " ".join(f"{fault}".split()) or type(fault).__name__
    return ""


@contextmanager
def _folder(files: Mapping[str, bytes]) -> Iterator[Path]:
    """The files in a folder, for as long as it is used."""
    with TemporaryDirectory(prefix="errata-model-") as temporary:
        folder = Path(temporary) / "release"
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        yield folder


def _trusted_key() -> EllipticCurvePublicKey | None:
    """The key that signatures must be by: the public one, else that of the private key; None if neither is set."""
    if key := p256_public_key(MODEL_PUBLIC_KEY):
        return key
    own = p256_private_key(MODEL_KEY)
    return own.public_key() if own else None


def _require_library() -> None:
    """Raise DataError where the extra is not installed."""
    try:
        import model_signing  # noqa: F401
        import OpenSSL  # noqa: F401
    except ImportError as error:
        raise DataError(f"{error.name} is not installed; `pip install 'errata-models[openssf]'` has it") from error
