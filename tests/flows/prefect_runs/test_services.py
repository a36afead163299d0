"""Prefect for real: a server, the deployments, a worker, and `prefect deployment run`, on a port of their own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import yaml

from errata.data import layout
from errata.data.releases.manifest import read_live
from errata.editing.errors import NightError
from errata.flows.prefect_runs.services import Services, prefect_services, serve_prefect
from tests.flows.conftest import REPOSITORY, Place


def free_port() -> int:
    """A port that nobody listens on, nor on the next, where the pages are."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            with suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port


def ask(url: str, path: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(f"{url}/api{path}", data, {"Content-Type": "application/json"}), timeout=30) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_a_deployment_runs_the_night(
    place: Place, _unsolvable: frozenset[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = replace(place, passed_over=_unsolvable)
    for name in ("prefect.yaml", "prefect-docker.yaml"):
        (place.workspace.folder / name).write_bytes((REPOSITORY / name).read_bytes())
    reports = place.report_mistakes(2)
    (place.folder / "store" / "reports" / "inbox" / f"{'0' * 64}.json").write_text("no report")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.setenv("PREFECT_WORKER_QUERY_SECONDS", "1")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("ERRATA_IMAGE", "errata:test")
    with prefect_services(free_port(), str(place.folder / "store"), place.workspace.folder) as services:
        url = services.url
        environment = {**os.environ, "PREFECT_API_URL": f"{url}/api"}

        def prefect(*words: str) -> str:
            done = subprocess.run(
                [sys.executable, "-m", "prefect", *words],
                cwd=place.workspace.folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=420,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        prefect("deployment", "run", "dry-run/now", "--watch")
        (looked,) = ask(url, "/artifacts/filter", {})
        assert looked["key"] == "dry-run"
        assert "| would be new correction" in looked["data"]
        (ahead,) = ask(url, "/flow_runs/filter", {"flow_runs": {"tags": {"all_": ["errata", "dry-run"]}}})
        assert ahead["name"].endswith(f"dry run: {len(reports)} new corrections")
        assert len(list(place.storage.keys(layout.INBOX))) == len(reports) + 1, "a dry run moves nothing"

        prefect("deployment", "run", "correct-model/nightly", "--param", "by=a test", "--watch")
        live = read_live(place.storage)
        assert live is not None
        assert live[0].version == 2

        artifacts = {each["key"]: each for each in ask(url, "/artifacts/filter", {})}
        assert {"gate", "night", "report"} <= set(artifacts)
        assert "drawdown" in artifacts["gate"]["data"]
        assert "| malformed |" in artifacts["night"]["data"]
        assert f"| reports in | {len(reports) + 1} |" in artifacts["night"]["data"]
        for key, text in (("report", b"Release 2"), ("data-docs", b"<html")):
            (link,) = re.findall(r"\((http[^)]+)\)", artifacts[key]["data"])
            with urlopen(link, timeout=30) as answer:  # as a browser would, from Prefect's page
                assert text in answer.read()
        nights = {"flow_runs": {"tags": {"all_": ["released"]}}}
        (run,) = ask(url, "/flow_runs/filter", nights)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d released 2", run["name"])
        assert {"errata", "released", "release-2"} <= set(run["tags"])
        assert ask(url, "/work_pools/filter", {})[0]["concurrency_limit"] == 1

        deployments = {each["name"]: each for each in ask(url, "/deployments/filter", {})}
        assert set(deployments) == {"nightly", "on-demand", "now", "root"}
        assert deployments["nightly"]["schedules"][0]["schedule"]["timezone"] == "Etc/UTC"
        waiting = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
        assert ask(url, "/flow_runs/filter", waiting), "the scheduler makes no runs: cron would never start a night"
        explained = deployments["nightly"]["parameter_openapi_schema"]["properties"]
        assert "s3://bucket/prefix" in explained["store"]["description"]

        # the Docker variant: the pool and the deployments are made; no engine runs here to start a container
        prefect("work-pool", "create", "errata-docker", "--type", "docker")
        prefect("--no-prompt", "deploy", "--all", "--prefect-file", "prefect-docker.yaml")
        (nightly,) = ask(url, "/deployments/filter", {"deployments": {"name": {"any_": ["nightly-docker"]}}})
        assert nightly["job_variables"]["image"] == "errata:test"


class Sleepers:
    """Stand for server and worker: two processes that sleep, the worker as many seconds as the port says."""

    def __init__(self) -> None:
        self.ended: list[int] = []

    @contextmanager
    def __call__(self, port: int, _store: str | None) -> Iterator[Services]:
        running = {
            name: subprocess.Popen(["sleep", seconds]) for name, seconds in (("server", "60"), ("worker", str(port)))
        }
        try:
            yield Services("http://nowhere", running)
        finally:
            for process in running.values():
                process.terminate()
                process.wait()
                self.ended.append(process.returncode)


@pytest.fixture
def sleepers() -> Iterator[Sleepers]:
    """Sleepers; the handlers of signals are afterwards as they were."""
    kept = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    yield Sleepers()
    for number, handler in zip((signal.SIGTERM, signal.SIGINT), kept, strict=True):
        signal.signal(number, handler)


def test_serving_ends_with_a_fault_when_the_worker_does(sleepers: Sleepers) -> None:
    with pytest.raises(NightError, match="worker ended"):
        serve_prefect(0, None, sleepers)
    assert sleepers.ended == [-signal.SIGTERM, 0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_stops_what_it_started(sleepers: Sleepers, number: signal.Signals) -> None:
    threading.Timer(0.5, lambda: os.kill(os.getpid(), number)).start()
    serve_prefect(60, None, sleepers)
    assert sleepers.ended == [-signal.SIGTERM] * 2


def test_deployments_name_flows_that_exist_and_let_a_run_wait_for_a_person() -> None:
    """Prefect takes a deployment's slot back from a run that pauses, and ends that run when it would renew its lease,
    some four minutes after it began. So one run at a time is what the work pool sees to."""
    for name in ("prefect.yaml", "prefect-docker.yaml"):
        for deployment in yaml.safe_load((REPOSITORY / name).read_text())["deployments"]:
            module, flow = deployment["entrypoint"].split(":")
            assert f"def {flow}(" in (REPOSITORY / f"{module.replace('.', '/')}.py").read_text()
            assert "concurrency_limit" not in deployment
            assert all("timezone" in schedule for schedule in deployment.get("schedules", []))
