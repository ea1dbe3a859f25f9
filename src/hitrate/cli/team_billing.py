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
from hitrate.billing.usage import CycleUsage, TeamUsageResponse, team_usage
from hitrate.billing.usage_cycles import UsageCycleStore
from hitrate.cli.output import print_json, print_table
from hitrate.cli.server_options import (
    Command,
    accounts,
    count_or_none,
    data_dir_option,
    find_team,
    json_output_option,
)
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
    "storedGb": "Price per GB stored for a whole cycle.",
    "millionRequests": "Price per million requests.",
    "millionEvents": "Price per million events.",
}
_LIMIT_HELP = {
    name: f"Limit of {name.replace('_', ' ')} per cycle, such as "
    f"{'200GB' if name.endswith('bytes') else '5000'}; 'none': unlimited."
    for name in MEASURES
}
_PAST_CYCLES = 12


def _dashed(name: str) -> str:
    return "".join("-" + c.lower() if c.isupper() else c for c in name).replace("_", "-")


def _options(
    help_texts: Mapping[str, str], prefix: str, metavar: str
) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for name, text in reversed(list(help_texts.items())):
            option = f"--{prefix}{_dashed(name)}"
            command = click.option(option, name, metavar=metavar, help=text)(command)
        return command

    return decorate


@click.command()
@click.argument("slug")
@_options(_LIMIT_HELP, "", "N")
@json_output_option
@data_dir_option
def limit(settings: Settings, slug: str, json_output: bool, **limits: str | None) -> None:
    """Set usage limits of the team SLUG per billing cycle; without options, show them."""
    values = {name: _size(text, name) for name, text in limits.items() if text is not None}
    names = {
        name: msgspec.structs.fields(CycleUsage)[i].encode_name for i, name in enumerate(MEASURES)
    }
    _change(settings, slug, {"limits": {names[n]: v for n, v in values.items()}}, json_output)


@click.command()
@click.argument("slug")
@click.option(
    "--cycle-day",
    type=click.IntRange(1, 31),
    help="Day of the month on which cycles begin, in UTC.",
)
@click.option("--currency", help="Three-letter code, such as EUR.")
@_options(_PRICE_HELP, "price-", "AMOUNT")
@click.option(
    "--spend-cap", metavar="AMOUNT", help="Cost at which Remote Caching pauses; 'none': no cap."
)
@json_output_option
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
    """Set prices, spend cap and cycle day of the team SLUG; without options, show them.

    A GB is 10^9 bytes.
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
    """Block the team SLUG: its cache responds with 402 until `unblock`."""
    _change(settings, slug, {"softBlocked": True}, json_output=False)


@click.command()
@click.argument("slug")
@data_dir_option
def unblock(settings: Settings, slug: str) -> None:
    """Lift the block of the team SLUG."""
    _change(settings, slug, {"softBlocked": False}, json_output=False)


@click.command()
@click.argument("slug")
@click.argument("state", type=click.Choice(["missing", "received"]))
@data_dir_option
def payment(settings: Settings, slug: str, state: str) -> None:
    """Record that a payment of the team SLUG is missing (its cache responds 402) or received."""
    _change(settings, slug, {"paymentMissing": state == "missing"}, json_output=False)


@click.command()
@click.argument("slug")
@json_output_option
@data_dir_option
def usage(settings: Settings, slug: str, json_output: bool) -> None:
    """Show usage of the team SLUG in this billing cycle and past ones."""
    with accounts(settings) as store:
        response = _usage(settings, store, find_team(store, slug))
    if json_output:
        print_json(response)
    else:
        _print_usage(response)


@click.command()
@click.argument("slug", required=False)
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "ndjson", "csv"]), default="table"
)
@click.option(
    "--limit", type=click.IntRange(1), default=100, help="Number of entries in a table or JSON."
)
@data_dir_option
def audit(settings: Settings, slug: str | None, form: str, limit: int) -> None:
    """Show the audit log of the team SLUG, newest first; ndjson and csv are complete.

    Without SLUG, show all teams, users and their own tokens.
    """
    with accounts(settings) as store:
        team_id = None if slug is None else find_team(store, slug).id
        if form in ("ndjson", "csv"):
            encode = as_csv if form == "csv" else as_ndjson
            sys.stdout.buffer.writelines(encode(store.audit.all(team_id)))
            return
        entries = [
            AuditEntryResponse.from_entry(entry) for entry in store.audit.page(team_id, limit)
        ]
    if form == "json":
        print_json({"entries": entries})
    else:
        rows = [
            (e.at, _actor_text(e), e.action, e.target, msgspec.json.encode(e.details).decode())
            for e in entries
        ]
        print_table(("Time", "Actor", "Action", "Target", "Details"), rows)


def _actor_text(entry: AuditEntryResponse) -> str:
    """Return the actor; tokens are marked, because their labels may look like names."""
    if entry.actor_kind == "token":
        return f"token {entry.actor_id} {entry.actor}".rstrip()
    return entry.actor


def _change(settings: Settings, slug: str, changes: dict[str, Any], json_output: bool) -> None:
    patch = msgspec.convert(changes, BillingPatch)
    now_ms = Clock().now_ms()
    with accounts(settings) as store:
        team = find_team(store, slug)
        if changes:
            with _report_as_options():
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
def _report_as_options() -> Iterator[None]:
    """Replace JSON paths such as `$.prices.storedGb` in errors by `--price-stored-gb`."""
    try:
        yield
    except BadRequest as error:
        text = str(error)
        field = re.match(r"\$\.(?:(price)s\.)?(\w+)", text)
        if field is None:
            raise
        option = f"--{field[1]}-" if field[1] else "--"
        raise BadRequest(f"{option}{_dashed(field[2])}{text[field.end() :]}") from error


def _size(text: str, name: str) -> int | None:
    if not name.endswith("_bytes"):
        return count_or_none(text, f"--{_dashed(name)}")
    if text.lower() == "none":
        return None
    option = f"--{_dashed(name)} is {text[:40]!r}"
    try:
        size = parse_size(text)
    except ValueError as error:
        raise BadRequest(f"{option}; it takes {error}, or 'none'.") from error
    except OverflowError:
        size = MAX_COUNT + 1
    if size > MAX_COUNT:
        raise BadRequest(f"{option}; it takes at most {MAX_COUNT}, or 'none'.")
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
        (f"{name}.{part}" if part else name, value)
        for name, whole in values.items()
        for part, value in (whole.items() if isinstance(whole, dict) else [("", whole)])
    ]
    print_table(("Billing", ""), rows)


def _print_usage(response: TeamUsageResponse) -> None:
    now = response.current
    rows = [
        (name.replace("_", " "), *(_amount(name, getattr(part, name)) for part in parts))
        for parts in [(now.used, now.limits, now.left, now.forecast)]
        for name in MEASURES
    ]
    rows.append(
        ("cost", now.used.cost, now.spend_cap or "", now.spend_left or "", now.forecast.cost)
    )
    click.echo(
        f"{response.team}: {response.state}; cycle from {now.start} to {now.end}, "
        f"{response.currency}"
    )
    print_table(("", "Used", "Limit", "Remaining", "Forecast"), rows)
    for past in response.past:
        amounts = [f"{n.replace('_', ' ')} {_amount(n, getattr(past.used, n))}" for n in MEASURES]
        click.echo(f"{past.start[:10]}: {', '.join(amounts)}; {past.used.cost} {past.currency}")


def _amount(name: str, amount: int | None) -> str:
    if amount is None:
        return ""
    return format_size(amount) if name.endswith("bytes") else str(amount)
