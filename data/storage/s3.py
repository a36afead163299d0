"""The store in an S3 bucket, on AWS or any server that honours conditional writes (the probe tells).

A new object is put with `If-None-Match: *`, a pointer is swapped with `If-Match` and its ETag. boto3 repeats a request
that timed out or met a 5xx or SlowDown, with growing pauses. So a refusal may mean that the write itself got through
and only its response was lost: then what is stored is what we sent, and that is success. Credentials come through the
AWS chain only, the endpoint from `AWS_ENDPOINT_URL` or the AWS profile.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeVar

import boto3
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError

from errata.data.storage.base import PIECE, Versioned, check_digest, check_key, check_size, is_key, seal, unseal
from errata.data.storage.probe import probe_conditions
from errata.editing.errors import (
    AlreadyStored,
    Damaged,
    NotStored,
    StoreError,
    StoreUnusable,
    Superseded,
    TooLarge,
    Unreadable,
)

_ATTEMPTS = 5
_PAGE_SIZE = 1000  # the most that S3 gives at once
_GONE = {"NoSuchKey", "404", "NotFound"}
_LOST = {"PreconditionFailed", "412", *_GONE}  # If-Match on what is gone answers 404
_AGAIN = {"ConditionalRequestConflict", "OperationAborted", "409"}
_ASK_LATER = {408, 429}
_ADVICE = {
    "NoSuchBucket": "create the bucket, or correct its name",
    "AccessDenied": "give these credentials the right to get, put, delete and list there",
    "InvalidAccessKeyId": "correct the AWS credentials",
    "SignatureDoesNotMatch": "correct the AWS credentials",
}

Result = TypeVar("Result")


class S3Storage:
    """A bucket, or a prefix of one, that keeps the contract of `data.storage.base.Storage`; threads may share it."""

    def __init__(self, bucket: str, prefix: str = "", client: Any = None, page_size: int = _PAGE_SIZE) -> None:
        self._bucket = bucket
        self._prefix = f"{check_key(prefix)}/" if prefix else ""
        self._client = client or _client()
        self._page_size = page_size

    @property
    def url(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def __reduce__(self) -> tuple[Any, ...]:
        """On another machine it has that machine's credentials."""
        return S3Storage, (self._bucket, self._prefix.rstrip("/"), None, self._page_size)

    def get(self, key: str, *, sha256: str | None = None, at_most: int | None = None) -> bytes:
        content, _ = self._content(key, at_most)
        return check_digest(content, sha256, f"{self.url}/{key}")

    def stream(self, key: str, *, at_most: int | None = None) -> Iterator[bytes]:
        start = 0
        rest: dict[str, str] = {}
        for _ in range(_ATTEMPTS):
            with self._usable(key):
                answer = self._open(key, at_most, **rest)
                with closing(answer["Body"]) as body:
                    try:
                        for piece in body.iter_chunks(PIECE):
                            start += len(piece)
                            yield piece
                        return
                    except BotoCoreError:  # it broke off; go on from there, in the same object
                        rest = {"Range": f"bytes={start}-", "IfMatch": answer["ETag"]}
        raise StoreUnusable(f"{self.url}/{key} breaks off again and again; check the endpoint and the network")

    def size(self, key: str) -> int:
        with self._usable(key), self._beside_others(key):
            return int(self._client.head_object(Bucket=self._bucket, Key=self._name(key))["ContentLength"])

    def put_once(self, key: str, content: bytes) -> None:
        if self._put(key, content, IfNoneMatch="*") is not None:
            return
        try:
            same = self._content(key, len(content))[0] == content
        except TooLarge:
            same = False
        except (StoreUnusable, Unreadable) as error:
            if not _is_denied(error):
                raise
            said = f"{self.url}/{key} is stored already, and these credentials may not see whether it is the same"
            raise AlreadyStored(said) from error
        if not same:
            raise AlreadyStored(f"{self.url}/{key} already holds other content; it is never changed")

    def read(self, key: str) -> Versioned:
        stored, tag = self._content(key)
        return Versioned(unseal(stored), tag)

    def swap(self, key: str, content: bytes, *, expected: str | None) -> Versioned:
        stored = seal(content)
        try:
            tag = self._put(key, stored, **({"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected}))
        except StoreUnusable:
            tag = self._tag_if_mine(key, stored)  # the last attempt, too, may have got through
            if tag is None:
                raise
        tag = tag or self._tag_if_mine(key, stored)
        if tag is None:
            raise Superseded(f"{self.url}/{key} was changed by somebody else; read it again and decide anew")
        return Versioned(content, tag)

    def keys(self, prefix: str) -> Iterator[str]:
        folder = prefix.rpartition("/")[0]
        if folder or prefix.startswith("/"):
            check_key(folder)
        with self._usable(prefix):
            pages = self._client.get_paginator("list_objects_v2")
            size = {"PageSize": self._page_size}
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix, PaginationConfig=size):
                for entry in page.get("Contents", ()):
                    key = entry["Key"].removeprefix(self._prefix)
                    if is_key(key):
                        yield key

    def delete(self, key: str) -> None:
        with self._usable(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._name(key))

    def flush(self) -> None:
        """Nothing to do: a server has answered only what it keeps."""

    def probe(self) -> None:
        probe_conditions(self)

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _content(self, key: str, at_most: int | None = None) -> tuple[bytes, str]:
        """The object's bytes and its tag."""

        def attempt() -> tuple[bytes, str]:
            answer = self._open(key, at_most)
            with closing(answer["Body"]) as body:
                try:
                    return body.read(), answer["ETag"].strip('"')
                except BotoCoreError as error:  # too late for boto3's own attempts
                    raise _BrokenOffError(str(error)) from error

        with self._usable(key):
            return _repeated(attempt, _BrokenOffError)

    def _open(self, key: str, at_most: int | None, **rest: str) -> Any:
        """S3's answer, its body not yet read."""
        with self._beside_others(key):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._name(key), **rest)
        try:
            check_size(answer["ContentLength"], at_most, f"{self.url}/{key}")
        except (Damaged, TooLarge):
            answer["Body"].close()
            raise
        return answer

    @contextmanager
    def _beside_others(self, key: str) -> Iterator[None]:
        """Raises Unreadable if this object is refused while others are not, NotStored if it is only not listed."""
        try:
            yield
        except ClientError as error:
            if _is_refusal(error) and self._answers_beside(key):
                advice = (
                    "see that it is not archived, encrypted with a key of one's own, or kept from these credentials"
                )
                raise Unreadable(f"{self.url}/{key}: {error}; {advice}") from error
            if _is_refusal(error) and self._is_not_listed(key):
                raise NotStored(f"{self.url}/{key} is not stored") from error
            raise

    def _answers_beside(self, key: str) -> bool:
        """Whether the store says of a name in the same folder, which nobody has, that it is not there."""
        folder, slash, _ = self._name(key).rpartition("/")
        try:
            self._client.get_object(Bucket=self._bucket, Key=f"{folder}{slash}{secrets.token_hex(16)}")["Body"].close()
        except ClientError as error:
            return _code(error) in _GONE
        return False

    def _is_not_listed(self, key: str) -> bool:
        """Whether these credentials may list where the key would be, and it is not there.

        Of what is missing a server says so only to who may list it; some ask for the right to list the whole bucket.
        """
        name = self._name(key)
        try:
            found = self._client.list_objects_v2(Bucket=self._bucket, Prefix=name, MaxKeys=1).get("Contents", ())
        except ClientError:
            return False
        return not any(each["Key"] == name for each in found)

    def _put(self, key: str, content: bytes, **condition: str) -> str | None:
        """Write under a condition; the new tag, or None if the condition was not met."""

        def attempt() -> str | None:
            try:
                answer = self._client.put_object(Bucket=self._bucket, Key=self._name(key), Body=content, **condition)
            except ClientError as error:
                if _code(error) in _AGAIN:
                    raise _ConflictError from error
                if _code(error) in _LOST:
                    return None
                raise
            return str(answer["ETag"]).strip('"')

        with self._usable(key):
            try:
                return _repeated(attempt, _ConflictError)
            except _ConflictError:
                return None

    def _tag_if_mine(self, key: str, stored: bytes) -> str | None:
        """The pointer's tag if it holds exactly these sealed bytes: nobody else can have written them."""
        try:
            found, tag = self._content(key)
        except (StoreError, Damaged):
            return None
        return tag if found == stored else None

    @contextmanager
    def _usable(self, key: str) -> Iterator[None]:
        """Turn what boto3 raises into our own errors."""
        try:
            yield
        except ClientError as error:
            code = _code(error)
            if code in _GONE:
                raise NotStored(f"{self.url}/{key} is not stored") from error
            advice = _ADVICE.get(code, "try again; if it stays, look at the store's own log")
            raise StoreUnusable(f"{self.url}/{key}: {error}; {advice}") from error
        except (BotoCoreError, _BrokenOffError) as error:
            advice = "check the endpoint, the network and the credentials"
            raise StoreUnusable(f"{self.url}/{key}: {error}; {advice}") from error


class _ConflictError(Exception):
    """Another conditional write to the same key was under way (409)."""


class _BrokenOffError(Exception):
    """An object's bytes ended before their time."""


def _client() -> Any:
    """A client by the AWS settings; with an endpoint of one's own the bucket goes in the path, as servers expect."""
    session = boto3.session.Session()
    own_server = "AWS_ENDPOINT_URL" in os.environ or "AWS_ENDPOINT_URL_S3" in os.environ
    config = Config(
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=32,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"} if own_server else {},
    )
    region = session.region_name or os.environ.get("AWS_REGION") or "us-east-1"
    return session.client("s3", region_name=region, config=config)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _is_denied(error: StoreError) -> bool:
    """Whether the store answered that these credentials may not."""
    return isinstance(error.__cause__, ClientError) and _code(error.__cause__) in {"AccessDenied", "403"}


def _is_refusal(error: ClientError) -> bool:
    """Whether the store answered, and said no: 4xx, but for what is not there and what may pass."""
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return 400 <= status < 500 and status not in _ASK_LATER and _code(error) not in {*_GONE, "NoSuchBucket"}


def _repeated(attempt: Callable[[], Result], passing: type[Exception]) -> Result:
    """What `attempt` returns, tried up to three times while it raises `passing`."""
    for pause in (0.1, 0.5):
        try:
            return attempt()
        except passing:
            time.sleep(pause)
    return attempt()
