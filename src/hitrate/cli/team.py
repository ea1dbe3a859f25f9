"""`hitrate team`: create and list teams, change their settings and members."""

from typing import Any

import click
import msgspec

from hitrate.billing.meter_file import MeterFile
from hitrate.billing.quotas import TeamState, state_from_file
from hitrate.cli.options import json_option
from hitrate.cli.output import print_json, print_table
from hitrate.cli.server_options import (
    accounts,
    count_or_none,
    data_dir_option,
    find_team,
    role_option,
)
from hitrate.cli.team_billing import audit, billing, block, limit, payment, unblock, usage
from hitrate.clock import Clock, iso
from hitrate.config import Settings
from hitrate.errors import BadRequest
from hitrate.management.schemas import MemberResponse, TeamSettingsResponse
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR, Team
from hitrate.teams.settings import SettingsPatch, apply_settings

_ON_OFF = {"on": True, "off": False}


@click.group()
def team() -> None:
    """Manage teams: settings, members, limits and billing."""


for _command in (limit, billing, block, unblock, payment, usage, audit):
    team.add_command(_command)


@team.command()
@click.argument("slug")
@click.option("--name", help="Display name.")
@click.option("--owner", "email", help="Email of an existing user who becomes OWNER.")
@json_option
@data_dir_option
def create(
    settings: Settings, slug: str, name: str | None, email: str | None, json_output: bool
) -> None:
    """Create the team SLUG."""
    with accounts(settings, create=True) as store:
        owner = None if email is None else store.users.get(email)
        created = store.teams.create(slug, name)
        if owner is not None:
            store.members.add(created, owner, Role.OWNER, OPERATOR)
    if json_output:
        print_json({"id": created.id, "slug": created.slug, "name": created.name})
    else:
        click.echo(
            f"Created team {created.slug} ({created.id}). Next: "
            f"`hitrate token create --team {created.slug}`"
        )


@team.command("list")
@json_option
@data_dir_option
def list_teams(settings: Settings, json_output: bool) -> None:
    """List all teams and their states."""
    with accounts(settings) as store:
        teams = [(team, _team_state(settings, team)) for team in store.teams.all()]
    if json_output:
        print_json(
            [
                {
                    "id": team.id,
                    "slug": team.slug,
                    "name": team.name,
                    "createdAt": iso(team.created_at_ms),
                    "state": state,
                }
                for team, state in teams
            ]
        )
    else:
        rows = [
            (team.slug, team.name, team.id, iso(team.created_at_ms), state) for team, state in teams
        ]
        print_table(("Slug", "Name", "Id", "Created", "State"), rows)


@team.command("set")
@click.argument("slug")
@click.option("--name", help="Display name.")
@click.option(
    "--remote-caching", type=click.Choice(list(_ON_OFF)), help="Turn Remote Caching on or off."
)
@click.option(
    "--requests-per-minute", metavar="N", help="Rate limit of the team; 'none': unlimited."
)
@json_option
@data_dir_option
def set_(
    settings: Settings,
    slug: str,
    name: str | None,
    remote_caching: str | None,
    requests_per_minute: str | None,
    json_output: bool,
) -> None:
    """Change the settings of the team SLUG. Without options, show them."""
    changes: dict[str, Any] = {}
    if remote_caching is not None:
        changes["remoteCaching"] = _ON_OFF[remote_caching]
    if requests_per_minute is not None:
        changes["requestsPerMinute"] = count_or_none(requests_per_minute, "--requests-per-minute")
    patch = msgspec.convert(changes, SettingsPatch)
    with accounts(settings) as store:
        current = find_team(store, slug)
        if name is not None or changes:
            current = store.teams.change(
                current,
                lambda settings: apply_settings(patch, settings),
                OPERATOR,
                "settings.change",
                name=name,
            )
    info = TeamSettingsResponse.from_team(current, _team_state(settings, current))
    if json_output:
        print_json(info)
    else:
        print_table(("Setting", ""), list(msgspec.to_builtins(info).items()))


@team.command()
@click.argument("slug")
@json_option
@data_dir_option
def members(settings: Settings, slug: str, json_output: bool) -> None:
    """List the members of the team SLUG."""
    with accounts(settings) as store:
        infos = [
            MemberResponse.from_member(member)
            for member in store.members.list_for_team(find_team(store, slug))
        ]
    if json_output:
        print_json({"members": infos})
    else:
        print_table(
            ("Email", "Name", "Role", "Remote caching", "Since", "User id"),
            [
                (
                    info.email,
                    info.name,
                    info.role,
                    info.remote_caching,
                    info.since,
                    info.user_id,
                )
                for info in infos
            ],
        )


@team.command()
@click.argument("slug")
@click.argument("email")
@role_option
@data_dir_option
def add(settings: Settings, slug: str, email: str, role: str) -> None:
    """Add the user EMAIL to the team SLUG."""
    with accounts(settings) as store:
        store.members.add(find_team(store, slug), store.users.get(email), Role(role), OPERATOR)
    click.echo(f"Added {email} to {slug} as {role}.", err=True)


@team.command()
@click.argument("slug")
@click.argument("email")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role], case_sensitive=False),
    help="New role.",
)
@click.option(
    "--remote-caching",
    type=click.Choice(list(_ON_OFF)),
    help="Turn Remote Caching on or off for this member.",
)
@data_dir_option
def change(
    settings: Settings, slug: str, email: str, role: str | None, remote_caching: str | None
) -> None:
    """Change the member EMAIL of the team SLUG."""
    if role is None and remote_caching is None:
        raise BadRequest("Pass --role, --remote-caching or both.")
    with accounts(settings) as store:
        store.members.change(
            find_team(store, slug),
            store.users.get(email).id,
            OPERATOR,
            role=None if role is None else Role(role),
            remote_caching=None if remote_caching is None else _ON_OFF[remote_caching],
        )
    click.echo(f"Changed {email} in {slug}.", err=True)


@team.command()
@click.argument("slug")
@click.argument("email")
@data_dir_option
def remove(settings: Settings, slug: str, email: str) -> None:
    """Remove the user EMAIL from the team SLUG."""
    with accounts(settings) as store:
        store.members.remove(find_team(store, slug), store.users.get(email).id, OPERATOR)
    click.echo(f"Removed {email} from {slug}.", err=True)


def _team_state(settings: Settings, team: Team) -> TeamState:
    """Return the state of a team from its metered usage, whether or not a server runs."""
    return state_from_file(MeterFile(settings.data_dir, Clock()), team)
