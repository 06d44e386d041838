"""Request metrics for Prometheus, under the names TensorFlow Serving uses."""

import contextlib
import time
from collections.abc import Container, Iterator

import prometheus_client
from prometheus_client.core import Metric

PATH = "/monitoring/prometheus/metrics"

# Upper bounds in microseconds, as in TensorFlow Serving.
_BUCKETS = [10 * 1.8**i for i in range(33)]


class RequestMetrics:
    """Counts requests and measures their latency."""

    def __init__(self, model_names: Container[str]):
        self._model_names = model_names
        self._registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self._registry)
        self._counts = prometheus_client.Counter(
            "request_count", "", ["model_name", "status"], registry=None
        )
        self._latency = prometheus_client.Histogram(
            ":tensorflow:serving:request_latency",
            "Latency of successful requests in microseconds.",
            ["model_name", "API", "entrypoint"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._runtime = prometheus_client.Histogram(
            ":tensorflow:serving:runtime_latency",
            "Time of successful runs of a graph in microseconds.",
            ["model_name", "API", "runtime"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._registry.register(self)

    def record(
        self,
        model_name: str,
        api: str,
        entrypoint: str,
        status: str,
        start: float,
    ) -> None:
        """Records a request that started at `time.perf_counter()` = `start`."""
        # A client must not be able to create any number of time series.
        if model_name not in self._model_names:
            model_name = "unknown"
        self._counts.labels(model_name, status).inc()
        if status == "OK":
            micros = 1e6 * (time.perf_counter() - start)
            self._latency.labels(model_name, api, entrypoint).observe(micros)

    @contextlib.contextmanager
    def runtime(self, model_name: str) -> Iterator[None]:
        """Measures the time that the graph of a model runs."""
        start = time.perf_counter()
        yield
        micros = 1e6 * (time.perf_counter() - start)
        self._runtime.labels(model_name, "Predict", "TF1").observe(micros)

    def collect(self) -> Iterator[Metric]:
        """Yields the request count; called by the registry.

        A Counter in the registry would add "_total" to the metric's name.
        """
        name = ":tensorflow:serving:request_count"
        metric = Metric(name, "Requests by status.", "unknown")
        for family in self._counts.collect():
            for sample in family.samples:
                if sample.name.endswith("_total"):
                    metric.add_sample(name, sample.labels, sample.value)
        yield metric

    def text(self) -> bytes:
        """All metrics in the Prometheus text format."""
        text = prometheus_client.generate_latest(self._registry)
        return text.replace(b"request_count untyped", b"request_count counter")
