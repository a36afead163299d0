"""`python -m errata.serving`, a real process: it answers, follows a release, and ends when it is told to."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from errata.data.images import encode_png
from errata.data.storage.local import LocalStorage
from errata.data.storage.s3 import S3Storage
from tests.locks import REPOSITORY
from tests.pages import scratch_clone
from tests.servers.faulty_s3 import BUCKET, FaultyS3
from tests.serving.releases import IMAGES, Correction, release

MOST = 150 * 10**6  # bytes of what is installed; with a base image of as much at most the service stays below 300 MB


def removals() -> str:
    """What the Dockerfile does to the service's packages once they are installed, as a shell's line."""
    stage = (REPOSITORY / "Dockerfile").read_text().split(" AS service-packages\n")[1]
    (line,) = re.findall(r"^RUN .*?-r requirements-service\.lock +&& (.*)$", stage.replace("\\\n", ""), re.MULTILINE)
    return str(line)


@pytest.fixture(scope="module")
def image_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of what the service's image holds: its lock, less what the Dockerfile removes, and Errata."""
    folder = tmp_path_factory.mktemp("image")
    environment, wheels = folder / "environment", folder / "wheels"
    fresh = str(environment / "bin" / "python")
    pip = ["-m", "pip", "--disable-pip-version-check"]
    install = [fresh, *pip, "install", "-q", "--no-deps", "--no-compile"]
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    lock = str(REPOSITORY / "requirements-service.lock")
    done = subprocess.run([*install, "--require-hashes", "-r", lock], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no package index can be reached here: {done.stderr[-300:]}")
    subprocess.run(["sh", "-ec", removals().replace("/opt/errata", str(environment))], check=True)
    clone = scratch_clone(folder / "clone")
    make = [sys.executable, *pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels)]
    subprocess.run([*make, str(clone)], check=True)
    subprocess.run([*install, *map(str, wheels.iterdir())], check=True)
    subprocess.run([fresh, *pip, "check"], check=True)
    return environment


@pytest.fixture(params=["this environment", pytest.param("the service's own packages", marks=pytest.mark.slow)])
def python(request: pytest.FixtureRequest) -> str:
    """An interpreter with Errata: this one, or that of the service's image."""
    if request.param == "this environment":
        return sys.executable
    return str(request.getfixturevalue("image_packages") / "bin" / "python")


def ask(url: str, content: bytes | None = None) -> Any:
    with urlopen(Request(url, data=content), timeout=30) as response:
        return json.load(response)


def wait_for_version(url: str, version: int, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            if ask(f"{url}/healthz")["version"] == version:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"version {version} was never served; exit code {process.poll()}")


def test_a_client_sees_a_release_change(storage: LocalStorage, tmp_path: Path, python: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    held = Correction(3, 1, 2)
    image = encode_png(IMAGES[held.image])
    release(storage, 1)
    url = f"http://127.0.0.1:{port}"
    command = [python, "-m", "errata.serving", "--store", storage.url, "--port", str(port), "--every", "0.2"]
    # what is installed answers, unless this is the interpreter of the tests
    where = REPOSITORY if python == sys.executable else tmp_path
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": ""}
    with subprocess.Popen(command, cwd=where, env=environment) as process:
        try:
            wait_for_version(url, 1, process)
            assert ask(f"{url}/predict", image)["correction"] is None
            release(storage, 2, (held,))
            wait_for_version(url, 2, process)
            answer = ask(f"{url}/predict", image)
            assert (answer["class"], answer["correction"]) == ("class 1", held.key)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)


@pytest.mark.slow
def test_the_image_holds_little_and_no_night(image_packages: Path) -> None:
    fresh = image_packages / "bin" / "python"
    for heavy in ("torch", "prefect", "dvc", "pandas"):
        assert subprocess.run([fresh, "-c", f"import {heavy}"], capture_output=True, check=False).returncode == 1
    errata = subprocess.run([image_packages / "bin" / "errata"], capture_output=True, text=True, check=False)
    assert errata.returncode == 1
    assert "errata-models[night]" in errata.stderr
    (packages,) = image_packages.glob("lib/python3*/site-packages")
    names = {path for path in packages.iterdir() if not path.name.startswith(("pip", "setuptools"))}
    files = [path for name in names for path in (name.rglob("*") if name.is_dir() else [name])]
    kept = [path for path in files if path.is_file() and path.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in kept) < MOST


@pytest.mark.slow
def test_the_image_serves_from_s3(image_packages: Path, mock_s3: FaultyS3, tmp_path: Path) -> None:
    release(S3Storage(BUCKET, "models", mock_s3.client()), 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(image_packages / "bin" / "python"), "-m", "errata.serving", "--no-cache", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": ""}
    with subprocess.Popen([*command, "--store", f"s3://{BUCKET}/models"], cwd=tmp_path, env=environment) as process:
        try:
            wait_for_version(f"http://127.0.0.1:{port}", 1, process)
            assert ask(f"http://127.0.0.1:{port}/predict", encode_png(IMAGES[3]))["version"] == 1
        finally:
            process.terminate()


def test_a_store_that_is_none_is_one_readable_line() -> None:
    command = [sys.executable, "-m", "errata.serving", "--store", "ftp://nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ftp://")
