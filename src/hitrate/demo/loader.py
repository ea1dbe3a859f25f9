"""Writes simulated runs to a data directory in the same way as real events.

Batches pass through a spool and the loader, and artifacts through their store, with clocks that are
set to the simulated time. Nothing is metered.
"""

import asyncio
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from random import Random

import msgspec
from sqlalchemy import Engine

from hitrate.artifacts.blobs import BlobStore
from hitrate.artifacts.catalog import ArtifactCatalog, UnattributedArtifact
from hitrate.artifacts.models import Artifact, ArtifactKey
from hitrate.artifacts.store import ArtifactStore
from hitrate.clock import ManualClock
from hitrate.demo.shared_cache import CachedArtifact, Run, TaskResult
from hitrate.demo.simulator import DAY_MS
from hitrate.errors import HitrateError
from hitrate.events import wire
from hitrate.events.loader import Loader
from hitrate.events.quarantine import Quarantine
from hitrate.events.spool import Spool
from hitrate.events.store import DuckDBEventStore
from hitrate.events.transfers import TransferCounter
from hitrate.metrics import Metrics
from hitrate.teams.models import Team

_MAX_BATCH_EVENTS = 100
_BATCHES_PER_DUPLICATE = 250
_RESEND_DELAY_MS = 2_000
_CONCURRENT_UPLOADS = 200


@dataclass(frozen=True, slots=True)
class DemoTeam:
    """The demo team, and the ids of its tokens by `Sender.token`."""

    team: Team
    token_ids: Mapping[str, str]


_Line = tuple[int, bytes]
"""Time at which a batch is received, and its line in the spool."""


class EventWriter:
    """Loads runs into the event store, one day per segment, up to `until_ms`."""

    def __init__(
        self, demo_team: DemoTeam, store: DuckDBEventStore, data_dir: Path, until_ms: int
    ) -> None:
        self._demo_team = demo_team
        self._store = store
        self._data_dir = data_dir
        self._until_ms = until_ms
        self._clock = ManualClock()
        self._transfers = TransferCounter(self._clock)
        self._batches = 0

    async def load(self, days: Iterable[Sequence[Run]]) -> None:
        """Load all runs in chronological order. Raises HitrateError."""
        # A separate spool, because the server has to load, and meter, the batches in its own.
        with tempfile.TemporaryDirectory(prefix="demo-", dir=self._data_dir) as directory:
            spool = Spool(Path(directory), self._clock)
            loader = Loader(
                spool,
                self._store,
                Quarantine(spool.directory / "quarantine"),
                Metrics(),
                self._clock,
                transfers=self._transfers,
            )
            spool.open()
            try:
                for lines in self._lines_by_day(days):
                    await asyncio.gather(*(spool.append(line) for line in lines))
                    if not loader.run_once():
                        raise HitrateError(f"The event store cannot be used: {loader.last_error}")
            finally:
                spool.close()
                self._store.close()

    def _lines_by_day(self, days: Iterable[Sequence[Run]]) -> Iterator[list[bytes]]:
        """Yield the lines received on each day, in order.

        A batch that a run sends after midnight belongs to the next day.
        """
        pending: list[_Line] = []
        for runs in days:
            pending += [line for run in runs for line in self._lines(run)]
            pending.sort(key=itemgetter(0))
            midnight_ms = (runs[0].started_ms // DAY_MS + 1) * DAY_MS if runs else 0
            end_ms = min(midnight_ms, self._until_ms + 1)
            due = [line for at_ms, line in pending if at_ms < end_ms]
            yield due
            pending = pending[len(due) :]
        yield [line for at_ms, line in pending if at_ms <= self._until_ms]

    def _lines(self, run: Run) -> Iterator[_Line]:
        """Yield the batches of a run as turbo sends them: 100 events each, the rest at the end."""
        events: list[wire.CacheEvent] = []
        for result in run.tasks:
            self._count_transfer(run, result)
            events += _events(run, result)
            if len(events) >= _MAX_BATCH_EVENTS:
                yield from self._batch(run, result.at_ms, events[:_MAX_BATCH_EVENTS])
                events = events[_MAX_BATCH_EVENTS:]
        if events:
            yield from self._batch(run, run.ended_ms, events)

    def _batch(self, run: Run, at_ms: int, events: list[wire.CacheEvent]) -> Iterator[_Line]:
        batch = wire.Batch(
            team=self._demo_team.team.id,
            token=self._demo_team.token_ids[run.sender.token],
            received_at=at_ms,
            ci=run.sender.ci,
            interactive=run.sender.interactive,
            agent=run.sender.agent,
            digest=wire.digest(msgspec.json.encode(events)),
            events=events,
        )
        yield at_ms, wire.encode_batch(batch)
        self._batches += 1
        if (
            self._batches % _BATCHES_PER_DUPLICATE == 0
        ):  # a client re-sends a batch if the response is lost
            batch.received_at = resent_ms = at_ms + _RESEND_DELAY_MS
            yield resent_ms, wire.encode_batch(batch)

    def _count_transfer(self, run: Run, result: TaskResult) -> None:
        self._clock.value_ms = result.at_ms
        token_id = self._demo_team.token_ids[run.sender.token]
        client = run.sender.ci, run.sender.interactive, run.sender.agent
        if result.outcome == "miss":
            self._transfers.uploaded(self._demo_team.team.id, token_id, client, result.size_bytes)
        elif result.outcome == "remote_hit":
            self._transfers.downloaded(self._demo_team.team.id, token_id, client, result.size_bytes)


def _events(run: Run, result: TaskResult) -> Iterator[wire.CacheEvent]:
    if result.outcome == "local_hit":
        yield wire.CacheEvent(run.session_id, "LOCAL", "HIT", result.hash, result.duration_ms)
        return
    yield wire.CacheEvent(run.session_id, "LOCAL", "MISS", result.hash, 0)
    if result.outcome == "remote_hit":
        yield wire.CacheEvent(run.session_id, "REMOTE", "HIT", result.hash, result.duration_ms)
    else:
        yield wire.CacheEvent(run.session_id, "REMOTE", "MISS", result.hash, 0)


async def store_artifacts(
    demo_team: DemoTeam, engine: Engine, blobs: BlobStore, artifacts: Sequence[CachedArtifact]
) -> None:
    """Store artifacts with random bodies, their times of last use, and the runs that produced them.

    Raises ServiceUnavailable.
    """
    clock = ManualClock()
    store = ArtifactStore(engine, blobs, clock)
    store.open()
    try:
        for start in range(0, len(artifacts), _CONCURRENT_UPLOADS):
            batch = artifacts[start : start + _CONCURRENT_UPLOADS]
            await asyncio.gather(*(_upload(store, demo_team, artifact) for artifact in batch))
        for artifact in artifacts:
            clock.value_ms = artifact.used_ms
            await store.find(ArtifactKey(demo_team.team.id, artifact.task.hash))
    finally:
        await asyncio.to_thread(store.close)
    ArtifactCatalog(engine).set_producers(
        [(_unattributed(demo_team, artifact), artifact.run.session_id) for artifact in artifacts]
    )


async def _upload(store: ArtifactStore, demo_team: DemoTeam, cached: CachedArtifact) -> None:
    random = Random(cached.task.hash)  # noqa: S311  # reason: simulated data, no secrets
    body = random.randbytes(cached.task.size_bytes)
    writer = store.blobs.writer(demo_team.team.id)
    writer.buffer(body)
    artifact = Artifact(
        key=ArtifactKey(demo_team.team.id, cached.task.hash),
        blob=writer.blob,
        size_bytes=writer.size_bytes,
        duration_ms=cached.task.duration_ms,
        tag=None,
        sha=cached.run.sha,
        dirty_hash=cached.run.dirty_hash,
        ci=cached.run.sender.ci,
        interactive=cached.run.sender.interactive,
        agent=cached.run.sender.agent,
        token_id=demo_team.token_ids[cached.run.sender.token],
        created_at_ms=cached.task.at_ms,
    )
    await store.put(artifact, writer)


def _unattributed(demo_team: DemoTeam, cached: CachedArtifact) -> UnattributedArtifact:
    token_id = demo_team.token_ids[cached.run.sender.token]
    return UnattributedArtifact(demo_team.team.id, cached.task.hash, token_id, cached.task.at_ms)
