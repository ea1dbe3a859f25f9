"""Spans of time that reports are about: `since` and `until`, and where hours, days, weeks and
months begin in a time zone. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from hitrate.errors import BadRequest
from hitrate.timeparse import parse_time_param

DEFAULT_SINCE = "30d"
BUCKETS = ("hour", "day", "week", "month")
MAX_BUCKETS = 1500


@dataclass(frozen=True, slots=True)
class Period:
    """From a moment up to, not including, another; in UTC milliseconds."""

    from_ms: int
    to_ms: int

    @property
    def previous(self) -> "Period":
        """The one before it, equally long."""
        return Period(self.from_ms - (self.to_ms - self.from_ms), self.from_ms)


def period(since: str | None, until: str | None, now_ms: int) -> Period:
    """What `since` (30 days ago) and `until` (now, this millisecond included) say.

    Raises BadRequest.
    """
    from_ms = parse_time_param("since", since or DEFAULT_SINCE, now_ms)
    to_ms = parse_time_param("until", until, now_ms) if until else now_ms + 1
    if from_ms >= to_ms:
        raise BadRequest("since is not before until; send an earlier since, or a later until.")
    return Period(from_ms, to_ms)


def time_zone(name: str) -> tzinfo:
    """The zone of a name such as Europe/Berlin. Raises BadRequest."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise BadRequest(
            f"timezone is {name[:40]!a}; send a name such as Europe/Berlin, or UTC."
        ) from error


def bucket_starts(span: Period, bucket: str, zone: tzinfo) -> list[int]:
    """Where the buckets of a period begin, the first with the period itself; UTC milliseconds.

    Raises BadRequest when they are too many.
    """
    starts = [span.from_ms]
    moment = _floor(datetime.fromtimestamp(span.from_ms / 1000, zone), bucket)
    while True:
        moment = _next(moment, bucket)
        at_ms = int(moment.timestamp() * 1000)
        if at_ms >= span.to_ms:
            return starts
        if at_ms > starts[-1]:  # where clocks go forward or back an hour has no length, or two
            starts.append(at_ms)
        if len(starts) > MAX_BUCKETS:
            raise BadRequest(
                f"There are more than {MAX_BUCKETS} {bucket} buckets in this period; "
                "send a later since, or a longer bucket."
            )


def _floor(moment: datetime, bucket: str) -> datetime:
    moment = moment.replace(minute=0, second=0, microsecond=0)
    if bucket == "hour":
        return moment
    day = moment.replace(hour=0, fold=0)
    if bucket == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if bucket == "month" else day


def _next(moment: datetime, bucket: str) -> datetime:
    if bucket == "hour":
        # Through UTC: on the wall an hour may be missing, or there twice. Or half of one: then the
        # next begins sooner.
        later = (moment.astimezone(UTC) + timedelta(hours=1)).astimezone(moment.tzinfo)
        whole = later.replace(minute=0, second=0).astimezone(UTC).astimezone(moment.tzinfo)
        return whole if whole.timestamp() > moment.timestamp() else later
    if bucket == "month":
        return (moment.replace(day=1) + timedelta(days=32)).replace(day=1, fold=0)
    return (moment + timedelta(days=1 if bucket == "day" else 7)).replace(fold=0)
