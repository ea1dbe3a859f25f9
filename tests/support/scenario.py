"""A server with teams, users and clients: sends events and artifacts, and logs in to pages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page

from hitrate.auth.accounts import AccountStore
from hitrate.auth.sessions import Sessions
from hitrate.clock import Clock, ManualClock
from hitrate.db.engine import open_database
from hitrate.http.cookies import SESSION_COOKIE
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR, Team, User
from tests.support.manual_clock_server import ManualClockServer
from tests.support.server import Server

NOW_MS = 1_800_000_000_000
"""Friday, 15 January 2027, 08:00 UTC: the end of every scenario with a manual clock."""

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
EVENTS_PATH = "/v8/artifacts/events"

Event = dict[str, Any]


@dataclass(frozen=True)
class BuildClient:
    """A token, and the client metadata that is sent with it."""

    secret: str
    token_id: str
    ci: str | None = None
    interactive: bool | None = None
    agent: str | None = None

    def with_metadata(self, **metadata: Any) -> BuildClient:
        """Return a client with the same token and this metadata: ci, interactive, agent."""
        return replace(self, **metadata)

    @property
    def headers(self) -> dict[bytes, bytes]:
        headers: dict[bytes, str | None] = {
            b"authorization": f"Bearer {self.secret}",
            b"x-artifact-client-ci": self.ci,
            b"x-artifact-client-interactive": {True: "1", False: "0", None: None}[self.interactive],
            b"x-ai-agent": self.agent,
        }
        return {name: text.encode() for name, text in headers.items() if text is not None}


class PageServer:
    """A running server and its accounts; requests reuse their connection."""

    def __init__(self, server: Server, accounts: AccountStore, sessions: Sessions) -> None:
        self.server = server
        self.accounts = accounts
        self._sessions = sessions
        self._http = httpx.Client(base_url=server.url, timeout=30, verify=False)

    @property
    def url(self) -> str:
        return self.server.url

    def close(self) -> None:
        self._http.close()

    def create_team(self, slug: str, name: str | None = None) -> Team:
        return self.accounts.teams.create(slug, name)

    def create_user(self, email: str, *teams: Team, role: Role = Role.OWNER) -> User:
        """Create a user who is a member of these teams."""
        user = self.accounts.users.create(email, email.partition("@")[0].title())
        for team in teams:
            self.accounts.members.add(team, user, role, OPERATOR)
        return user

    def create_client(self, team: Team, label: str, user: User | None = None) -> BuildClient:
        """Create a token of a team, or of a user in the team."""
        token, secret = self.accounts.tokens.create(team, label, user=user)
        return BuildClient(secret, token.id)

    def send_events(self, client: BuildClient, events: Iterable[Event]) -> None:
        """Send one batch."""
        response = self._http.post(
            EVENTS_PATH, content=json.dumps(list(events)), headers=client.headers
        )
        assert response.status_code == 200, response.text

    def upload(
        self, client: BuildClient, artifact: str, body: bytes, duration_ms: float | None = None
    ) -> None:
        headers = client.headers
        if duration_ms is not None:
            headers[b"x-artifact-duration"] = f"{duration_ms:g}".encode()
        response = self._http.put(f"/v8/artifacts/{artifact}", content=body, headers=headers)
        assert response.status_code == 202, response.text

    def download(self, client: BuildClient, artifact: str) -> None:
        response = self._http.get(f"/v8/artifacts/{artifact}", headers=client.headers)
        assert response.status_code == 200, response.text

    def get_json(
        self, client: BuildClient, path: str, params: Mapping[str, Any] | None = None
    ) -> Any:
        """Return an API response that includes all events that were sent before."""
        response = self._http.get(
            path, params={"fresh": "true", **(params or {})}, headers=client.headers
        )
        assert response.status_code == 200, response.text
        return response.json()

    def get_text(self, client: BuildClient, path: str, params: Mapping[str, Any]) -> str:
        """Return an API response that is not JSON."""
        response = self._http.get(path, params=dict(params), headers=client.headers)
        assert response.status_code == 200, response.text
        return response.text

    def load_events(self, client: BuildClient) -> None:
        """Wait until all events that were sent are loaded."""
        self.get_json(client, "/v1/analytics/summary")

    def start_session(self, user: User) -> str:
        """Log a user in and return the secret of the session cookie."""
        return self._sessions.create(user).secret

    @contextmanager
    def browse_as(self, user: User, zone: str | None = None) -> Iterator[httpx.Client]:
        """Create an HTTP client with the session of a user; it does not follow redirects."""
        cookies = {SESSION_COOKIE: self.start_session(user)}
        if zone is not None:
            cookies["hitrate_timezone"] = zone
        headers = {"accept": "text/html"}
        with httpx.Client(
            base_url=self.url, cookies=cookies, headers=headers, timeout=30, verify=False
        ) as http:
            yield http

    def log_in(self, page: Page, user: User) -> None:
        """Log a user in to a browser."""
        secret = self.start_session(user)
        page.context.add_cookies([{"name": SESSION_COOKIE, "value": secret, "url": self.url}])


@contextmanager
def run_page_server(server: Server, clock: Clock) -> Iterator[PageServer]:
    """Start a server; kill it when the `with` block ends."""
    server.start()
    engine = open_database(server.data_dir)
    page_server = PageServer(server, AccountStore(engine, clock), Sessions(engine, clock))
    try:
        yield page_server
    finally:
        page_server.close()
        engine.dispose()
        server.kill()


@contextmanager
def run_manual_clock_page_server(directory: Path, clock: ManualClock) -> Iterator[PageServer]:
    """Start a server whose time is that of `clock`, with its data in a new directory."""
    server = ManualClockServer(directory / "data", clock)
    with run_page_server(server, clock) as page_server:
        yield page_server


def event(session: str, artifact: str, kind: str, duration: float | None = 0) -> Event:
    """Create an event; `kind` is such as `LOCAL HIT`."""
    source, outcome = kind.split()
    fields = {} if duration is None else {"duration": duration}
    return {"sessionId": session, "source": source, "event": outcome, "hash": artifact, **fields}


def local_hit(session: str, artifact: str, saved_ms: float) -> list[Event]:
    """Create the events that turbo sends for a task found in its local cache."""
    return [event(session, artifact, "LOCAL HIT", saved_ms)]


def remote_hit(session: str, artifact: str, saved_ms: float | None) -> list[Event]:
    """Create the events that turbo sends for a task that it downloads."""
    return [
        event(session, artifact, "LOCAL MISS"),
        event(session, artifact, "REMOTE HIT", saved_ms),
    ]


def miss(session: str, artifact: str) -> list[Event]:
    """Create the events that turbo sends for a task that it executes."""
    return [event(session, artifact, "LOCAL MISS"), event(session, artifact, "REMOTE MISS")]
