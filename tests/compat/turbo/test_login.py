"""The real `turbo` logs in, links, builds, unlinks and logs out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page

from hitrate.auth.models import Token
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR
from tests.support import monorepo, node_packages
from tests.support.browser import errors_of
from tests.support.browser_fixtures import StartProvider, go_without
from tests.support.browser_user import accounts_of, add_person, fill_in
from tests.support.server import Server, eventually
from tests.support.turbo_terminal import Command, Turbo

ANN = "ann@example.com"
RELEASES = {"turbo-1.13": "pipeline", "turbo-2.0": "tasks", "turbo-2.5": "tasks"}
AFTER_SSO = "https://vercel.com/notifications/cli-login-success**"
AUTHORIZED = f"Turborepo CLI authorized for {ANN}"

TurboOf = Callable[..., Turbo]


@pytest.fixture
def turbo_of(tmp_path: Path) -> TurboOf:
    """A release of turbo, in a repository of its own, before a server."""

    def turbo_of(server: Server, alias: str = "turbo") -> Turbo:
        try:
            program = node_packages.install().turbo(alias)
        except node_packages.UnavailableError as error:
            go_without(error)
        repo = monorepo.generate(tmp_path / "repo", tasks_key=RELEASES.get(alias, "tasks"))
        return Turbo(program, repo, server, tmp_path / "home")

    return turbo_of


@pytest.fixture
def turbo(server: Server, turbo_of: TurboOf) -> Turbo:
    """The newest turbo, whose person is in the team `web`."""
    add_person(server, ANN, "web")
    return turbo_of(server)


def tokens(server: Server) -> list[Token]:
    with accounts_of(server) as accounts:
        return accounts.tokens.list_for_user(accounts.users.get(ANN))


def allow(page: Page, command: Command, lands_on: str) -> None:
    """What Ann does in the browser that turbo opens."""
    page.route("https://vercel.com/**", lambda route: route.abort())
    page.goto(command.opened())
    if page.get_by_label("Password").count():
        fill_in(page, ANN)
    with page.expect_request(lands_on):
        page.get_by_role("button", name="Allow").click()


def forget_local_builds(turbo: Turbo) -> None:
    """All but the link, which is kept beside them."""
    link = turbo.repo.root / ".turbo" / "config.json"
    kept = link.read_text()
    turbo.repo.forget_builds()
    link.parent.mkdir()
    link.write_text(kept)


def log_in(page: Page, turbo: Turbo, *options: str) -> None:
    with turbo.start("login", *options) as command:
        allow(page, command, f"{turbo.server.url}/turborepo/success")
        assert command.finish() == 0, command.text
        assert AUTHORIZED in command.text
    page.get_by_role("heading", name="turbo is connected").wait_for()


def test_login_saves_a_token_that_works_everywhere_its_person_is(page: Page, turbo: Turbo) -> None:
    log_in(page, turbo)
    [token] = tokens(turbo.server)
    assert (token.label, token.team) == ("turbo login", None)
    saved = turbo.saved_token()
    answer = turbo.server.request("GET", "/v2/user", token=saved)
    assert answer.json()["user"]["email"] == ANN
    assert errors_of(page) == []


def test_login_again_uses_what_was_saved(page: Page, turbo: Turbo) -> None:
    log_in(page, turbo)
    text = turbo.run("login")
    assert "Using existing login." in text
    assert AUTHORIZED in text
    assert len(tokens(turbo.server)) == 1


def test_where_the_saved_login_has_ended_force_makes_a_new_one(page: Page, turbo: Turbo) -> None:
    """Without it turbo stops at the 401, which is what it does with every server."""
    log_in(page, turbo)
    saved = turbo.saved_token()
    turbo.server.request("DELETE", "/v3/user/tokens/current", token=saved)
    log_in(page, turbo, "--force")
    assert turbo.saved_token() != saved


def test_who_is_linked_builds_with_the_saved_login(page: Page, turbo: Turbo) -> None:
    log_in(page, turbo)
    server = turbo.server
    text = turbo.run("link", "--yes", "--scope", "web")
    assert "Turborepo CLI authorized for web" in text
    turbo.run("run", "build", "--no-daemon", "--output-logs=none")
    forget_local_builds(turbo)
    assert "FULL TURBO" in turbo.run("run", "build", "--no-daemon")
    web = server.create_token("--scopes", "analytics", team="web")

    def hits() -> int:
        told = [(event["source"], event["event"]) for event in server.events(token=web)]
        return told.count(("REMOTE", "HIT"))

    eventually(lambda: hits() == 24)
    assert "Disabled Remote Caching" in turbo.run("unlink")


def test_link_asks_which_team_on_a_terminal(page: Page, turbo: Turbo) -> None:
    add_person(turbo.server, "bob@example.com", "ops")
    with accounts_of(turbo.server) as accounts:
        ops = accounts.teams.find(slug="ops")
        assert ops is not None
        accounts.members.add(ops, accounts.users.get(ANN), Role.MEMBER, OPERATOR)
    log_in(page, turbo)
    with turbo.start("link") as command:
        command.shows("Enable Vercel Remote Cache")
        command.type("y")
        command.shows("> ops")
        command.type("\x1b[B")
        command.shows("> web")
        command.type("\r")
        assert command.finish() == 0, command.text
        assert "Turborepo CLI authorized for web" in command.text


def test_logout_ends_the_token_when_asked_to(page: Page, turbo: Turbo) -> None:
    log_in(page, turbo)
    saved = turbo.saved_token()
    assert saved is not None
    assert "Logged out" in turbo.run("logout", "--invalidate")
    assert turbo.saved_token() is None
    assert turbo.server.request("GET", "/v2/user", token=saved).status_code == 401
    [token] = tokens(turbo.server)
    assert token.revoked_at_ms is not None


def test_login_for_one_team_works_with_a_password(page: Page, turbo: Turbo) -> None:
    with turbo.start("login", "--sso-team=web", "--force") as command:
        allow(page, command, AFTER_SSO)
        assert command.finish() == 0, command.text
        assert AUTHORIZED in command.text
    [token] = tokens(turbo.server)
    assert token.team is not None
    assert token.team.slug == "web"
    assert token.label.startswith("Turbo CLI on ")
    again = turbo.run("login", "--sso-team=web")
    assert "Using existing login." in again
    assert "Logged out" in turbo.run("logout", "--invalidate")
    assert tokens(turbo.server)[0].revoked_at_ms is not None


def test_login_for_one_team_works_at_the_provider(
    page: Page, tmp_path: Path, start_provider: StartProvider, turbo_of: TurboOf
) -> None:
    server = Server(tmp_path / "sso")
    provider = start_provider(f"{server.url}/login/sso/callback")
    server.options = (
        *("--oidc-issuer", provider.url, "--oidc-client-id", provider.client_id),
        *("--oidc-client-secret", provider.client_secret),
    )
    server.start()
    try:
        add_person(server, ANN, "web", password=None)
        page.route("https://vercel.com/**", lambda route: route.abort())
        with turbo_of(server).start("login", "--sso-team=web", "--force") as command:
            page.goto(command.opened())
            field = page.get_by_label("Login")
            field.fill("ann")
            page.get_by_role("button", name="Sign in", exact=True).click()
            with page.expect_request(AFTER_SSO):
                page.get_by_role("button", name="Allow").click()
            assert command.finish() == 0, command.text
            assert AUTHORIZED in command.text
        [token] = tokens(server)
        assert token.team is not None
        assert token.team.slug == "web"
    finally:
        server.kill()


def test_who_is_not_in_the_team_is_told_in_the_browser(page: Page, turbo: Turbo) -> None:
    with turbo.start("login", "--sso-team=ops", "--force") as command:
        page.goto(command.opened())
        fill_in(page, ANN)
        assert "is not in the team 'ops'" in page.get_by_role("alert").inner_text()
    assert tokens(turbo.server) == []


@pytest.mark.parametrize("alias", RELEASES)
def test_older_releases_log_in_too(
    page: Page, server: Server, turbo_of: TurboOf, alias: str
) -> None:
    add_person(server, ANN, "web")
    turbo = turbo_of(server, alias)
    with turbo.start("login") as command:
        assert "state" not in parse_qs(urlsplit(command.opened()).query)
        allow(page, command, f"{server.url}/turborepo/success")
        assert command.finish() == 0, command.text
        assert AUTHORIZED in command.text
    assert AUTHORIZED in turbo.run("login")
    assert len(tokens(server)) == 1
