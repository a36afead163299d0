"""A webhook as standardwebhooks.com has it: a POST of JSON with an identity, a time, and a signature of all three.

    webhook-id: <identity>    webhook-timestamp: <seconds>    webhook-signature: v1,<base64 of HMAC-SHA256>

What is signed is `<identity>.<seconds>.<body>`, so receivers check it with any library for that. The address comes
from the environment of the night alone, never from a report, and no redirect is followed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from errata.editing.errors import DataError
from errata.flows.workspace import Log

SECRET = "ERRATA_WEBHOOK_SECRET"
PREFIX = "whsec_"
WAITS = (2.0, 10.0)  # seconds before each further attempt
TIMEOUT = 10.0  # seconds for each


@dataclass(frozen=True)
class Webhook:
    """One receiver. `secret`: the key of the signature, empty for a receiver that checks none (a chat, say).

    `post` and `pause` are how it is sent and how long is waited; `now` is the clock of the signature (seconds).
    """

    url: str = field(repr=False)  # of many chats it is a secret itself
    secret: bytes = field(repr=False)
    post: Callable[..., httpx.Response] = httpx.post
    pause: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time

    def send(self, identity: str, kind: str, text: str, data: Mapping[str, Any], log: Log) -> bool:
        """Send what happened; whether it was taken. Tries again where waiting may help; raises nothing, but tells."""
        at = int(self.now())
        told = {"type": kind, "timestamp": datetime.fromtimestamp(at, UTC).isoformat(), "text": text, "data": data}
        body = json.dumps(told).encode()
        headers = {"content-type": "application/json", "webhook-id": identity, "webhook-timestamp": str(at)}
        if self.secret:
            headers["webhook-signature"] = signature(self.secret, identity, at, body)
        where, problem = urlsplit(self.url).hostname, ""
        for wait in (0.0, *WAITS):
            if wait:
                self.pause(wait)
            try:
                answer = self.post(self.url, content=body, headers=headers, timeout=TIMEOUT, follow_redirects=False)
            except Exception as fault:  # a receiver is never why a night fails
                problem = type(fault).__name__  # its text may hold the address
                continue
            if answer.is_success:
                return True
            problem = f"it answered {answer.status_code}"
            if answer.status_code < 500 and answer.status_code != 429:
                break
        log(f"the webhook at {where} was not told of {kind}: {problem}")
        return False


def signature(secret: bytes, identity: str, at: int, body: bytes) -> str:
    """The header `webhook-signature`."""
    signed = hmac.digest(secret, f"{identity}.{at}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(signed).decode()}"


def webhook_of(variable: str, environment: Mapping[str, str]) -> Webhook | None:
    """The receiver whose address a variable of the environment names, None where it is not set.

    Raises DataError on an address or a secret that cannot be used.
    """
    url, secret = environment.get(variable, "").strip(), environment.get(SECRET, "").strip()
    if not url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError as fault:
        raise DataError(f"{variable} is no address; give an http(s) URL") from fault
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DataError(f"{variable} is no address; give an http(s) URL")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError as fault:
        raise DataError(f"{SECRET} must be {PREFIX} and base64: `echo {PREFIX}$(openssl rand -base64 32)`") from fault
    return Webhook(url, key)
