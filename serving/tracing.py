"""A span for each request, where the environment names an endpoint of OpenTelemetry (`data.telemetry`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI

from errata.data.telemetry import make_provider, wanted
from errata.editing.errors import NotInstalled

NOT_TRACED = "healthz,metrics,v2/health"  # what asks every few seconds


@contextmanager
def traced(app: FastAPI) -> Iterator[None]:
    """Trace the requests of an app that has not started yet, until the end. Raises NotInstalled."""
    if not wanted():
        yield
        return
    provider = make_provider("errata-serving")
    try:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # noqa: PLC0415
    except ImportError as fault:
        raise NotInstalled("the service cannot be traced: `pip install 'errata-models[telemetry]'`") from fault
    FastAPIInstrumentor.instrument_app(
        app, tracer_provider=provider, excluded_urls=NOT_TRACED, exclude_spans=["receive", "send"]
    )
    try:
        yield
    finally:
        provider.shutdown()
