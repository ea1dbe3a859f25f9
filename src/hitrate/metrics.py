"""Prometheus metrics of the server.

Counting is on the hot path, so a counter is an entry of a plain dictionary: all counts are
changed on the event loop, or by one background thread. The text format is rendered on request.
No name and no label ever contains a token, a hash or a team.
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
    "hitrate_events_accepted": "Events acknowledged; they are on disk.",
    "hitrate_events_loaded": "Events loaded from the spool into the event store.",
    "hitrate_events_deduplicated": "Events dropped because their batch was re-sent.",
    "hitrate_quarantined_batches": "Batches moved to quarantine because they cannot be loaded.",
    "hitrate_event_load_failures": "Failed attempts to load a segment; they are retried.",
    "hitrate_auth_failures": "Requests without a valid token.",
    "hitrate_login_failures": "Failed sign-ins.",
    "hitrate_artifact_uploaded_bytes": "Bytes of artifacts stored by uploads.",
    "hitrate_artifact_downloaded_bytes": "Bytes of artifacts sent by downloads.",
    "hitrate_artifact_hits": "Downloads that found the artifact.",
    "hitrate_artifact_misses": "Downloads that did not find the artifact.",
    "hitrate_artifacts_evicted": (
        "Artifacts evicted: expired, or least recently used above a size limit."
    ),
    "hitrate_artifacts_evicted_bytes": "Bytes of evicted artifacts.",
}
"""Name and help text of each plain counter. The text format appends `_total` to the name."""

_OUTCOMES = {"local_hit": "local_hits", "remote_hit": "remote_hits", "miss": "misses"}
_TASK_TOTALS = ("runs", *_OUTCOMES.values(), "local_ms", "remote_ms")


class TaskTotals(Protocol):
    """Changes of the totals of all runs. One may be negative: a late event can turn a miss into a
    hit. `local_ms` and `remote_ms` are time saved."""

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
    """Monotonic counter over a total that may fall: its value is the highest total so far."""

    __slots__ = ("total", "value")

    def __init__(self) -> None:
        self.total = self.value = 0

    def add(self, change: int) -> None:
        """Change the total by a positive or negative amount."""
        self.total += change
        self.value = max(self.value, self.total)


class Histogram:
    """Durations in seconds, counted in fixed buckets."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS_S) + 1)
        self.sum_s = 0.0

    def observe(self, duration_s: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(_BUCKETS_S, duration_s)] += 1
        self.sum_s += duration_s

    def cumulative_counts(self) -> list[tuple[str, float]]:
        """Return the upper bound of each bucket and the number of durations up to it."""
        total, rows = 0, []
        for bound, count in zip((*map(str, _BUCKETS_S), "+Inf"), self.counts, strict=True):
            total += count
            rows.append((bound, float(total)))
        return rows


class Metrics(Collector):
    """All metrics of one server."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        self._requests: defaultdict[tuple[str, int], Histogram] = defaultdict(Histogram)
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._tasks: dict[str, HighWaterCounter] = {
            name: HighWaterCounter() for name in _TASK_TOTALS
        }

    def add(self, counter: str, amount: int = 1) -> None:
        """Increase one of COUNTERS."""
        self.counters[counter] += amount

    def add_tasks(self, totals: TaskTotals) -> None:
        """Apply changes of the totals of all runs."""
        changes = {name: getattr(totals, name) for name in _TASK_TOTALS if name != "misses"}
        changes["misses"] = totals.tasks - totals.local_hits - totals.remote_hits
        for name, change in changes.items():
            self._tasks[name].add(change)

    def observe_request(self, operation: str, status: int, duration_s: float) -> None:
        """Count a request that has been responded to."""
        self._requests[operation, status].observe(duration_s)

    def add_gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Register a gauge. `read` is called whenever metrics are collected."""
        self._gauges[name] = (help_text, read)

    def collect(self) -> Iterable[Metric]:
        """Implement Collector."""
        for name, help_text in COUNTERS.items():
            yield CounterMetricFamily(name, help_text, value=self.counters[name])
        for name, (help_text, read) in self._gauges.items():
            yield GaugeMetricFamily(name, help_text, value=read())
        yield from self._collect_tasks()
        yield self._collect_requests()

    def _collect_tasks(self) -> Iterable[Metric]:
        values = {name: counter.value for name, counter in self._tasks.items()}
        yield CounterMetricFamily("hitrate_runs", "Runs that sent events.", value=values["runs"])
        tasks = CounterMetricFamily(
            "hitrate_tasks", "Tasks of runs, each counted once, by outcome.", labels=["outcome"]
        )
        for outcome, name in _OUTCOMES.items():
            tasks.add_metric([outcome], values[name])
        yield tasks
        time_saved = CounterMetricFamily(
            "hitrate_time_saved_seconds", "Time saved by cache hits.", labels=["source"]
        )
        for source in ("local", "remote"):
            time_saved.add_metric([source], values[f"{source}_ms"] / 1000)
        yield time_saved

    def _collect_requests(self) -> Metric:
        family = HistogramMetricFamily(
            "hitrate_http_request_duration_seconds",
            "Duration of requests, by operation and status.",
            labels=["operation", "status"],
        )
        for (operation, status), histogram in sorted(self._requests.items()):
            family.add_metric(
                [operation, str(status)], histogram.cumulative_counts(), sum_value=histogram.sum_s
            )
        return family

    def render(self) -> bytes:
        """Render all metrics in the Prometheus text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)
