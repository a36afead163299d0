"""A store, and reports in it."""

import os
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from botocore.client import Config

from data.images import Pixels, encode_png
from data.reports import Report, make_report, put_report
from data.storage import Storage, open_storage
from data.storage.s3 import S3Storage
from tests.servers.faulty_s3 import FaultyS3

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def picture(seed: int, size: int = 8) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


@pytest.fixture
def file_one(storage: Storage) -> Callable[..., Report]:
    """File a report of picture `seed` that it is a cat (or as said), without any check."""

    def put(seed: int, expected: str = "cat", content: bytes | None = None, **claim: object) -> Report:
        content = encode_png(picture(seed)) if content is None else content
        report = make_report(content, expected, filed_at=NOON, **claim)  # type: ignore[arg-type]
        return put_report(storage, report, content)

    return put


@pytest.fixture(scope="session")
def mock_s3_server() -> Iterator[FaultyS3]:
    server = FaultyS3()
    server.start()
    mock_client(server).create_bucket(Bucket="mock")
    yield server
    server.stop()


def mock_client(server: FaultyS3, read_timeout: float = 60.0) -> Any:
    """A client of the mock server."""
    return boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=server.url,
        aws_access_key_id="mock",
        aws_secret_access_key="mock",
        config=Config(read_timeout=read_timeout, retries={"mode": "standard", "total_max_attempts": 5}),
    )


@pytest.fixture(scope="session")
def mock_s3_client(mock_s3_server: FaultyS3) -> Any:
    """Made once: boto3 takes long over a client."""
    return mock_client(mock_s3_server)


@pytest.fixture(scope="session")
def real_s3_client() -> Any:
    """A client of the server that the environment names."""
    return boto3.client("s3")


@pytest.fixture
def mock_s3(mock_s3_server: FaultyS3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FaultyS3:
    """A mock S3 server without faults, with a bucket `mock`, and the AWS settings that lead to it."""
    mock_s3_server.heal()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    settings = {"ENDPOINT_URL": mock_s3_server.url, "ACCESS_KEY_ID": "mock", "SECRET_ACCESS_KEY": "mock"}
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda _self, _context: 0.01)
    return mock_s3_server


@pytest.fixture(params=["local", "mock_s3", "real_s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Every backend in turn; the real server only under `make test-s3`."""
    prefix = secrets.token_hex(8)
    if request.param == "local":
        return open_storage(tmp_path / "store")
    if request.param == "mock_s3":
        request.getfixturevalue("mock_s3")
        return S3Storage("mock", prefix, request.getfixturevalue("mock_s3_client"))
    if "ERRATA_TEST_S3" not in os.environ:
        pytest.skip("needs a real S3 server: make test-s3")
    bucket = os.environ["ERRATA_TEST_S3"].removeprefix("s3://")
    return S3Storage(bucket, prefix, request.getfixturevalue("real_s3_client"))
