"""`hitrate token`: make, list and revoke tokens."""

import click

from hitrate.accounts.model import Token
from hitrate.cli.common import accounts, as_json, data_dir_option, find_team
from hitrate.cli.output import print_json, print_table
from hitrate.clock import Clock, iso
from hitrate.config import Settings, parse_duration
from hitrate.errors import BadRequest


@click.group()
def token() -> None:
    """Make, list and revoke tokens."""


@token.command()
@click.option("--team", "slug", required=True, help="Slug of the team it acts in.")
@click.option("--read-only", is_flag=True, help="May read and send events, not change the cache.")
@click.option("--expires", metavar="TIME", help="Ends after this time, such as 30d.")
@click.option("--label", default="", help="What it is for.")
@as_json
@data_dir_option
def create(
    settings: Settings,
    slug: str,
    read_only: bool,
    expires: str | None,
    label: str,
    json_output: bool,
) -> None:
    """Make a token; prints it alone on standard output. It is not shown again."""
    lifetime_s = None if expires is None else _lifetime(expires)
    with accounts(settings) as store:
        made, secret = store.create_token(
            find_team(store, slug), label, read_only=read_only, lifetime_s=lifetime_s
        )
    if json_output:
        print_json({**_public(made), "token": secret})
    else:
        click.echo(secret)


@token.command("list")
@click.option("--team", "slug", help="Only the tokens of this team.")
@as_json
@data_dir_option
def list_tokens(settings: Settings, slug: str | None, json_output: bool) -> None:
    """List the tokens, without their secrets."""
    with accounts(settings) as store:
        tokens = store.tokens(None if slug is None else find_team(store, slug))
    public = [_public(one) for one in tokens]
    if json_output:
        print_json(public)
    else:
        names = ("id", "team", "label", "readOnly", "state", "createdAt", "expiresAt")
        print_table(
            ("Id", "Team", "Label", "Read-only", "State", "Created", "Expires"),
            [[one[name] for name in names] for one in public],
        )


@token.command()
@click.argument("token_id")
@data_dir_option
def revoke(settings: Settings, token_id: str) -> None:
    """End the token with the id TOKEN_ID; a running server refuses it within seconds."""
    with accounts(settings) as store:
        store.revoke_token(token_id)
    click.echo(f"{token_id} is revoked.", err=True)


def _lifetime(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise BadRequest(f"--expires is {text!r}; it takes {error}.") from error


def _public(one: Token) -> dict[str, object]:
    state = "valid" if one.valid_at(Clock().now_ms()) else "expired"
    return {
        "id": one.id,
        "team": one.team.slug if one.team else None,
        "label": one.label,
        "readOnly": one.read_only,
        "state": "revoked" if one.revoked_at_ms else state,
        "createdAt": iso(one.created_at_ms),
        "expiresAt": None if one.expires_at_ms is None else iso(one.expires_at_ms),
    }
