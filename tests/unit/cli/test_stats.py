"""`hitrate stats`: totals, chart and breakdown, in a terminal, a pipe and as JSON."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from click import unstyle

from hitrate.api_schemas import TaskStats, TimeSaved
from hitrate.cli.chart import BLOCKS, LETTERS, Glyphs, chart
from hitrate.cli.output import plain_table
from hitrate.units import format_compact_duration, format_size
from tests.support.remote_cli import RemoteCli
from tests.support.server import Server

Period = dict[str, str]


@pytest.fixture(scope="module")
def remote_cli(shared_server: Server) -> RemoteCli:
    """The command line for a team with two runs."""
    remote_cli = RemoteCli(shared_server)
    remote_cli.record_run("earlier", hits=1, misses=3)
    remote_cli.record(
        "later",
        {"hash": "a1", "duration": 61_000},
        {"hash": "a2", "source": "REMOTE", "duration": 3_600_000},
        {"hash": "a3", "event": "MISS"},
        artifact_client_ci="GITHUB_ACTIONS",
    )
    return remote_cli


@pytest.fixture(scope="module")
def period(remote_cli: RemoteCli) -> Period:
    """A period with the later run, after a period of equal length with the earlier one."""
    later, earlier = (
        datetime.fromisoformat(run["startedAt"]) for run in remote_cli.get_json("/v1/runs")["runs"]
    )
    until = later + (later - earlier) + timedelta(milliseconds=1)
    return {"since": later.isoformat(), "until": until.isoformat()}


def period_options(query: dict[str, str]) -> list[str]:
    return [word for name, value in query.items() for word in (f"--{name}", value)]


def table_rows(output: str) -> dict[str, list[str]]:
    """Return the cells of each row by its first cell; two spaces separate cells."""
    lines = ([cell for cell in line.split("  ") if cell.strip()] for line in output.splitlines())
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines if line}


@pytest.mark.parametrize("by", ["ci", "interactive", "agent", "token", "user"])
@pytest.mark.parametrize("filters", [{}, {"ci": "GITHUB_ACTIONS"}, {"ci": "none"}], ids=str)
def test_json_is_the_responses_of_the_api(
    remote_cli: RemoteCli, period: Period, by: str, filters: dict[str, str]
) -> None:
    query = {**period, **filters}
    chart_query = {"bucket": "hour", "timezone": "Asia/Kolkata"}
    output = remote_cli.run_json("stats", *period_options({**query, **chart_query}), "--by", by)
    assert output == {
        "summary": remote_cli.get_json("/v1/analytics/summary", **query),
        "timeseries": remote_cli.get_json("/v1/analytics/timeseries", **query, **chart_query),
        "breakdown": remote_cli.get_json("/v1/analytics/breakdown", **query, by=by),
    }
    assert (output["summary"]["runs"] == 0) == (filters == {"ci": "none"})


def test_all_parts_have_the_same_period(remote_cli: RemoteCli) -> None:
    parts = remote_cli.run_json("stats", "--since", "7d")
    assert len({(part["from"], part["to"]) for part in parts.values()}) == 1


def test_the_table_compares_totals_with_the_previous_period(
    remote_cli: RemoteCli, period: Period
) -> None:
    rows = table_rows(remote_cli.run_ok("stats", *period_options(period)))
    summary = remote_cli.get_json("/v1/analytics/summary", **period)
    assert (summary["runs"], summary["previous"]["runs"]) == (1, 1)
    assert rows["Runs"] == ["1", "1", "+0 %"]
    assert rows["Tasks"] == ["3", "4", "-25 %"]
    assert rows["Hit rate"] == ["66.7 %", "25.0 %", "+41.7 points"]
    assert rows["Local hits"] == ["1", "0"]
    assert rows["Remote hits"] == ["1", "1", "+0 %"]
    assert rows["Misses"] == ["1", "3", "-67 %"]
    assert rows["Time saved"] == ["1h01m", "1.0s", "+366,000 %"]
    assert rows["by local hits"] == ["1m01s", "0s"]
    assert rows["GITHUB_ACTIONS"] == ["1", "3", "66.7 %", "1", "1", "1", "1h01m"]


@pytest.mark.parametrize(
    ("since", "bucket"), [("2d", "hour"), ("30d", "day"), ("300d", "week"), ("800d", "month")]
)
def test_the_default_bucket_depends_on_the_period(
    remote_cli: RemoteCli, since: str, bucket: str
) -> None:
    assert remote_cli.run_json("stats", "--since", since)["timeseries"]["bucket"] == bucket


@pytest.mark.parametrize(
    ("by", "title"),
    [("ci", "By CI"), ("interactive", "By terminal"), ("agent", "By agent"), ("token", "By token"),
     ("user", "By user")],
)  # fmt: skip
def test_the_last_table_is_titled_by_its_grouping(
    remote_cli: RemoteCli, period: Period, by: str, title: str
) -> None:
    output = remote_cli.run_ok("stats", *period_options(period), "--by", by)
    assert [line for line in output.splitlines() if line.startswith(title + "  ")]


def test_bucket_names_depend_on_the_time_zone(remote_cli: RemoteCli) -> None:
    period = {"since": "2026-01-01T00:00:00Z", "until": "2099-01-01", "bucket": "month"}
    assert "\n2026-01  " in remote_cli.run_ok("stats", *period_options(period))
    new_york = remote_cli.run_ok("stats", *period_options(period), "--timezone", "America/New_York")
    assert "By month, America/New_York:" in new_york
    assert "\n2025-12  " in new_york


def test_a_period_without_runs_explains_how_to_look_further_back(remote_cli: RemoteCli) -> None:
    output = remote_cli.run_ok("stats", "--since", "2020-01-01", "--until", "2020-02-01")
    assert "No run started from 2020-01-01 00:00 to 2020-02-01 00:00 UTC" in output
    assert "Use --since to look further back" in output
    assert "that matches the filters" in remote_cli.run_ok("stats", "--agent", "nobody")


def test_a_period_without_runs_counts_those_of_the_previous_period(
    remote_cli: RemoteCli, period: Period
) -> None:
    later = datetime.fromisoformat(period["since"]) + timedelta(milliseconds=1)
    until = later + timedelta(days=1)
    output = remote_cli.run_ok("stats", "--since", later.isoformat(), "--until", until.isoformat())
    assert "2 runs started in the previous period of the same length." in output


@pytest.mark.parametrize(
    ("invalid_options", "message"),
    [
        (["--since", "soon"], "since is 'soon'"),
        (["--timezone", "Mars/Base"], "timezone is 'Mars/Base'"),
        (["--since", "3000-01-01"], "since is not before until"),
        (["--since", "2000-01-01", "--bucket", "hour"], "longer bucket"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_an_error_of_the_api_is_reported_in_one_line(
    remote_cli: RemoteCli, invalid_options: list[str], message: str
) -> None:
    assert message in remote_cli.run_error("stats", *invalid_options)


def test_operator_and_token_see_the_same_statistics(remote_cli: RemoteCli, period: Period) -> None:
    arguments = ["stats", *period_options(period), "--team", remote_cli.slug]
    assert remote_cli.run_as_operator(*arguments).stdout == remote_cli.run_ok(*arguments)


def test_colors_are_printed_only_on_a_terminal_without_no_color(
    remote_cli: RemoteCli, period: Period
) -> None:
    arguments = ["stats", *period_options(period)]
    piped = remote_cli.run_process(*arguments)
    assert piped.returncode == 0, piped.stderr
    assert "\x1b" not in piped.stdout
    assert "█" in piped.stdout
    assert "\x1b[32m█" in remote_cli.run_in_terminal(*arguments)
    assert "\x1b[3" not in remote_cli.run_in_terminal(*arguments, NO_COLOR="1")
    assert "\x1b" not in remote_cli.run_in_terminal(*arguments, TERM="dumb")


def test_an_encoding_without_block_characters_gets_letters(
    remote_cli: RemoteCli, period: Period
) -> None:
    output = remote_cli.run_in_terminal(
        "stats", *period_options(period), PYTHONIOENCODING="ascii", NO_COLOR="1"
    )
    assert "# local  = remote  - miss" in output
    assert output.isascii()


def task_stats(local: int, remote: int, misses: int) -> TaskStats:
    tasks = local + remote + misses
    rate = (local + remote) / tasks if tasks else None
    return TaskStats(
        tasks, local, remote, misses, rate, TimeSaved(0, 0), events=tasks, duplicates=0, anomalies=0
    )


def plain_chart(
    *intervals: tuple[str, TaskStats], width: int = 100, glyphs: Glyphs = LETTERS
) -> list[str]:
    """Return the lines of a chart without colors."""
    return [unstyle(line) for line in chart(intervals, width, glyphs)]


def test_the_length_of_a_bar_is_proportional_to_the_number_of_tasks() -> None:
    intervals = (
        ("a", task_stats(40, 40, 20)),
        ("b", task_stats(20, 20, 10)),
        ("c", task_stats(0, 0, 0)),
    )
    title, large, small, empty = plain_chart(*intervals, glyphs=BLOCKS)
    length = large.count("▓") + large.count("░")
    assert small.count("▓") + small.count("░") == pytest.approx(length / 2, abs=1)
    assert large.count("▓") == pytest.approx(2 * large.count("░"), abs=2)
    assert "80.0 %" in large
    assert empty.split() == ["c", "-", "0"]
    assert "hit rate" in title


def test_a_bucket_with_one_task_among_thousands_has_a_bar() -> None:
    _, small, _ = plain_chart(("a", task_stats(0, 1, 0)), ("b", task_stats(9999, 0, 0)))
    assert small.endswith("=")


@pytest.mark.parametrize("width", [20, 80, 100, 500])
def test_chart_lines_fit_a_terminal_of_80_columns_or_more(width: int) -> None:
    intervals = ("2026-11-21", task_stats(1000, 500, 250)), ("2026-11-22", task_stats(1, 0, 2))
    longest = max(map(len, plain_chart(*intervals, width=width)))
    assert longest <= max(width, 80)
    assert width < 80 or longest > 70


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [(0, "0s"), (350, "350ms"), (999.4, "999ms"), (999.6, "1.0s"), (12_400, "12.4s"),
     (59_949, "59.9s"), (59_950, "1m00s"), (754_000, "12m34s"), (3_599_600, "1h00m"),
     (11_100_000, "3h05m"), (187_200_000, "2d04h"), (10**12, "11,574d01h")],
)  # fmt: skip
def test_a_compact_duration_has_at_most_two_units(duration_ms: float, text: str) -> None:
    assert format_compact_duration(duration_ms) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (999_949, "999.9 kB"), (999_960, "1.0 MB"),
     (5 * 10**12, "5.0 TB"), (5 * 10**15, "5.0 PB"), (5 * 10**18, "5,000.0 PB")],
)  # fmt: skip
def test_a_size_is_in_its_largest_unit(size: int, text: str) -> None:
    assert format_size(size) == text


def test_a_plain_table_truncates_no_value() -> None:
    table: list[Any] = [["a" * 300, "1"], ["b", "22"]]
    lines = plain_table(["Name", "N"], table, [False, True])
    assert lines == [f"{'Name':300}   N", f"{'-' * 300}  --", f"{'a' * 300}   1", f"{'b':300}  22"]
