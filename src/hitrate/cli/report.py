"""`hitrate report`: summarize one run for a CI job."""

import re
from fractions import Fraction
from typing import Any

import click

from hitrate.api_schemas import RunDetail, RunPage, TaskInfo, TaskStats
from hitrate.cli.options import filter_options, since_option, target_options
from hitrate.cli.output import CommandError, escape_control, print_json, print_text, rate_text
from hitrate.cli.remote import MAX_PAGE_SIZE, Api, Query, Response, ServerTarget
from hitrate.cli.run import run_path
from hitrate.cli.run_text import headline, time_text
from hitrate.units import format_compact_duration

EXIT_BELOW_THRESHOLD = 3
"""Exit code if the hit rate is below `--fail-under`."""

_MAX_MISSES = 10
_MAX_HASH_LENGTH = 80


class Rate(click.ParamType[Fraction]):
    """Parameter type of a rate from 0 to 1, such as `0.4` or `40%`, without rounding."""

    name = "rate"

    def convert(self, value: Any, param: Any, ctx: Any) -> Fraction:
        match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,9})?)(%?)", str(value).strip())
        rate = Fraction(match[1]) / (100 if match[2] else 1) if match else None
        if rate is None or rate > 1:
            self.fail(f"{value!r} is not a rate; it takes one such as 0.4 or 40%.", param, ctx)
        return rate


@click.command()
@click.option("--session", metavar="SESSION", help="Report the run with this session.")
@click.option("--last", is_flag=True, help="Report the newest run of the token in use.")
@since_option("1d", "1d")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "markdown", "json"]),
    default="text",
    show_default=True,
    help="One line, a summary in Markdown, or the API's response.",
)
@click.option(
    "--fail-under",
    "threshold",
    type=Rate(),
    metavar="RATE",
    help=f"Exit with {EXIT_BELOW_THRESHOLD} if the hit rate is below RATE, such as 0.4 or 40%.",
)
@click.option(
    "--soft",
    is_flag=True,
    help="Exit with 0 if there is no report, because there is no response, no token or no run. "
    "The reason is printed on standard error.",
)
@filter_options
@target_options
@click.pass_context
def report(
    context: click.Context,
    target: ServerTarget,
    session: str | None,
    last: bool,
    since: str,
    output_format: str,
    threshold: Fraction | None,
    soft: bool,
    filters: dict[str, str | None],
) -> None:
    """Report one run: `this run: 18 of 20 tasks from cache, 12m34s saved`.

    Use it in a CI job after the step that runs turbo; see docs/ci.md. --last reports the newest
    run since --since; --ci, --agent, --interactive and --token limit it to matching runs.

    Exit codes: 0 success, or a run without tasks; 1 no report; 2 invalid options; 3 hit rate below
    the threshold.
    """
    if (session is None) == (not last):
        raise click.UsageError("Pass the run: --session SESSION, or --last.")
    try:
        with target.open() as api:
            response = _fetch(api, session or _newest_session(api, since, filters))
            misses = _misses(api, response)
    except CommandError as error:
        if not soft:
            raise
        error.show()
        return
    run = response.data.run
    if output_format == "json":
        print_json(response.json)
    else:
        print_text(
            f"this run: {headline(run)}" if output_format == "text" else markdown(run, misses)
        )
    if threshold is not None and _is_below(run, threshold):
        hit_rate = f"{rate_text(run.hit_rate)} ({run.hits:,} of {run.tasks:,} tasks)"
        click.echo(
            f"hitrate: The hit rate of this run is {hit_rate}, below {float(threshold * 100):g} %.",
            err=True,
        )
        context.exit(EXIT_BELOW_THRESHOLD)


def _newest_session(api: Api, since: str, filters: dict[str, str | None]) -> str:
    """Return the session of the newest run. Raises CommandError if there is none."""
    token = filters["token"] or (None if api.as_operator else "current")
    query: Query = {**filters, "token": token, "since": since, "limit": 1, "fresh": True}
    page = api.get("/v1/runs", RunPage, query).data
    if not page.runs:
        scope = "of the token in use " if token == "current" else ""  # noqa: S105  # reason: no secret
        raise CommandError(
            f"No run {scope}started since {time_text(page.from_)} UTC. Check that turbo uses this "
            "server and token and has tasks to look up, or use --since to look further back."
        )
    return page.runs[0].session_id


def _fetch(api: Api, session: str) -> Response[RunDetail]:
    return api.get(run_path(session), RunDetail, {"fresh": True, "limit": MAX_PAGE_SIZE})


def _misses(api: Api, response: Response[RunDetail]) -> list[TaskInfo]:
    """Return all misses of a run; they come before its hits."""
    misses: list[TaskInfo] = []
    page = response.data
    while True:
        misses += [task for task in page.tasks if task.outcome == "miss"]
        if page.next_cursor is None or len(misses) >= page.run.misses:
            return misses
        query: Query = {"limit": MAX_PAGE_SIZE, "cursor": page.next_cursor}
        page = api.get(run_path(page.run.session_id), RunDetail, query).data


def _is_below(run: TaskStats, threshold: Fraction) -> bool:
    # Exact: 333 of 1000 is not below 33.3 %. A run without tasks passes.
    return run.tasks > 0 and Fraction(run.hits, run.tasks) < threshold


def markdown(run: TaskStats, misses: list[TaskInfo]) -> str:
    """Return a Markdown summary for a CI job's page; text from clients is escaped."""
    saved = run.time_saved_ms
    lines = [
        f"### Remote cache: {headline(run)}",
        "",
        "| | tasks | time saved |",
        "|---|---:|---:|",
        f"| local hits | {run.local_hits:,} | {format_compact_duration(saved.local)} |",
        f"| remote hits | {run.remote_hits:,} | {format_compact_duration(saved.remote)} |",
        f"| misses | {run.misses:,} | |",
    ]
    timed = [(task.duration_ms, task.hash) for task in misses if task.duration_ms]
    slowest = sorted(timed, key=lambda miss: (-miss[0], miss[1]))[:_MAX_MISSES]
    if slowest:
        lines += ["", "Slowest misses:", "", "| task | duration |", "|---|---:|"]
        lines += [
            f"| {code(name)} | {format_compact_duration(duration_ms)} |"
            for duration_ms, name in slowest
        ]
    return "\n".join(lines)


def code(text: str) -> str:
    """Return text as code for a cell of a Markdown table."""
    if len(text) > _MAX_HASH_LENGTH:
        text = text[:_MAX_HASH_LENGTH] + "…"
    if re.fullmatch(r"[\w-]+", text, re.ASCII):
        return f"`{text}`"
    # Backslashes and code spans do not escape everything; character references do.
    return (
        "<code>"
        + "".join(c if c.isalnum() else f"&#{ord(c)};" for c in escape_control(text))
        + "</code>"
    )
