"""`python -m serving`, a real process: it answers, follows a release, and ends when it is told to."""

import json
import signal
import socket
import subprocess
import sys
import time
from typing import Any
from urllib.request import Request, urlopen

from data.images import encode_png
from data.storage.local import LocalStorage
from tests.serving.releases import IMAGES, Correction, release


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


def test_a_client_sees_a_release_change(storage: LocalStorage) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    held = Correction(3, 1, 2)
    image = encode_png(IMAGES[held.image])
    release(storage, 1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "serving", "--store", storage.url, "--port", str(port), "--every", "0.2"]
    with subprocess.Popen(command) as process:
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
    command = [sys.executable, "-m", "serving", "--store", "ftp://nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ftp://")
