"""Load generator for fault tests, and the state that the server must have afterwards."""

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from tests.support.raw_http import (
    CONNECTION_ERRORS,
    RawHttpClient,
    RawResponse,
    SampleArtifact,
    assert_intact,
    create_artifact,
)
from tests.support.server import Server

EventKey = tuple[str, str]

_SIZES = ((1, 40_000), (100_000, 900_000), (1_100_000, 2_500_000))
"""Ranges of body sizes: flushed with others, flushed alone, and written while being received."""

_MAX_EVENTS = 20


@dataclass
class SentBatch:
    """One recordEvents body. No other batch has the same events."""

    body: bytes
    keys: frozenset[EventKey]
    acknowledged: bool = False


@dataclass
class Version:
    """One version of an artifact: an upload that was sent."""

    tag: str
    size_bytes: int
    acknowledged: bool = False


@dataclass
class EventCount:
    """Result of comparing the recorded events with those sent."""

    batches: int
    acknowledged_batches: int
    acknowledged: int
    recorded: int
    lost: int
    duplicated: int
    unexpected: int
    partial_batches: int

    def assert_exact(self) -> None:
        """Check that each acknowledged event is recorded once, and any other batch once or not."""
        wrong = (self.lost, self.duplicated, self.unexpected, self.partial_batches)
        assert wrong == (0, 0, 0, 0), self


@dataclass
class ExpectedState:
    """Requests that all clients have sent in all rounds, and which were acknowledged.

    Each entry is used by one client at a time.
    """

    batches: list[SentBatch] = field(default_factory=list)
    versions: dict[str, list[Version]] = field(default_factory=dict)
    rejected: list[RawResponse] = field(default_factory=list)
    resent: int = 0
    connection_errors: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def new_batch(self, rng: random.Random) -> SentBatch:
        """Create and register a batch of random events of one session."""
        session = f"{rng.getrandbits(128):032x}"
        events = [_event(session, rng) for _ in range(rng.randint(1, _MAX_EVENTS))]
        keys = frozenset((session, event["hash"]) for event in events)
        batch = SentBatch(json.dumps(events).encode(), keys)
        with self.lock:
            self.batches.append(batch)
        return batch

    def new_version(self, artifact_hash: str, size_bytes: int) -> tuple[SampleArtifact, Version]:
        """Create and register the next version of an artifact."""
        with self.lock:
            versions = self.versions.setdefault(artifact_hash, [])
            artifact = create_artifact(artifact_hash, len(versions), size_bytes)
            versions.append(Version(artifact.tag, size_bytes))
            return artifact, versions[-1]

    def unacknowledged(self) -> list[SentBatch]:
        """Return the batches that may or may not have been recorded."""
        return [batch for batch in self.batches if not batch.acknowledged]

    def count_events(self, recorded: Iterable[Mapping[str, Any]]) -> EventCount:
        """Compare the recorded events with those sent."""
        counts = Counter((event["sessionId"], event["hash"]) for event in recorded)
        acknowledged = [batch for batch in self.batches if batch.acknowledged]
        sent: set[EventKey] = set()
        sent.update(*(batch.keys for batch in self.batches))
        return EventCount(
            batches=len(self.batches),
            acknowledged_batches=len(acknowledged),
            acknowledged=sum(len(batch.keys) for batch in acknowledged),
            recorded=counts.total(),
            lost=sum(key not in counts for batch in acknowledged for key in batch.keys),
            duplicated=sum(count - 1 for count in counts.values()),
            unexpected=len(counts.keys() - sent),
            partial_batches=sum(
                0 < sum(key in counts for key in batch.keys) < len(batch.keys)
                for batch in self.batches
            ),
        )

    def assert_artifacts(self, client: RawHttpClient) -> int:
        """Check that each artifact is intact and at least as new as the last acknowledged version.

        Returns the number of artifacts.
        """
        count = 0
        for artifact_hash, versions in self.versions.items():
            latest = max((n for n, v in enumerate(versions) if v.acknowledged), default=None)
            response = client.get(artifact_hash)
            if response.status == 404:
                assert latest is None, f"{artifact_hash} was acknowledged but is missing"
                continue
            version = assert_intact(response)
            assert latest is None or version >= latest, (
                f"{artifact_hash} is older than acknowledged"
            )
            assert versions[version].tag == response.headers["x-artifact-tag"]
            assert versions[version].size_bytes == len(response.body)
            count += 1
        return count


class LoadGenerator:
    """Concurrent clients that send until the `with` block ends or the server exits."""

    def __init__(
        self,
        server: Server,
        expected: ExpectedState,
        seed: int,
        *,
        events: int = 3,
        artifacts: int = 3,
    ) -> None:
        """`events` and `artifacts` are the numbers of clients that send each."""
        self._server = server
        self._expected = expected
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self.acknowledged = threading.Event()
        unacknowledged = expected.unacknowledged()
        jobs: list[Callable[[RawHttpClient, random.Random], None]] = [
            self._event_sender(unacknowledged[n::events]) for n in range(events)
        ]
        jobs += [self._artifact_sender(f"client{n}") for n in range(artifacts)]
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

    def _run(self, job: Callable[[RawHttpClient, random.Random], None], rng: random.Random) -> None:
        try:
            while not self._stop.is_set() and self._server_is_running():
                try:
                    with RawHttpClient(self._server) as client:
                        job(client, rng)
                except CONNECTION_ERRORS:
                    with self._expected.lock:
                        self._expected.connection_errors += 1
        except BaseException as failure:
            self._failures.append(failure)

    def _server_is_running(self) -> bool:
        process = self._server.process
        return process is not None and process.poll() is None

    def _event_sender(
        self, unacknowledged: list[SentBatch]
    ) -> Callable[[RawHttpClient, random.Random], None]:
        def send(client: RawHttpClient, rng: random.Random) -> None:
            # Re-send half of the unacknowledged batches, as clients do after a connection error.
            for batch in unacknowledged:
                if rng.random() < 0.5:
                    self._post(client, batch, resend=True)
            while not self._stop.is_set():
                batch = self._expected.new_batch(rng)
                self._post(client, batch)
                if rng.random() < 0.15:
                    self._post(client, batch, resend=True)

        return send

    def _post(self, client: RawHttpClient, batch: SentBatch, *, resend: bool = False) -> None:
        if resend:
            with self._expected.lock:
                self._expected.resent += 1
        if self._accepted(client.post_events(batch.body), 200):
            batch.acknowledged = True

    def _artifact_sender(self, name: str) -> Callable[[RawHttpClient, random.Random], None]:
        def send(client: RawHttpClient, rng: random.Random) -> None:
            while not self._stop.is_set():
                size_bytes = rng.randint(*rng.choices(_SIZES, (4, 2, 1))[0])
                # Few hashes per client, so that many uploads replace an artifact.
                artifact, version = self._expected.new_version(
                    f"{name}-{rng.randrange(40)}", size_bytes
                )
                chunk_bytes = rng.choice((None, None, 10_000, 300_000))
                if self._accepted(client.put(artifact, chunk_bytes), 202):
                    version.acknowledged = True

        return send

    def _accepted(self, response: RawResponse, status: int) -> bool:
        if response.status == status:
            self.acknowledged.set()
            return True
        with self._expected.lock:
            self._expected.rejected.append(response)
        return False


def _event(session: str, rng: random.Random) -> dict[str, Any]:
    return {
        "sessionId": session,
        "source": rng.choice(("LOCAL", "REMOTE")),
        "event": rng.choice(("HIT", "MISS")),
        "hash": f"{rng.getrandbits(64):016x}",
        "duration": rng.randrange(5000),
    }
