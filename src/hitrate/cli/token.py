"""`hitrate token`: create, list, rotate and revoke tokens."""

import click
import msgspec

from hitrate.auth.accounts import AccountStore
from hitrate.auth.models import Scope
from hitrate.auth.permissions import READ_ONLY, READ_WRITE
from hitrate.cli.options import json_option
from hitrate.cli.output import print_json, print_table
from hitrate.cli.server_options import accounts, data_dir_option, find_team
from hitrate.clock import Clock
from hitrate.config import Settings
from hitrate.errors import BadRequest
from hitrate.management.schemas import TokenResponse
from hitrate.teams.models import OPERATOR, Team, User
from hitrate.timeparse import parse_duration_param

_ALL_SCOPES = ",".join(Scope)


@click.group()
def token() -> None:
    """Manage access tokens."""


@token.command()
@click.option("--team", "slug", metavar="SLUG", help="Team that the token belongs to.")
@click.option("--user", "email", metavar="EMAIL", help="User that the token belongs to.")
@click.option("--operator", is_flag=True, help="Create a token with the operator's permissions.")
@click.option(
    "--read-only", is_flag=True, help="Allow downloads, events and analytics, but no uploads."
)
@click.option(
    "--scopes",
    metavar="LIST",
    help=f"Comma-separated scopes: {_ALL_SCOPES}. [default: all but admin]",
)
@click.option(
    "--expires", metavar="DURATION", help="Lifetime, such as 30d. [default: never expires]"
)
@click.option("--label", default="", help="A name to recognize it by.")
@json_option
@data_dir_option
def create(
    settings: Settings,
    slug: str | None,
    email: str | None,
    operator: bool,
    read_only: bool,
    scopes: str | None,
    expires: str | None,
    label: str,
    json_output: bool,
) -> None:
    """Create a token and print its secret on standard output. It is not shown again.

    The token belongs to a team (--team), to a user (--user, limited to one team by --team) or to
    the operator (--operator).
    """
    if operator == (slug is not None or email is not None):
        raise BadRequest("Pass --team, --user or both; or --operator alone.")
    if operator and (scopes is not None or read_only):
        raise BadRequest("An operator token has no scopes: it allows everything.")
    selected_scopes = _scopes(scopes, read_only=read_only)
    lifetime_s = None if expires is None else parse_duration_param("--expires", expires)
    with accounts(settings) as store:
        team = None if slug is None else find_team(store, slug)
        user = None if email is None else store.users.get(email)
        if team is not None and user is not None:
            _check_member(store, team, user)
        created, secret = store.tokens.create(
            team,
            label,
            user=user,
            scopes=() if operator else selected_scopes,
            lifetime_s=lifetime_s,
        )
    _print_token(
        TokenResponse.from_token(created, created.created_at_ms), secret, json_output=json_output
    )


@token.command("list")
@click.option("--team", "slug", metavar="SLUG", help="Only tokens of this team.")
@click.option("--user", "email", metavar="EMAIL", help="Only tokens of this user.")
@json_option
@data_dir_option
def list_tokens(settings: Settings, slug: str | None, email: str | None, json_output: bool) -> None:
    """List tokens without their secrets."""
    with accounts(settings) as store:
        if email is not None:
            tokens = store.tokens.list_for_user(store.users.get(email))
        elif slug is not None:
            tokens = store.tokens.list_for_team(find_team(store, slug))
        else:
            tokens = store.tokens.all()
    now_ms = Clock().now_ms()
    infos = [TokenResponse.from_token(token, now_ms) for token in tokens]
    if json_output:
        print_json(infos)
    else:
        print_table(
            ("Id", "Team", "User", "Label", "Scopes", "State", "Created", "Expires", "Last used"),
            [_row(info) for info in infos],
        )


@token.command()
@click.argument("token_id")
@click.option(
    "--overlap",
    metavar="DURATION",
    default="1h",
    show_default=True,
    help="How long the old token stays valid.",
)
@json_option
@data_dir_option
def rotate(settings: Settings, token_id: str, overlap: str, json_output: bool) -> None:
    """Replace the token TOKEN_ID by a new one, and print the new secret.

    The old token stays valid for the overlap.
    """
    overlap_s = parse_duration_param("--overlap", overlap)
    with accounts(settings) as store:
        created, secret = store.tokens.rotate(store.tokens.get(token_id), overlap_s, OPERATOR)
    _print_token(
        TokenResponse.from_token(created, created.created_at_ms), secret, json_output=json_output
    )


@token.command()
@click.argument("token_id")
@data_dir_option
def revoke(settings: Settings, token_id: str) -> None:
    """Revoke the token TOKEN_ID. A running server refuses it within seconds."""
    with accounts(settings) as store:
        store.tokens.revoke(store.tokens.get(token_id))
    click.echo(f"Revoked {token_id}.", err=True)


def _check_member(store: AccountStore, team: Team, user: User) -> None:
    if team.id not in {member.team.id for member in store.members.list_for_user(user)}:
        raise BadRequest(
            f"{user.email} is not in the team {team.slug}. Add them with "
            f"`hitrate team add {team.slug} {user.email}`."
        )


def _row(info: TokenResponse) -> tuple[object, ...]:
    scopes = " ".join(info.scopes)
    state = (info.state, info.created_at, info.expires_at, info.last_used_at)
    return (info.id, info.team, info.user, info.label, scopes, *state)


def _print_token(info: TokenResponse, secret: str, *, json_output: bool) -> None:
    if json_output:
        print_json({**msgspec.to_builtins(info), "token": secret})
    else:
        click.echo(f"Created {info.id} {_owner_text(info)}.", err=True)
        click.echo(secret)


def _owner_text(info: TokenResponse) -> str:
    """Return `in web`, `for ann@example.com in web`, or `for the operator`, for instance."""
    if info.team is None and info.user is None:
        return "for the operator"
    user = "" if info.user is None else f"for {info.user}"
    team = "" if info.team is None else f"in {info.team}"
    return f"{user} {team}".strip()


def _scopes(text: str | None, *, read_only: bool) -> frozenset[Scope]:
    if text is None:
        return READ_ONLY if read_only else READ_WRITE
    if read_only:
        raise BadRequest("Pass --scopes or --read-only, not both.")
    names = {name.strip() for name in text.split(",")}
    unknown = sorted(names - set(Scope))
    if unknown:
        unknown_text = ", ".join(f"{name[:40]!r}" for name in unknown)
        raise BadRequest(f"--scopes has {unknown_text}; it takes any of {_ALL_SCOPES}.")
    return frozenset(Scope(name) for name in names)
