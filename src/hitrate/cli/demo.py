"""`hitrate demo`: create a demo team with months of simulated runs."""

import shlex

import click

from hitrate.cli.options import json_option
from hitrate.cli.output import print_json
from hitrate.cli.server_options import accounts, data_dir_option
from hitrate.clock import Clock
from hitrate.config import Settings
from hitrate.datadir import DataDirLock, read_server_info, server_url
from hitrate.demo.create import DemoSummary, check_complete_demo, create_demo
from hitrate.errors import DataDirLocked
from hitrate.units import format_count, format_size

_DAYS_PER_MONTH = 30


@click.command()
@click.option(
    "--team", "slug", metavar="SLUG", default="demo", show_default=True, help="Slug of the team."
)
@click.option(
    "--months",
    type=click.IntRange(1, 12),
    default=3,
    show_default=True,
    help="Length of the simulated period, which ends now.",
)
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    help="Seed of the simulation; another seed gives other runs.",
)
@json_option
@data_dir_option
def demo(settings: Settings, slug: str, months: int, seed: int, json_output: bool) -> None:
    """Create a demo team with months of simulated runs.

    No server may run on the data directory. A demo team that exists already is not changed.
    """
    _check_no_server(settings)
    with DataDirLock(settings), accounts(settings, create=True) as store:
        team = store.teams.find(slug=slug)
        if team is None:
            click.echo(
                f"Simulating {format_count(months, 'month')} of runs; this takes a while.", err=True
            )
            summary = create_demo(settings, store, slug, months * _DAYS_PER_MONTH, seed, Clock())
        else:
            check_complete_demo(store, team)
            summary = None
            click.echo(f"The demo team {slug} exists already; no runs were added.", err=True)
    if json_output:
        print_json(summary)
        return
    if summary is not None:
        _print_summary(summary)
    _print_next_steps(settings, slug)


def _check_no_server(settings: Settings) -> None:
    running = read_server_info(settings.data_dir)
    if running is not None:
        raise DataDirLocked(
            f"Process {running.pid} at {running.url} uses the data directory {settings.data_dir}. "
            "Stop it, or use another directory for the demo: `hitrate demo --data-dir demo-data`, "
            "then `hitrate serve --data-dir demo-data`."
        )


def _print_summary(summary: DemoSummary) -> None:
    click.echo(
        f"Created the demo team {summary.team} with simulated runs since {summary.since[:10]}: "
        f"{summary.runs:,} runs, {summary.tasks:,} tasks,\n"
        f"{summary.hit_rate:.0%} of them hits that saved "
        f"{summary.time_saved_ms / 3_600_000:,.0f} hours; {summary.stored:,} stored artifacts "
        f"({format_size(summary.stored_bytes)})."
    )


def _print_next_steps(settings: Settings, slug: str) -> None:
    data_dir = f"--data-dir {shlex.quote(str(settings.data_dir))}"
    click.echo(
        "\nCreate a user for yourself (this prints a password) and start the server:\n\n"
        f"hitrate user create you@example.com --team {slug} --role OWNER {data_dir}\n"
        f"hitrate serve {data_dir}\n\n"
        f"Then sign in at {server_url(settings)}/login. To create a token for the API:\n\n"
        f"hitrate token create --team {slug} {data_dir}"
    )
