"""Spans for OpenTelemetry, where the environment names an endpoint (OTEL_EXPORTER_OTLP_ENDPOINT); else nothing at all.

Nothing of OpenTelemetry is imported unless one is named; then the extra `telemetry` is needed. What else its SDK takes
from the environment (headers, sampling, OTEL_SERVICE_NAME) counts here as everywhere. Spans go over HTTP, in batches,
on a thread of the SDK's own: a collector that is away delays no step, and the end by ten seconds at most.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from errata.editing.errors import NotInstalled

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
Value = str | int | float | bool
Span = Callable[..., AbstractContextManager[object]]  # span(name, **attributes)


def no_span(_name: str, **_attributes: Value) -> AbstractContextManager[object]:
    """The span of who traces nothing."""
    return nullcontext()


def wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether an endpoint is named, and the SDK not switched off."""
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not off and any(environment.get(name) for name in ENDPOINTS)


def make_provider(service: str) -> TracerProvider:
    """A provider of the process's own, beside any that others set up. Raises NotInstalled."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as fault:
        said = f"{ENDPOINTS[0]} is set and OpenTelemetry is not installed: `pip install 'errata-models[telemetry]'`"
        raise NotInstalled(said) from fault
    name = os.environ.get("OTEL_SERVICE_NAME") or service
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


@contextmanager
def tracing(service: str) -> Iterator[Span]:
    """What opens spans, until the end, when those that wait are sent; `no_span` where no endpoint is named.

    An exception that leaves a span is its status. Raises NotInstalled.
    """
    if not wanted():
        yield no_span
        return
    provider = make_provider(service)
    tracer = provider.get_tracer("errata")

    def span(name: str, **attributes: Value) -> AbstractContextManager[object]:
        opened: AbstractContextManager[object] = tracer.start_as_current_span(name, attributes=attributes)
        return opened

    try:
        yield span
    finally:
        provider.shutdown()
