"""Synthetic runs of a team over some weeks, with their expected statistics.

The outcome and time saved of each task are chosen first, and its events are derived from them. So
the expected statistics do not depend on the rules of the program.
"""

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
START_MS = int(datetime(2027, 2, 20, tzinfo=UTC).timestamp() * 1000)
# Includes the nights in which clocks go forward in New York and in Berlin.
END_MS = START_MS + 45 * DAY_MS
SETUP_MS = START_MS - 300 * DAY_MS
EVENTS = "/v8/artifacts/events"
TOTALS = ("runs", "tasks", "localHits", "remoteHits", "misses", "events", "duplicates", "anomalies")
STATS = (*TOTALS, "hitRate", "timeSavedMs")
SOURCES = ("local", "remote")

Json = dict[str, Any]


class TokenInfo(NamedTuple):
    """A token: its secret, and what reports show of it. `user` is an email address."""

    secret: str
    id: str
    label: str
    user: str | None


class SyntheticTask(NamedTuple):
    """A task of a run. `saved_ms` is 0 for a miss."""

    hash: str
    outcome: str
    saved_ms: int


@dataclass(frozen=True)
class SyntheticRun:
    """A run whose events are sent in `batches`. If `resend`, the last batch is sent twice."""

    session: str
    at_ms: int
    ci: str | None
    interactive: bool | None
    agent: str | None
    token: TokenInfo
    tasks: tuple[SyntheticTask, ...]
    batches: int
    resend: bool

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
        """Return the request bodies, in order."""
        events = [event for task in self.tasks for event in _events(self.session, task)]
        size = -(-len(events) // self.batches)
        bodies = [body(*events[at : at + size]) for at in range(0, len(events), size)]
        return bodies + bodies[-1:] * self.resend

    def expected_stats(self) -> Json:
        """Return the expected statistics of the run."""
        return expected_stats([self])

    def headers(self) -> dict[str, bytes]:
        """Return the headers that describe the client."""
        values = {
            "x-artifact-client-ci": self.ci,
            "x-artifact-client-interactive": {True: "1", False: "0", None: None}[self.interactive],
            "x-ai-agent": self.agent,
        }
        return {name: value.encode() for name, value in values.items() if value is not None}


class SyntheticTeam:
    """A team that has sent synthetic runs; afterwards the clock is at END_MS."""

    def __init__(
        self, team_server: TeamServer, clock: ManualClock, seed: int, count: int = 90
    ) -> None:
        clock.value_ms = SETUP_MS  # so that reports do not cover the setup of the team
        team = team_server.create_team()
        team.api("DELETE", "artifacts")
        self.server, self.clock, self.slug = team_server.server, clock, team.record.slug
        self.tokens = _create_tokens(team)
        self.reader = self.tokens[0]
        self.runs = _create_runs(random.Random(seed), self.tokens, count)
        for run in self.runs:
            self.send(run)
        clock.value_ms = END_MS

    def send(self, run: SyntheticRun) -> None:
        """Send all events of a run, at its time."""
        self.clock.value_ms = run.at_ms
        for content in run.bodies():
            self.post(run.token.secret, content, run.headers())

    def post(self, secret: str, content: bytes, headers: dict[str, bytes] | None = None) -> None:
        """Send one batch at the current time."""
        response = self.server.request(
            "POST",
            EVENTS,
            token=secret,
            params={"slug": self.slug},
            content=content,
            headers=headers or {},
        )
        assert response.status_code == 200, response.text

    def get(self, path: str, **params: Any) -> Json:
        """Request a report on this team that includes everything sent so far."""
        params = {"slug": self.slug, "fresh": "true", **params}
        response = self.server.request("GET", path, token=self.reader.secret, params=params)
        assert response.status_code == 200, response.text
        report: Json = response.json()
        return report

    def get_all(self, path: str, entries: str, **params: Any) -> list[Json]:
        """Request all pages of a list; return the entries."""
        return list(iter_entries(self.get, path, entries, **params))

    def runs_within(self, report: Json) -> list[SyntheticRun]:
        """Return the runs that began in the period of a report."""
        return [run for run in self.runs if report["from"] <= iso(run.at_ms) < report["to"]]


def iter_entries(
    get: Callable[..., Json], path: str, entries: str, **params: Any
) -> Iterator[Json]:
    """Yield the entries of all pages of a list, for the period of the first page."""
    page = get(path, **params)
    yield from page[entries]
    if "from" in page:
        params |= {"since": page["from"], "until": page["to"]}
    while page["nextCursor"] is not None:
        page = get(path, **params, cursor=page["nextCursor"])
        assert page[entries]
        yield from page[entries]


def expected_stats(runs: Iterable[SyntheticRun]) -> Json:
    """Return the expected statistics of several runs."""
    runs = list(runs)
    tasks = [task for run in runs for task in run.tasks]
    local, remote = ([t for t in tasks if t.outcome == f"{where}_hit"] for where in SOURCES)
    events = [_events("", task) for task in tasks]
    return {
        "runs": len(runs),
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
        "duplicates": sum(run.bodies()[-1].count(b"sessionId") for run in runs if run.resend),
        "anomalies": 0,
    }


def stats_of(report: Json) -> Json:
    """Return the statistics in a report."""
    return {name: report[name] for name in STATS if name in report}


def sum_stats(reports: Sequence[Json]) -> Json:
    """Add up the statistics of several reports."""
    sums: Json = {name: sum(report[name] for report in reports) for name in TOTALS}
    sums["timeSavedMs"] = {w: sum(a["timeSavedMs"][w] for a in reports) for w in SOURCES}
    hits = sums["localHits"] + sums["remoteHits"]
    return sums | {"hitRate": hits / sums["tasks"] if sums["tasks"] else None}


def _create_runs(rng: random.Random, tokens: Sequence[TokenInfo], count: int) -> list[SyntheticRun]:
    """Create runs, oldest first."""
    hashes = [f"{rng.getrandbits(64):016x}" for _ in range(40)] + ["not/hex", "ÄÖ ü"]
    times = sorted(rng.sample(range(START_MS, END_MS), count))
    return [
        SyntheticRun(
            session=str(UUID(int=rng.getrandbits(128))),
            at_ms=at_ms,
            ci=rng.choice([None, "GITHUB_ACTIONS", "VERCEL", "Größe"]),
            interactive=rng.choice([None, True, False]),
            agent=rng.choice([None, None, "claude", "cursor"]),
            token=rng.choice(tokens),
            tasks=tuple(_task(rng, name) for name in rng.sample(hashes, rng.randrange(1, 20))),
            batches=rng.choice([1, 1, 2, 3]),
            resend=rng.random() < 0.1,
        )
        for at_ms in times
    ]


def _create_tokens(team: TeamFixture) -> list[TokenInfo]:
    create_token = team.accounts.tokens.create
    tokens: list[TokenInfo] = []
    for user in (team.owner, team.developer):
        token, secret = create_token(None, "", user=user, scopes=Scope)
        tokens.append(TokenInfo(secret, token.id, "", user.email))
    for label in ("CI", ""):
        token, secret = create_token(team.record, label, scopes=Scope)
        tokens.append(TokenInfo(secret, token.id, label, None))
    return tokens


def _task(rng: random.Random, name: str) -> SyntheticTask:
    outcome = rng.choice(["miss", "local_hit", "remote_hit"])
    return SyntheticTask(name, outcome, 0 if outcome == "miss" else rng.randrange(1, 100_000))


def _events(session: str, task: SyntheticTask) -> list[Json]:
    """Return the events that turbo sends for a task."""
    kinds = {
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
        for source, event in kinds
    ]
