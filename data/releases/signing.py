"""Signatures of releases, for teams that want them: plain Ed25519, over manifest.json, which names every file's digest,
and over each pointer (live.json and the log), which names the version and its place in the log.

    openssl genpkey -algorithm ed25519 -out errata.key     where releases are made: ERRATA_SIGNING_KEY=errata.key
    openssl pkey -in errata.key -pubout -out errata.pub    on every client: ERRATA_PUBLIC_KEY=errata.pub

Where either is set, what lacks a valid signature is refused, whoever reads it. The same content and key give the same
signature, so releasing again is harmless. One store, one key: a pointer does not say of which store it is.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from errata.data.releases.keys import ed25519_private_key, ed25519_public_key
from errata.editing.errors import Damaged, DataError

SIGNING_KEY = "ERRATA_SIGNING_KEY"  # path of the private key, PEM; unset: nothing is signed
PUBLIC_KEY = "ERRATA_PUBLIC_KEY"  # path of the public key, PEM; unset: that of the signing key, if that is set


def signature_of(content: bytes) -> bytes | None:
    """The signature of `content` in hexadecimal, or None if no key is set.

    Raises DataError if the key is no key, or if signatures are wanted here and none can be made.
    """
    key = ed25519_private_key(SIGNING_KEY)
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


def _trusted_key() -> tuple[str, Ed25519PublicKey]:
    """The key that signatures must be by, and its path: the public one, else that of the signing key."""
    if key := ed25519_public_key(PUBLIC_KEY):
        return os.environ[PUBLIC_KEY], key
    if own := ed25519_private_key(SIGNING_KEY):
        return os.environ[SIGNING_KEY], own.public_key()
    raise DataError(f"{PUBLIC_KEY} is not set: there is no key to check signatures with")
