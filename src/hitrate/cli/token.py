"""`hitrate token`: make, list, rotate and revoke tokens."""

import click
import msgspec

from hitrate.auth.accounts import AccountStore
from hitrate.auth.models import Scope
from hitrate.auth.permissions import READ_ONLY, READ_WRITE
from hitrate.cli.output import print_json, print_table
from hitrate.cli.server_options import accounts, as_json, data_dir_option, find_team
from hitrate.clock import Clock
from hitrate.config import Settings
from hitrate.errors import BadRequest
from hitrate.management.schemas import TokenResponse
from hitrate.teams.models import OPERATOR, Team, User
from hitrate.timeparse import parse_duration_param

_ALL_SCOPES = ",".join(Scope)


@click.group()
def token() -> None:
    """Make, list, rotate and revoke tokens."""


@token.command()
@click.option("--team", "slug", help="Slug of the team it acts in.")
@click.option("--user", "email", help="Address of the person it acts for.")
@click.option("--operator", is_flag=True, help="For what only the server's operator may do.")
@click.option("--read-only", is_flag=True, help="May read and send events, not change the cache.")
@click.option("--scopes", help=f"Any of {_ALL_SCOPES}, with commas; all but admin if left out.")
@click.option("--expires", metavar="TIME", help="Ends after this time, such as 30d.")
@click.option("--label", default="", help="What it is for.")
@as_json
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
    """Make a token; prints it alone on standard output. It is not shown again.

    Of a team (--team), of a person (--user; with --team for that team alone), or the operator's.
    """
    if operator == (slug is not None or email is not None):
        raise BadRequest("Name --team, --user or both; or --operator alone.")
    if operator and (scopes is not None or read_only):
        raise BadRequest("An operator's token has no scopes: it may do everything.")
    wanted = _scopes(scopes, read_only=read_only)
    lifetime_s = None if expires is None else parse_duration_param("--expires", expires)
    with accounts(settings) as store:
        team = None if slug is None else find_team(store, slug)
        user = None if email is None else store.users.get(email)
        if team is not None and user is not None:
            _check_member(store, team, user)
        made, secret = store.tokens.create(
            team,
            label,
            user=user,
            scopes=() if operator else wanted,
            lifetime_s=lifetime_s,
        )
    _print_made(TokenResponse.from_token(made, made.created_at_ms), secret, json_output=json_output)


@token.command("list")
@click.option("--team", "slug", help="Only the tokens of this team.")
@click.option("--user", "email", help="Only the tokens of this person.")
@as_json
@data_dir_option
def list_tokens(settings: Settings, slug: str | None, email: str | None, json_output: bool) -> None:
    """List the tokens, without their secrets."""
    with accounts(settings) as store:
        if email is not None:
            tokens = store.tokens.list_for_user(store.users.get(email))
        elif slug is not None:
            tokens = store.tokens.list_for_team(find_team(store, slug))
        else:
            tokens = store.tokens.all()
    now_ms = Clock().now_ms()
    public = [TokenResponse.from_token(one, now_ms) for one in tokens]
    if json_output:
        print_json(public)
    else:
        print_table(
            ("Id", "Team", "User", "Label", "Scopes", "State", "Created", "Expires", "Last used"),
            [_row(info) for info in public],
        )


@token.command()
@click.argument("token_id")
@click.option("--overlap", default="1h", show_default=True, help="How long the old one goes on.")
@as_json
@data_dir_option
def rotate(settings: Settings, token_id: str, overlap: str, json_output: bool) -> None:
    """Make a token that takes the place of TOKEN_ID, which ends after the overlap."""
    overlap_s = parse_duration_param("--overlap", overlap)
    with accounts(settings) as store:
        made, secret = store.tokens.rotate(store.tokens.get(token_id), overlap_s, OPERATOR)
    _print_made(TokenResponse.from_token(made, made.created_at_ms), secret, json_output=json_output)


@token.command()
@click.argument("token_id")
@data_dir_option
def revoke(settings: Settings, token_id: str) -> None:
    """End the token with the id TOKEN_ID; a running server refuses it within seconds."""
    with accounts(settings) as store:
        store.tokens.revoke(store.tokens.get(token_id))
    click.echo(f"{token_id} is revoked.", err=True)


def _check_member(store: AccountStore, team: Team, user: User) -> None:
    if team.id not in {member.team.id for member in store.members.list_for_user(user)}:
        raise BadRequest(
            f"{user.email} is not in the team {team.slug}; "
            f"`hitrate team add {team.slug} {user.email}` lets them in."
        )


def _row(info: TokenResponse) -> tuple[object, ...]:
    scopes = " ".join(info.scopes)
    ends = (info.state, info.created_at, info.expires_at, info.last_used_at)
    return (info.id, info.team, info.user, info.label, scopes, *ends)


def _print_made(info: TokenResponse, secret: str, *, json_output: bool) -> None:
    if json_output:
        print_json({**msgspec.to_builtins(info), "token": secret})
    else:
        click.echo(secret)


def _scopes(text: str | None, *, read_only: bool) -> frozenset[Scope]:
    if text is None:
        return READ_ONLY if read_only else READ_WRITE
    if read_only:
        raise BadRequest("Give --scopes or --read-only, not both.")
    names = {name.strip() for name in text.split(",")}
    unknown = sorted(names - set(Scope))
    if unknown:
        named = ", ".join(f"{name[:40]!r}" for name in unknown)
        raise BadRequest(f"--scopes has {named}; it takes any of {_ALL_SCOPES}.")
    return frozenset(Scope(name) for name in names)
