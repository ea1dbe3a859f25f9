"""`hitrate report`: what the cache did for one run, for a step of a CI job."""

import re
from fractions import Fraction
from typing import Any

import click

from hitrate.api_schemas import RunDetail, RunPage, TaskInfo, TaskStats
from hitrate.cli.options import filter_options, place_options, since_option
from hitrate.cli.output import Failed, plain, print_json, print_text, rate_text, span_text
from hitrate.cli.remote import PAGE_MOST, Answer, Api, Place, Query
from hitrate.cli.run import run_path
from hitrate.cli.run_text import headline, time_text

UNDER_THE_MARK = 3
"""The exit code of a run whose hit rate is under `--fail-under`."""

_MISSES_SHOWN = 10
_HASH_SHOWN = 80


class Rate(click.ParamType[Fraction]):
    """A rate as an exact number: `0.4`, or `40%`."""

    name = "rate"

    def convert(self, value: Any, param: Any, ctx: Any) -> Fraction:
        match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,9})?)(%?)", str(value).strip())
        rate = Fraction(match[1]) / (100 if match[2] else 1) if match else None
        if rate is None or rate > 1:
            self.fail(f"{value!r} is no rate; give one such as 0.4, or 40%.", param, ctx)
        return rate


@click.command()
@click.option("--session", metavar="SESSION", help="The run to report, by its session.")
@click.option("--last", is_flag=True, help="The newest run of the token in use.")
@since_option("1d", "1d")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "json"]),
    default="text",
    show_default=True,
    help="A line, a summary for a page, or the API's own answer.",
)
@click.option(
    "--fail-under",
    "mark",
    type=Rate(),
    metavar="RATE",
    help=f"Exit with {UNDER_THE_MARK} if the hit rate is under it; such as 0.4, or 40%.",
)
@click.option(
    "--soft",
    is_flag=True,
    help="Exit with 0 where no report can be had: no answer, no token, no run. It is told on "
    "standard error.",
)
@filter_options
@place_options
@click.pass_context
def report(
    context: click.Context,
    place: Place,
    session: str | None,
    last: bool,
    since: str,
    form: str,
    mark: Fraction | None,
    soft: bool,
    filters: dict[str, str | None],
) -> None:
    """Say what the cache did for one run: `this run: 18 of 20 tasks from cache, 12m34s saved`.

    Meant for a step of a CI job, behind the one that ran turbo; docs/ci.md shows it. --last looks
    no further back than --since, and --ci, --agent, --interactive and --token choose among the
    runs. Exit codes: 0, also for a run without tasks; 1 no report can be had; 2 wrong options;
    3 under the mark.
    """
    if (session is None) == (not last):
        raise click.UsageError("Name the run: --session SESSION, or --last.")
    try:
        with place.open() as api:
            answer = _ask(api, session or _last(api, since, filters))
            misses = _misses(api, answer)
    except Failed as failure:
        if not soft:
            raise
        failure.show()
        return
    run = answer.shown.run
    if form == "json":
        print_json(answer.json)
    else:
        print_text(f"this run: {headline(run)}" if form == "text" else markdown(run, misses))
    if mark is not None and _is_under(run, mark):
        found = f"{rate_text(run.hit_rate)} ({run.hits:,} of {run.tasks:,} tasks)"
        click.echo(
            f"hitrate: The hit rate of this run is {found}, under {float(mark * 100):g} %.",
            err=True,
        )
        context.exit(UNDER_THE_MARK)


def _last(api: Api, since: str, filters: dict[str, str | None]) -> str:
    """The session of the newest run. Raises Failed."""
    token = filters["token"] or (None if api.as_operator else "current")
    query: Query = {**filters, "token": token, "since": since, "limit": 1, "fresh": True}
    page = api.get("/v1/runs", RunPage, query).shown
    if not page.runs:
        of = "of the token in use " if token == "current" else ""  # noqa: S105  # reason: a word
        raise Failed(
            f"No run {of}began since {time_text(page.from_)} UTC. Did turbo use this cache, with "
            "this token, and were there tasks to look up? --since looks further back."
        )
    return page.runs[0].session_id


def _ask(api: Api, session: str) -> Answer[RunDetail]:
    return api.get(run_path(session), RunDetail, {"fresh": True, "limit": PAGE_MOST})


def _misses(api: Api, answer: Answer[RunDetail]) -> list[TaskInfo]:
    """All of them; they come before the hits."""
    misses: list[TaskInfo] = []
    page = answer.shown
    while True:
        misses += [task for task in page.tasks if task.outcome == "miss"]
        if page.next_cursor is None or len(misses) >= page.run.misses:
            return misses
        query: Query = {"limit": PAGE_MOST, "cursor": page.next_cursor}
        page = api.get(run_path(page.run.session_id), RunDetail, query).shown


def _is_under(run: TaskStats, mark: Fraction) -> bool:
    # Exactly: 333 of 1000 is not under 33.3 %. A run without tasks had nothing to find.
    return run.tasks > 0 and Fraction(run.hits, run.tasks) < mark


def markdown(run: TaskStats, misses: list[TaskInfo]) -> str:
    """A summary for the page of a CI job; nothing that a client sent is markup in it."""
    saved = run.time_saved_ms
    lines = [
        f"### Remote cache: {headline(run)}",
        "",
        "| | tasks | time saved |",
        "|---|---:|---:|",
        f"| local hits | {run.local_hits:,} | {span_text(saved.local)} |",
        f"| remote hits | {run.remote_hits:,} | {span_text(saved.remote)} |",
        f"| missed | {run.misses:,} | |",
    ]
    timed = [(task.duration_ms, task.hash) for task in misses if task.duration_ms]
    slowest = sorted(timed, key=lambda one: (-one[0], one[1]))[:_MISSES_SHOWN]
    if slowest:
        lines += ["", "The misses that took longest:", "", "| task | took |", "|---|---:|"]
        lines += [f"| {code(name)} | {span_text(took_ms)} |" for took_ms, name in slowest]
    return "\n".join(lines)


def code(text: str) -> str:
    """Any text as code in a cell of a Markdown table, and as nothing else."""
    if len(text) > _HASH_SHOWN:
        text = text[:_HASH_SHOWN] + "…"
    if re.fullmatch(r"[\w-]+", text, re.ASCII):
        return f"`{text}`"
    # Backslashes and code spans do not hold everywhere what is in them; numbers do.
    return "<code>" + "".join(c if c.isalnum() else f"&#{ord(c)};" for c in plain(text)) + "</code>"
