"""The charts of the overview: hit rate, outcomes and time saved over the parts of a period."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hitrate.analytics.period import bucket_starts
from hitrate.analytics.reports import Reports
from hitrate.api_schemas import Bucket, Timeseries
from hitrate.errors import BadRequest
from hitrate.pages import charts, formatting
from hitrate.pages.charts import Drawing, Point, Values
from hitrate.pages.context import Visit
from hitrate.pages.query import Question

_DRAWN_MOST = 400
_POINTS_MOST = 100
"""Narrower parts could not be met by a finger, nor gone through with the arrow keys."""

_COARSER = {"hour": "day", "day": "week", "week": "month", "month": "month"}

OUTCOMES = ("local", "remote", "miss")
SAVED = ("local", "remote")


@dataclass(frozen=True, slots=True)
class Timeline:
    """Three drawings of the same parts, called `drawn_by`, and under them some `names`; `rows` are
    the numbers behind their points, each of which stands for a `pointed_by`."""

    drawn_by: str
    pointed_by: str
    names: Sequence[str]
    rate: tuple[Drawing, list[Point]]
    outcomes: tuple[Drawing, list[Point]]
    saved: tuple[Drawing, list[Point]]
    rows: Sequence[tuple[Point, Bucket]]


def timeline(reports: Reports, visit: Visit, question: Question) -> Timeline:
    """Raises BadRequest for too many parts."""
    drawn_by = question.bucket
    count = _count_parts(question, visit)
    pointed_by = drawn_by if count <= _POINTS_MOST else _COARSER[drawn_by]
    drawn = reports.timeseries(question.scope, drawn_by, visit.zone)
    pointed = drawn
    if pointed_by != drawn_by:
        pointed = reports.timeseries(question.scope, pointed_by, visit.zone)
    reach = _reach(drawn, pointed)

    def points(says: Callable[[Bucket], str]) -> list[Point]:
        return [
            Point(
                formatting.bucket_name(bucket.from_, pointed_by, visit.zone),
                says(bucket),
                visit.link(
                    "/runs",
                    since=formatting.short_moment(bucket.from_),
                    until=formatting.short_moment(bucket.to),
                    **question.filters,
                ),
                parts,
            )
            for bucket, parts in zip(pointed.buckets, reach, strict=True)
        ]

    parts = drawn.buckets
    return Timeline(
        drawn_by,
        pointed_by,
        charts.labels([formatting.bucket_label(b.from_, drawn_by, visit.zone) for b in parts]),
        (charts.rates([_rate(b) for b in parts]), points(_rate_in_words)),
        (charts.bars([_outcomes(b) for b in parts], OUTCOMES), points(_outcomes_in_words)),
        (charts.bars([_saved(b) for b in parts], SAVED, charts.nice_span), points(_saved_in_words)),
        list(zip(points(_rate_in_words), pointed.buckets, strict=True)),
    )


def _count_parts(question: Question, visit: Visit) -> int:
    try:
        count = len(bucket_starts(question.scope.period, question.bucket, visit.zone))
    except BadRequest:  # there are many more
        count = _DRAWN_MOST + 1
    if count > _DRAWN_MOST:
        raise BadRequest(
            f"A chart of this period by {question.bucket} would have more than {_DRAWN_MOST} "
            "parts: choose a shorter period, or longer parts."
        )
    return count


def _reach(drawn: Timeseries, pointed: Timeseries) -> list[int]:
    """How many of the drawn parts begin in each of the longer ones."""
    starts = [bucket.from_ for bucket in drawn.buckets]
    ends = [bisect_left(starts, bucket.to) for bucket in pointed.buckets]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _rate(bucket: Bucket) -> Values:
    bands = bucket.hit_rate_quartiles
    return (bucket.hit_rate, bands.p25, bands.p75)


def _rate_in_words(bucket: Bucket) -> str:
    if bucket.hit_rate is None:
        return "no tasks"
    bands = bucket.hit_rate_quartiles
    return (
        f"hit rate {formatting.percent(bucket.hit_rate)}; half of the runs between "
        f"{formatting.percent(bands.p25)} and {formatting.percent(bands.p75)}"
    )


def _outcomes(bucket: Bucket) -> Values:
    return (bucket.local_hits, bucket.remote_hits, bucket.misses)


def _outcomes_in_words(bucket: Bucket) -> str:
    return ", ".join(
        (
            formatting.counted(bucket.local_hits, "local hit"),
            formatting.counted(bucket.remote_hits, "remote hit"),
            formatting.counted(bucket.misses, "miss"),
        )
    )


def _saved(bucket: Bucket) -> Values:
    return (bucket.time_saved_ms.local, bucket.time_saved_ms.remote)


def _saved_in_words(bucket: Bucket) -> str:
    saved = bucket.time_saved_ms
    return (
        f"{formatting.duration(saved.local)} saved by local hits, "
        f"{formatting.duration(saved.remote)} by remote hits"
    )
