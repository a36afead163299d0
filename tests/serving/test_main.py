"""`python -m errata.serving`, a real process: it answers, follows a release, and ends when it is told to."""

import json
import os
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
from tests.locks import REPOSITORY
from tests.pages import scratch_clone
from tests.serving.releases import IMAGES, Correction, release


@pytest.fixture(params=["this environment", pytest.param("the service's own packages", marks=pytest.mark.slow)])
def python(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An interpreter with Errata: this one, or one of a fresh environment made from requirements-service.lock."""
    if request.param == "this environment":
        return sys.executable
    environment, wheels = tmp_path / "environment", tmp_path / "wheels"
    fresh = str(environment / "bin" / "python")
    pip = ["-m", "pip", "--disable-pip-version-check"]
    install = [fresh, *pip, "install", "-q", "--no-deps"]
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    lock = str(REPOSITORY / "requirements-service.lock")
    done = subprocess.run([*install, "-r", lock], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no package index can be reached here: {done.stderr[-300:]}")
    clone = scratch_clone(tmp_path / "clone")
    make = [sys.executable, *pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels)]
    subprocess.run([*make, str(clone)], check=True)
    subprocess.run([*install, *map(str, wheels.iterdir())], check=True)
    subprocess.run([fresh, *pip, "check"], check=True)
    for heavy in ("torch", "prefect", "dvc", "pandas"):
        assert subprocess.run([fresh, "-c", f"import {heavy}"], capture_output=True, check=False).returncode == 1
    errata = subprocess.run([environment / "bin" / "errata"], capture_output=True, text=True, check=False)
    assert errata.returncode == 1
    assert "errata-models[night]" in errata.stderr
    return fresh


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


def test_a_store_that_is_none_is_one_readable_line() -> None:
    command = [sys.executable, "-m", "errata.serving", "--store", "ftp://nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ftp://")
