"""What the server counts, for Prometheus.

Counting is on the hot path and happens on the event loop or under one writer, so a count is a
plain dictionary entry; the text is made when it is asked for. Gauges are functions that are
asked then. Names and labels never carry a token, a hash or a team.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Protocol

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)

COUNTERS = {
    "hitrate_events_accepted": "Events acknowledged: they are on disk.",
    "hitrate_event_requests_refused": "Requests to record events that were refused.",
    "hitrate_events_loaded": "Events moved from the spool to the event store.",
    "hitrate_events_deduplicated": "Events dropped because their batch had come before.",
    "hitrate_rejected_batches": "Batches set aside because they could not be loaded.",
    "hitrate_load_failures": "Attempts to load a segment that failed and will be repeated.",
    "hitrate_tokens_refused": "Requests with no token, or one that is unknown or has ended.",
    "hitrate_sign_ins_refused": "Attempts to sign in that failed.",
    "hitrate_artifact_uploaded_bytes": "Bytes of artifacts stored by uploads.",
    "hitrate_artifact_downloaded_bytes": "Bytes of artifacts sent by downloads.",
    "hitrate_artifact_hits": "Downloads that found the artifact.",
    "hitrate_artifact_misses": "Downloads that did not find the artifact.",
    "hitrate_artifacts_evicted": "Artifacts removed to make room or because of their age.",
    "hitrate_artifacts_evicted_bytes": "Bytes of artifacts removed to make room or for their age.",
}


_OUTCOMES = {"local_hit": "local_hits", "remote_hit": "remote_hits", "miss": "misses"}
_TASK_TOTALS = ("runs", *_OUTCOMES.values(), "local_ms", "remote_ms")


class TaskTotals(Protocol):
    """How much more there is of each since the last time, or less: a miss may become a hit."""

    @property
    def runs(self) -> int: ...
    @property
    def tasks(self) -> int: ...
    @property
    def local_hits(self) -> int: ...
    @property
    def remote_hits(self) -> int: ...
    @property
    def local_ms(self) -> int: ...
    @property
    def remote_ms(self) -> int: ...


class HighWaterCounter:
    """A total that may fall, as a counter that must not: it waits until the total is above it."""

    __slots__ = ("shown", "total")

    def __init__(self) -> None:
        self.total = self.shown = 0

    def add(self, change: int) -> None:
        self.total += change
        self.shown = max(self.shown, self.total)


class Histogram:
    """Durations in seconds, in fixed buckets."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(_BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        total, rows = 0, []
        for bound, count in zip((*map(str, _BUCKETS_S), "+Inf"), self.counts, strict=True):
            total += count
            rows.append((bound, float(total)))
        return rows


class Metrics(Collector):
    """All counts of one server."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        self._requests: defaultdict[tuple[str, int], Histogram] = defaultdict(Histogram)
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._tasks: dict[str, HighWaterCounter] = {
            name: HighWaterCounter() for name in _TASK_TOTALS
        }

    def add_tasks(self, totals: TaskTotals) -> None:
        """Count what events came to: tasks by outcome, time saved, runs."""
        changes = {name: getattr(totals, name) for name in _TASK_TOTALS if name != "misses"}
        changes["misses"] = totals.tasks - totals.local_hits - totals.remote_hits
        for name, change in changes.items():
            self._tasks[name].add(change)

    def add(self, counter: str, amount: int = 1) -> None:
        """Add to one of COUNTERS."""
        self.counters[counter] += amount

    def request(self, operation: str, status: int, seconds: float) -> None:
        """Count one answered request and how long it took."""
        self._requests[operation, status].observe(seconds)
        if operation == "recordEvents" and status >= 400:
            self.counters["hitrate_event_requests_refused"] += 1

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Have `read` asked for the gauge `name` whenever metrics are collected."""
        self._gauges[name] = (text, read)

    def collect(self) -> Iterable[Metric]:
        for name, text in COUNTERS.items():
            yield CounterMetricFamily(name, text, value=self.counters[name])
        for name, (text, read) in self._gauges.items():
            yield GaugeMetricFamily(name, text, value=read())
        yield from self._collect_tasks()
        yield self._collect_requests()

    def _collect_tasks(self) -> Iterable[Metric]:
        shown = {name: rising.shown for name, rising in self._tasks.items()}
        yield CounterMetricFamily("hitrate_runs", "Runs that sent events.", value=shown["runs"])
        tasks = CounterMetricFamily(
            "hitrate_tasks", "Tasks of runs, each once, by what became of it.", labels=["outcome"]
        )
        for outcome, name in _OUTCOMES.items():
            tasks.add_metric([outcome], shown[name])
        yield tasks
        saved = CounterMetricFamily(
            "hitrate_saved_seconds", "Time that hits saved.", labels=["source"]
        )
        for source in ("local", "remote"):
            saved.add_metric([source], shown[f"{source}_ms"] / 1000)
        yield saved

    def _collect_requests(self) -> Metric:
        family = HistogramMetricFamily(
            "hitrate_request_seconds",
            "Answered requests by operation and status.",
            labels=["operation", "status"],
        )
        for (operation, status), histogram in sorted(self._requests.items()):
            family.add_metric(
                [operation, str(status)], histogram.cumulative(), sum_value=histogram.sum_s
            )
        return family

    def text(self) -> bytes:
        """The Prometheus text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)
