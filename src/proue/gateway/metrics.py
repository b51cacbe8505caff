"""Counters in plain dictionaries on the hot path; Prometheus reads them through one collector."""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

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


class Lot(NamedTuple):
    """One endpoint that has a capacity."""

    endpoint: str
    slots: int  # of it that are this process's to give
    busy: int
    waiting: int


class Lots(Protocol):
    queued: dict[str, Histogram]
    unserved: dict[tuple[str, str], int]

    def lots(self) -> Iterable[Lot]: ...


class Metrics:
    def __init__(self, line: Lots) -> None:
        self.line = line
        self.requests: dict[tuple[str, int, str], int] = defaultdict(int)
        self.attempts: dict[tuple[str, str], int] = defaultdict(int)  # endpoint, how it ended
        self.tokens: dict[str, int] = defaultdict(int)
        self.personal: dict[tuple[str, str], int] = defaultdict(int)  # what the shield did, kind
        self.duration: dict[str, Histogram] = defaultdict(Histogram)
        self.first_byte: dict[str, Histogram] = defaultdict(Histogram)
        self.nodes: dict[str, int] = {}  # endpoint → how many of its nodes are connected, their engine answering
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
        attempts = CounterMetricFamily(
            "proue_gateway_upstream_attempts", "Endpoints asked for an answer", labels=["endpoint", "outcome"]
        )
        for (endpoint, outcome), count in metrics.attempts.items():
            attempts.add_metric([endpoint, outcome], count)
        yield attempts
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
        nodes = GaugeMetricFamily("proue_gateway_nodes", "Nodes whose engine answers", labels=["endpoint"])
        for endpoint, count in list(metrics.nodes.items()):
            nodes.add_metric([endpoint], count)
        yield nodes
        yield CounterMetricFamily(
            "proue_gateway_portal_requests", "Requests relayed to the portal", value=metrics.portal
        )
        yield _histogram("proue_gateway_duration_seconds", "Whole requests", metrics.duration)
        yield _histogram("proue_gateway_first_byte_seconds", "Until the first byte of an answer", metrics.first_byte)
        yield GaugeMetricFamily("proue_gateway_in_flight", "Requests under way", value=metrics.in_flight)
        yield GaugeMetricFamily("proue_gateway_start_time_seconds", "Start, Unix time", value=metrics.started_at)
        yield from self._line()
        for name, value in self._gauges().items():
            yield GaugeMetricFamily(f"proue_gateway_{name}", name.replace("_", " "), value=value)
        for families in self._more:
            yield from families()

    def _line(self) -> Iterator[Metric]:
        line = self._metrics.line
        slots = GaugeMetricFamily("proue_gateway_slots", "Requests at once, this process's part", labels=["endpoint"])
        busy = GaugeMetricFamily("proue_gateway_slots_in_use", "Requests under way", labels=["endpoint"])
        waiting = GaugeMetricFamily("proue_gateway_queue", "Requests that wait for their turn", labels=["endpoint"])
        for lot in line.lots():
            slots.add_metric([lot.endpoint], lot.slots)
            busy.add_metric([lot.endpoint], lot.busy)
            waiting.add_metric([lot.endpoint], lot.waiting)
        yield from (slots, busy, waiting)
        unserved = CounterMetricFamily(
            "proue_gateway_queue_unserved",
            "Requests that left the queue without their turn",
            labels=["endpoint", "why"],
        )
        for (endpoint, why), count in list(line.unserved.items()):
            unserved.add_metric([endpoint, why], count)
        yield unserved
        yield _histogram("proue_gateway_queued_seconds", "Waits that ended with a turn", line.queued, "endpoint")


def _histogram(name: str, text: str, histograms: dict[str, Histogram], label: str = "operation") -> Metric:
    family = HistogramMetricFamily(name, text, labels=[label])
    for value, histogram in list(histograms.items()):
        family.add_metric([value], histogram.cumulative(), histogram.total)
    return family


def exposition(metrics: Metrics, gauges: Gauges, *more: Families) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(metrics, gauges, *more))
    return generate_latest(registry)
