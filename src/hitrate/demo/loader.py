"""How the made-up history of `hitrate demo` gets into a data folder: the way that real events do.

Batches go through a spool and the loader, artifacts through their store; only the clocks are handed
in. Nothing is metered, because nobody used anything.
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

_BATCH = 100
_AGAIN_EVERY = 250
_AGAIN_AFTER_MS = 2_000
_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose runs they are: a team, and the ids of its tokens by what they are of."""

    team: Team
    token_ids: Mapping[str, str]


_Line = tuple[int, bytes]
"""When a batch is received, and its line in the spool."""


class EventWriter:
    """Loads runs, a day in a segment, up to `until_ms`."""

    def __init__(
        self, owner: Owner, store: DuckDBEventStore, data_dir: Path, until_ms: int
    ) -> None:
        self._owner = owner
        self._store = store
        self._data_dir = data_dir
        self._until_ms = until_ms
        self._clock = ManualClock()
        self._transfers = TransferCounter(self._clock)
        self._batches = 0

    async def fill(self, days: Iterable[Sequence[Run]]) -> None:
        """Load all runs in the order of time. Raises HitrateError."""
        # A spool of its own: what waits in the server's is the server's to load, and to meter.
        with tempfile.TemporaryDirectory(prefix="demo-", dir=self._data_dir) as folder:
            spool = Spool(Path(folder), self._clock)
            loader = Loader(
                spool,
                self._store,
                Quarantine(spool.directory / "quarantine"),
                Metrics(),
                self._clock,
                traffic=self._transfers,
            )
            spool.open()
            try:
                for lines in self._by_day(days):
                    await asyncio.gather(*(spool.append(line) for line in lines))
                    if not loader.run_once():
                        raise HitrateError(f"The event store cannot be used: {loader.last_error}")
            finally:
                spool.close()
                self._store.close()

    def _by_day(self, days: Iterable[Sequence[Run]]) -> Iterator[list[bytes]]:
        """Each day's batches in order; what a run sends after midnight is the next day's."""
        waiting: list[_Line] = []
        for runs in days:
            waiting += [line for run in runs for line in self._lines(run)]
            waiting.sort(key=itemgetter(0))
            midnight_ms = (runs[0].started_ms // DAY_MS + 1) * DAY_MS if runs else 0
            end_ms = min(midnight_ms, self._until_ms + 1)
            due = [line for at_ms, line in waiting if at_ms < end_ms]
            yield due
            waiting = waiting[len(due) :]
        yield [line for at_ms, line in waiting if at_ms <= self._until_ms]

    def _lines(self, run: Run) -> Iterator[_Line]:
        """As turbo sends them: whenever a hundred have gathered, and at the end."""
        events: list[wire.CacheEvent] = []
        for done in run.tasks:
            self._count_transfer(run, done)
            events += _events(run, done)
            if len(events) >= _BATCH:
                yield from self._batch(run, done.at_ms, events[:_BATCH])
                events = events[_BATCH:]
        if events:
            yield from self._batch(run, run.ended_ms, events)

    def _batch(self, run: Run, at_ms: int, events: list[wire.CacheEvent]) -> Iterator[_Line]:
        batch = wire.Batch(
            team=self._owner.team.id,
            token=self._owner.token_ids[run.sender.token],
            received_at=at_ms,
            ci=run.sender.ci,
            interactive=run.sender.interactive,
            agent=run.sender.agent,
            digest=wire.digest(msgspec.json.encode(events)),
            events=events,
        )
        yield at_ms, wire.encode_batch(batch)
        self._batches += 1
        if self._batches % _AGAIN_EVERY == 0:  # now and then an answer is lost on its way
            batch.received_at = again_ms = at_ms + _AGAIN_AFTER_MS
            yield again_ms, wire.encode_batch(batch)

    def _count_transfer(self, run: Run, done: TaskResult) -> None:
        self._clock.value_ms = done.at_ms
        token_id = self._owner.token_ids[run.sender.token]
        client = run.sender.ci, run.sender.interactive, run.sender.agent
        if done.outcome == "miss":
            self._transfers.uploaded(self._owner.team.id, token_id, client, done.size_bytes)
        elif done.outcome == "remote_hit":
            self._transfers.downloaded(self._owner.team.id, token_id, client, done.size_bytes)


def _events(run: Run, done: TaskResult) -> Iterator[wire.CacheEvent]:
    if done.outcome == "local_hit":
        yield wire.CacheEvent(run.session_id, "LOCAL", "HIT", done.hash, done.duration_ms)
        return
    yield wire.CacheEvent(run.session_id, "LOCAL", "MISS", done.hash, 0)
    if done.outcome == "remote_hit":
        yield wire.CacheEvent(run.session_id, "REMOTE", "HIT", done.hash, done.duration_ms)
    else:
        yield wire.CacheEvent(run.session_id, "REMOTE", "MISS", done.hash, 0)


async def store_artifacts(
    owner: Owner, engine: Engine, blobs: BlobStore, kept: Sequence[CachedArtifact]
) -> None:
    """Store artifacts with made-up bodies, and note when they were used and which runs made them.

    Raises ServiceUnavailable.
    """
    clock = ManualClock()
    store = ArtifactStore(engine, blobs, clock)
    store.open()
    try:
        for start in range(0, len(kept), _AT_ONCE):
            some = kept[start : start + _AT_ONCE]
            await asyncio.gather(*(_put(store, owner, one) for one in some))
        for one in kept:
            clock.value_ms = one.used_ms
            await store.find(ArtifactKey(owner.team.id, one.task.hash))
    finally:
        await asyncio.to_thread(store.close)
    made = [_upload(owner, one) for one in kept]
    sessions = [one.run.session_id for one in kept]
    ArtifactCatalog(engine).set_producers(list(zip(made, sessions, strict=True)))


async def _put(store: ArtifactStore, owner: Owner, one: CachedArtifact) -> None:
    body = Random(one.task.hash).randbytes(one.task.size_bytes)  # noqa: S311  # reason: made up
    writer = store.blobs.writer(owner.team.id)
    writer.buffer(body)
    artifact = Artifact(
        key=ArtifactKey(owner.team.id, one.task.hash),
        blob=writer.blob,
        size_bytes=writer.size_bytes,
        duration_ms=one.task.duration_ms,
        tag=None,
        sha=one.run.sha,
        dirty_hash=one.run.dirty_hash,
        ci=one.run.sender.ci,
        interactive=one.run.sender.interactive,
        agent=one.run.sender.agent,
        token_id=owner.token_ids[one.run.sender.token],
        created_at_ms=one.task.at_ms,
    )
    await store.put(artifact, writer)


def _upload(owner: Owner, one: CachedArtifact) -> UnattributedArtifact:
    token_id = owner.token_ids[one.run.sender.token]
    return UnattributedArtifact(owner.team.id, one.task.hash, token_id, one.task.at_ms)
