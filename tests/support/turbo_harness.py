"""Owns the bench on which a real `turbo` builds against a real server: what is on it, and the
measure that each build is held to.

The measure: the server's recorded events are exactly the events that were seen to pass in
requests which it answered with 200: none lost, none invented, none changed. Only of a request that
got no answer at all may it have recorded the events or not. Each process of turbo has a session id
of its own, so holding the sum of all builds to this holds each build to it.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support import monorepo
from tests.support.monorepo import Monorepo
from tests.support.recording_proxy import Exchange, RecordingProxy
from tests.support.server import Server, eventually

TASKS = ("build", "test", "lint")
EVENTS_PATH = "/v8/artifacts/events"
EVENT_FIELDS = ("sessionId", "source", "event", "hash", "duration")

# The values of EVENT_FIELDS.
Event = tuple[Any, ...]


@dataclass(frozen=True)
class Release:
    """A turbo release, named as in package.json, and where its ways differ from the others'."""

    alias: str
    tasks_key: str = "tasks"
    chunks_uploads: bool = False
    queries_in_one_request: bool = False
    names_coding_agent: bool = False


RELEASES = (
    Release("turbo-1.13", tasks_key="pipeline", chunks_uploads=True),
    Release("turbo-2.0", chunks_uploads=True),
    Release("turbo-2.5"),
    Release("turbo", queries_in_one_request=True, names_coding_agent=True),
)


@dataclass(frozen=True)
class Build:
    """One finished run of turbo, and what passed between it and the server."""

    run: monorepo.Run
    exchanges: list[Exchange]

    @property
    def uploads(self) -> list[Exchange]:
        return self.requests("PUT")

    @property
    def downloads(self) -> list[Exchange]:
        return [found for found in self.requests("GET") if found.path != "/v8/artifacts/status"]

    @property
    def events(self) -> list[dict[str, Any]]:
        return accepted_events(self.exchanges)

    def requests(self, method: str) -> list[Exchange]:
        return [exchange for exchange in self.exchanges if exchange.method == method]

    def kinds(self) -> dict[tuple[str, str], int]:
        """How many events of each source and kind the server accepted."""
        return dict(Counter((event["source"], event["event"]) for event in self.events))

    def durations(self, source: str) -> dict[str, int]:
        """The duration that each hit of `source` reported, by hash."""
        hits = [item for item in self.events if (item["source"], item["event"]) == (source, "HIT")]
        return {item["hash"]: item["duration"] for item in hits}

    def uploaded_durations(self) -> dict[str, int]:
        """The duration that each upload named, by hash."""
        return {
            exchange.path.rpartition("/")[2]: int(exchange.request_headers["x-artifact-duration"])
            for exchange in self.uploads
        }


@dataclass(frozen=True)
class Workbench:
    """One turbo release, one monorepo and one server, with a recording proxy between them.

    The server may have served others: `since` tells when this bench was set up, and `salt` makes
    each task's hash another than on any other bench.
    """

    release: Release
    turbo: Path
    repo: Monorepo
    server: Server
    proxy: RecordingProxy
    token: str
    since: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    salt: str = field(default_factory=lambda: str(uuid.uuid4()))
    markers: list[dict[str, Any]] = field(default_factory=list)

    def with_token(self, token: str) -> Workbench:
        return replace(self, token=token)

    def build(self, *flags: str, **env: str) -> Build:
        """Run all tasks with turbo. Whatever is wrong with the cache, turbo must succeed."""
        start = len(self.proxy.exchanges)
        remote = {
            "TURBO_API": self.proxy.url,
            "TURBO_TEAM": self.server.team,
            "TURBO_TOKEN": self.token,
            monorepo.SALT: self.salt,
        }
        run = monorepo.run(self.turbo, self.repo, *TASKS, *flags, env=remote | env)
        assert run.returncode == 0, run.stdout + run.stderr
        eventually(lambda: self.proxy.connections == 0)
        return Build(run, self.proxy.exchanges[start:])

    def settle(self) -> None:
        """Wait until all that the server has accepted so far can be read.

        An event of our own tells: the server keeps the order in which it accepted requests, so
        when that one can be read, "nothing was recorded" means that nothing will be.
        """
        marker = {
            "sessionId": str(uuid.uuid4()),
            "source": "LOCAL",
            "event": "HIT",
            "hash": "0123456789abcdef",
            "duration": 1,
        }
        answer = self.server.request("POST", EVENTS_PATH, json=[marker])
        assert answer.status_code == 200, answer.text
        self.markers.append(marker)
        eventually(lambda: _as_events(self.markers) <= self._all_recorded())

    def check(self) -> None:
        """Hold the server to the measure."""
        self.settle()
        passed = self.proxy.exchanges
        accepted, recorded = _as_events(accepted_events(passed)), self.recorded()
        assert accepted <= recorded <= accepted + _as_events(_unanswered_events(passed))

    def recorded(self) -> Counter[Event]:
        """The events that the server has recorded, without the markers."""
        return self._all_recorded() - _as_events(self.markers)

    def _all_recorded(self) -> Counter[Event]:
        return _as_events(self.server.events(since=self.since))


def accepted_events(exchanges: list[Exchange]) -> list[dict[str, Any]]:
    """The events of all requests answered with 200."""
    return _events_of({r.request_body for r in _event_requests(exchanges) if r.status == 200})


def _unanswered_events(exchanges: list[Exchange]) -> list[dict[str, Any]]:
    requests = _event_requests(exchanges)
    answered = {request.request_body for request in requests if request.status is not None}
    return _events_of({request.request_body for request in requests} - answered)


def _event_requests(exchanges: list[Exchange]) -> list[Exchange]:
    return [found for found in exchanges if (found.method, found.path) == ("POST", EVENTS_PATH)]


def _events_of(batches: set[bytes]) -> list[dict[str, Any]]:
    """turbo sends a batch again, byte for byte, if it got no answer: hence a set."""
    return [event for batch in batches for event in json.loads(batch)]


def _as_events(items: list[dict[str, Any]]) -> Counter[Event]:
    return Counter(tuple(item.get(name) for name in EVENT_FIELDS) for item in items)
