"""`hitrate stats`: hit rate and time saved in a period."""

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
from hitrate.cli.output import can_show, plain, print_json, print_table, print_text, rate_text
from hitrate.cli.remote import ServerTarget
from hitrate.cli.run_text import STATS_COLUMNS, no_runs_message, stats_cells, time_text
from hitrate.units import format_compact_duration, format_size

_MAX_DAYS_BY_BUCKET = (("hour", 2), ("day", 62), ("week", 366))
_TIME_FORMATS = {"hour": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d", "week": "%Y-%m-%d", "month": "%Y-%m"}


@click.command()
@since_option("7d")
@until_option
@click.option(
    "--bucket",
    type=click.Choice(["hour", "day", "week", "month"]),
    help="Interval of the chart. [default: by the length of the period]",
)
@click.option(
    "--by",
    type=click.Choice(["ci", "interactive", "agent", "token", "user"]),
    default="ci",
    show_default=True,
    help="Grouping of the last table.",
)
@click.option("--timezone", metavar="NAME", default="UTC", show_default=True,
              help="Time zone of days, such as Europe/Berlin.")  # fmt: skip
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
    """Show hit rate and time saved: totals compared with the previous period, over time, and by
    group."""
    with target.open() as api:
        summary = api.get(
            "/v1/analytics/summary", Summary, {"since": since, "until": until, **filters}
        )
        now = summary.data
        # Fixed times, because "7d" and "now" would differ between requests.
        query = {"since": now.from_, "until": now.to, **filters}
        in_time = {"bucket": bucket or _default_bucket(now), "timezone": timezone}
        series = api.get("/v1/analytics/timeseries", Timeseries, {**query, **in_time})
        breakdown = api.get("/v1/analytics/breakdown", Breakdown, {**query, "by": by})
    if json_output:
        print_json(
            {"summary": summary.json, "timeseries": series.json, "breakdown": breakdown.json}
        )
    elif not now.runs:
        print_text(no_runs_message(now.from_, now.to, filters))
        if now.previous.runs:
            print_text(
                f"{now.previous.runs:,} runs started in the previous period of the same length."
            )
    else:
        _print_summary(now)
        _print_series(series.data)
        _print_breakdown(breakdown.data)


def _default_bucket(summary: Summary) -> str:
    """Return an interval for which the chart fits on a screen."""
    length = datetime.fromisoformat(summary.to) - datetime.fromisoformat(summary.from_)
    return next((name for name, days in _MAX_DAYS_BY_BUCKET if length.days <= days), "month")


def _print_summary(now: Summary) -> None:
    previous, traffic = now.previous, now.artifacts
    print_text(
        f"Runs that started from {time_text(now.from_)} to {time_text(now.to)} UTC, "
        "compared with the previous period:\n"
    )
    amounts = (
        ("Runs", now.runs, previous.runs, _number),
        ("Tasks", now.tasks, previous.tasks, _number),
        ("Local hits", now.local_hits, previous.local_hits, _number),
        ("Remote hits", now.remote_hits, previous.remote_hits, _number),
        ("Misses", now.misses, previous.misses, _number),
        ("Time saved", now.saved_ms, previous.saved_ms, format_compact_duration),
        (
            "  by local hits",
            now.time_saved_ms.local,
            previous.time_saved_ms.local,
            format_compact_duration,
        ),
        (
            "  by remote hits",
            now.time_saved_ms.remote,
            previous.time_saved_ms.remote,
            format_compact_duration,
        ),
        ("Uploaded", traffic.uploaded_bytes, previous.artifacts.uploaded_bytes, format_size),
        ("Downloaded", traffic.downloaded_bytes, previous.artifacts.downloaded_bytes, format_size),
    )
    rows = [
        (name, text(amount), text(before), _change(amount, before))
        for name, amount, before, text in amounts
    ]
    rate = (
        "Hit rate",
        rate_text(now.hit_rate),
        rate_text(previous.hit_rate),
        _point_change(now, previous),
    )
    stored = f"{format_size(traffic.stored_bytes)} in {traffic.stored:,}"
    print_table(
        ("", "Current", "Previous", "Change"),
        [*rows[:2], rate, *rows[2:], ("Artifacts stored", stored, "", "")],
        numbers=("Current", "Previous", "Change"),
    )
    if now.anomalies:
        print_text(f"Anomalies: {now.anomalies:,} events with an impossible duration.")


def _print_series(series: Timeseries) -> None:
    zone = _zone(series.timezone)
    print_text(f"\nBy {series.bucket}, {plain(str(zone))}:\n")
    named = [(_name(part.from_, series.bucket, zone), part) for part in series.buckets]
    glyphs = BLOCKS if can_show(str(BLOCKS)) else LETTERS
    print_text("\n".join(chart(named, shutil.get_terminal_size().columns, glyphs)) + "\n")


def _print_breakdown(breakdown: Breakdown) -> None:
    print_table(
        (f"By {breakdown.by}", "Runs", *STATS_COLUMNS),
        [(group.label, _number(group.runs), *stats_cells(group)) for group in breakdown.groups],
        numbers=("Runs", *STATS_COLUMNS),
    )


def _zone(name: str) -> tzinfo:
    """Return the time zone that the server used; UTC if this machine does not know it."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def _name(start: str, bucket: str, zone: tzinfo) -> str:
    return f"{datetime.fromisoformat(start).astimezone(zone):{_TIME_FORMATS[bucket]}}"


def _number(amount: float) -> str:
    return f"{amount:,.0f}"


def _change(now: int, before: int) -> str:
    return f"{(now - before) / before * 100:+,.0f} %" if before else ""


def _point_change(now: TaskStats, previous: TaskStats) -> str:
    if now.hit_rate is None or previous.hit_rate is None:
        return ""
    return f"{(now.hit_rate - previous.hit_rate) * 100:+.1f} points"
