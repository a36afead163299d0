"""A real headless Chromium for the tests of pages; skips, with the reason, where none is installed."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil
import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Browser:
    """One window, driven through chromedriver's own protocol (W3C WebDriver)."""

    def __init__(self, driver: str, session: str) -> None:
        self._base = f"{driver}/session/{session}"

    def _do(self, path: str, body: dict[str, Any]) -> Any:
        return _post(f"{self._base}/{path}", body)

    def open(self, page: Path, width: int, height: int, scheme: str = "light") -> None:
        """Show a file as a device of that width does, in CSS pixels."""
        self.visit(page.resolve().as_uri(), width, height, scheme)

    def visit(self, url: str, width: int, height: int, scheme: str = "light") -> None:
        """Show an address as a device of that width does, in CSS pixels."""
        device = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._devtools("Emulation.setDeviceMetricsOverride", device)
        self._devtools("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        self._do("url", {"url": url})

    def press(self, keys: str) -> None:
        """Press keys, one after another, as a person at the keyboard does."""
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._do("actions", {"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]})

    def wait_for(self, condition: str, seconds: float = 20.0) -> None:
        """Wait until a JavaScript expression is true; raises AssertionError if it does not become so."""
        end = time.monotonic() + seconds
        while not self.evaluate(f"Boolean({condition})"):
            assert time.monotonic() < end, f"{condition}: never; {self.evaluate('document.body.innerText')}"
            time.sleep(0.05)

    def evaluate(self, script: str) -> Any:
        """What a JavaScript expression is worth."""
        return self._do("execute/sync", {"script": f"return {script}", "args": []})

    def console(self) -> list[str]:
        """What the console said since it was last asked."""
        return [entry["message"] for entry in self._do("se/log", {"type": "browser"})]

    def screenshot(self) -> str:
        """The window, as a PNG in base64."""
        shot: dict[str, str] = self._devtools("Page.captureScreenshot", {"captureBeyondViewport": True})
        return shot["data"]

    def _devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        return self._do("goog/cdp/execute", {"cmd": command, "params": parameters})


def _post(url: str, body: dict[str, Any]) -> Any:
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as answer:
        return json.load(answer)["value"]


@contextmanager
def start_browser(profile: Path) -> Iterator[Browser]:
    """A browser with a fresh profile, stopped again at the end."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("no Chromium here: apt install chromium chromium-driver")
    with subprocess.Popen([chromedriver, "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        try:
            url = f"http://127.0.0.1:{_port(driver)}"
            options = {"binary": chromium, "args": [*FLAGS, f"--user-data-dir={profile}"]}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            session = _post(f"{url}/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
            try:
                yield Browser(url, session)
            finally:  # else Chromium goes on without its driver
                try:
                    with urlopen(Request(f"{url}/session/{session}", method="DELETE"), timeout=30):
                        pass
                except TimeoutError:  # on a busy machine Chromium may not get to it: that fails no test
                    _kill_those_with(profile)
        finally:
            driver.terminate()


def _kill_those_with(profile: Path) -> None:
    for process in psutil.process_iter(["cmdline"]):
        if f"--user-data-dir={profile}" in (process.info["cmdline"] or ()):
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _port(driver: subprocess.Popen[str]) -> int:
    if driver.stdout is None:
        raise RuntimeError("chromedriver has no output stream")
    for line in driver.stdout:
        if "started successfully on port" in line:
            return int(line.rstrip().rstrip(".").rsplit(" ", 1)[-1])
    raise RuntimeError("chromedriver ended before it listened")
