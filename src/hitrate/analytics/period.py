"""Periods of reports, and the buckets of a time zone that divide them. Pure functions."""

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
    """A half-open interval [`from_ms`, `to_ms`) in UTC milliseconds."""

    from_ms: int
    to_ms: int

    @property
    def previous(self) -> "Period":
        """The period of equal length that ends where this one begins."""
        return Period(self.from_ms - (self.to_ms - self.from_ms), self.from_ms)


def parse_period(since: str | None, until: str | None, now_ms: int) -> Period:
    """Parse the parameters `since` and `until`.

    They default to 30 days ago and to now; the millisecond `now_ms` is part of the period. Raises
    BadRequest.
    """
    from_ms = parse_time_param("since", since or DEFAULT_SINCE, now_ms)
    to_ms = parse_time_param("until", until, now_ms) if until else now_ms + 1
    if from_ms >= to_ms:
        raise BadRequest("since is not before until; send an earlier since, or a later until.")
    return Period(from_ms, to_ms)


def parse_time_zone(name: str) -> tzinfo:
    """Return the time zone with a name such as Europe/Berlin. Raises BadRequest."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise BadRequest(
            f"timezone is {name[:40]!a}; send a name such as Europe/Berlin, or UTC."
        ) from error


def bucket_starts(period: Period, bucket: str, zone: tzinfo) -> list[int]:
    """Return the start of each bucket of a period in UTC milliseconds.

    The first bucket starts with the period, the others at full hours, midnights, Mondays or first
    days of months in `zone`. Raises BadRequest for more than MAX_BUCKETS.
    """
    starts = [period.from_ms]
    local = _floor(datetime.fromtimestamp(period.from_ms / 1000, zone), bucket)
    while True:
        local = _next(local, bucket)
        start_ms = int(local.timestamp() * 1000)
        if start_ms >= period.to_ms:
            return starts
        # Where clocks change, a local hour has no length or occurs twice.
        if start_ms > starts[-1]:
            starts.append(start_ms)
        if len(starts) > MAX_BUCKETS:
            raise BadRequest(
                f"There are more than {MAX_BUCKETS} {bucket} buckets in this period; "
                "send a later since, or a longer bucket."
            )


def _floor(local: datetime, bucket: str) -> datetime:
    """Return the start of the bucket that contains a local time."""
    hour = local.replace(minute=0, second=0, microsecond=0)
    if bucket == "hour":
        return hour
    day = hour.replace(hour=0, fold=0)
    if bucket == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if bucket == "month" else day


def _next(local: datetime, bucket: str) -> datetime:
    """Return the start of the bucket after the one that starts at a local time."""
    if bucket == "hour":
        # Add the hour in UTC, because local time may skip or repeat an hour. Where it skips or
        # repeats half an hour, the next full hour comes sooner than an hour later.
        later = (local.astimezone(UTC) + timedelta(hours=1)).astimezone(local.tzinfo)
        full = later.replace(minute=0, second=0).astimezone(UTC).astimezone(local.tzinfo)
        return full if full.timestamp() > local.timestamp() else later
    if bucket == "month":
        return (local.replace(day=1) + timedelta(days=32)).replace(day=1, fold=0)
    return (local + timedelta(days=1 if bucket == "day" else 7)).replace(fold=0)
