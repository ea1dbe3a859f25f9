"""`hitrate user`: create, list and disable users, reset passwords."""

import secrets
import sys

import click

from hitrate.auth.accounts import AccountStore
from hitrate.cli.options import json_option
from hitrate.cli.output import print_json, print_table
from hitrate.cli.server_options import accounts, data_dir_option, find_team, role_option
from hitrate.clock import iso
from hitrate.config import Settings
from hitrate.errors import BadRequest
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR, User

_password_option = click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the password from standard input instead of generating one.",
)


@click.group()
def user() -> None:
    """Manage users."""


@user.command()
@click.argument("email")
@click.option("--name", help="Display name.")
@click.option("--username", help="Short name. [default: derived from the email]")
@click.option("--team", "slug", metavar="SLUG", help="Team that the user joins.")
@role_option
@_password_option
@click.option(
    "--no-password",
    is_flag=True,
    help="Create a user without a password, who signs in through the identity provider.",
)
@json_option
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
    """Create the user EMAIL, and print a generated password on standard output."""
    if no_password and password_stdin:
        raise BadRequest("Pass --password-stdin or --no-password, not both.")
    password, is_generated = (None, False) if no_password else _new_password(password_stdin)
    with accounts(settings, create=True) as store:
        team = None if slug is None else find_team(store, slug)
        created = store.users.create(email, name, username=username, password=password)
        if team is not None:
            store.members.add(team, created, Role(role), OPERATOR)
    if json_output:
        generated = {"password": password} if is_generated else {}
        print_json(
            {
                "id": created.id,
                "email": created.email,
                "username": created.username,
                "name": created.name,
            }
            | generated
        )
    else:
        click.echo(f"Created {created.email} ({created.id}).", err=True)
        if is_generated:
            click.echo(password)


@user.command("list")
@json_option
@data_dir_option
def list_users(settings: Settings, json_output: bool) -> None:
    """List all users and their teams."""
    with accounts(settings) as store:
        rows = [_row(store, account) for account in store.users.all()]
    if json_output:
        print_json(rows)
    else:
        names = ("email", "name", "username", "state", "signsInBy", "teams", "createdAt")
        print_table(
            ("Email", "Name", "Username", "State", "Signs in by", "Teams", "Created"),
            [[_cell(row[name]) for name in names] for row in rows],
        )


@user.command()
@click.argument("email")
@data_dir_option
def disable(settings: Settings, email: str) -> None:
    """Disable the user EMAIL.

    They cannot sign in, and their tokens and sessions stop working.
    """
    _set_disabled(settings, email, disabled=True)


@user.command()
@click.argument("email")
@data_dir_option
def enable(settings: Settings, email: str) -> None:
    """Enable the disabled user EMAIL."""
    _set_disabled(settings, email, disabled=False)


@user.command("reset-password")
@click.argument("email")
@_password_option
@data_dir_option
def reset_password(settings: Settings, email: str, password_stdin: bool) -> None:
    """Set a new password for the user EMAIL, print it, and end their sessions."""
    password, is_generated = _new_password(password_stdin)
    with accounts(settings) as store:
        account = store.users.get(email)
        store.users.set_password(account, password)
    click.echo(f"Set a new password for {account.email}.", err=True)
    if is_generated:
        click.echo(password)


def _set_disabled(settings: Settings, email: str, *, disabled: bool) -> None:
    with accounts(settings) as store:
        account = store.users.get(email)
        store.users.disable(account, disabled=disabled)
        ownerless_teams = [
            membership.team.slug
            for membership in store.members.list_for_user(account)
            if disabled
            and membership.role is Role.OWNER
            and not any(
                member.role is Role.OWNER and member.user.disabled_at_ms is None
                for member in store.members.list_for_team(membership.team)
            )
        ]
    click.echo(f"{'Disabled' if disabled else 'Enabled'} {account.email}.", err=True)
    if ownerless_teams:
        click.echo(f"Teams without an active owner: {', '.join(ownerless_teams)}.", err=True)


def _new_password(from_stdin: bool) -> tuple[str, bool]:
    """Return a password, and whether it was generated."""
    if from_stdin:
        return sys.stdin.buffer.readline().rstrip(b"\r\n").decode(), False
    return secrets.token_urlsafe(15), True


def _row(store: AccountStore, account: User) -> dict[str, object]:
    return {
        "id": account.id,
        "email": account.email,
        "username": account.username,
        "name": account.name,
        "state": "active" if account.disabled_at_ms is None else "disabled",
        "signsInBy": "password" if account.has_password else "identity provider",
        "teams": {
            membership.team.slug: membership.role.value
            for membership in store.members.list_for_user(account)
        },
        "createdAt": iso(account.created_at_ms),
    }


def _cell(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{slug}: {role}" for slug, role in value.items())
    return value
