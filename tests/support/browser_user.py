"""Owns the people of a server, and how one of them uses its pages in a browser."""

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
def accounts_of(server: Server) -> Iterator[AccountStore]:
    """The accounts of a server, as a command beside it sees them."""
    engine = open_database(server.data_dir)
    try:
        yield AccountStore(engine, Clock())
    finally:
        engine.dispose()


def add_person(
    server: Server,
    email: str,
    *teams: str,
    role: Role = Role.MEMBER,
    password: str | None = PASSWORD,
) -> User:
    """A person in these teams, which are made where they are not there."""
    with accounts_of(server) as accounts:
        user = accounts.users.create(email, email.partition("@")[0].title(), password=password)
        for slug in teams:
            team = accounts.teams.find(slug=slug) or accounts.teams.create(slug)
            accounts.members.add(team, user, role, OPERATOR)
        return user


def fill_in(page: Page, email: str, password: str = PASSWORD) -> None:
    """Fill in the sign-in page, which is shown, and send it."""
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def sign_in(page: Page, server: Server, email: str, password: str = PASSWORD) -> None:
    """Sign in; the account page is shown."""
    page.goto(f"{server.url}/login?next=/account")
    fill_in(page, email, password)
    page.wait_for_url(f"{server.url}/account")


@dataclass(frozen=True)
class Visitor:
    """Somebody without a browser, who sends what they like; `http` keeps their cookies."""

    http: httpx.Client

    def form_token(self, path: str = "/login") -> str:
        """What the forms on a page carry."""
        found = re.search(r'name="form_token" value="([0-9a-f]+)"', self.get(path).text)
        assert found is not None
        return found[1]

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.http.get(path, headers={"accept": "text/html", **headers})

    def post(
        self, path: str, form_token: str | None, headers: dict[str, str] | None = None, **form: str
    ) -> httpx.Response:
        data = form | ({} if form_token is None else {"form_token": form_token})
        return self.http.post(path, data=data, headers={"accept": "text/html", **(headers or {})})

    def sign_in(
        self, email: str, password: str = PASSWORD, *, wanted: str = "/account"
    ) -> httpx.Response:
        token = self.form_token()
        return self.post("/login", token, email=email, password=password, next=wanted)

    def cookie(self, name: str = "hitrate_session") -> str | None:
        return self.http.cookies.get(name)


@contextmanager
def visitor(server: Server) -> Iterator[Visitor]:
    """A new visitor; redirects are not followed."""
    # Where nothing is to be verified, the certificates need not be read, which takes a while.
    verify = server.verify if server.scheme == "https" else False
    with httpx.Client(base_url=server.url, verify=verify, timeout=30) as http:
        yield Visitor(http)
