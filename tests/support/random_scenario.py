"""Ten weeks of a team's activity, random with a fixed seed.

It has clients of all kinds, duplicates, anomalies, late batches and artifacts, and a second team
that uses the same sessions and hashes.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple
from uuid import UUID

from hitrate.clock import ManualClock
from hitrate.teams.models import Team, User
from tests.support.scenario import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    NOW_MS,
    BuildClient,
    Event,
    PageServer,
    local_hit,
    miss,
    remote_hit,
)

PERIOD_MS = 70 * DAY_MS
RUN_COUNT = 130
ARTIFACT_COUNT = 12
HASHES = [f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" for number in range(1, 40)]
UNUSUAL_HASH = "12HKQaOmR5t5Uy6vdcQsNIiZgHGB"
LATE_SESSION = str(UUID(int=2**100))
"""The run whose last batch arrives a day after the first."""

_OVER_A_DAY_MS = 1e9

_Requests = list[tuple[int, Callable[[], None]]]
"""Requests to send, each with its time in milliseconds."""


class RandomScenario(NamedTuple):
    """The team `ours` with its owner. `reader` is a token of the team that sends nothing."""

    server: PageServer
    team: Team
    owner: User
    reader: BuildClient
    clients: list[BuildClient]


def create_random_scenario(server: PageServer, clock: ManualClock) -> RandomScenario:
    """Send all requests of the scenario, each at its time; then set the clock to `NOW_MS`."""
    team, other_team = server.create_team("ours", "Ours"), server.create_team("others")
    owner = server.create_user("owner@example.com", team)
    developer = server.create_user("dev@example.com", team)
    pipeline = server.create_client(team, "pipeline")
    laptop = server.create_client(team, "laptop", developer)
    clients = [
        pipeline.with_metadata(ci="GITHUB_ACTIONS", interactive=False),
        pipeline.with_metadata(ci="GITLAB_CI", interactive=False, agent="claude"),
        laptop.with_metadata(interactive=True),
        laptop.with_metadata(interactive=False, agent="cursor"),
        laptop,
    ]
    other_client = server.create_client(other_team, "theirs").with_metadata(ci="GITHUB_ACTIONS")
    requests = [
        *_artifact_requests(server, clients),
        *_run_requests(server, clients, other_client),
        *_late_run_requests(server, clients[0]),
    ]
    for at_ms, send in sorted(requests, key=lambda request: request[0]):
        clock.value_ms = at_ms
        send()
    clock.value_ms = NOW_MS
    reader = server.create_client(team, "reader")
    server.load_events(reader)
    return RandomScenario(server, team, owner, reader, clients)


def _run_requests(
    server: PageServer, clients: list[BuildClient], other_client: BuildClient
) -> _Requests:
    random = Random(20270115)
    requests: _Requests = []
    for _ in range(RUN_COUNT):
        session = str(UUID(int=random.getrandbits(128)))
        at_ms = NOW_MS - random.randrange(HOUR_MS, PERIOD_MS)
        client = random.choice(clients)
        events = [
            event
            for artifact in _random_hashes(random)
            for event in _task_events(random, session, artifact)
        ]
        middle = random.randint(0, len(events))
        batches = [batch for batch in (events[:middle], events[middle:]) if batch]
        for number, batch in enumerate(batches):
            requests.append((at_ms + number * 700, _send_events(server, client, batch)))
        if random.random() < 0.15:  # a client re-sends a batch within ten minutes
            requests.append((at_ms + MINUTE_MS, _send_events(server, client, batches[-1])))
        if random.random() < 0.3:  # the other team sends the same events
            requests.append((at_ms, _send_events(server, other_client, events)))
    return requests


def _random_hashes(random: Random) -> list[str]:
    return random.sample([*HASHES, UNUSUAL_HASH], random.randint(1, 9))


def _task_events(random: Random, session: str, artifact: str) -> list[Event]:
    kind = random.choices(("local", "remote", "no duration", "miss"), (3, 4, 1, 3))[0]
    duration_ms = random.choice((random.randint(1, 90_000), random.random() * 5000, 0))
    if random.random() < 0.03:
        duration_ms = random.choice((-5, _OVER_A_DAY_MS))
    events = {
        "local": local_hit(session, artifact, duration_ms),
        "remote": remote_hit(session, artifact, duration_ms),
        "no duration": remote_hit(session, artifact, None),
        "miss": miss(session, artifact),
    }[kind]
    return events + events[-1:] * (random.random() < 0.08)


def _late_run_requests(server: PageServer, client: BuildClient) -> _Requests:
    """Create a run whose last batch arrives a day later and turns a miss into a hit."""
    first = [*miss(LATE_SESSION, HASHES[0]), *miss(LATE_SESSION, HASHES[1])]
    second = [
        *remote_hit(LATE_SESSION, HASHES[1], 60_000),
        *local_hit(LATE_SESSION, HASHES[2], 1500),
    ]
    at_ms = NOW_MS - 3 * DAY_MS
    return [
        (at_ms, _send_events(server, client, first)),
        (at_ms + 26 * HOUR_MS, _send_events(server, client, second)),
    ]


def _artifact_requests(server: PageServer, clients: list[BuildClient]) -> _Requests:
    requests: _Requests = []
    for number, artifact in enumerate(HASHES[:ARTIFACT_COUNT]):
        at_ms = NOW_MS - PERIOD_MS + number * 5 * DAY_MS
        body, duration_ms = artifact.encode() * (number + 1) * 37, number * 1500.0 or None
        client = clients[number % 3]
        requests.append((at_ms, _upload(server, client, artifact, body, duration_ms)))
        for download in range(number % 4):
            download_ms = at_ms + (download + 1) * HOUR_MS
            requests.append((download_ms, _download(server, clients[download], artifact)))
    return requests


def _send_events(
    server: PageServer, client: BuildClient, events: list[Event]
) -> Callable[[], None]:
    return lambda: server.send_events(client, events)


def _upload(
    server: PageServer, client: BuildClient, artifact: str, body: bytes, duration_ms: float | None
) -> Callable[[], None]:
    return lambda: server.upload(client, artifact, body, duration_ms)


def _download(server: PageServer, client: BuildClient, artifact: str) -> Callable[[], None]:
    return lambda: server.download(client, artifact)
