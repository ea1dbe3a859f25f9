"""`hitrate demo`: a team with some months of made-up runs, to look at and to try things on."""

import asyncio
import shlex
from collections.abc import Iterator

import click
import msgspec

from hitrate.artifacts.blobs import BlobStore
from hitrate.auth.accounts import AccountStore
from hitrate.cli.output import print_json
from hitrate.cli.server_options import accounts, data_dir_option, json_output_option
from hitrate.clock import Clock, ManualClock, iso
from hitrate.config import Settings
from hitrate.datadir import DataDir, DataDirLock, read_server_info, server_url
from hitrate.demo.loader import EventWriter, Owner, store_artifacts
from hitrate.demo.shared_cache import CACHE_BYTES, Run
from hitrate.demo.simulator import GITHUB, GITLAB, LAPTOPS, WorkloadSimulator
from hitrate.errors import BadRequest, DataDirLocked
from hitrate.events.store import create_event_store
from hitrate.roles import Role
from hitrate.teams.models import Actor, Team, User
from hitrate.units import format_size

NAME = "Demo (made-up data)"
INCOMPLETE_NAME = "Demo (made-up data, unfinished)"
MONTH_DAYS = 30

_DEMO_ACTOR = Actor("operator", "demo", "hitrate demo")
"""Who made a demo, as the audit log has it: by this one is known, whatever it is called later."""


class Made(msgspec.Struct, rename="camel"):
    """What a demo has, as its history tells it. `time_saved_ms` by local and remote hits."""

    team: str
    team_id: str
    seed: int
    since: str
    runs: int = 0
    tasks: int = 0
    local_hits: int = 0
    remote_hits: int = 0
    time_saved_ms: int = 0
    stored: int = 0
    stored_bytes: int = 0

    def count(self, days: Iterator[list[Run]]) -> Iterator[list[Run]]:
        """The same days, counted."""
        for runs in days:
            self.runs += len(runs)
            for done in (done for run in runs for done in run.tasks):
                self.tasks += 1
                self.local_hits += done.outcome == "local_hit"
                self.remote_hits += done.outcome == "remote_hit"
                self.time_saved_ms += max(done.duration_ms, 0) * (done.outcome != "miss")
            yield runs


@click.command()
@click.option("--team", "slug", default="demo", show_default=True, help="Slug of the team to make.")
@click.option(
    "--months",
    type=click.IntRange(1, 12),
    default=3,
    show_default=True,
    help="How far the runs go back.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Another makes other runs.")
@json_output_option
@data_dir_option
def demo(settings: Settings, slug: str, months: int, seed: int, json_output: bool) -> None:
    """Make a team with months of made-up runs, to look at.

    Not while a server runs on the data folder. A team that is there already is left as it is.
    """
    _check_no_server(settings)
    with DataDirLock(settings), accounts(settings, create=True) as store:
        known = store.teams.find(slug=slug)
        if known is None:
            click.echo(f"Making {months} months of runs; this takes a little.", err=True)
            made = create_demo(settings, store, slug, months * MONTH_DAYS, seed, Clock())
        else:
            _check_demo_team(store, known)
            made = None
            click.echo(f"The team {slug} has its made-up runs already: none were added.", err=True)
    if json_output:
        print_json(made)
        return
    if made is not None:
        _print_summary(made)
    _print_next_steps(settings, slug)


def create_demo(
    settings: Settings, store: AccountStore, slug: str, days: int, seed: int, clock: Clock
) -> Made:
    """A new team with the runs of the last days. The caller holds the data folder.

    Raises HitrateError.
    """
    blobs = BlobStore(DataDir(settings.data_dir).artifacts, settings.min_free_bytes)
    blobs.open()
    blobs.check_free_space(2 * CACHE_BYTES)
    now_ms = clock.now_ms()
    history = WorkloadSimulator(seed, days, now_ms)
    owner = _create_team(store, slug, history.start_ms)
    made = Made(slug, owner.team.id, seed, iso(history.start_ms))
    used_ms: dict[str, int] = {}
    told = made.count(_record_last_used(history.days(), owner, used_ms))
    events = EventWriter(owner, create_event_store(settings), settings.data_dir, now_ms)
    asyncio.run(events.fill(told))
    kept = list(history.kept())
    asyncio.run(store_artifacts(owner, store.engine, blobs, kept))
    made.stored, made.stored_bytes = len(kept), sum(one.task.size_bytes for one in kept)
    store.tokens.save_last_used(used_ms)
    store.teams.rename(owner.team, NAME, _DEMO_ACTOR)
    return made


def _record_last_used(
    days: Iterator[list[Run]], owner: Owner, used_ms: dict[str, int]
) -> Iterator[list[Run]]:
    """The same days; afterwards `used_ms` has when each token was last used."""
    for runs in days:
        used_ms.update((owner.token_ids[run.sender.token], run.ended_ms) for run in runs)
        yield runs


def _create_team(store: AccountStore, slug: str, start_ms: int) -> Owner:
    team = store.teams.create(slug, INCOMPLETE_NAME, _DEMO_ACTOR)
    # As old as their first runs; the audit log, which must not lie, does not have them.
    tokens = AccountStore(store.engine, ManualClock(start_ms)).tokens
    ids = {}
    for sender in (GITHUB, GITLAB, *LAPTOPS):
        is_ci = sender.ci is not None
        user = None if is_ci else _create_user(store, team, LAPTOPS.index(sender) + 1)
        token, _ = tokens.create(team, f"demo {sender.token}", user=user, actor=None)
        ids[sender.token] = token.id
    return Owner(team, ids)


def _create_user(store: AccountStore, team: Team, number: int) -> User:
    """Nobody, who cannot sign in; below `.invalid` there is no mail."""
    email, name = f"dev{number}@{team.slug}.invalid", f"Developer {number} (made up)"
    user = store.users.create(email, name, actor=_DEMO_ACTOR)
    store.members.add(team, user, Role.DEVELOPER, _DEMO_ACTOR)
    return user


def _check_no_server(settings: Settings) -> None:
    running = read_server_info(settings.data_dir)
    if running is not None:
        raise DataDirLocked(
            f"Process {running.pid} at {running.url} holds the data folder {settings.data_dir}. "
            "Stop it, or give the demo a folder of its own: `hitrate demo --data-dir demo-data`, "
            "then `hitrate serve --data-dir demo-data`."
        )


def _check_demo_team(store: AccountStore, team: Team) -> None:
    """Raises BadRequest for a team that is not a finished demo."""
    made = store.audit.page(team.id, 1, action="team.create")
    if [entry.actor_id for entry in made] != [_DEMO_ACTOR.id]:
        raise BadRequest(
            f"The team {team.slug} is no demo, and is left alone: choose another slug with --team."
        )
    if team.name == INCOMPLETE_NAME:
        raise BadRequest(
            f"The demo in the team {team.slug} was interrupted and is not whole: make another "
            "with --team, or in another folder with --data-dir."
        )


def _print_summary(made: Made) -> None:
    hits = made.local_hits + made.remote_hits
    click.echo(
        f"The team {made.team} has made-up runs since {made.since[:10]}: {made.runs:,} runs, "
        f"{made.tasks:,} tasks,\n{hits / made.tasks:.0%} of them hits that saved "
        f"{made.time_saved_ms / 3_600_000:,.0f} hours; {made.stored:,} artifacts "
        f"({format_size(made.stored_bytes)}) are stored."
    )


def _print_next_steps(settings: Settings, slug: str) -> None:
    folder = f"--data-dir {shlex.quote(str(settings.data_dir))}"
    click.echo(
        f"\nTo look at it, make yourself a user (this prints a password) and start the server:\n\n"
        f"hitrate user create you@example.com --team {slug} --role OWNER {folder}\n"
        f"hitrate serve {folder}\n\n"
        f"and sign in at {server_url(settings)}/login. For the API:\n\n"
        f"hitrate token create --team {slug} {folder}"
    )
