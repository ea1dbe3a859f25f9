"""`hitrate stats`: show hit rate and time saved in a period."""

import shutil
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from hitrate.api_schemas import Breakdown, Summary, TaskStats, Timeseries
from hitrate.cli.chart import BLOCKS, LETTERS, chart
from hitrate.cli.options import (
    filter_options,
    json_option,
    since_option,
    target_options,
    until_option,
)
from hitrate.cli.output import (
    can_encode,
    escape_control,
    print_json,
    print_table,
    print_text,
    rate_text,
)
from hitrate.cli.remote import ServerTarget
from hitrate.cli.run_text import STATS_COLUMNS, no_runs_message, stats_cells, time_text
from hitrate.units import format_compact_duration, format_size

_MAX_DAYS_BY_BUCKET = (("hour", 2), ("day", 62), ("week", 366))
_GROUPING_NAMES = {"ci": "CI", "interactive": "terminal"}
_TIME_FORMATS = {"hour": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d", "week": "%Y-%m-%d", "month": "%Y-%m"}


@click.command()
@since_option("7d")
@until_option
@click.option(
    "--bucket",
    type=click.Choice(["hour", "day", "week", "month"]),
    help="Interval of the chart. [default: depends on the length of the period]",
)
@click.option(
    "--by",
    type=click.Choice(["ci", "interactive", "agent", "token", "user"]),
    default="ci",
    show_default=True,
    help="Grouping of the last table.",
)
@click.option("--timezone", metavar="NAME", default="UTC", show_default=True,
              help="Time zone of the chart, such as Europe/Berlin.")  # fmt: skip
@filter_options
@json_option
@target_options
def stats(
    target: ServerTarget,
    since: str,
    until: str | None,
    bucket: str | None,
    by: str,
    timezone: str,
    filters: dict[str, str | None],
    json_output: bool,
) -> None:
    """Show hit rate and time saved in a period.

    Prints totals, compared with the previous period; a chart over time; and a table by --by.
    """
    with target.open() as api:
        summary = api.get(
            "/v1/analytics/summary", Summary, {"since": since, "until": until, **filters}
        )
        current = summary.data
        # Fixed times, because "7d" and "now" would be different times in each request.
        query = {"since": current.from_, "until": current.to, **filters}
        chart_query = {"bucket": bucket or _default_bucket(current), "timezone": timezone}
        series = api.get("/v1/analytics/timeseries", Timeseries, {**query, **chart_query})
        breakdown = api.get("/v1/analytics/breakdown", Breakdown, {**query, "by": by})
    if json_output:
        print_json(
            {"summary": summary.json, "timeseries": series.json, "breakdown": breakdown.json}
        )
    elif not current.runs:
        print_text(no_runs_message(current.from_, current.to, filters))
        if current.previous.runs:
            print_text(
                f"{current.previous.runs:,} runs started in the previous period of the same length."
            )
    else:
        _print_summary(current)
        _print_series(series.data)
        _print_breakdown(breakdown.data)


def _default_bucket(summary: Summary) -> str:
    """Return an interval with which the chart fits on a screen."""
    length = datetime.fromisoformat(summary.to) - datetime.fromisoformat(summary.from_)
    return next((name for name, days in _MAX_DAYS_BY_BUCKET if length.days <= days), "month")


def _print_summary(current: Summary) -> None:
    previous, traffic = current.previous, current.artifacts
    print_text(
        f"Runs that started from {time_text(current.from_)} to {time_text(current.to)} UTC, "
        "compared with the previous period:\n"
    )
    measures = (
        ("Runs", current.runs, previous.runs, _count_text),
        ("Tasks", current.tasks, previous.tasks, _count_text),
        ("Local hits", current.local_hits, previous.local_hits, _count_text),
        ("Remote hits", current.remote_hits, previous.remote_hits, _count_text),
        ("Misses", current.misses, previous.misses, _count_text),
        ("Time saved", current.saved_ms, previous.saved_ms, format_compact_duration),
        (
            "  by local hits",
            current.time_saved_ms.local,
            previous.time_saved_ms.local,
            format_compact_duration,
        ),
        (
            "  by remote hits",
            current.time_saved_ms.remote,
            previous.time_saved_ms.remote,
            format_compact_duration,
        ),
        ("Uploaded", traffic.uploaded_bytes, previous.artifacts.uploaded_bytes, format_size),
        ("Downloaded", traffic.downloaded_bytes, previous.artifacts.downloaded_bytes, format_size),
    )
    rows = [
        (name, text(value), text(previous_value), _change_text(value, previous_value))
        for name, value, previous_value, text in measures
    ]
    rate = (
        "Hit rate",
        rate_text(current.hit_rate),
        rate_text(previous.hit_rate),
        _rate_change_text(current, previous),
    )
    stored = f"{format_size(traffic.stored_bytes)} in {traffic.stored:,}"
    print_table(
        ("", "Current", "Previous", "Change"),
        [*rows[:2], rate, *rows[2:], ("Artifacts stored", stored, "", "")],
        numbers=("Current", "Previous", "Change"),
    )
    if current.anomalies:
        print_text(f"Anomalies: {current.anomalies:,} events with an impossible duration.")


def _print_series(series: Timeseries) -> None:
    zone = _zone(series.timezone)
    print_text(f"\nBy {series.bucket}, {escape_control(str(zone))}:\n")
    intervals = [(_bucket_name(b.from_, series.bucket, zone), b) for b in series.buckets]
    glyphs = BLOCKS if can_encode(str(BLOCKS)) else LETTERS
    print_text("\n".join(chart(intervals, shutil.get_terminal_size().columns, glyphs)) + "\n")


def _print_breakdown(breakdown: Breakdown) -> None:
    print_table(
        (f"By {_GROUPING_NAMES.get(breakdown.by, breakdown.by)}", "Runs", *STATS_COLUMNS),
        [(group.label, _count_text(group.runs), *stats_cells(group)) for group in breakdown.groups],
        numbers=("Runs", *STATS_COLUMNS),
    )


def _zone(name: str) -> tzinfo:
    """Return the time zone that the server used; UTC if this machine does not know it."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def _bucket_name(start: str, bucket: str, zone: tzinfo) -> str:
    return f"{datetime.fromisoformat(start).astimezone(zone):{_TIME_FORMATS[bucket]}}"


def _count_text(count: float) -> str:
    return f"{count:,.0f}"


def _change_text(current: int, previous: int) -> str:
    return f"{(current - previous) / previous * 100:+,.0f} %" if previous else ""


def _rate_change_text(current: TaskStats, previous: TaskStats) -> str:
    if current.hit_rate is None or previous.hit_rate is None:
        return ""
    return f"{(current.hit_rate - previous.hit_rate) * 100:+.1f} points"
