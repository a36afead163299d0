"""A Prefect server, the deployments of prefect.yaml, a worker and the pages that its runs link to, on one machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from rich.console import Console

from errata.editing.errors import NightError
from errata.flows.prefect_runs.artifacts import PAGES
from errata.flows.workspace import STORE, WORKSPACE, open_workspace, store_url

STARTED_WITHIN = 90  # seconds
DEPLOYMENTS = Path(__file__).parent / "prefect.yaml"  # what a new project gets: the repository's, byte for byte


@dataclass(frozen=True)
class Services:
    """What runs: the server's `url`, and the processes by name."""

    url: str
    processes: dict[str, subprocess.Popen[bytes]]

    def watch(self, seconds: float = 1.0) -> None:
        """Look every few `seconds`, for ever; raises NightError as soon as one has ended."""
        while True:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise NightError(f"{name} ended (exit code {process.returncode}); see its output above")
            time.sleep(seconds)


@contextmanager
def prefect_services(port: int, store: str | None, folder: Path | None = None) -> Iterator[Services]:
    """A server with the deployments and a worker, stopped at the end. Raises NightError if one does not start."""
    workspace = open_workspace(folder)
    url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        PAGES: f"http://127.0.0.1:{port + 1}",
        STORE: store_url(store),
        WORKSPACE: str(workspace.folder),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }

    def prefect(*words: str) -> list[str]:
        return [sys.executable, "-m", "prefect", *words]

    def once(*words: str) -> None:
        command = [sys.executable, "-m", *words]
        done = subprocess.run(
            command, check=False, cwd=workspace.folder, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            last = (done.stdout + done.stderr).strip().splitlines()[-1:]
            raise NightError(f"`{' '.join(words)}` failed: {''.join(last)}")

    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        running["server"] = subprocess.Popen(prefect("server", "start", "--port", str(port)), env=environment)
        await_health(f"{url}/api/health", running["server"])
        once("prefect", "work-pool", "create", "errata", "--type", "process", "--overwrite")
        # more at once would wait for each other in the workspace
        once("prefect", "work-pool", "set-concurrency-limit", "errata", "1")
        once("prefect", "--no-prompt", "deploy", "--all")
        once("errata.flows.prefect_runs.automations")
        pages = [sys.executable, "-m", "errata.flows.prefect_runs.pages", str(port + 1)]
        running["pages"] = subprocess.Popen(pages, env=environment)
        running["worker"] = subprocess.Popen(
            prefect("worker", "start", "--pool", "errata"), cwd=workspace.folder, env=environment
        )
        yield Services(url, running)
    finally:
        for process in reversed(running.values()):
            process.terminate()
        for process in running.values():
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


StartServices = Callable[[int, str | None], AbstractContextManager[Services]]


def serve_prefect(port: int, store: str | None, start: StartServices = prefect_services) -> None:
    """Run until interrupted or told to terminate; what was started is stopped again.

    Raises NightError if server or worker ends by itself, so that whoever started this can start it again.
    """
    console = Console()
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs deaf to it
    with start(port, store) as services:
        url = services.url
        console.print(f"Prefect is at [bold]{url}[/]; a worker waits. In another terminal, in this environment:")
        console.print(f"  PREFECT_API_URL={url}/api prefect deployment run correct-model/nightly", markup=False)
        console.print("Ctrl-C stops both.")
        try:
            services.watch()
        except KeyboardInterrupt:
            console.print("stopping")


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
