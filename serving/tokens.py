"""What a service hands out with each prediction, so that a report can only be filed on one that it made.

A token is the prediction (image digest, class, version) and an HMAC-SHA256 over it, in itsdangerous' form: the service
keeps nothing, and several of them, or one restarted, understand each other's tokens if they share a secret.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import astuple, dataclass

from itsdangerous import BadData, URLSafeSerializer

from errata.editing.errors import UnknownPrediction


@dataclass(frozen=True)
class Made:
    """A prediction that was made: of the image file with SHA-256 `image`, by release `version`."""

    image: str
    predicted: str
    version: int


class Tokens:
    """`tokens.read(tokens.issue(made)) == made`, and nobody without the secret makes a token that can be read."""

    def __init__(self, secret: bytes | None = None) -> None:
        """Without a secret one is made up: tokens then end with the process."""
        signer = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._serializer = URLSafeSerializer(secret or secrets.token_bytes(32), "prediction", signer_kwargs=signer)

    def issue(self, made: Made) -> str:
        """A token of letters, digits, `-`, `_` and `.`."""
        return str(self._serializer.dumps(astuple(made)))

    def read(self, token: str) -> Made:
        """What was predicted; raises UnknownPrediction if this service did not issue the token."""
        try:
            return Made(*self._serializer.loads(token))
        except BadData as error:
            said = "this service did not make that prediction; predict the image again, then report"
            raise UnknownPrediction(said) from error
