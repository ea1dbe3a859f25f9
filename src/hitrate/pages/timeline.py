"""The charts of the overview: hit rate, outcomes and time saved over the buckets of a period."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hitrate.analytics.period import bucket_starts
from hitrate.analytics.reports import Reports
from hitrate.api_schemas import Bucket, Timeseries
from hitrate.errors import BadRequest
from hitrate.pages import charts, formatting
from hitrate.pages.charts import Drawing, Point, Values
from hitrate.pages.context import PageContext
from hitrate.pages.query import PageQuery
from hitrate.units import format_count

_MAX_BUCKETS = 400
_MAX_POINTS = 100
"""More links are too narrow to touch, and too many to step through with the arrow keys."""

_COARSER = {"hour": "day", "day": "week", "week": "month", "month": "month"}
_ADVERBS = {"hour": "hourly", "day": "daily", "week": "weekly", "month": "monthly"}

OUTCOMES = ("local", "remote", "miss")
TIME_SAVED = ("local", "remote")


class Chart(NamedTuple):
    """A drawing and the links over it."""

    drawing: Drawing
    points: list[Point]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Three charts of the same buckets, and the table of their numbers.

    Shapes are drawn by `bucket`. Links and the rows of the table are by `point_bucket`, which is
    coarser where there are many buckets.
    """

    bucket: str
    point_bucket: str
    labels: Sequence[str]
    rate: Chart
    outcomes: Chart
    time_saved: Chart
    rows: Sequence[tuple[Point, Bucket]]

    @property
    def table_title(self) -> str:
        return f"Data table ({_ADVERBS[self.point_bucket]})"


def timeline(reports: Reports, context: PageContext, query: PageQuery) -> Timeline:
    """Build the charts of a period. Raises BadRequest for too many buckets."""
    bucket = query.bucket
    count = _count_buckets(query, context)
    point_bucket = bucket if count <= _MAX_POINTS else _COARSER[bucket]
    series = reports.timeseries(query.report, bucket, context.zone)
    point_series = series
    if point_bucket != bucket:
        point_series = reports.timeseries(query.report, point_bucket, context.zone)
    widths = _buckets_per_point(series, point_series)

    def points(describe: Callable[[Bucket], str]) -> list[Point]:
        return [
            Point(
                formatting.bucket_name(point.from_, point_bucket, context.zone),
                describe(point),
                context.link(
                    "/runs",
                    since=formatting.url_time(point.from_),
                    until=formatting.url_time(point.to),
                    **query.filters,
                ),
                width,
            )
            for point, width in zip(point_series.buckets, widths, strict=True)
        ]

    buckets = series.buckets
    labels = [formatting.bucket_label(b.from_, bucket, context.zone) for b in buckets]
    rate = charts.rate_line([_rate(b) for b in buckets])
    outcomes = charts.stacked_bars([_outcomes(b) for b in buckets], OUTCOMES)
    time_saved = charts.stacked_bars(
        [_time_saved(b) for b in buckets], TIME_SAVED, charts.round_up_duration
    )
    return Timeline(
        bucket,
        point_bucket,
        charts.axis_labels(labels),
        Chart(rate, points(_describe_rate)),
        Chart(outcomes, points(_describe_outcomes)),
        Chart(time_saved, points(_describe_time_saved)),
        list(zip(points(_describe_rate), point_series.buckets, strict=True)),
    )


def _count_buckets(query: PageQuery, context: PageContext) -> int:
    try:
        count = len(bucket_starts(query.report.period, query.bucket, context.zone))
    except BadRequest:  # more than reports allow
        count = _MAX_BUCKETS + 1
    if count > _MAX_BUCKETS:
        raise BadRequest(
            f"A chart of this period by {query.bucket} would have more than {_MAX_BUCKETS} "
            "intervals. Choose a shorter period or a longer interval."
        )
    return count


def _buckets_per_point(series: Timeseries, point_series: Timeseries) -> list[int]:
    """Count the buckets of `series` that begin in each bucket of the coarser `point_series`."""
    starts = [bucket.from_ for bucket in series.buckets]
    end_indexes = [bisect_left(starts, bucket.to) for bucket in point_series.buckets]
    return [end - start for start, end in zip([0, *end_indexes], end_indexes, strict=False)]


def _rate(bucket: Bucket) -> Values:
    quartiles = bucket.hit_rate_quartiles
    return (bucket.hit_rate, quartiles.p25, quartiles.p75)


def _describe_rate(bucket: Bucket) -> str:
    if bucket.hit_rate is None:
        return "no tasks"
    quartiles = bucket.hit_rate_quartiles
    return (
        f"hit rate {formatting.percent(bucket.hit_rate)}; middle 50 % of runs: "
        f"{formatting.percent(quartiles.p25)} to {formatting.percent(quartiles.p75)}"
    )


def _outcomes(bucket: Bucket) -> Values:
    return (bucket.local_hits, bucket.remote_hits, bucket.misses)


def _describe_outcomes(bucket: Bucket) -> str:
    return ", ".join(
        (
            format_count(bucket.local_hits, "local hit"),
            format_count(bucket.remote_hits, "remote hit"),
            format_count(bucket.misses, "miss"),
        )
    )


def _time_saved(bucket: Bucket) -> Values:
    return (bucket.time_saved_ms.local, bucket.time_saved_ms.remote)


def _describe_time_saved(bucket: Bucket) -> str:
    saved = bucket.time_saved_ms
    return (
        f"{formatting.duration(saved.local)} saved by local hits, "
        f"{formatting.duration(saved.remote)} by remote hits"
    )
