"""What Prometheus sees of a service. Names begin with `errata_`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.follower import Follower
from serving.release import Prediction

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """One service's metrics, in a registry of their own."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self.registry = CollectorRegistry()
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
        self._live = Gauge("errata_live_version", "The release now served (0: none)", registry=self.registry)
        self._behind = Gauge("errata_behind", "1 if what live.json names cannot be served", registry=self.registry)

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._latency.labels(route, str(status)).observe(seconds)

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
