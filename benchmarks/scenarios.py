"""Scenarios and their targets, as data."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

from benchmarks import measure
from benchmarks.measure import Figures, RunConfig
from benchmarks.servers import Contender


class Kind(Enum):
    """How a figure is compared with the limit of a target."""

    RATIO_AT_LEAST = "hitrate / peer at least"
    AT_LEAST = "at least"
    AT_MOST = "at most"


@dataclass(frozen=True)
class Target:
    """A limit that a figure of hitrate must meet."""

    figure: str
    kind: Kind
    limit: float


@dataclass(frozen=True)
class Scenario:
    """A load to measure. The table shows the ratio of `primary_figure`.

    `once`: a single round, because repeating it gives the same result.
    """

    name: str
    title: str
    primary_figure: str
    measure: Callable[[Contender, RunConfig], Figures]
    targets: tuple[Target, ...]
    once: bool = False


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "events-10",
        "POST 10 events, 64 connections",
        "rate",
        partial(measure.events, events_per_request=10),
        (Target("rate", Kind.RATIO_AT_LEAST, 0.8), Target("p99_ms", Kind.AT_MOST, 40)),
    ),
    Scenario(
        "events-100",
        "POST 100 events, 64 connections",
        "rate",
        partial(measure.events, events_per_request=100),
        (Target("rate", Kind.RATIO_AT_LEAST, 1.0), Target("loaded_per_s", Kind.AT_LEAST, 700_000)),
    ),
    Scenario(
        "get-100k",
        "GET 100 KB, 32 connections",
        "rate",
        partial(measure.get, size_bytes=100_000),
        (Target("rate", Kind.RATIO_AT_LEAST, 2.5),),
    ),
    Scenario(
        "put-10k",
        "PUT 10 KB, unique hashes, 32 connections",
        "rate",
        partial(measure.put, size_bytes=10_000, max_seconds=10),
        (Target("rate", Kind.RATIO_AT_LEAST, 1.3),),
    ),
    Scenario(
        "put-100k",
        "PUT 100 KB, unique hashes, 32 connections",
        "rate",
        partial(measure.put, size_bytes=100_000, max_seconds=6),
        (Target("rate", Kind.RATIO_AT_LEAST, 1.3),),
    ),
    Scenario(
        "upload-memory",
        "four concurrent PUTs of 300 MB",
        "peak_mb",
        partial(measure.upload_memory, size_bytes=300_000_000),
        (Target("peak_mb", Kind.AT_MOST, 200),),
        once=True,
    ),
    Scenario(
        "start",
        "start on a data directory with data",
        "start_s",
        measure.start,
        (Target("start_s", Kind.AT_MOST, 1.5),),
    ),
)

MIN_RATIO_TO_CHECKOUT = 0.9


def for_checkout(scenario: Scenario) -> Scenario:
    """Adapt a scenario to a peer that is hitrate, too: the rate may be at most a tenth lower."""
    has_rate = scenario.primary_figure == "rate"
    target = Target("rate", Kind.RATIO_AT_LEAST, MIN_RATIO_TO_CHECKOUT)
    return replace(scenario, targets=(target,) if has_rate else ())
