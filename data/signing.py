"""Signatures of releases, for teams that want them: plain Ed25519 over manifest.json, which names every file's digest.

    openssl genpkey -algorithm ed25519 -out errata.key     where releases are made: ERRATA_SIGNING_KEY=errata.key
    openssl pkey -in errata.key -pubout -out errata.pub    on every client: ERRATA_PUBLIC_KEY=errata.pub

Where ERRATA_PUBLIC_KEY is set, a release without a valid signature is refused, whoever reads it. The same manifest and
key give the same signature, so releasing again is harmless.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from editing.errors import Damaged, DataError

SIGNING_KEY = "ERRATA_SIGNING_KEY"  # path of the private key, PEM; unset: releases are not signed
PUBLIC_KEY = "ERRATA_PUBLIC_KEY"  # path of the public key, PEM; unset: signatures are not looked at


def signature_of(content: bytes) -> bytes | None:
    """The signature of `content` in hexadecimal, or None if no key is set; raises DataError if the key is no key."""
    path = os.environ.get(SIGNING_KEY)
    if not path:
        return None
    try:
        key = load_pem_private_key(_read(path, SIGNING_KEY), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise TypeError(f"it is a {type(key).__name__}")
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise DataError(f"{SIGNING_KEY}: {path} is no Ed25519 private key in PEM ({error})") from error
    return key.sign(content).hex().encode() + b"\n"


def signatures_wanted() -> bool:
    """Whether this client refuses what is not signed."""
    return bool(os.environ.get(PUBLIC_KEY))


def check_signature(content: bytes, signature: bytes, where: str) -> None:
    """Raise Damaged unless `signature` is of `content` by the trusted key; DataError if that key is no key."""
    path = os.environ.get(PUBLIC_KEY, "")
    try:
        key = load_pem_public_key(_read(path, PUBLIC_KEY))
        if not isinstance(key, Ed25519PublicKey):
            raise TypeError(f"it is a {type(key).__name__}")
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise DataError(f"{PUBLIC_KEY}: {path} is no Ed25519 public key in PEM ({error})") from error
    try:
        key.verify(bytes.fromhex(signature.decode("ascii").strip()), content)
    except (InvalidSignature, ValueError) as error:
        raise Damaged(f"{where} is not signed by the key in {path}; go back to a release that is") from error


def _read(path: str, setting: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{setting}: {path}: {error.strerror}") from error
