"""Signatures of releases, for teams that want them: plain Ed25519, over manifest.json, which names every file's digest,
and over each pointer (live.json and the log), which names the version and its place in the log.

    openssl genpkey -algorithm ed25519 -out errata.key     where releases are made: ERRATA_SIGNING_KEY=errata.key
    openssl pkey -in errata.key -pubout -out errata.pub    on every client: ERRATA_PUBLIC_KEY=errata.pub

Where either is set, what lacks a valid signature is refused, whoever reads it. The same content and key give the same
signature, so releasing again is harmless. One store, one key: a pointer does not say of which store it is.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from editing.errors import Damaged, DataError

SIGNING_KEY = "ERRATA_SIGNING_KEY"  # path of the private key, PEM; unset: nothing is signed
PUBLIC_KEY = "ERRATA_PUBLIC_KEY"  # path of the public key, PEM; unset: that of the signing key, if that is set


def signature_of(content: bytes) -> bytes | None:
    """The signature of `content` in hexadecimal, or None if no key is set.

    Raises DataError if the key is no key, or if signatures are wanted here and none can be made.
    """
    key = _signing_key()
    if key is None:
        if signatures_wanted():
            raise DataError(f"{PUBLIC_KEY} is set: what is not signed would be refused; set {SIGNING_KEY} as well")
        return None
    return key.sign(content).hex().encode() + b"\n"


def signatures_wanted() -> bool:
    """Whether this client refuses what is not signed."""
    return bool(os.environ.get(PUBLIC_KEY) or os.environ.get(SIGNING_KEY))


def check_signature(content: bytes, signature: bytes, where: str) -> None:
    """Raise Damaged unless `signature` is of `content` by the trusted key; DataError if that key is no key."""
    path, key = _trusted_key()
    try:
        key.verify(bytes.fromhex(signature.decode("ascii").strip()), content)
    except (InvalidSignature, ValueError) as error:
        raise Damaged(f"{where} is not signed by the key in {path}; go back to a release that is") from error


def _signing_key() -> Ed25519PrivateKey | None:
    path = os.environ.get(SIGNING_KEY)
    if not path:
        return None
    try:
        key = load_pem_private_key(_read(path, SIGNING_KEY), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise TypeError(f"it is a {type(key).__name__}")
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise DataError(f"{SIGNING_KEY}: {path} is no Ed25519 private key in PEM ({error})") from error
    return key


def _trusted_key() -> tuple[str, Ed25519PublicKey]:
    """The key that signatures must be by, and its path: the public one, else that of the signing key."""
    path = os.environ.get(PUBLIC_KEY, "")
    own = None if path else _signing_key()
    if own is not None:
        return os.environ[SIGNING_KEY], own.public_key()
    try:
        key = load_pem_public_key(_read(path, PUBLIC_KEY))
        if not isinstance(key, Ed25519PublicKey):
            raise TypeError(f"it is a {type(key).__name__}")
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise DataError(f"{PUBLIC_KEY}: {path} is no Ed25519 public key in PEM ({error})") from error
    return path, key


def _read(path: str, setting: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{setting}: {path}: {error.strerror}") from error
