"""What Prometheus sees of a service. Names begin with `errata_`."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from errata.serving.follower import Follower
from errata.serving.release import Prediction
from errata.serving.shadow import Shadow

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """One service's metrics, in a registry of their own."""

    def __init__(self, follower: Follower, shadow: Shadow | None = None) -> None:
        self._follower = follower
        self.registry = CollectorRegistry()
        if shadow is not None:
            self.registry.register(ShadowCollector(shadow))
        self._latency = Histogram(
            "errata_request_seconds",
            "Time from a request's arrival to its answer",
            ("route", "status"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._predictions = Counter(
            "errata_predictions", "Predictions made, by release", ("version",), registry=self.registry
        )
        self._decided = Counter(
            "errata_slots_fired",
            "Predictions that a correction's slot decided",
            ("correction",),
            registry=self.registry,
        )
        self._reports = Counter("errata_reports", "Reports filed", registry=self.registry)
        self._closed = Counter(
            "errata_connections_closed", "Connections that a limit closed", ("why",), registry=self.registry
        )
        self._live = Gauge("errata_live_version", "The release now served (0: none)", registry=self.registry)
        self._behind = Gauge("errata_behind", "1 if what live.json names cannot be served", registry=self.registry)

    def request(self, route: str, status: str, seconds: float) -> None:
        """A request was answered, or its client went away before it was (`disconnected`)."""
        self._latency.labels(route, status).observe(seconds)

    def closed(self, why: str) -> None:
        """A limit closed a connection."""
        self._closed.labels(why).inc()

    def predicted(self, prediction: Prediction) -> None:
        """A prediction was made."""
        self._predictions.labels(str(prediction.version)).inc()
        if prediction.correction is not None:
            self._decided.labels(prediction.correction).inc()

    def reported(self) -> None:
        """A report was filed."""
        self._reports.inc()

    def page(self) -> bytes:
        """The text that Prometheus reads."""
        state = self._follower.state
        self._live.set(state.version or 0)
        self._behind.set(bool(state.problem))
        return generate_latest(self.registry)


class ShadowCollector(Collector):
    """What a candidate in shadow did."""

    def __init__(self, shadow: Shadow) -> None:
        self._shadow = shadow

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        told = "Images that a candidate was asked about, by what came of it (same, changed, failed, skipped)"
        images = CounterMetricFamily("errata_shadow_images", told, labels=["outcome"])
        seen = self._shadow.seen
        for outcome in ("same", "changed", "failed", "skipped"):
            images.add_metric([outcome], seen.get(outcome, 0))
        yield images
        version = self._shadow.version or 0
        yield GaugeMetricFamily("errata_shadow_version", "The candidate now asked (0: none)", value=version)


class Measured:
    """ASGI middleware that counts each request once, under the status that was sent."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: tuple[str, ...]) -> None:
        """Other paths than `routes` are one route, `other`."""
        self._app = app
        self._metrics = metrics
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and look at what comes and goes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), ""

        async def heard() -> Message:
            nonlocal status
            message = await receive()
            if message["type"] == "http.disconnect":
                status = status or "disconnected"
            return message

        async def said(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = status or str(message["status"])
            await send(message)

        try:
            await self._app(scope, heard, said)
        finally:
            route = scope["path"] if scope["path"] in self._routes else "other"
            self._metrics.request(route, status or "500", time.perf_counter() - start)
