"""Keys that the environment names: each variable, a `setting` here, holds the path of a PEM file.

Each function returns None if the variable is not set, and raises DataError, naming the variable and the file, on a file
that is no such key.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from errata.editing.errors import DataError

Key = TypeVar("Key")


def ed25519_private_key(setting: str) -> Ed25519PrivateKey | None:
    key = _load(setting, lambda content: load_pem_private_key(content, password=None), "private key")
    return key if key is None or isinstance(key, Ed25519PrivateKey) else _refuse(setting, "Ed25519 private key", key)


def ed25519_public_key(setting: str) -> Ed25519PublicKey | None:
    key = _load(setting, load_pem_public_key, "public key")
    return key if key is None or isinstance(key, Ed25519PublicKey) else _refuse(setting, "Ed25519 public key", key)


def p256_private_key(setting: str) -> EllipticCurvePrivateKey | None:
    key = _load(setting, lambda content: load_pem_private_key(content, password=None), "private key")
    if key is None or (isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1)):
        return key
    return _refuse(setting, "private key on the curve P-256", key)


def p256_public_key(setting: str) -> EllipticCurvePublicKey | None:
    key = _load(setting, load_pem_public_key, "public key")
    if key is None or (isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)):
        return key
    return _refuse(setting, "public key on the curve P-256", key)


def _load(setting: str, parse: Callable[[bytes], Key], what: str) -> Key | None:
    path = os.environ.get(setting)
    if not path:
        return None
    try:
        return parse(Path(path).read_bytes())
    except OSError as error:
        raise DataError(f"{setting}: {path}: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise DataError(f"{setting}: {path} is no {what} in PEM ({error})") from error


def _refuse(setting: str, what: str, key: object) -> NoReturn:
    raise DataError(f"{setting}: {os.environ[setting]} is no {what}, but a {type(key).__name__}")
