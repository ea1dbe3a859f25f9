"""`hitrate runs`: the runs of a period."""

import click

from hitrate.cli.options import (
    filter_options,
    json_option,
    place_options,
    since_option,
    until_option,
)
from hitrate.cli.output import print_json, print_table, print_text
from hitrate.cli.remote import Place
from hitrate.cli.shapes import COUNTED, RunPage, counted, moment_text, no_runs, who


@click.command()
@click.option(
    "--order",
    type=click.Choice(["newest", "best", "worst", "saved", "largest"]),
    default="newest",
    show_default=True,
    help="What comes first: by start, hit rate, time saved, or tasks.",
)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most.")
@since_option(None, "30d")
@until_option
@filter_options
@json_option
@place_options
def runs(
    place: Place,
    order: str,
    limit: int,
    since: str | None,
    until: str | None,
    filters: dict[str, str | None],
    json_output: bool,
) -> None:
    """List runs: one for each call of turbo, with its hit rate and the time it saved."""
    query = {"order": order, "since": since, "until": until, **filters}
    with place.open() as api:
        answer = api.get_all("/v1/runs", RunPage, "runs", limit, query)
    page = answer.shown
    if json_output:
        print_json(answer.json)
        return
    if not page.runs:
        print_text(no_runs(page.since, page.until, filters))
        return
    print_table(
        ("Began (UTC)", "Session", *COUNTED, "By"),
        [
            (moment_text(run.started_at), run.session_id, *counted(run), who(run.sender))
            for run in page.runs
        ],
        numbers=COUNTED,
    )
    if page.next_cursor is not None:
        click.echo(f"There are more than these {len(page.runs):,}; --limit shows more.", err=True)
