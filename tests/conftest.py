"""What every test shares: quiet libraries that phone nobody, and stores: a folder, S3 played, S3 for real."""

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.retries.standard import ExponentialBackoff

from errata.data.storage import LocalStorage, Storage
from errata.data.storage.s3 import S3Storage
from tests.servers.faulty_s3 import BUCKET, FaultyS3

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ["OMP_NUM_THREADS"] = "1"  # tests run side by side, and a fork of a process with OpenMP threads may hang


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """A Ray cluster of a head that computes nothing and two nodes, all on this machine."""
    ray = pytest.importorskip("ray", reason="needs the extra `scale`: make scale")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    utils = pytest.importorskip("ray.cluster_utils")
    cluster = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="session")
def mock_s3_server() -> Iterator[FaultyS3]:
    server = FaultyS3()
    server.start()
    server.client().create_bucket(Bucket=BUCKET)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mock_s3_client(mock_s3_server: FaultyS3) -> Any:
    """Made once: boto3 takes long over a client."""
    return mock_s3_server.client()


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
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda _self, _context: 0.01)
    return mock_s3_server


NewStore = Callable[[], Storage]


def make_stores(request: pytest.FixtureRequest, tmp_path: Path) -> NewStore:
    """Makes empty stores of the backend that `request` has as its parameter; skips without a real server."""
    if request.param == "local":
        return lambda: LocalStorage(tmp_path / f"store-{secrets.token_hex(4)}")
    if request.param == "mock_s3":
        request.getfixturevalue("mock_s3")
    elif "ERRATA_TEST_S3" not in os.environ:
        pytest.skip("needs a real S3 server: make test-s3")
    bucket = BUCKET if request.param == "mock_s3" else os.environ["ERRATA_TEST_S3"].removeprefix("s3://")
    client = request.getfixturevalue(f"{request.param}_client")
    return lambda: S3Storage(bucket, secrets.token_hex(8), client)


@pytest.fixture(params=["local", "mock_s3", "real_s3"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> NewStore:
    """Makes empty stores, in every backend in turn; on the real server only under `make test-s3`."""
    return make_stores(request, tmp_path)


@pytest.fixture
def storage(new_store: NewStore) -> Storage:
    """An empty store, in every backend in turn."""
    return new_store()
