"""`hitrate user`: make, list and disable people."""

import secrets
import sys

import click

from hitrate.auth.accounts import AccountStore
from hitrate.cli.output import print_json, print_table
from hitrate.cli.server_options import accounts, as_json, data_dir_option, find_team, role_option
from hitrate.clock import iso
from hitrate.config import Settings
from hitrate.errors import BadRequest
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR

_password_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input."
)


@click.group()
def user() -> None:
    """Make, list and disable people."""


@user.command()
@click.argument("email")
@click.option("--name", help="What people call them.")
@click.option("--username", help="Short name; the address' first part if left out.")
@click.option("--team", "slug", help="Slug of a team to join.")
@role_option
@_password_option
@click.option("--no-password", is_flag=True, help="They sign in through the identity provider.")
@as_json
@data_dir_option
def create(
    settings: Settings,
    email: str,
    name: str | None,
    username: str | None,
    slug: str | None,
    role: str,
    password_stdin: bool,
    no_password: bool,
    json_output: bool,
) -> None:
    """Make the person EMAIL; prints a password for them, alone, on standard output."""
    if no_password and password_stdin:
        raise BadRequest("Give --password-stdin or --no-password, not both.")
    password, shown = (None, False) if no_password else _new_password(password_stdin)
    with accounts(settings, create=True) as store:
        team = None if slug is None else find_team(store, slug)
        made = store.users.create(email, name, username=username, password=password)
        if team is not None:
            store.members.add(team, made, Role(role), OPERATOR)
    if json_output:
        generated = {"password": password} if shown else {}
        print_json(
            {"id": made.id, "email": made.email, "username": made.username, "name": made.name}
            | generated
        )
    else:
        click.echo(f"{made.email} ({made.id}) is made.", err=True)
        if shown:
            click.echo(password)


@user.command("list")
@as_json
@data_dir_option
def list_users(settings: Settings, json_output: bool) -> None:
    """List people and their teams."""
    with accounts(settings) as store:
        rows = [_row(store, one.email) for one in store.users.all()]
    if json_output:
        print_json(rows)
    else:
        names = ("email", "name", "username", "state", "signsInBy", "teams", "createdAt")
        print_table(
            ("Email", "Name", "Username", "State", "Signs in by", "Teams", "Created"),
            [[_text(row[name]) for name in names] for row in rows],
        )


@user.command()
@click.argument("email")
@data_dir_option
def disable(settings: Settings, email: str) -> None:
    """End all that EMAIL can do: tokens, sessions, signing in."""
    _set_disabled(settings, email, disabled=True)


@user.command()
@click.argument("email")
@data_dir_option
def enable(settings: Settings, email: str) -> None:
    """Let a disabled person in again."""
    _set_disabled(settings, email, disabled=False)


@user.command("reset-password")
@click.argument("email")
@_password_option
@data_dir_option
def reset_password(settings: Settings, email: str, password_stdin: bool) -> None:
    """Give EMAIL a new password, printed alone on standard output; ends their sessions."""
    password, shown = _new_password(password_stdin)
    with accounts(settings) as store:
        found = store.users.get(email)
        store.users.set_password(found, password)
    click.echo(f"{found.email} has a new password.", err=True)
    if shown:
        click.echo(password)


def _set_disabled(settings: Settings, email: str, *, disabled: bool) -> None:
    with accounts(settings) as store:
        found = store.users.get(email)
        store.users.disable(found, disabled=disabled)
        lone = [
            m.team.slug
            for m in store.members.list_for_user(found)
            if disabled
            and m.role is Role.OWNER
            and not any(
                o.role is Role.OWNER and o.user.disabled_at_ms is None
                for o in store.members.list_for_team(m.team)
            )
        ]
    click.echo(f"{found.email} is {'disabled' if disabled else 'enabled'}.", err=True)
    if lone:
        click.echo(f"No owner who can act is left in: {', '.join(lone)}.", err=True)


def _new_password(from_stdin: bool) -> tuple[str, bool]:
    """A password, and whether it has to be shown."""
    if from_stdin:
        return sys.stdin.buffer.readline().rstrip(b"\r\n").decode(), False
    return secrets.token_urlsafe(15), True


def _row(store: AccountStore, email: str) -> dict[str, object]:
    one = store.users.get(email)
    return {
        "id": one.id,
        "email": one.email,
        "username": one.username,
        "name": one.name,
        "state": "active" if one.disabled_at_ms is None else "disabled",
        "signsInBy": "password" if one.has_password else "identity provider",
        "teams": {m.team.slug: m.role.value for m in store.members.list_for_user(one)},
        "createdAt": iso(one.created_at_ms),
    }


def _text(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{slug}: {role}" for slug, role in value.items())
    return value
