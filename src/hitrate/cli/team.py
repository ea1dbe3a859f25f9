"""`hitrate team`: make and list teams."""

import click

from hitrate.cli.common import accounts, as_json, data_dir_option
from hitrate.cli.output import print_json, print_table
from hitrate.clock import iso
from hitrate.config import Settings


@click.group()
def team() -> None:
    """Make and list teams."""


@team.command()
@click.argument("slug")
@click.option("--name", help="What people call it.")
@as_json
@data_dir_option
def create(settings: Settings, slug: str, name: str | None, json_output: bool) -> None:
    """Make the team SLUG."""
    with accounts(settings, create=True) as store:
        made = store.create_team(slug, name)
    if json_output:
        print_json({"id": made.id, "slug": made.slug, "name": made.name})
    else:
        click.echo(
            f"Team {made.slug} ({made.id}). `hitrate token create --team {made.slug}` is next."
        )


@team.command("list")
@as_json
@data_dir_option
def list_teams(settings: Settings, json_output: bool) -> None:
    """List the teams."""
    with accounts(settings) as store:
        teams = store.teams()
    if json_output:
        print_json(
            [
                {"id": t.id, "slug": t.slug, "name": t.name, "createdAt": iso(t.created_at_ms)}
                for t in teams
            ]
        )
    else:
        rows = [(t.slug, t.name, t.id, iso(t.created_at_ms)) for t in teams]
        print_table(("Slug", "Name", "Id", "Created"), rows)
