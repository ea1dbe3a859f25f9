"""Clients under load, and the ledger of what they sent, what was acknowledged and what must be."""

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from tests.support.raw_http import GONE, Answer, Artifact, Client, assert_whole, make_artifact
from tests.support.server import Server

EventKey = tuple[str, str]

_SIZES = ((1, 40_000), (100_000, 900_000), (1_100_000, 2_500_000))
"""Written with others' bodies, written alone, and written while they come."""

_MOST_EVENTS = 20


@dataclass
class Batch:
    """One body of recordEvents. Its events are like no others."""

    body: bytes
    keys: frozenset[EventKey]
    acknowledged: bool = False


@dataclass
class Version:
    """One upload of an artifact."""

    tag: str
    size_bytes: int
    acknowledged: bool = False


@dataclass
class EventCount:
    """What became of the ledger's events."""

    batches: int
    acknowledged_batches: int
    acknowledged: int
    recorded: int
    lost: int
    doubled: int
    strangers: int
    torn_batches: int

    def assert_exact(self) -> None:
        """Every acknowledged event once; of the others whole batches, once, or nothing."""
        wrong = (self.lost, self.doubled, self.strangers, self.torn_batches)
        assert wrong == (0, 0, 0, 0), self


@dataclass
class Ledger:
    """Shared by the clients of all rounds; each entry belongs to one client at a time."""

    batches: list[Batch] = field(default_factory=list)
    versions: dict[str, list[Version]] = field(default_factory=dict)
    refused: list[Answer] = field(default_factory=list)
    resent: int = 0
    broken: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def new_batch(self, dice: random.Random) -> Batch:
        """A batch of some events, all of one session."""
        session = f"{dice.getrandbits(128):032x}"
        events = [_event(session, dice) for _ in range(dice.randint(1, _MOST_EVENTS))]
        keys = frozenset((session, event["hash"]) for event in events)
        batch = Batch(json.dumps(events).encode(), keys)
        with self.lock:
            self.batches.append(batch)
        return batch

    def new_version(self, artifact_hash: str, size_bytes: int) -> tuple[Artifact, Version]:
        """The next version of an artifact."""
        with self.lock:
            versions = self.versions.setdefault(artifact_hash, [])
            artifact = make_artifact(artifact_hash, len(versions), size_bytes)
            versions.append(Version(artifact.tag, size_bytes))
            return artifact, versions[-1]

    def unacknowledged(self) -> list[Batch]:
        """The batches whose clients do not know whether they were recorded."""
        return [batch for batch in self.batches if not batch.acknowledged]

    def count_events(self, recorded: Iterable[Mapping[str, Any]]) -> EventCount:
        """Hold the recorded events against the ledger."""
        seen = Counter((event["sessionId"], event["hash"]) for event in recorded)
        acknowledged = [batch for batch in self.batches if batch.acknowledged]
        known: set[EventKey] = set()
        known.update(*(batch.keys for batch in self.batches))
        return EventCount(
            batches=len(self.batches),
            acknowledged_batches=len(acknowledged),
            acknowledged=sum(len(batch.keys) for batch in acknowledged),
            recorded=seen.total(),
            lost=sum(key not in seen for batch in acknowledged for key in batch.keys),
            doubled=sum(count - 1 for count in seen.values()),
            strangers=len(seen.keys() - known),
            torn_batches=sum(
                0 < sum(key in seen for key in batch.keys) < len(batch.keys)
                for batch in self.batches
            ),
        )

    def assert_artifacts(self, client: Client) -> int:
        """Each artifact is there whole, no older than last acknowledged; how many there are."""
        count = 0
        for artifact_hash, versions in self.versions.items():
            latest = max((n for n, v in enumerate(versions) if v.acknowledged), default=None)
            answer = client.get(artifact_hash)
            if answer.status == 404:
                assert latest is None, f"{artifact_hash} was acknowledged and is lost"
                continue
            version = assert_whole(answer)
            assert latest is None or version >= latest, f"{artifact_hash} is an older one"
            assert versions[version].tag == answer.headers["x-artifact-tag"]
            assert versions[version].size_bytes == len(answer.body)
            count += 1
        return count


class Load:
    """Clients that send until the `with` ends or their server is gone."""

    def __init__(
        self, server: Server, ledger: Ledger, seed: int, *, events: int = 3, artifacts: int = 3
    ) -> None:
        """So many clients of each kind."""
        self._server = server
        self._ledger = ledger
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self.acknowledged = threading.Event()
        waiting = ledger.unacknowledged()
        jobs: list[Callable[[Client, random.Random], None]] = [
            self._send_events_of(waiting[n::events]) for n in range(events)
        ]
        jobs += [self._send_artifacts_of(f"client{n}") for n in range(artifacts)]
        self._threads = [
            threading.Thread(target=self._run, args=(job, random.Random(f"{seed}/{n}")))
            for n, job in enumerate(jobs)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for failure in self._failures:
            raise failure

    def _run(self, job: Callable[[Client, random.Random], None], dice: random.Random) -> None:
        try:
            while not self._stop.is_set() and self._server_runs():
                try:
                    with Client(self._server) as client:
                        job(client, dice)
                except GONE:
                    with self._ledger.lock:
                        self._ledger.broken += 1
        except BaseException as failure:
            self._failures.append(failure)

    def _server_runs(self) -> bool:
        process = self._server.process
        return process is not None and process.poll() is None

    def _send_events_of(self, waiting: list[Batch]) -> Callable[[Client, random.Random], None]:
        def send(client: Client, dice: random.Random) -> None:
            # As after a connection error: the same bytes once more. Some clients give up.
            for batch in waiting:
                if dice.random() < 0.5:
                    self._post(client, batch, again=True)
            while not self._stop.is_set():
                batch = self._ledger.new_batch(dice)
                self._post(client, batch)
                if dice.random() < 0.15:
                    self._post(client, batch, again=True)

        return send

    def _post(self, client: Client, batch: Batch, *, again: bool = False) -> None:
        if again:
            with self._ledger.lock:
                self._ledger.resent += 1
        if self._accepted(client.post_events(batch.body), 200):
            batch.acknowledged = True

    def _send_artifacts_of(self, name: str) -> Callable[[Client, random.Random], None]:
        def send(client: Client, dice: random.Random) -> None:
            while not self._stop.is_set():
                size_bytes = dice.randint(*dice.choices(_SIZES, (4, 2, 1))[0])
                # A few hashes for each client, so that many uploads replace one.
                artifact, version = self._ledger.new_version(
                    f"{name}-{dice.randrange(40)}", size_bytes
                )
                chunk_bytes = dice.choice((None, None, 10_000, 300_000))
                if self._accepted(client.put(artifact, chunk_bytes), 202):
                    version.acknowledged = True

        return send

    def _accepted(self, answer: Answer, status: int) -> bool:
        if answer.status == status:
            self.acknowledged.set()
            return True
        with self._ledger.lock:
            self._ledger.refused.append(answer)
        return False


def _event(session: str, dice: random.Random) -> dict[str, Any]:
    return {
        "sessionId": session,
        "source": dice.choice(("LOCAL", "REMOTE")),
        "event": dice.choice(("HIT", "MISS")),
        "hash": f"{dice.getrandbits(64):016x}",
        "duration": dice.randrange(5000),
    }
