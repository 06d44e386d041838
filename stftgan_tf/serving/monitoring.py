"""Request metrics for Prometheus, under the names TensorFlow Serving uses."""

import time
from collections.abc import Iterator

import prometheus_client
from prometheus_client.core import Metric

PATH = "/monitoring/prometheus/metrics"

# Upper bounds in microseconds, as in TensorFlow Serving.
_BUCKETS = [10 * 1.8**i for i in range(33)]


class RequestMetrics:
    """Counts requests and measures their latency."""

    def __init__(self, model_name: str):
        self._model_name = model_name
        self._registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self._registry)
        self._counts = prometheus_client.Counter(
            "request_count", "", ["status"], registry=None
        )
        self._latency = prometheus_client.Histogram(
            ":tensorflow:serving:request_latency",
            "Latency of successful requests in microseconds.",
            ["model_name", "API", "entrypoint"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._registry.register(self)

    def record(
        self, api: str, entrypoint: str, status: str, start: float
    ) -> None:
        """Records a request that started at `time.perf_counter()` = `start`."""
        self._counts.labels(status).inc()
        if status == "OK":
            micros = 1e6 * (time.perf_counter() - start)
            labels = self._model_name, api, entrypoint
            self._latency.labels(*labels).observe(micros)

    def collect(self) -> Iterator[Metric]:
        """Yields the request count; called by the registry.

        A Counter in the registry would add "_total" to the metric's name.
        """
        name = ":tensorflow:serving:request_count"
        metric = Metric(name, "Requests by status.", "unknown")
        for family in self._counts.collect():
            for sample in family.samples:
                if sample.name.endswith("_total"):
                    labels = {"model_name": self._model_name, **sample.labels}
                    metric.add_sample(name, labels, sample.value)
        yield metric

    def text(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return prometheus_client.generate_latest(self._registry)
