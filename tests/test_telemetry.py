"""Spans of night and service as a real collector gets them over HTTP, and nothing of it where no endpoint is named."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from fastapi.testclient import TestClient

from errata.data.images import encode_png
from errata.data.storage.local import LocalStorage
from errata.data.telemetry import no_span, tracing, wanted
from errata.editing.errors import NightError, NotInstalled
from errata.flows.night.step import run_here, step
from errata.flows.night.tracing import spanned
from errata.serving.follower import Follower
from errata.serving.service import create_app
from errata.serving.tracing import traced
from tests.serving.releases import IMAGES, release

Collected = Callable[[], list[Any]]


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collected]:
    """A collector; what it got: spans, each with the name of its service as `.service`."""
    reason = "the extra `telemetry` is not installed"
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason=reason)
    service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason=reason)
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    def spans() -> list[Any]:
        found = [service.ExportTraceServiceRequest.FromString(body) for body in bodies]
        return [
            (each.resource.attributes, span)
            for request in found
            for each in request.resource_spans
            for scope in each.scope_spans
            for span in scope.spans
        ]

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        yield spans
        server.shutdown()


@step("measure")
def measure(value: int) -> int:
    """A step that does its work."""
    return value + 1


@step("break")
def broken() -> None:
    """A step that fails."""
    raise NightError("the disk is full")


def test_each_step_is_a_span_in_that_of_the_run(collected: Collected) -> None:
    with tracing("errata-night") as span, span("correct-model", run="7f", store="store"):
        run_step = spanned(run_here, span)
        assert run_step(measure, 1) == 2
        with pytest.raises(NightError, match="the disk is full"):
            run_step(broken)
    found = {span.name: span for _, span in collected()}
    assert set(found) == {"correct-model", "measure", "break"}
    night = found["correct-model"]
    assert {each.key: each.value.string_value for each in night.attributes} == {"run": "7f", "store": "store"}
    assert found["measure"].parent_span_id == found["break"].parent_span_id == night.span_id
    assert (found["measure"].status.code, found["break"].status.code) == (0, 2)  # unset, error
    assert "the disk is full" in found["break"].status.message
    names = {each.key: each.value.string_value for each in collected()[0][0]}
    assert names["service.name"] == "errata-night"


def test_each_request_is_a_span_but_those_of_probes(collected: Collected, tmp_path: Any) -> None:
    storage = LocalStorage(tmp_path / "store")
    release(storage, 1)
    app = create_app(storage, Follower(storage, every=3600))
    with traced(app), TestClient(app) as client:
        assert client.post("/predict", content=encode_png(IMAGES[0])).status_code == 200
        assert client.get("/healthz").status_code == 200
        assert client.get("/metrics").status_code == 200
    assert [span.name for _, span in collected()] == ["POST /predict"]


def test_without_an_endpoint_nothing_is_imported_and_nothing_done() -> None:
    program = """
import sys
from errata.data.telemetry import no_span, tracing
from errata.flows.night.tracing import spanned
with tracing("errata-night") as span, span("correct-model", run="7f"):
    assert span is no_span
loaded = [name for name in sys.modules if name.startswith("opentelemetry")]
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://host:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://host:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://host:4318", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_the_environment_says_whether(environment: dict[str, str], expected: bool) -> None:
    assert wanted(environment) is expected


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://host:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(NotInstalled, match=r"errata-models\[telemetry\]"), tracing("errata-night"):
        pass
    assert no_span("a step", run="7f") is not None
