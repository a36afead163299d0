"""A Prefect server, the deployments of prefect.yaml and a worker, on one machine: what `make serve` starts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from rich.console import Console

from editing.errors import NightError
from flows import settings

STARTED_WITHIN = 90  # seconds


def serve_prefect(port: int, store: str | None) -> None:
    """Run until interrupted; what was started is stopped again."""
    console = Console()
    with prefect_services(port, store) as url:
        console.print(f"Prefect is at [bold]{url}[/]; a worker waits. In another terminal, in this environment:")
        console.print(f"  PREFECT_API_URL={url}/api prefect deployment run correct-model/nightly", markup=False)
        console.print("Ctrl-C stops both.")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            console.print("stopping")


@contextmanager
def prefect_services(port: int, store: str | None, folder: Path | None = None) -> Iterator[str]:
    """A server with the deployments and a worker; yields the server's URL. Raises NightError if one does not start."""
    workspace = settings.workspace(folder)
    url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        settings.STORE: settings.store_url(store),
        settings.WORKSPACE: str(workspace.folder),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }

    def prefect(*words: str) -> list[str]:
        return [sys.executable, "-m", "prefect", *words]

    def once(*words: str) -> None:
        done = subprocess.run(
            prefect(*words), check=False, cwd=workspace.folder, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            last = (done.stdout + done.stderr).strip().splitlines()[-1:]
            raise NightError(f"`prefect {' '.join(words)}` failed: {''.join(last)}")

    running: list[subprocess.Popen[bytes]] = []
    try:
        running.append(subprocess.Popen(prefect("server", "start", "--port", str(port)), env=environment))
        await_health(f"{url}/api/health", running[0])
        once("work-pool", "create", "errata", "--type", "process", "--overwrite")
        once("--no-prompt", "deploy", "--all")
        running.append(
            subprocess.Popen(prefect("worker", "start", "--pool", "errata"), cwd=workspace.folder, env=environment)
        )
        yield url
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def await_health(url: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers; raises NightError if it ends or does not come up in time."""
    end = time.monotonic() + STARTED_WITHIN
    while time.monotonic() < end:
        if server.poll() is not None:
            raise NightError("Prefect's server ended at once; is the port taken? Choose another: `errata serve --port`")
        try:
            with urlopen(url, timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.5)
    raise NightError(f"Prefect's server did not answer in {STARTED_WITHIN} s; see its output above")
