"""What a team did over weeks, made up: runs whose numbers are known, since their events are made
from the numbers and not the other way round. And the questions that are asked about them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from hitrate.auth.models import Scope
from hitrate.clock import ManualClock, iso
from tests.support.event_factory import body
from tests.support.team_fixture import TeamFixture, TeamServer

DAY_MS = 86_400_000
BEGIN_MS = int(datetime(2027, 2, 20, tzinfo=UTC).timestamp() * 1000)
# With the nights in which clocks go forward in New York and in Berlin.
END_MS = BEGIN_MS + 45 * DAY_MS
LONG_BEFORE_MS = BEGIN_MS - 300 * DAY_MS
EVENTS = "/v8/artifacts/events"
SUMS = ("runs", "tasks", "localHits", "remoteHits", "misses", "events", "duplicates", "anomalies")
COUNTS = (*SUMS, "hitRate", "timeSavedMs")
WHERE = ("local", "remote")

Answer = dict[str, Any]


class Key(NamedTuple):
    """A token: its secret, and what is shown of it. `user` is an e-mail address."""

    secret: str
    id: str
    label: str
    user: str | None


class Task(NamedTuple):
    """`saved_ms` is 0 of a miss."""

    hash: str
    outcome: str
    saved_ms: int


@dataclass(frozen=True)
class Ran:
    """One run. Its events come in `batches`; `again` if the last of them is sent twice."""

    session: str
    at_ms: int
    ci: str | None
    interactive: bool | None
    agent: str | None
    key: Key
    tasks: tuple[Task, ...]
    batches: int
    again: bool

    @property
    def hits(self) -> int:
        return sum(task.outcome != "miss" for task in self.tasks)

    @property
    def saved_ms(self) -> int:
        return sum(task.saved_ms for task in self.tasks)

    @property
    def hit_rate(self) -> float:
        return self.hits / len(self.tasks)

    def bodies(self) -> list[bytes]:
        """The requests' bodies, in order."""
        events = [event for task in self.tasks for event in _events(self.session, task)]
        size = -(-len(events) // self.batches)
        bodies = [body(*events[at : at + size]) for at in range(0, len(events), size)]
        return bodies + bodies[-1:] * self.again

    def counts(self) -> Answer:
        """What has to be said of it."""
        return counts([self])

    def headers(self) -> dict[str, bytes]:
        """What its client says of itself."""
        words = {
            "x-artifact-client-ci": self.ci,
            "x-artifact-client-interactive": {True: "1", False: "0", None: None}[self.interactive],
            "x-ai-agent": self.agent,
        }
        return {name: word.encode() for name, word in words.items() if word is not None}


class History:
    """The runs of a team, all sent, and who asks about them. It is the end of the weeks then."""

    def __init__(
        self, team_server: TeamServer, clock: ManualClock, seed: int, count: int = 90
    ) -> None:
        clock.value_ms = LONG_BEFORE_MS  # so that what a team has done is not among the runs
        team = team_server.create_team()
        team.api("DELETE", "artifacts")
        self.server, self.clock, self.slug = team_server.server, clock, team.record.slug
        self.keys = _keys(team)
        self.asks = self.keys[0]
        self.runs = _made_up(random.Random(seed), self.keys, count)
        for ran in self.runs:
            self.send(ran)
        clock.value_ms = END_MS

    def send(self, ran: Ran) -> None:
        """Send all events of a run, at its time."""
        self.clock.value_ms = ran.at_ms
        for content in ran.bodies():
            self.post(ran.key.secret, content, ran.headers())

    def post(self, secret: str, content: bytes, headers: dict[str, bytes] | None = None) -> None:
        """Send events, now."""
        answer = self.server.request(
            "POST",
            EVENTS,
            token=secret,
            params={"slug": self.slug},
            content=content,
            headers=headers or {},
        )
        assert answer.status_code == 200, answer.text

    def ask(self, path: str, **params: Any) -> Answer:
        """The answer to a question about this team, of all that was sent."""
        given = {"slug": self.slug, "fresh": "true", **params}
        answer = self.server.request("GET", path, token=self.asks.secret, params=given)
        assert answer.status_code == 200, answer.text
        found: Answer = answer.json()
        return found

    def pages(self, path: str, entries: str, **params: Any) -> list[Answer]:
        """All entries of a list."""
        return list(entries_of(self.ask, path, entries, **params))

    def within(self, answer: Answer) -> list[Ran]:
        """The runs of the period that an answer names."""
        return [ran for ran in self.runs if answer["from"] <= iso(ran.at_ms) < answer["to"]]


def entries_of(
    ask: Callable[..., Answer], path: str, entries: str, **params: Any
) -> Iterator[Answer]:
    """The entries of a list, page by page: all about the period that the first page names."""
    page = ask(path, **params)
    yield from page[entries]
    if "from" in page:
        params |= {"since": page["from"], "until": page["to"]}
    while page["nextCursor"] is not None:
        page = ask(path, **params, cursor=page["nextCursor"])
        assert page[entries]
        yield from page[entries]


def counts(runs: Iterable[Ran]) -> Answer:
    """What has to be said of these runs together."""
    some = list(runs)
    tasks = [task for ran in some for task in ran.tasks]
    local, remote = ([t for t in tasks if t.outcome == f"{where}_hit"] for where in WHERE)
    events = [_events("", task) for task in tasks]
    return {
        "runs": len(some),
        "tasks": len(tasks),
        "localHits": len(local),
        "remoteHits": len(remote),
        "misses": len(tasks) - len(local) - len(remote),
        "hitRate": (len(local) + len(remote)) / len(tasks) if tasks else None,
        "timeSavedMs": {
            "local": sum(task.saved_ms for task in local),
            "remote": sum(task.saved_ms for task in remote),
        },
        "events": sum(map(len, events)),
        "duplicates": sum(ran.bodies()[-1].count(b"sessionId") for ran in some if ran.again),
        "anomalies": 0,
    }


def said(answer: Answer) -> Answer:
    """The counts in an answer."""
    return {name: answer[name] for name in COUNTS if name in answer}


def total(answers: Sequence[Answer]) -> Answer:
    """The counts in answers, added up."""
    sums: Answer = {name: sum(answer[name] for answer in answers) for name in SUMS}
    sums["timeSavedMs"] = {w: sum(a["timeSavedMs"][w] for a in answers) for w in WHERE}
    hits = sums["localHits"] + sums["remoteHits"]
    return sums | {"hitRate": hits / sums["tasks"] if sums["tasks"] else None}


def _made_up(chance: random.Random, keys: Sequence[Key], count: int) -> list[Ran]:
    """The runs of some weeks, oldest first."""
    hashes = [f"{chance.getrandbits(64):016x}" for _ in range(40)] + ["not/hex", "ÄÖ ü"]
    times = sorted(chance.sample(range(BEGIN_MS, END_MS), count))
    return [
        Ran(
            session=str(UUID(int=chance.getrandbits(128))),
            at_ms=at_ms,
            ci=chance.choice([None, "GITHUB_ACTIONS", "VERCEL", "Größe"]),
            interactive=chance.choice([None, True, False]),
            agent=chance.choice([None, None, "claude", "cursor"]),
            key=chance.choice(keys),
            tasks=tuple(
                _task(chance, name) for name in chance.sample(hashes, chance.randrange(1, 20))
            ),
            batches=chance.choice([1, 1, 2, 3]),
            again=chance.random() < 0.1,
        )
        for at_ms in times
    ]


def _keys(team: TeamFixture) -> list[Key]:
    tokens = team.accounts.tokens
    given: list[Key] = []
    for user in (team.owner, team.developer):
        token, secret = tokens.create(None, "", user=user, scopes=Scope)
        given.append(Key(secret, token.id, "", user.email))
    for label in ("CI", ""):
        token, secret = tokens.create(team.record, label, scopes=Scope)
        given.append(Key(secret, token.id, label, None))
    return given


def _task(chance: random.Random, name: str) -> Task:
    outcome = chance.choice(["miss", "local_hit", "remote_hit"])
    return Task(name, outcome, 0 if outcome == "miss" else chance.randrange(1, 100_000))


def _events(session: str, task: Task) -> list[Answer]:
    """What turbo sends of a task."""
    came = {
        "miss": [("LOCAL", "MISS"), ("REMOTE", "MISS")],
        "remote_hit": [("LOCAL", "MISS"), ("REMOTE", "HIT")],
        "local_hit": [("LOCAL", "HIT")],
    }[task.outcome]
    return [
        {
            "sessionId": session,
            "source": source,
            "event": event,
            "hash": task.hash,
            "duration": task.saved_ms if event == "HIT" else 0,
        }
        for source, event in came
    ]
