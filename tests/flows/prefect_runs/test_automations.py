"""Prefect's server tells of a run that was killed, on a real server: what `errata serve` sets up."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, Queue
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.flows import flow
from prefect.states import Crashed
from prefect.testing.utilities import prefect_test_harness

from errata.flows.prefect_runs.automations import NAME, remove_automations, set_up_automations

pytestmark = pytest.mark.slow


@pytest.fixture
def posted() -> Iterator[tuple[str, "Queue[Any]"]]:
    """An address, and what was posted to it."""
    got: Queue[Any] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", got
        server.shutdown()


@flow(name="killed")
def killed() -> None:
    """Stands for a night."""


def test_a_run_that_was_killed_is_told_by_the_server(posted: tuple[str, "Queue[Any]"]) -> None:
    url, got = posted
    with prefect_test_harness(server_startup_timeout=120), get_client(sync_client=True) as client:
        set_up_automations("http://127.0.0.1:1/old")
        set_up_automations(url)  # again with another address: that one counts, and there is one
        assert len(client.read_automations_by_name(NAME)) == 1

        other = client.create_flow_run(killed)
        client.set_flow_run_state(other.id, Crashed(message="not ours"), force=True)
        run = client.create_flow_run(killed, tags=["errata"])
        client.set_flow_run_state(run.id, Crashed(message="killed"), force=True)
        told = got.get(timeout=60)
        assert told["type"] == "run.unsettled"
        assert told["data"] == {"run": run.name, "state": "Crashed"}
        assert f"Errata: run {run.name} is Crashed: " in told["text"]
        assert str(run.id) in told["text"]
        with pytest.raises(Empty):
            got.get(timeout=3)

        remove_automations()
        assert client.read_automations_by_name(NAME) == []
