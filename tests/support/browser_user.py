"""Users with accounts on a server, and how they use its pages: in a browser or over HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
from playwright.sync_api import Page

from hitrate.auth.accounts import AccountStore
from hitrate.clock import Clock
from hitrate.db.engine import open_database
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR, User
from tests.support.server import Server

PASSWORD = "correct horse battery"


@contextmanager
def open_accounts(server: Server) -> Iterator[AccountStore]:
    """Open the accounts of a running server, as the `hitrate` command does."""
    engine = open_database(server.data_dir)
    try:
        yield AccountStore(engine, Clock())
    finally:
        engine.dispose()


def create_user(
    server: Server,
    email: str,
    *teams: str,
    role: Role = Role.MEMBER,
    password: str | None = PASSWORD,
) -> User:
    """Create a user in these teams; teams that do not exist are created."""
    with open_accounts(server) as accounts:
        user = accounts.users.create(email, email.partition("@")[0].title(), password=password)
        for slug in teams:
            team = accounts.teams.find(slug=slug) or accounts.teams.create(slug)
            accounts.members.add(team, user, role, OPERATOR)
        return user


def submit_login(page: Page, email: str, password: str = PASSWORD) -> None:
    """Fill in and submit the login page that is open."""
    page.get_by_label("Email address").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def log_in(page: Page, server: Server, email: str, password: str = PASSWORD) -> None:
    """Log in and wait for the account page."""
    page.goto(f"{server.url}/login?next=/account")
    submit_login(page, email, password)
    page.wait_for_url(f"{server.url}/account")


@dataclass(frozen=True)
class BrowserUser:
    """A user who sends arbitrary requests with the headers and cookies of a browser."""

    http: httpx.Client

    def form_token(self, path: str = "/login") -> str:
        """Return the CSRF token in the forms of a page."""
        match = re.search(r'name="form_token" value="([0-9a-f]+)"', self.get(path).text)
        assert match is not None
        return match[1]

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.http.get(path, headers={"accept": "text/html", **headers})

    def post(
        self, path: str, form_token: str | None, headers: dict[str, str] | None = None, **form: str
    ) -> httpx.Response:
        data = form | ({} if form_token is None else {"form_token": form_token})
        return self.http.post(path, data=data, headers={"accept": "text/html", **(headers or {})})

    def log_in(
        self, email: str, password: str = PASSWORD, *, next_url: str = "/account"
    ) -> httpx.Response:
        token = self.form_token()
        return self.post("/login", token, email=email, password=password, next=next_url)

    def cookie(self, name: str = "hitrate_session") -> str | None:
        return self.http.cookies.get(name)


@contextmanager
def browser_user(server: Server) -> Iterator[BrowserUser]:
    """A user without cookies. Redirects are not followed."""
    # Skip reading the CA certificates, which is slow, where there is no TLS.
    verify = server.verify if server.scheme == "https" else False
    with httpx.Client(base_url=server.url, verify=verify, timeout=30) as http:
        yield BrowserUser(http)
