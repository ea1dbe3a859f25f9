"""Owns a team's story on a server whose clock is the test's: what its people and CI sent, when, and
what is shown of it to whom."""

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
"""Friday, 15 January 2027, 08:00 in UTC: where a story ends."""

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
EVENTS = "/v8/artifacts/events"

Event = dict[str, Any]


@dataclass(frozen=True)
class Sender:
    """A token, and what its client says of itself."""

    secret: str
    token_id: str
    ci: str | None = None
    interactive: bool | None = None
    agent: str | None = None

    def saying(self, **words: Any) -> Sender:
        """The same token, with a client that says this of itself."""
        return replace(self, **words)

    @property
    def headers(self) -> dict[bytes, bytes]:
        said: dict[bytes, str | None] = {
            b"authorization": f"Bearer {self.secret}",
            b"x-artifact-client-ci": self.ci,
            b"x-artifact-client-interactive": {True: "1", False: "0", None: None}[self.interactive],
            b"x-ai-agent": self.agent,
        }
        return {name: text.encode() for name, text in said.items() if text is not None}


class Place:
    """A server and its accounts; requests keep their connection."""

    def __init__(self, server: Server, accounts: AccountStore, sessions: Sessions) -> None:
        self.server = server
        self.accounts = accounts
        self._sessions = sessions
        self._http = httpx.Client(base_url=server.url, timeout=30, verify=False)

    def close(self) -> None:
        self._http.close()

    def team(self, slug: str, name: str | None = None) -> Team:
        """A new team."""
        return self.accounts.teams.create(slug, name)

    def person(self, email: str, *teams: Team, role: Role = Role.OWNER) -> User:
        """Somebody new, in these teams."""
        user = self.accounts.users.create(email, email.partition("@")[0].title())
        for team in teams:
            self.accounts.members.add(team, user, role, OPERATOR)
        return user

    def sender(self, team: Team, label: str, user: User | None = None) -> Sender:
        """A new token of a team, or of somebody in it."""
        token, secret = self.accounts.tokens.create(team, label, user=user)
        return Sender(secret, token.id)

    def post(self, sender: Sender, events: Iterable[Event]) -> None:
        """Send a batch, now."""
        answer = self._http.post(EVENTS, content=json.dumps(list(events)), headers=sender.headers)
        assert answer.status_code == 200, answer.text

    def put(self, sender: Sender, name: str, body: bytes, took_ms: float | None = None) -> None:
        """Upload an artifact, now."""
        took = {} if took_ms is None else {b"x-artifact-duration": f"{took_ms:g}".encode()}
        headers = {**sender.headers, **took}
        answer = self._http.put(f"/v8/artifacts/{name}", content=body, headers=headers)
        assert answer.status_code == 202, answer.text

    def get(self, sender: Sender, name: str) -> None:
        """Download an artifact, now."""
        answer = self._http.get(f"/v8/artifacts/{name}", headers=sender.headers)
        assert answer.status_code == 200, answer.text

    def ask(self, sender: Sender, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """What the API answers when all that was sent is counted."""
        answer = self._http.get(
            path, params={"fresh": "true", **(query or {})}, headers=sender.headers
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def fetch(self, sender: Sender, path: str, query: Mapping[str, Any]) -> str:
        """What an address answers that is no JSON."""
        answer = self._http.get(path, params=dict(query), headers=sender.headers)
        assert answer.status_code == 200, answer.text
        return answer.text

    def session(self, user: User) -> str:
        """The secret that a browser keeps in which they are signed in."""
        return self._sessions.create(user).secret

    @contextmanager
    def visitor(self, user: User, zone: str | None = None) -> Iterator[httpx.Client]:
        """Somebody who is signed in, without a browser; redirects are not followed."""
        cookies = {SESSION_COOKIE: self.session(user)}
        if zone is not None:
            cookies["hitrate_timezone"] = zone
        headers = {"accept": "text/html"}
        with httpx.Client(
            base_url=self.server.url, cookies=cookies, headers=headers, timeout=30, verify=False
        ) as http:
            yield http

    def let_in(self, page: Page, user: User) -> None:
        """Sign somebody in to a browser."""
        secret = self.session(user)
        page.context.add_cookies(
            [{"name": SESSION_COOKIE, "value": secret, "url": self.server.url}]
        )


@contextmanager
def place_of(server: Server, clock: Clock) -> Iterator[Place]:
    """A server that is started, and killed in the end."""
    server.start()
    engine = open_database(server.data_dir)
    place = Place(server, AccountStore(engine, clock), Sessions(engine, clock))
    try:
        yield place
    finally:
        place.close()
        engine.dispose()
        server.kill()


@contextmanager
def place_in_time(folder: Path, clock: ManualClock) -> Iterator[Place]:
    """A server of its own, whose time is `clock`'s."""
    with place_of(ManualClockServer(folder / "data", clock), clock) as place:
        yield place


def event(session: str, name: str, what: str, duration: float | None = 0) -> Event:
    """One event; `what` is such as `LOCAL HIT`."""
    source, outcome = what.split()
    told = {} if duration is None else {"duration": duration}
    return {"sessionId": session, "source": source, "event": outcome, "hash": name, **told}


def local_hit(session: str, name: str, saved_ms: float) -> list[Event]:
    """What turbo sends of a task that it finds on its own disk."""
    return [event(session, name, "LOCAL HIT", saved_ms)]


def remote_hit(session: str, name: str, saved_ms: float | None) -> list[Event]:
    """Of one that it downloads."""
    return [
        event(session, name, "LOCAL MISS"),
        event(session, name, "REMOTE HIT", saved_ms),
    ]


def miss(session: str, name: str) -> list[Event]:
    """Of one that it runs."""
    return [event(session, name, "LOCAL MISS"), event(session, name, "REMOTE MISS")]
