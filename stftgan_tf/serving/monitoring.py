"""Figures of the server for Prometheus, under TensorFlow Serving's names."""

import time

import prometheus_client
from prometheus_client.core import Metric

PATH = "/monitoring/prometheus/metrics"

# Microseconds, as TensorFlow Serving has them.
_LIMITS = [10 * 1.8**i for i in range(33)]


class Monitor:
    """Counts requests and how long they took."""

    def __init__(self, model_name: str):
        self._name = model_name
        self._registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self._registry)
        self._counts = prometheus_client.Counter(
            "request_count", "", ["status"], registry=None
        )
        self._latency = prometheus_client.Histogram(
            ":tensorflow:serving:request_latency",
            "Microseconds of answered requests.",
            ["model_name", "API", "entrypoint"],
            buckets=_LIMITS,
            registry=self._registry,
        )
        self._registry.register(self)

    def count(self, api: str, entrypoint: str, status: str, start: float):
        """A request that began at `start`, of `time.perf_counter`."""
        self._counts.labels(status).inc()
        if status == "OK":
            micros = 1e6 * (time.perf_counter() - start)
            self._latency.labels(self._name, api, entrypoint).observe(micros)

    def collect(self):
        """The count; the library would end its name in _total."""
        name = ":tensorflow:serving:request_count"
        metric = Metric(name, "Requests by status.", "unknown")
        for family in self._counts.collect():
            for sample in family.samples:
                if sample.name.endswith("_total"):
                    labels = {"model_name": self._name, **sample.labels}
                    metric.add_sample(name, labels, sample.value)
        yield metric

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return prometheus_client.generate_latest(self._registry)
