"""Creates a demo team with simulated runs in a data directory."""

import asyncio
from collections.abc import Iterator

import msgspec

from hitrate.artifacts.blobs import BlobStore
from hitrate.auth.accounts import AccountStore
from hitrate.clock import Clock, ManualClock, iso
from hitrate.config import Settings
from hitrate.datadir import DataDir
from hitrate.demo.loader import DemoTeam, EventWriter, store_artifacts
from hitrate.demo.shared_cache import CACHE_BYTES, Run
from hitrate.demo.simulator import GITHUB, GITLAB, LAPTOPS, WorkloadSimulator
from hitrate.errors import BadRequest
from hitrate.events.store import create_event_store
from hitrate.roles import Role
from hitrate.teams.models import Actor, Team, User

NAME = "Demo (simulated data)"
INCOMPLETE_NAME = "Demo (simulated data, unfinished)"
_INCOMPLETE_NAMES = (INCOMPLETE_NAME, "Demo (made-up data, unfinished)")  # current and former

DEMO_ACTOR = Actor("operator", "demo", "hitrate demo")
"""Actor in the audit log, which identifies a demo team even if an owner has renamed it."""


class DemoSummary(msgspec.Struct, rename="camel"):
    """Contents of a new demo team. `time_saved_ms` is the sum for local and remote hits."""

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

    @property
    def hit_rate(self) -> float:
        """Hits divided by tasks, 0 to 1."""
        return (self.local_hits + self.remote_hits) / self.tasks

    def add(self, run: Run) -> None:
        """Add a run and its tasks."""
        self.runs += 1
        for result in run.tasks:
            self.tasks += 1
            self.local_hits += result.outcome == "local_hit"
            self.remote_hits += result.outcome == "remote_hit"
            self.time_saved_ms += max(result.duration_ms, 0) * (result.outcome != "miss")


def create_demo(
    settings: Settings, store: AccountStore, slug: str, days: int, seed: int, clock: Clock
) -> DemoSummary:
    """Create a team with the runs of the last days. The caller holds the DataDirLock.

    Raises HitrateError.
    """
    blobs = BlobStore(DataDir(settings.data_dir).artifacts, settings.min_free_bytes)
    blobs.open()
    blobs.check_free_space(2 * CACHE_BYTES)
    now_ms = clock.now_ms()
    simulator = WorkloadSimulator(seed, days, now_ms)
    demo_team = _create_team(store, slug, simulator.start_ms)
    summary = DemoSummary(slug, demo_team.team.id, seed, iso(simulator.start_ms))
    last_used_ms: dict[str, int] = {}

    def observed_days() -> Iterator[list[Run]]:
        for runs in simulator.days():
            for run in runs:
                summary.add(run)
                last_used_ms[demo_team.token_ids[run.sender.token]] = run.ended_ms
            yield runs

    events = EventWriter(demo_team, create_event_store(settings), settings.data_dir, now_ms)
    asyncio.run(events.load(observed_days()))
    artifacts = list(simulator.cached_artifacts())
    asyncio.run(store_artifacts(demo_team, store.engine, blobs, artifacts))
    summary.stored = len(artifacts)
    summary.stored_bytes = sum(artifact.task.size_bytes for artifact in artifacts)
    store.tokens.save_last_used(last_used_ms)
    store.teams.rename(demo_team.team, NAME, DEMO_ACTOR)
    return summary


def check_complete_demo(store: AccountStore, team: Team) -> None:
    """Raise BadRequest unless the team is a demo team that was created completely.

    A team is a demo team if DEMO_ACTOR created it, and incomplete while it has INCOMPLETE_NAME.
    """
    creations = store.audit.page(team.id, 1, action="team.create")
    if [entry.actor_id for entry in creations] != [DEMO_ACTOR.id]:
        raise BadRequest(
            f"The team {team.slug} exists and is not a demo team. Choose another slug with --team."
        )
    if team.name in _INCOMPLETE_NAMES:
        raise BadRequest(
            f"The demo team {team.slug} is incomplete, because its creation was interrupted. "
            "Create another with --team, or in another directory with --data-dir."
        )


def _create_team(store: AccountStore, slug: str, start_ms: int) -> DemoTeam:
    """Create the team, its users, and tokens that are as old as their first runs."""
    team = store.teams.create(slug, INCOMPLETE_NAME, DEMO_ACTOR)
    tokens = AccountStore(store.engine, ManualClock(start_ms)).tokens
    token_ids = {}
    for sender in (GITHUB, GITLAB, *LAPTOPS):
        is_ci = sender.ci is not None
        user = None if is_ci else _create_user(store, team, LAPTOPS.index(sender) + 1)
        # Not audited: an entry with a simulated time would be false.
        token, _ = tokens.create(team, f"demo {sender.token}", user=user, actor=None)
        token_ids[sender.token] = token.id
    return DemoTeam(team, token_ids)


def _create_user(store: AccountStore, team: Team, number: int) -> User:
    """Create a user who cannot sign in; the domain `.invalid` receives no email."""
    email, name = f"dev{number}@{team.slug}.invalid", f"Developer {number} (simulated)"
    user = store.users.create(email, name, actor=DEMO_ACTOR)
    store.members.add(team, user, Role.DEVELOPER, DEMO_ACTOR)
    return user
