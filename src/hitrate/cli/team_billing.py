"""`hitrate team` commands for limits, billing, blocks, usage and the audit log."""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
import msgspec

from hitrate.auth.accounts import AccountStore
from hitrate.billing.meter_file import MeterFile
from hitrate.billing.quotas import state_from_file
from hitrate.billing.usage import CycleUsage, TeamUsageResponse, UsageCycleStore, team_usage
from hitrate.cli.options import json_option
from hitrate.cli.output import print_json, print_table
from hitrate.cli.server_options import Command, accounts, count_or_none, data_dir_option, find_team
from hitrate.clock import Clock
from hitrate.config import Settings
from hitrate.errors import BadRequest
from hitrate.management.schemas import BillingResponse
from hitrate.teams.audit import AuditEntryResponse, as_csv, as_ndjson
from hitrate.teams.models import OPERATOR, Team
from hitrate.teams.settings import MAX_COUNT, MEASURES, BillingPatch, apply_billing
from hitrate.units import format_size, parse_size

_PRICE_HELP = {
    "uploadedGb": "Price per GB uploaded.",
    "downloadedGb": "Price per GB downloaded.",
    "storedGb": "Price per GB stored for a whole billing cycle.",
    "millionRequests": "Price per million requests.",
    "millionEvents": "Price per million events.",
}
_LIMIT_HELP = {
    name: f"Maximum {name.replace('_', ' ')} per billing cycle, such as "
    f"{'200GB' if name.endswith('bytes') else '5000'}; 'none': unlimited."
    for name in MEASURES
}
_PAST_CYCLES = 12


def _kebab_case(name: str) -> str:
    """Return `stored-gb` for `storedGb` or `stored_gb`."""
    return "".join("-" + c.lower() if c.isupper() else c for c in name).replace("_", "-")


def _options(
    help_texts: Mapping[str, str], prefix: str, metavar: str
) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for name, text in reversed(list(help_texts.items())):
            option = f"--{prefix}{_kebab_case(name)}"
            command = click.option(option, name, metavar=metavar, help=text)(command)
        return command

    return decorate


@click.command()
@click.argument("slug")
@_options(_LIMIT_HELP, "", "N")
@json_option
@data_dir_option
def limit(settings: Settings, slug: str, json_output: bool, **limits: str | None) -> None:
    """Set the usage limits of the team SLUG. Without options, show them."""
    values = {name: _parse_limit(text, name) for name, text in limits.items() if text is not None}
    names = {
        name: msgspec.structs.fields(CycleUsage)[i].encode_name for i, name in enumerate(MEASURES)
    }
    _change(settings, slug, {"limits": {names[n]: v for n, v in values.items()}}, json_output)


@click.command()
@click.argument("slug")
@click.option(
    "--cycle-day",
    type=click.IntRange(1, 31),
    help="Day of the month on which billing cycles begin, at 00:00 UTC.",
)
@click.option("--currency", help="Three-letter code of the currency, such as EUR.")
@_options(_PRICE_HELP, "price-", "AMOUNT")
@click.option(
    "--spend-cap",
    metavar="AMOUNT",
    help="Cost per billing cycle at which Remote Caching pauses; 'none': no cap.",
)
@json_option
@data_dir_option
def billing(
    settings: Settings,
    slug: str,
    cycle_day: int | None,
    currency: str | None,
    spend_cap: str | None,
    json_output: bool,
    **prices: str | None,
) -> None:
    """Set prices, spend cap and cycle day of the team SLUG. Without options, show them.

    One GB is 10^9 bytes.
    """
    price_texts = {name: price for name, price in prices.items() if price is not None}
    changes: dict[str, Any] = {"prices": price_texts} if price_texts else {}
    if cycle_day is not None:
        changes["cycleDay"] = cycle_day
    if currency is not None:
        changes["currency"] = currency.upper()
    if spend_cap is not None:
        changes["spendCap"] = None if spend_cap.lower() == "none" else spend_cap
    _change(settings, slug, changes, json_output)


@click.command()
@click.argument("slug")
@data_dir_option
def block(settings: Settings, slug: str) -> None:
    """Block the team SLUG: Remote Caching responds with 402 until `hitrate team unblock`."""
    _change(settings, slug, {"softBlocked": True}, json_output=False)


@click.command()
@click.argument("slug")
@data_dir_option
def unblock(settings: Settings, slug: str) -> None:
    """Unblock the team SLUG."""
    _change(settings, slug, {"softBlocked": False}, json_output=False)


@click.command()
@click.argument("slug")
@click.argument("state", type=click.Choice(["missing", "received"]))
@data_dir_option
def payment(settings: Settings, slug: str, state: str) -> None:
    """Record whether a payment of the team SLUG is missing.

    While it is, Remote Caching responds with 402.
    """
    _change(settings, slug, {"paymentMissing": state == "missing"}, json_output=False)


@click.command()
@click.argument("slug")
@json_option
@data_dir_option
def usage(settings: Settings, slug: str, json_output: bool) -> None:
    """Show the usage of the team SLUG in the current billing cycle and past ones."""
    with accounts(settings) as store:
        response = _usage(settings, store, find_team(store, slug))
    if json_output:
        print_json(response)
    else:
        _print_usage(response)


@click.command()
@click.argument("slug", required=False)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "json", "ndjson", "csv"]),
    default="table",
    show_default=True,
    help="Output format. ndjson and csv have all entries.",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Maximum number of entries in a table or JSON.",
)
@data_dir_option
def audit(settings: Settings, slug: str | None, output_format: str, limit: int) -> None:
    """Show the audit log of the team SLUG, newest first.

    Without SLUG, show the audit log of all teams, users and tokens.
    """
    with accounts(settings) as store:
        team_id = None if slug is None else find_team(store, slug).id
        if output_format in ("ndjson", "csv"):
            encode = as_csv if output_format == "csv" else as_ndjson
            sys.stdout.buffer.writelines(encode(store.audit.all(team_id)))
            return
        entries = [
            AuditEntryResponse.from_entry(entry) for entry in store.audit.page(team_id, limit)
        ]
    if output_format == "json":
        print_json({"entries": entries})
    else:
        rows = [
            (
                entry.at,
                _actor_text(entry),
                entry.action,
                entry.target,
                msgspec.json.encode(entry.details).decode(),
            )
            for entry in entries
        ]
        print_table(("Time", "Actor", "Action", "Target", "Details"), rows)


def _actor_text(entry: AuditEntryResponse) -> str:
    """Return the name of the actor. A token is marked as one, because its label may be any text."""
    if entry.actor_kind == "token":
        return f"token {entry.actor_id} {entry.actor}".rstrip()
    return entry.actor


def _change(settings: Settings, slug: str, changes: dict[str, Any], json_output: bool) -> None:
    """Apply changes in the format of the API, if any, and print the billing settings."""
    patch = msgspec.convert(changes, BillingPatch)
    now_ms = Clock().now_ms()
    with accounts(settings) as store:
        team = find_team(store, slug)
        if changes:
            with _name_options_in_errors():
                team = store.teams.change(
                    team,
                    lambda settings: apply_billing(patch, settings, now_ms),
                    OPERATOR,
                    "billing.change",
                )
    state = state_from_file(MeterFile(settings.data_dir, Clock()), team)
    info = BillingResponse.from_team(team, state, now_ms)
    if json_output:
        print_json(info)
    else:
        _print_billing(info)


@contextmanager
def _name_options_in_errors() -> Iterator[None]:
    """Replace JSON paths such as `$.prices.storedGb` in errors by `--price-stored-gb`."""
    try:
        yield
    except BadRequest as error:
        text = str(error)
        field = re.match(r"\$\.(?:(price)s\.)?(\w+)", text)
        if field is None:
            raise
        option = f"--{field[1]}-" if field[1] else "--"
        raise BadRequest(f"{option}{_kebab_case(field[2])}{text[field.end() :]}") from error


def _parse_limit(text: str, measure: str) -> int | None:
    """Parse a size or a count, or 'none' as None. Raises BadRequest that names the option."""
    if not measure.endswith("_bytes"):
        return count_or_none(text, f"--{_kebab_case(measure)}")
    if text.lower() == "none":
        return None
    problem = f"--{_kebab_case(measure)} is {text[:40]!r}"
    try:
        size = parse_size(text)
    except ValueError as error:
        raise BadRequest(f"{problem}; it takes {error}, or 'none'.") from error
    except OverflowError:
        size = MAX_COUNT + 1
    if size > MAX_COUNT:
        raise BadRequest(f"{problem}; it takes at most {MAX_COUNT}, or 'none'.")
    return size


def _usage(settings: Settings, store: AccountStore, team: Team) -> TeamUsageResponse:
    clock = Clock()
    meter_file = MeterFile(settings.data_dir, clock)
    return team_usage(
        team,
        state_from_file(meter_file, team),
        meter_file,
        UsageCycleStore(store.engine),
        clock.now_ms(),
        _PAST_CYCLES,
    )


def _print_billing(info: BillingResponse) -> None:
    values = msgspec.to_builtins(info)
    rows = [
        (f"{name}.{key}" if key else name, value)
        for name, field in values.items()
        for key, value in (field.items() if isinstance(field, dict) else [("", field)])
    ]
    print_table(("Billing", ""), rows)


def _print_usage(response: TeamUsageResponse) -> None:
    cycle = response.current
    columns = (cycle.used, cycle.limits, cycle.remaining, cycle.forecast)
    rows = [
        (name.replace("_", " "), *(_amount_text(name, getattr(column, name)) for column in columns))
        for name in MEASURES
    ]
    rows.append(
        (
            "cost",
            cycle.used.cost,
            cycle.spend_cap or "",
            cycle.spend_remaining or "",
            cycle.forecast.cost,
        )
    )
    click.echo(
        f"{response.team}: {response.state}; cycle from {cycle.start} to {cycle.end}, "
        f"{response.currency}"
    )
    print_table(("", "Used", "Limit", "Remaining", "Forecast"), rows)
    for past in response.past:
        amounts = [
            f"{name.replace('_', ' ')} {_amount_text(name, getattr(past.used, name))}"
            for name in MEASURES
        ]
        click.echo(f"{past.start[:10]}: {', '.join(amounts)}; {past.used.cost} {past.currency}")


def _amount_text(measure: str, amount: int | None) -> str:
    if amount is None:
        return ""
    return format_size(amount) if measure.endswith("bytes") else str(amount)
