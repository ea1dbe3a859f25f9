"""A team's varied weeks, made up with a seed: senders of all kinds, duplicates, anomalies, batches
that come late, artifacts; and another team beside it with the same sessions and hashes."""

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
    Event,
    Place,
    Sender,
    local_hit,
    miss,
    remote_hit,
)

WEEKS_MS = 70 * DAY_MS
RUNS = 130
STORED = 12
HASHES = [f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" for number in range(1, 40)]
ODD_HASH = "12HKQaOmR5t5Uy6vdcQsNIiZgHGB"
DAY_AND_MORE = 1e9

_At = list[tuple[int, Callable[[], None]]]


class Ledger(NamedTuple):
    """What there is. `reader` is a token of the team that sent nothing."""

    place: Place
    team: Team
    owner: User
    reader: Sender
    senders: list[Sender]
    late: str


def write(place: Place, clock: ManualClock) -> Ledger:
    """Send all of it, each at its time."""
    team, others = place.team("ours", "Ours"), place.team("others")
    owner, dev = place.person("owner@example.com", team), place.person("dev@example.com", team)
    pipeline, laptop = place.sender(team, "pipeline"), place.sender(team, "laptop", dev)
    senders = [
        pipeline.saying(ci="GITHUB_ACTIONS", interactive=False),
        pipeline.saying(ci="GITLAB_CI", interactive=False, agent="claude"),
        laptop.saying(interactive=True),
        laptop.saying(interactive=False, agent="cursor"),
        laptop,
    ]
    stranger = place.sender(others, "theirs").saying(ci="GITHUB_ACTIONS")
    sent = _uploads(place, senders) + _runs(place, senders, stranger) + _late(place, senders[0])
    for at_ms, send in sorted(sent, key=lambda one: one[0]):
        clock.value_ms = at_ms
        send()
    clock.value_ms = NOW_MS
    reader = place.sender(team, "reader")
    place.ask(reader, "/v1/analytics/summary")
    return Ledger(place, team, owner, reader, senders, LATE)


LATE = str(UUID(int=2**100))


def _runs(place: Place, senders: list[Sender], stranger: Sender) -> _At:
    random = Random(20270115)
    sent: _At = []
    for _ in range(RUNS):
        session = str(UUID(int=random.getrandbits(128)))
        at_ms = NOW_MS - random.randrange(HOUR_MS, WEEKS_MS)
        sender = random.choice(senders)
        events = [one for name in _names(random) for one in _task(random, session, name)]
        middle = random.randint(0, len(events))
        batches = [batch for batch in (events[:middle], events[middle:]) if batch]
        for number, batch in enumerate(batches):
            sent.append((at_ms + number * 700, _posting(place, sender, batch)))
        if random.random() < 0.15:  # resent within ten minutes
            sent.append((at_ms + MINUTE_MS, _posting(place, sender, batches[-1])))
        if random.random() < 0.3:  # what another team does under the same names is not ours
            sent.append((at_ms, _posting(place, stranger, events)))
    return sent


def _names(random: Random) -> list[str]:
    return random.sample([*HASHES, ODD_HASH], random.randint(1, 9))


def _task(random: Random, session: str, name: str) -> list[Event]:
    kind = random.choices(("local", "remote", "untold", "miss"), (3, 4, 1, 3))[0]
    took_ms = random.choice((random.randint(1, 90_000), random.random() * 5000, 0))
    if random.random() < 0.03:
        took_ms = random.choice((-5, DAY_AND_MORE))
    events = {
        "local": local_hit(session, name, took_ms),
        "remote": remote_hit(session, name, took_ms),
        "untold": remote_hit(session, name, None),
        "miss": miss(session, name),
    }[kind]
    return events + events[-1:] * (random.random() < 0.08)


def _late(place: Place, sender: Sender) -> _At:
    """A run whose last batch comes a day later, and turns one of its misses into a hit."""
    first = [*miss(LATE, HASHES[0]), *miss(LATE, HASHES[1])]
    second = [*remote_hit(LATE, HASHES[1], 60_000), *local_hit(LATE, HASHES[2], 1500)]
    at_ms = NOW_MS - 3 * DAY_MS
    return [
        (at_ms, _posting(place, sender, first)),
        (at_ms + 26 * HOUR_MS, _posting(place, sender, second)),
    ]


def _uploads(place: Place, senders: list[Sender]) -> _At:
    sent: _At = []
    for number, name in enumerate(HASHES[:STORED]):
        at_ms = NOW_MS - WEEKS_MS + number * 5 * DAY_MS
        body, took_ms = name.encode() * (number + 1) * 37, number * 1500.0 or None
        sent.append((at_ms, _putting(place, senders[number % 3], name, body, took_ms)))
        for again in range(number % 4):
            later_ms = at_ms + (again + 1) * HOUR_MS
            sent.append((later_ms, _getting(place, senders[again], name)))
    return sent


def _posting(place: Place, sender: Sender, events: list[Event]) -> Callable[[], None]:
    return lambda: place.post(sender, events)


def _putting(
    place: Place, sender: Sender, name: str, body: bytes, took_ms: float | None
) -> Callable[[], None]:
    return lambda: place.put(sender, name, body, took_ms)


def _getting(place: Place, sender: Sender, name: str) -> Callable[[], None]:
    return lambda: place.get(sender, name)
