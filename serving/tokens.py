"""What a service hands out with each prediction, so that a report can only be filed on one that it made.

A token is the prediction (image digest, class, version) and an HMAC-SHA256 over it (RFC 2104): the service keeps
nothing, and several of them, or one restarted, understand each other's tokens if they share a secret.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from dataclasses import asdict, dataclass

from editing.errors import UnknownPrediction

_MAC_BYTES = 32


@dataclass(frozen=True)
class Made:
    """A prediction that was made: of the image file with SHA-256 `image`, by release `version`."""

    image: str
    predicted: str
    version: int


class Tokens:
    """`tokens.read(tokens.issue(made)) == made`, and no other text can be read."""

    def __init__(self, secret: bytes | None = None) -> None:
        """Without a secret one is made up: tokens then end with the process."""
        self._secret = secret or secrets.token_bytes(_MAC_BYTES)

    def issue(self, made: Made) -> str:
        """A token of letters, digits, `-` and `_`."""
        claim = json.dumps(asdict(made), sort_keys=True, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._mac(claim) + claim).rstrip(b"=").decode()

    def read(self, token: str) -> Made:
        """What was predicted; raises UnknownPrediction if this service did not issue the token."""
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except ValueError:
            sealed = b""
        mac, claim = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(claim)):
            raise UnknownPrediction("this service did not make that prediction; predict the image again, then report")
        return Made(**json.loads(claim))

    def _mac(self, claim: bytes) -> bytes:
        return hmac.digest(self._secret, claim, "sha256")
