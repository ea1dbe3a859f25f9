"""The scenarios and their targets, as data."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

from benchmarks import measure
from benchmarks.measure import Bench, Figures
from benchmarks.servers import Contender


class Kind(Enum):
    """What a target's limit is compared with."""

    RATIO_AT_LEAST = "hitrate / peer at least"
    AT_LEAST = "at least"
    AT_MOST = "at most"


@dataclass(frozen=True)
class Target:
    """One figure that hitrate must reach."""

    figure: str
    kind: Kind
    limit: float


@dataclass(frozen=True)
class Scenario:
    """`leading` is the figure whose ratio is shown; `once`: more rounds would tell no more."""

    name: str
    title: str
    leading: str
    measure: Callable[[Contender, Bench], Figures]
    targets: tuple[Target, ...]
    once: bool = False


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "events-10",
        "POST 10 events, 64 connections",
        "rate",
        partial(measure.events, in_request=10),
        (Target("rate", Kind.RATIO_AT_LEAST, 0.8), Target("p99_ms", Kind.AT_MOST, 40)),
    ),
    Scenario(
        "events-100",
        "POST 100 events, 64 connections",
        "rate",
        partial(measure.events, in_request=100),
        (Target("rate", Kind.RATIO_AT_LEAST, 1.0), Target("kept_per_s", Kind.AT_LEAST, 700_000)),
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
        partial(measure.put, size_bytes=10_000, limit_s=10),
        (Target("rate", Kind.RATIO_AT_LEAST, 1.3),),
    ),
    Scenario(
        "put-100k",
        "PUT 100 KB, unique hashes, 32 connections",
        "rate",
        partial(measure.put, size_bytes=100_000, limit_s=6),
        (Target("rate", Kind.RATIO_AT_LEAST, 1.3),),
    ),
    Scenario(
        "upload-memory",
        "four PUTs of 300 MB at once",
        "peak_mb",
        partial(measure.upload_memory, size_bytes=300_000_000),
        (Target("peak_mb", Kind.AT_MOST, 200),),
        once=True,
    ),
    Scenario(
        "start",
        "start on a folder in use",
        "start_s",
        measure.start,
        (Target("start_s", Kind.AT_MOST, 1.5),),
    ),
)

LEAST_OF_BEFORE = 0.9


def beside_itself(scenario: Scenario) -> Scenario:
    """The scenario when the peer is hitrate before a change: rates may fall by a tenth."""
    rates = scenario.leading == "rate"
    target = Target("rate", Kind.RATIO_AT_LEAST, LEAST_OF_BEFORE)
    return replace(scenario, targets=(target,) if rates else ())
