"""`hitrate runs`: list the runs of a period."""

import click

from hitrate.api_schemas import RunPage
from hitrate.cli.options import (
    filter_options,
    json_option,
    since_option,
    target_options,
    until_option,
)
from hitrate.cli.output import print_json, print_table, print_text
from hitrate.cli.remote import ServerTarget
from hitrate.cli.run_text import STATS_COLUMNS, client_text, no_runs_message, stats_cells, time_text
from hitrate.units import format_count


@click.command()
@click.option(
    "--order",
    type=click.Choice(["newest", "best", "worst", "saved", "largest"]),
    default="newest",
    show_default=True,
    help="Sort by start, hit rate (best or worst first), time saved, or tasks.",
)
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="Maximum number of runs."
)
@since_option(None, "30d")
@until_option
@filter_options
@json_option
@target_options
def runs(
    target: ServerTarget,
    order: str,
    limit: int,
    since: str | None,
    until: str | None,
    filters: dict[str, str | None],
    json_output: bool,
) -> None:
    """List runs, one for each turbo command, with hit rate and time saved."""
    query = {"order": order, "since": since, "until": until, **filters}
    with target.open() as api:
        response = api.get_all("/v1/runs", RunPage, "runs", limit, query)
    page = response.data
    if json_output:
        print_json(response.json)
        return
    if not page.runs:
        print_text(no_runs_message(page.from_, page.to, filters))
        return
    print_table(
        ("Started (UTC)", "Session", *STATS_COLUMNS, "By"),
        [
            (time_text(run.started_at), run.session_id, *stats_cells(run), client_text(run.sender))
            for run in page.runs
        ],
        numbers=STATS_COLUMNS,
    )
    if page.next_cursor is not None:
        click.echo(
            f"Showing {format_count(len(page.runs), 'run')}; use --limit for more.", err=True
        )
