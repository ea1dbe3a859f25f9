"""Harness for the real `turbo` with a real server, and the check of the server's recorded events.

The recorded events must be exactly the events of those requests that the server acknowledged with
200: none lost, invented or changed. Only the events of requests without a response may or may not
be recorded. Each turbo process has its own session id, so that checking all builds together also
checks each build.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections import Counter
from collections.abc import Callable
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

# Values of EVENT_FIELDS.
Event = tuple[Any, ...]


@dataclass(frozen=True)
class Release:
    """A turbo release by its alias in package.json, and how it differs from the others."""

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
    """One finished run of turbo, and its exchanges with the server."""

    run: monorepo.TurboRun
    exchanges: list[Exchange]

    @property
    def uploads(self) -> list[Exchange]:
        return self.requests("PUT")

    @property
    def downloads(self) -> list[Exchange]:
        return [get for get in self.requests("GET") if get.path != "/v8/artifacts/status"]

    @property
    def events(self) -> list[dict[str, Any]]:
        return accepted_events(self.exchanges)

    def requests(self, method: str) -> list[Exchange]:
        return [exchange for exchange in self.exchanges if exchange.method == method]

    def event_counts(self) -> dict[tuple[str, str], int]:
        """Return the numbers of accepted events by source and kind."""
        return dict(Counter((event["source"], event["event"]) for event in self.events))

    def durations(self, source: str) -> dict[str, int]:
        """Return the duration reported by each hit of `source`, by hash."""
        hits = [item for item in self.events if (item["source"], item["event"]) == (source, "HIT")]
        return {item["hash"]: item["duration"] for item in hits}

    def uploaded_durations(self) -> dict[str, int]:
        """Return the duration sent with each upload, by hash."""
        return {
            exchange.artifact_hash: int(exchange.request_headers["x-artifact-duration"])
            for exchange in self.uploads
        }


@dataclass(frozen=True)
class TurboHarness:
    """One turbo release, monorepo and server, with a recording proxy in between.

    The server may be shared: only events after `since` are checked, and `hash_salt` gives tasks
    hashes that no other harness uses.
    """

    release: Release
    turbo: Path
    repo: Monorepo
    server: Server
    proxy: RecordingProxy
    token: str
    since: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    hash_salt: str = field(default_factory=lambda: str(uuid.uuid4()))
    markers: list[dict[str, Any]] = field(default_factory=list)

    def with_token(self, token: str) -> TurboHarness:
        return replace(self, token=token)

    def build(self, *flags: str, **env: str) -> Build:
        """Run all tasks with turbo, which must succeed even if the cache fails."""
        start = len(self.proxy.exchanges)
        remote = {
            "TURBO_API": self.proxy.url,
            "TURBO_TEAM": self.server.team,
            "TURBO_TOKEN": self.token,
            monorepo.HASH_SALT: self.hash_salt,
        }
        run = monorepo.run(self.turbo, self.repo, *TASKS, *flags, env=remote | env)
        assert run.returncode == 0, run.stdout + run.stderr
        eventually(lambda: self.proxy.connections == 0)
        return Build(run, self.proxy.exchanges[start:])

    def simulate_new_machine(self) -> None:
        """Delete everything that builds left here, so that only the server has artifacts."""
        self.repo.delete_builds()
        self.repo.pop_executed_tasks()

    def stored_hashes(self, exchanges: list[Exchange]) -> set[str]:
        """Return the hashes of the exchanges' artifacts that the server has."""
        hashes = sorted({exchange.artifact_hash for exchange in exchanges})
        response = self.server.request("POST", "/v8/artifacts", json={"hashes": hashes})
        return {name for name, info in response.json().items() if info is not None}

    def kill_server_before(self, condition: Callable[[str], object]) -> None:
        """Kill the server once, before the first request whose method meets a condition."""
        kills = itertools.count()

        def kill(method: str, _path: str) -> None:
            if condition(method) and next(kills) == 0:
                self.server.kill()

        self.proxy.before_forwarding = kill

    def wait_until_recorded(self) -> None:
        """Wait until everything that the server has accepted so far can be read.

        The server keeps the order of accepted requests. So when an additional marker event can be
        read, no earlier event is still missing.
        """
        marker = {
            "sessionId": str(uuid.uuid4()),
            "source": "LOCAL",
            "event": "HIT",
            "hash": "0123456789abcdef",
            "duration": 1,
        }
        response = self.server.request("POST", EVENTS_PATH, json=[marker])
        assert response.status_code == 200, response.text
        self.markers.append(marker)
        eventually(lambda: self.server.events(sessionId=marker["sessionId"]))

    def check_recorded_events(self) -> None:
        """Check the recorded events against the recorded requests, as the module describes."""
        self.wait_until_recorded()
        exchanges = self.proxy.exchanges
        accepted, recorded = _as_events(accepted_events(exchanges)), self.recorded()
        assert accepted <= recorded <= accepted + _as_events(_unacknowledged_events(exchanges))

    def recorded(self) -> Counter[Event]:
        """Return the events that the server has recorded, without the markers."""
        return _as_events(self.server.events(since=self.since)) - _as_events(self.markers)


def accepted_events(exchanges: list[Exchange]) -> list[dict[str, Any]]:
    """Return the events of all requests with status 200."""
    return _events_of({r.request_body for r in _event_requests(exchanges) if r.status == 200})


def _unacknowledged_events(exchanges: list[Exchange]) -> list[dict[str, Any]]:
    """Return the events of requests without any response."""
    requests = _event_requests(exchanges)
    responded = {request.request_body for request in requests if request.status is not None}
    return _events_of({request.request_body for request in requests} - responded)


def _event_requests(exchanges: list[Exchange]) -> list[Exchange]:
    return [one for one in exchanges if (one.method, one.path) == ("POST", EVENTS_PATH)]


def _events_of(batches: set[bytes]) -> list[dict[str, Any]]:
    """Return the events of batches; a set, because turbo re-sends a batch without a response."""
    return [event for batch in batches for event in json.loads(batch)]


def _as_events(items: list[dict[str, Any]]) -> Counter[Event]:
    return Counter(tuple(item.get(name) for name in EVENT_FIELDS) for item in items)
