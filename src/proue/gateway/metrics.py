"""Counters in plain dictionaries on the hot path; Prometheus reads them through one collector."""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

Gauges = Callable[[], dict[str, float]]
Families = Callable[[], Iterator[Metric]]


class Histogram:
    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.buckets[bisect_left(BOUNDS, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        rows, so_far = [], 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self.buckets, strict=True):
            so_far += count
            rows.append((bound, float(so_far)))
        return rows


class Metrics:
    def __init__(self) -> None:
        self.requests: dict[tuple[str, int, str], int] = defaultdict(int)
        self.tokens: dict[str, int] = defaultdict(int)
        self.personal: dict[tuple[str, str], int] = defaultdict(int)  # what the shield did, kind
        self.duration: dict[str, Histogram] = defaultdict(Histogram)
        self.first_byte: dict[str, Histogram] = defaultdict(Histogram)
        self.portal = 0
        self.in_flight = 0
        self.started_at = time.time()

    def shielded(self, done: str, counts: Mapping[str, int]) -> None:
        for kind, count in counts.items():
            self.personal[done, kind] += count

    def request(self, operation: str, status: int, outcome: str, seconds: float) -> None:
        self.requests[operation, status, outcome] += 1
        self.duration[operation].observe(seconds)


class _Collector(Collector):
    def __init__(self, metrics: Metrics, gauges: Gauges, *more: Families) -> None:
        self._metrics = metrics
        self._gauges = gauges
        self._more = more

    def collect(self) -> Iterator[Metric]:
        metrics = self._metrics
        requests = CounterMetricFamily(
            "proue_gateway_requests", "Requests to /v1", labels=["operation", "status", "outcome"]
        )
        for (operation, status, outcome), count in metrics.requests.items():
            requests.add_metric([operation, str(status), outcome], count)
        yield requests
        tokens = CounterMetricFamily("proue_gateway_tokens", "Tokens metered", labels=["kind"])
        for kind, count in metrics.tokens.items():
            tokens.add_metric([kind], count)
        yield tokens
        personal = CounterMetricFamily(
            "proue_gateway_personal_data", "Personal data found by the shield", labels=["done", "kind"]
        )
        for (done, kind), count in metrics.personal.items():
            personal.add_metric([done, kind], count)
        yield personal
        yield CounterMetricFamily(
            "proue_gateway_portal_requests", "Requests relayed to the portal", value=metrics.portal
        )
        yield _histogram("proue_gateway_duration_seconds", "Whole requests", metrics.duration)
        yield _histogram("proue_gateway_first_byte_seconds", "Until the first byte of an answer", metrics.first_byte)
        yield GaugeMetricFamily("proue_gateway_in_flight", "Requests under way", value=metrics.in_flight)
        yield GaugeMetricFamily("proue_gateway_start_time_seconds", "Start, Unix time", value=metrics.started_at)
        for name, value in self._gauges().items():
            yield GaugeMetricFamily(f"proue_gateway_{name}", name.replace("_", " "), value=value)
        for families in self._more:
            yield from families()


def _histogram(name: str, text: str, by_operation: dict[str, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=["operation"])
    for operation, histogram in by_operation.items():
        family.add_metric([operation], histogram.cumulative(), histogram.total)
    return family


def exposition(metrics: Metrics, gauges: Gauges, *more: Families) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(metrics, gauges, *more))
    return generate_latest(registry)
