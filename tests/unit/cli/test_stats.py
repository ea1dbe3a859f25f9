"""`hitrate stats`: the API's numbers, in a terminal, a pipe and as JSON."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from click import unstyle

from hitrate.api_schemas import TaskStats, TimeSaved
from hitrate.cli.chart import BLOCKS, LETTERS, Glyphs, chart
from hitrate.cli.output import plain_table
from hitrate.units import format_compact_duration, format_size
from tests.support.remote_cli import Workshop
from tests.support.server import Server

Period = dict[str, str]


@pytest.fixture(scope="module")
def workshop(shared_server: Server) -> Workshop:
    """Two runs, one after the other."""
    workshop = Workshop(shared_server)
    workshop.record_run("earlier", hits=1, misses=3)
    workshop.record(
        "later",
        {"hash": "a1", "duration": 61_000},
        {"hash": "a2", "source": "REMOTE", "duration": 3_600_000},
        {"hash": "a3", "event": "MISS"},
        artifact_client_ci="GITHUB_ACTIONS",
    )
    return workshop


@pytest.fixture(scope="module")
def period(workshop: Workshop) -> Period:
    """Has the later run; the one before, equally long, the earlier."""
    later, earlier = (
        datetime.fromisoformat(run["startedAt"]) for run in workshop.ask("/v1/runs")["runs"]
    )
    until = later + (later - earlier) + timedelta(milliseconds=1)
    return {"since": later.isoformat(), "until": until.isoformat()}


def options(query: dict[str, str]) -> list[str]:
    return [word for name, value in query.items() for word in (f"--{name}", value)]


def rows(printed: str) -> dict[str, list[str]]:
    """The lines of a table by their first cell; cells stand two blanks apart."""
    lines = ([cell for cell in line.split("  ") if cell.strip()] for line in printed.splitlines())
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines if line}


@pytest.mark.parametrize("by", ["ci", "interactive", "agent", "token", "user"])
@pytest.mark.parametrize("filters", [{}, {"ci": "GITHUB_ACTIONS"}, {"ci": "none"}], ids=str)
def test_json_is_the_apis_own(
    workshop: Workshop, period: Period, by: str, filters: dict[str, str]
) -> None:
    query = {**period, **filters}
    in_time = {"bucket": "hour", "timezone": "Asia/Kolkata"}
    shown = workshop.json("stats", *options({**query, **in_time}), "--by", by)
    assert shown == {
        "summary": workshop.ask("/v1/analytics/summary", **query),
        "timeseries": workshop.ask("/v1/analytics/timeseries", **query, **in_time),
        "breakdown": workshop.ask("/v1/analytics/breakdown", **query, by=by),
    }
    assert (shown["summary"]["runs"] == 0) == (filters == {"ci": "none"})


def test_its_parts_are_of_one_period_though_time_goes_by(workshop: Workshop) -> None:
    parts = workshop.json("stats", "--since", "7d")
    assert len({(part["from"], part["to"]) for part in parts.values()}) == 1


def test_the_table_shows_the_apis_numbers_and_those_of_the_period_before(
    workshop: Workshop, period: Period
) -> None:
    shown = rows(workshop.ok("stats", *options(period)))
    now = workshop.ask("/v1/analytics/summary", **period)
    assert (now["runs"], now["previous"]["runs"]) == (1, 1)
    assert shown["Runs"] == ["1", "1", "+0 %"]
    assert shown["Tasks"] == ["3", "4", "-25 %"]
    assert shown["Hit rate"] == ["66.7 %", "25.0 %", "+41.7 points"]
    assert shown["Local hits"] == ["1", "0"]
    assert shown["Remote hits"] == ["1", "1", "+0 %"]
    assert shown["Missed"] == ["1", "3", "-67 %"]
    assert shown["Time saved"] == ["1h01m", "1.0s", "+366,000 %"]
    assert shown["by local hits"] == ["1m01s", "0s"]
    assert shown["GITHUB_ACTIONS"] == ["1", "3", "66.7 %", "1", "1", "1", "1h01m"]


@pytest.mark.parametrize(
    ("since", "bucket"), [("2d", "hour"), ("30d", "day"), ("300d", "week"), ("800d", "month")]
)
def test_the_bars_are_as_long_as_suits_the_period(
    workshop: Workshop, since: str, bucket: str
) -> None:
    assert workshop.json("stats", "--since", since)["timeseries"]["bucket"] == bucket


def test_a_bar_is_named_by_the_time_zone(workshop: Workshop) -> None:
    period = {"since": "2026-01-01T00:00:00Z", "until": "2099-01-01", "bucket": "month"}
    assert "\n2026-01  " in workshop.ok("stats", *options(period))
    there = workshop.ok("stats", *options(period), "--timezone", "America/New_York")
    assert "By month, America/New_York:" in there
    assert "\n2025-12  " in there


def test_a_period_without_runs_says_what_may_help(workshop: Workshop) -> None:
    said = workshop.ok("stats", "--since", "2020-01-01", "--until", "2020-02-01")
    assert "No run began from 2020-01-01 00:00 to 2020-02-01 00:00 UTC" in said
    assert "--since looks further back" in said
    assert "that these filters let through" in workshop.ok("stats", "--agent", "nobody")


def test_a_period_without_runs_tells_of_those_before(workshop: Workshop, period: Period) -> None:
    later = datetime.fromisoformat(period["since"]) + timedelta(milliseconds=1)
    until = later + timedelta(days=1)
    said = workshop.ok("stats", "--since", later.isoformat(), "--until", until.isoformat())
    assert "In the period before, as long as this, 2 began." in said


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (["--since", "soon"], "since is 'soon'"),
        (["--timezone", "Mars/Base"], "timezone is 'Mars/Base'"),
        (["--since", "3000-01-01"], "since is not before until"),
        (["--since", "2000-01-01", "--bucket", "hour"], "longer bucket"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_what_the_api_refuses_is_one_clear_line(
    workshop: Workshop, wrong: list[str], word: str
) -> None:
    assert word in workshop.refused("stats", *wrong)


def test_the_summary_is_of_both_ways_the_same(workshop: Workshop, period: Period) -> None:
    arguments = ["stats", *options(period), "--team", workshop.slug]
    assert workshop.operator(*arguments).stdout == workshop.ok(*arguments)


def test_a_pipe_gets_no_colours_and_a_terminal_does_unless_told_not_to(
    workshop: Workshop, period: Period
) -> None:
    arguments = ["stats", *options(period)]
    piped = workshop.process(*arguments)
    assert piped.returncode == 0, piped.stderr
    assert "\x1b" not in piped.stdout
    assert "█" in piped.stdout
    assert "\x1b[32m█" in workshop.in_terminal(*arguments)
    assert "\x1b[3" not in workshop.in_terminal(*arguments, NO_COLOR="1")
    assert "\x1b" not in workshop.in_terminal(*arguments, TERM="dumb")


def test_an_output_without_blocks_gets_letters(workshop: Workshop, period: Period) -> None:
    shown = workshop.in_terminal("stats", *options(period), PYTHONIOENCODING="ascii", NO_COLOR="1")
    assert "# local  = remote  - missed" in shown
    assert shown.isascii()


def counts(local: int, remote: int, misses: int) -> TaskStats:
    tasks = local + remote + misses
    rate = (local + remote) / tasks if tasks else None
    return TaskStats(
        tasks, local, remote, misses, rate, TimeSaved(0, 0), events=tasks, duplicates=0, anomalies=0
    )


def drawn(*parts: tuple[str, TaskStats], width: int = 100, ink: Glyphs = LETTERS) -> list[str]:
    """The lines of a chart, without colours."""
    return [unstyle(line) for line in chart(parts, width, ink)]


def test_a_bar_is_as_long_as_the_tasks_are_many() -> None:
    parts = ("a", counts(40, 40, 20)), ("b", counts(20, 20, 10)), ("c", counts(0, 0, 0))
    title, busy, calm, idle = drawn(*parts, ink=BLOCKS)
    room = busy.count("▓") + busy.count("░")
    assert calm.count("▓") + calm.count("░") == pytest.approx(room / 2, abs=1)
    assert busy.count("▓") == pytest.approx(2 * busy.count("░"), abs=2)
    assert "80.0 %" in busy
    assert idle.split() == ["c", "-", "0"]
    assert "hit rate" in title


def test_a_bucket_with_one_task_beside_thousands_shows_something() -> None:
    _, one, _ = drawn(("a", counts(0, 1, 0)), ("b", counts(9999, 0, 0)))
    assert one.endswith("=")


@pytest.mark.parametrize("width", [20, 80, 100, 500])
def test_lines_fit_the_terminal_unless_it_is_very_narrow(width: int) -> None:
    parts = ("2026-11-21", counts(1000, 500, 250)), ("2026-11-22", counts(1, 0, 2))
    longest = max(map(len, drawn(*parts, width=width)))
    assert longest <= max(width, 80)
    assert width < 80 or longest > 70


@pytest.mark.parametrize(
    ("span_ms", "text"),
    [(0, "0s"), (350, "350ms"), (999.4, "999ms"), (999.6, "1.0s"), (12_400, "12.4s"),
     (59_949, "59.9s"), (59_950, "1m00s"), (754_000, "12m34s"), (3_599_600, "1h00m"),
     (11_100_000, "3h05m"), (187_200_000, "2d04h"), (10**12, "11,574d01h")],
)  # fmt: skip
def test_a_span_is_told_in_its_two_largest_units(span_ms: float, text: str) -> None:
    assert format_compact_duration(span_ms) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (999_949, "999.9 kB"), (999_960, "1.0 MB"),
     (5 * 10**12, "5.0 TB"), (5 * 10**15, "5000.0 TB")],
)  # fmt: skip
def test_a_size_is_told_in_its_largest_unit(size: int, text: str) -> None:
    assert format_size(size) == text


def test_a_plain_table_has_every_value_whole() -> None:
    table: list[Any] = [["a" * 300, "1"], ["b", "22"]]
    lines = plain_table(["Name", "N"], table, [False, True])
    assert lines == [f"{'Name':300}   N", f"{'-' * 300}  --", f"{'a' * 300}   1", f"{'b':300}  22"]
