"""`hitrate events`: list recorded events."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice

import click
import msgspec

from hitrate.artifacts.index import ArtifactIndex
from hitrate.cli.operator import operator_client
from hitrate.cli.options import json_option
from hitrate.cli.output import print_table
from hitrate.cli.server_options import accounts, data_dir_option, find_team
from hitrate.clock import Clock
from hitrate.config import Settings
from hitrate.datadir import DataDir, DataDirLock, read_server_info
from hitrate.errors import BadRequest, HitrateError
from hitrate.events.loader import Loader
from hitrate.events.models import EventFilter, EventRecord
from hitrate.events.quarantine import Quarantine
from hitrate.events.routes import EventPage
from hitrate.events.spool import Spool
from hitrate.events.store import create_event_store
from hitrate.metrics import Metrics
from hitrate.timeparse import parse_time_ms
from hitrate.units import format_count

_PAGE_SIZE = 1000

Events = Iterator[EventRecord]


@click.command()
@click.option("--team", "slug", required=True, help="Slug of the team.")
@click.option("--session", "session_id", help="Only events of the run with this session.")
@click.option(
    "--since",
    metavar="TIME",
    help="Only events received since then: an ISO 8601 time, or how long ago, such as 7d.",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Maximum number of events.",
)
@json_option
@data_dir_option
def events(
    settings: Settings,
    slug: str,
    session_id: str | None,
    since: str | None,
    limit: int,
    json_output: bool,
) -> None:
    """List recorded events, newest first.

    --json prints one JSON object per line.
    """
    if since is not None:
        _check_since(since)
    with accounts(settings) as store:
        find_team(store, slug)
    with _open_events(settings, slug, session_id, since) as all_events:
        selected = islice(all_events, limit)
        if json_output:
            for event in selected:
                click.echo(msgspec.json.encode(event))
        else:
            rows = list(selected)
            _print_events(rows)
            if len(rows) == limit:
                click.echo(f"Showing the newest {limit}; use --limit for more.", err=True)


def _check_since(text: str) -> None:
    try:
        parse_time_ms(text, 0)
    except (ValueError, OverflowError) as error:
        raise BadRequest(
            f"--since is {text!r}; it takes a time such as 2026-11-21T20:33:00Z, or 7d."
        ) from error


@contextmanager
def _open_events(
    settings: Settings, slug: str, session_id: str | None, since: str | None
) -> Iterator[Events]:
    """Yield the matching events, newest first, from the running server or the event store."""
    running = read_server_info(settings.data_dir)
    if running is None:
        with _open_offline(settings, slug, session_id, since) as offline_events:
            yield offline_events
        return
    with operator_client(settings, running) as server:
        request = partial(
            server.request, "GET", "/v1/events", slug=slug, sessionId=session_id, since=since
        )
        yield _from_server(request)


def _from_server(request: "partial[bytes]") -> Events:
    cursor: str | None = None
    while True:
        page = msgspec.json.decode(request(limit=_PAGE_SIZE, cursor=cursor), type=EventPage)
        yield from page.events
        cursor = page.next_cursor
        if cursor is None:
            return


@contextmanager
def _open_offline(
    settings: Settings, slug: str, session_id: str | None, since: str | None
) -> Iterator[Events]:
    """Load the spool, then yield events from the event store. Raises HitrateError."""
    clock = Clock()
    with DataDirLock(settings), accounts(settings) as account_store:
        team = find_team(account_store, slug)
        data_dir = DataDir(settings.data_dir)
        store = create_event_store(settings, ArtifactIndex(account_store.engine).durations)
        spool = Spool(data_dir.spool, clock)
        spool.open()
        spool.close()
        loader = Loader(spool, store, Quarantine(data_dir.quarantine), Metrics(), clock)
        if not loader.run_once():
            raise HitrateError(
                f"The event store cannot be read: {loader.last_error} Run `hitrate doctor`."
            )
        since_ms = None if since is None else parse_time_ms(since, clock.now_ms())
        event_filter = EventFilter(team.id, session_id, None, since_ms, None, _PAGE_SIZE)
        with closing(store):
            yield _from_store(store.events, event_filter)


def _from_store(
    read: Callable[[EventFilter], list[EventRecord]], event_filter: EventFilter
) -> Events:
    while page := read(event_filter):
        yield from page
        event_filter = replace(event_filter, before=page[-1].id)


def _print_events(events: list[EventRecord]) -> None:
    print_table(
        ("Received", "Session", "Source", "Event", "Hash", "Duration ms", "CI", "Agent"),
        [
            (e.received_at, e.session_id, e.source, e.event, e.hash, e.duration, e.ci, e.agent)
            for e in events
        ],
    )
    click.echo(format_count(len(events), "event"))
