"""The commands of `hitrate team` for use and money: limit, billing, block, usage, audit."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click
import msgspec

from hitrate.auth.accounts import AccountStore
from hitrate.billing.meter_file import MeterFile
from hitrate.billing.quotas import state_from_file
from hitrate.billing.usage import CycleUsage, TeamUsageResponse, team_usage
from hitrate.billing.usage_cycles import UsageCycleStore
from hitrate.cli.output import print_json, print_table, size_text
from hitrate.cli.server_options import (
    Command,
    accounts,
    as_json,
    count_or_none,
    data_dir_option,
    find_team,
)
from hitrate.clock import Clock
from hitrate.config import Settings
from hitrate.errors import BadRequest
from hitrate.management.schemas import BillingResponse
from hitrate.teams.audit import AuditEntryResponse, as_csv, as_ndjson
from hitrate.teams.models import OPERATOR, Team
from hitrate.teams.settings import MAX_COUNT, MEASURES, BillingPatch, apply_billing
from hitrate.units import parse_size

_PRICES = ("uploadedGb", "downloadedGb", "storedGb", "millionRequests", "millionEvents")
_PAST_CYCLES = 12


def _dashed(name: str) -> str:
    return "".join("-" + c.lower() if c.isupper() else c for c in name).replace("_", "-")


def _options(
    names: Iterable[str], prefix: str, metavar: str, text: str
) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for name in reversed(list(names)):
            option = f"--{prefix}{_dashed(name)}"
            command = click.option(option, name, metavar=metavar, help=text)(command)
        return command

    return decorate


@click.command()
@click.argument("slug")
@_options(
    MEASURES, "", "N", "Most of it in a cycle, such as 5000, or 200GB of bytes; 'none' is no limit."
)
@as_json
@data_dir_option
def limit(settings: Settings, slug: str, json_output: bool, **limits: str | None) -> None:
    """Set what the team SLUG may use in a billing cycle."""
    given = {name: _size(text, name) for name, text in limits.items() if text is not None}
    names = {
        name: msgspec.structs.fields(CycleUsage)[i].encode_name for i, name in enumerate(MEASURES)
    }
    _change(settings, slug, {"limits": {names[n]: v for n, v in given.items()}}, json_output)


@click.command()
@click.argument("slug")
@click.option("--cycle-day", type=click.IntRange(1, 31), help="Day on which cycles begin, in UTC.")
@click.option("--currency", help="Three letters, such as EUR.")
@_options(_PRICES, "price-", "AMOUNT", "Its price.")
@click.option("--spend-cap", metavar="AMOUNT", help="Cost that pauses the cache; 'none' is no cap.")
@as_json
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
    """Set prices, spend cap and cycle of the team SLUG; shows them when nothing is given.

    Prices are for a GB (10^9 bytes) up, down, or stored for a whole cycle; for a million requests;
    for a million events.
    """
    given = {name: price for name, price in prices.items() if price is not None}
    changes: dict[str, Any] = {"prices": given} if given else {}
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
    """Block the team SLUG: its cache answers 402 until `unblock`."""
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
    """Note that a payment of the team SLUG is missing (its cache answers 402), or has come."""
    _change(settings, slug, {"paymentMissing": state == "missing"}, json_output=False)


@click.command()
@click.argument("slug")
@as_json
@data_dir_option
def usage(settings: Settings, slug: str, json_output: bool) -> None:
    """Show what the team SLUG used in this billing cycle and the past ones."""
    with accounts(settings) as store:
        found = _usage(settings, store, find_team(store, slug))
    if json_output:
        print_json(found)
    else:
        _print_usage(found)


@click.command()
@click.argument("slug", required=False)
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "ndjson", "csv"]), default="table"
)
@click.option("--limit", type=click.IntRange(1), default=100, help="Entries of a table or JSON.")
@data_dir_option
def audit(settings: Settings, slug: str | None, form: str, limit: int) -> None:
    """Show who changed what in the team SLUG, newest first; ndjson and csv give all of it.

    Without SLUG in every team, with what concerns none: people and their own tokens.
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
            (e.at, _who(e), e.action, e.target, msgspec.json.encode(e.details).decode())
            for e in entries
        ]
        print_table(("At", "Who", "Did", "To", "Details"), rows)


def _who(entry: AuditEntryResponse) -> str:
    """A token is called one: its label may be anybody's name."""
    if entry.actor_kind == "token":
        return f"token {entry.actor_id} {entry.actor}".rstrip()
    return entry.actor


def _change(settings: Settings, slug: str, changes: dict[str, Any], json_output: bool) -> None:
    patch = msgspec.convert(changes, BillingPatch)
    now_ms = Clock().now_ms()
    with accounts(settings) as store:
        team = find_team(store, slug)
        if changes:
            with _named_as_options():
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
def _named_as_options() -> Iterator[None]:
    """A refusal that names `$.prices.storedGb` names `--price-stored-gb` instead."""
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
    shown = msgspec.to_builtins(info)
    rows = [
        (f"{name}.{part}" if part else name, value)
        for name, whole in shown.items()
        for part, value in (whole.items() if isinstance(whole, dict) else [("", whole)])
    ]
    print_table(("Billing", ""), rows)


def _print_usage(found: TeamUsageResponse) -> None:
    now = found.current
    rows = [
        (name.replace("_", " "), *(_amount(name, getattr(part, name)) for part in parts))
        for parts in [(now.used, now.limits, now.left, now.forecast)]
        for name in MEASURES
    ]
    rows.append(
        ("cost", now.used.cost, now.spend_cap or "", now.spend_left or "", now.forecast.cost)
    )
    click.echo(
        f"{found.team}: {found.state}; cycle from {now.start} to {now.end}, {found.currency}"
    )
    print_table(("", "Used", "Limit", "Left", "Forecast"), rows)
    for past in found.past:
        amounts = [f"{n.replace('_', ' ')} {_amount(n, getattr(past.used, n))}" for n in MEASURES]
        click.echo(f"{past.start[:10]}: {', '.join(amounts)}; {past.used.cost} {past.currency}")


def _amount(name: str, amount: int | None) -> str:
    if amount is None:
        return ""
    return size_text(amount) if name.endswith("bytes") else str(amount)
