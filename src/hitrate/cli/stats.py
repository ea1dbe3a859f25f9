"""`hitrate stats`: hit rate and time saved of a period."""

import shutil
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from hitrate.api_schemas import Breakdown, Summary, TaskStats, Timeseries
from hitrate.cli.chart import BLOCKS, LETTERS, chart
from hitrate.cli.options import (
    filter_options,
    json_option,
    place_options,
    since_option,
    until_option,
)
from hitrate.cli.output import (
    can_show,
    plain,
    print_json,
    print_table,
    print_text,
    rate_text,
    size_text,
    span_text,
)
from hitrate.cli.remote import Place
from hitrate.cli.run_text import STATS_COLUMNS, no_runs_message, stats_cells, time_text

_LONGEST_OF = (("hour", 2), ("day", 62), ("week", 366))
_NAME_LENGTHS = {"hour": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d", "week": "%Y-%m-%d", "month": "%Y-%m"}


@click.command()
@since_option("7d")
@until_option
@click.option(
    "--bucket",
    type=click.Choice(["hour", "day", "week", "month"]),
    help="How long a bar of the chart is. [default: by the length of the period]",
)
@click.option(
    "--by",
    type=click.Choice(["ci", "interactive", "agent", "token", "user"]),
    default="ci",
    show_default=True,
    help="What the runs of a row of the last table have in common.",
)
@click.option("--timezone", metavar="NAME", default="UTC", show_default=True,
              help="Where days begin, such as Europe/Berlin.")  # fmt: skip
@filter_options
@json_option
@place_options
def stats(
    place: Place,
    since: str,
    until: str | None,
    bucket: str | None,
    by: str,
    timezone: str,
    filters: dict[str, str | None],
    json_output: bool,
) -> None:
    """Show the hit rate and the time saved: in all, compared with the period before; over time;
    and by who ran it."""
    with place.open() as api:
        summary = api.get(
            "/v1/analytics/summary", Summary, {"since": since, "until": until, **filters}
        )
        now = summary.shown
        # "7d" and "now" would be others a moment later.
        query = {"since": now.from_, "until": now.to, **filters}
        in_time = {"bucket": bucket or _usual_bucket(now), "timezone": timezone}
        series = api.get("/v1/analytics/timeseries", Timeseries, {**query, **in_time})
        breakdown = api.get("/v1/analytics/breakdown", Breakdown, {**query, "by": by})
    if json_output:
        print_json(
            {"summary": summary.json, "timeseries": series.json, "breakdown": breakdown.json}
        )
    elif not now.runs:
        print_text(no_runs_message(now.from_, now.to, filters))
        if now.previous.runs:
            print_text(f"In the period before, as long as this, {now.previous.runs:,} began.")
    else:
        _print_summary(now)
        _print_series(series.shown)
        _print_breakdown(breakdown.shown)


def _usual_bucket(summary: Summary) -> str:
    """One that gives a chart of a page or so."""
    length = datetime.fromisoformat(summary.to) - datetime.fromisoformat(summary.from_)
    return next((name for name, days in _LONGEST_OF if length.days <= days), "month")


def _print_summary(now: Summary) -> None:
    then, moved = now.previous, now.artifacts
    print_text(
        f"Runs that began from {time_text(now.from_)} to {time_text(now.to)} UTC, "
        "and those of the period before:\n"
    )
    amounts = (
        ("Runs", now.runs, then.runs, _number),
        ("Tasks", now.tasks, then.tasks, _number),
        ("Local hits", now.local_hits, then.local_hits, _number),
        ("Remote hits", now.remote_hits, then.remote_hits, _number),
        ("Missed", now.misses, then.misses, _number),
        ("Time saved", now.saved_ms, then.saved_ms, span_text),
        ("  by local hits", now.time_saved_ms.local, then.time_saved_ms.local, span_text),
        ("  by remote hits", now.time_saved_ms.remote, then.time_saved_ms.remote, span_text),
        ("Uploaded", moved.uploaded_bytes, then.artifacts.uploaded_bytes, size_text),
        ("Downloaded", moved.downloaded_bytes, then.artifacts.downloaded_bytes, size_text),
    )
    rows = [
        (name, told(amount), told(before), _change(amount, before))
        for name, amount, before, told in amounts
    ]
    rate = ("Hit rate", rate_text(now.hit_rate), rate_text(then.hit_rate), _points(now, then))
    stored = f"{size_text(moved.stored_bytes)} in {moved.stored:,}"
    print_table(
        ("", "Now", "Before", "Change"),
        [*rows[:2], rate, *rows[2:], ("Artifacts stored", stored, "", "")],
        numbers=("Now", "Before", "Change"),
    )
    if now.anomalies:
        print_text(f"{now.anomalies:,} events told a duration that cannot be.")


def _print_series(series: Timeseries) -> None:
    zone = _zone(series.timezone)
    print_text(f"\nBy {series.bucket}, {plain(str(zone))}:\n")
    named = [(_name(part.from_, series.bucket, zone), part) for part in series.buckets]
    ink = BLOCKS if can_show(str(BLOCKS)) else LETTERS
    print_text("\n".join(chart(named, shutil.get_terminal_size().columns, ink)) + "\n")


def _print_breakdown(breakdown: Breakdown) -> None:
    print_table(
        (f"By {breakdown.by}", "Runs", *STATS_COLUMNS),
        [(group.label, _number(group.runs), *stats_cells(group)) for group in breakdown.groups],
        numbers=("Runs", *STATS_COLUMNS),
    )


def _zone(name: str) -> tzinfo:
    """The zone that the server named; UTC where this machine does not know it."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def _name(start: str, bucket: str, zone: tzinfo) -> str:
    return f"{datetime.fromisoformat(start).astimezone(zone):{_NAME_LENGTHS[bucket]}}"


def _number(amount: float) -> str:
    return f"{amount:,.0f}"


def _change(now: int, before: int) -> str:
    return f"{(now - before) / before * 100:+,.0f} %" if before else ""


def _points(now: TaskStats, then: TaskStats) -> str:
    if now.hit_rate is None or then.hit_rate is None:
        return ""
    return f"{(now.hit_rate - then.hit_rate) * 100:+.1f} points"
